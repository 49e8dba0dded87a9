"""Methods, commands, payload fields and rewrites that the clients use exist in the server, under these names.

The mirrors (protocol.ts, protocol.lua) are compared with seedls/protocol.py in vscode/test_package.py and
test_contracts.py; here it is what the clients' code does with them.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from seedls import protocol
from seedls.instructions import INSTRUCTIONS
from seedls.protocol import (
    ActionData,
    EditRunRequest,
    EditRunStart,
    EditRunState,
    Explanation,
    NextEdits,
    RefactorRequest,
    Status,
)
from seedls.server import create_server
from tests.support.lsp_client import ROOT

NEOVIM = ROOT / "editors" / "neovim" / "lua" / "seedls"
VSCODE = ROOT / "editors" / "vscode"
NAMES = {name: value for name, value in vars(protocol).items() if name.isupper()}
MANIFEST = json.loads((VSCODE / "package.json").read_text(encoding="utf-8"))


def lua(name: str) -> str:
    return (NEOVIM / f"{name}.lua").read_text(encoding="utf-8")


def names_of(*payloads: Any) -> set[str]:
    return {field.name for payload in payloads for field in fields(payload)}


def test_the_server_has_a_handler_for_every_name() -> None:
    registered = create_server().protocol.fm
    assert set(registered.commands) == {value for name, value in NAMES.items() if name.startswith("COMMAND_")}
    methods = {value for value in NAMES.values() if isinstance(value, str) and "/" in value}
    assert methods - set(registered.features) == {protocol.STATE_CHANGED}  # the one that the server sends
    assert {name for name in registered.features if name.startswith("seedls/")} <= methods


@pytest.mark.parametrize("method", [protocol.STATUS, protocol.EXPLAIN_LAST])
def test_a_request_may_come_without_params(method: str) -> None:
    """As vscode-languageclient sends those that have none."""
    message = create_server().protocol.structure_message({"jsonrpc": "2.0", "id": 1, "method": method})
    assert message.method == method


@pytest.mark.parametrize("path", sorted((VSCODE / "src").glob("*.ts")), ids=lambda path: path.name)
def test_the_extension_spells_no_name_of_the_protocol_itself(path: Path) -> None:
    if path.name != "protocol.ts":
        # The status item's own id happens to be the name of a command.
        text = path.read_text(encoding="utf-8").replace('createStatusBarItem("seedls.status"', "")
        spelled = [value for value in NAMES.values() if str(value).count("seedls") and f'"{value}"' in text]
        assert spelled == []


def test_both_clients_use_only_names_of_their_mirror() -> None:
    for path in NEOVIM.glob("*.lua"):
        used = set(re.findall(r"\bprotocol\.([A-Z_]+)\b", path.read_text(encoding="utf-8")))
        assert used <= set(NAMES), path.name
    handled = set(re.findall(r"protocol\.([A-Z_]+)\b", "".join(map(Path.read_text, NEOVIM.glob("*.lua")))))
    assert {"STATE_CHANGED", "STATUS", "EXPLAIN_LAST", "NEXT_EDIT", "EDIT_RUN_START", "COMMAND_REFACTOR"} <= handled


def test_the_extension_announces_what_it_registers() -> None:
    source = (VSCODE / "src" / "commands.ts").read_text(encoding="utf-8")
    registered = set(re.findall(r'^ {4}"(seedls\.\w+)":', source, re.MULTILINE))
    announced = {one["command"] for one in MANIFEST["contributes"]["commands"]}
    assert registered == announced
    menus = {entry["command"] for entries in MANIFEST["contributes"]["menus"].values() for entry in entries}
    keys = {entry["command"] for entry in MANIFEST["contributes"]["keybindings"]}
    assert menus | keys <= announced
    offered = re.findall(r'command: "(seedls\.\w+)"', (VSCODE / "src" / "status.ts").read_text(encoding="utf-8"))
    assert set(offered) - {"seedls.showMenu"} <= announced
    assert len(offered) >= 10


READ_BY_NEOVIM = [
    ("edit_run", "state", EditRunState),
    ("edit_run", "next_state", EditRunState),
    ("server", "status", Status),
    ("server", "last", Explanation),
    ("health", "status", Status),
    ("rewrite", "found", NextEdits),
    ("rewrite", r"action\.data", ActionData),
]


@pytest.mark.parametrize(("file", "variable", "payload"), READ_BY_NEOVIM, ids=lambda value: str(value))
def test_neovim_reads_fields_that_exist(file: str, variable: str, payload: Any) -> None:
    read = set(re.findall(rf"(?<![\w.]){variable}\.(\w+)", lua(file)))
    assert read <= names_of(payload)
    assert read or variable == "next_state"


def test_neovim_sends_fields_that_exist() -> None:
    wish = re.search(r"local wish = \{(.*?)\}\n", lua("rewrite"))
    assert wish is not None
    sent = set(re.findall(r"(\w+) = ", wish[1]))
    assert sent == names_of(RefactorRequest)
    assert sent <= names_of(EditRunStart)
    requests = re.findall(r"\{ (run = [^}]*)\}", lua("edit_run"))
    assert len(requests) >= 2
    assert {name for request in requests for name in re.findall(r"(\w+) = ", request)} == names_of(EditRunRequest)


def test_rewrites_with_a_name_of_their_own_are_the_servers() -> None:
    named = re.findall(r'instruction: "(\w+)"', (VSCODE / "src" / "actions.ts").read_text(encoding="utf-8"))
    named += re.findall(r"REPAIR = '(\w+)'", lua("rewrite"))
    assert named == ["complete", "repair", "repair"]
    assert set(named) <= set(INSTRUCTIONS)
