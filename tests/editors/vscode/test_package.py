"""What the VS Code extension says is what the server says: settings, protocol, commands."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from dataclasses import fields
from types import ModuleType
from typing import Any

import pytest

from seedls import protocol
from seedls.settings import option_table
from tests.support.lsp_client import ROOT

FOLDER = ROOT / "editors" / "vscode"
MIRROR = (FOLDER / "src" / "protocol.ts").read_text(encoding="utf-8")
PAYLOADS = [
    value for _, value in inspect.getmembers(protocol, inspect.isclass) if value.__module__ == protocol.__name__
]


def _writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_settings", FOLDER / "scripts" / "write_settings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _manifest() -> Any:
    return json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))


def test_the_settings_are_the_servers() -> None:
    writer = _writer()
    told = "run python editors/vscode/scripts/write_settings.py"
    assert (FOLDER / "package.json").read_text(encoding="utf-8") == writer.manifest_text(), told
    keys = set(_manifest()["contributes"]["configuration"]["properties"])
    assert keys == {f"seedls.{option.key}" for option, _ in option_table()} | set(writer.CLIENT_PROPERTIES)


def test_a_stale_package_is_noticed(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    writer = _writer()
    assert writer.main(["--check"]) == 0
    stale = tmp_path / "package.json"
    stale.write_text(writer.PACKAGE.read_text(encoding="utf-8").replace('"default": "eager"', '"default": "subtle"'))
    writer.PACKAGE = stale
    assert writer.main(["--check"]) == 1
    assert "is not current" in capsys.readouterr().err
    assert writer.main([]) == 0
    assert writer.main(["--check"]) == 0


def test_names_are_the_servers() -> None:
    ours = {name: value for name, value in vars(protocol).items() if name.isupper()}
    mirrored = dict(re.findall(r'^export const (\w+) = "?([^";]+)"?;$', MIRROR, re.MULTILINE))
    assert mirrored == {name: str(value) for name, value in ours.items()}
    assert len(mirrored) >= 9


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: str(payload.__name__))
def test_payloads_have_the_servers_fields(payload: Any) -> None:
    found = re.search(rf"^export interface {payload.__name__} {{\n(.*?)^}}", MIRROR, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{payload.__name__} is not mirrored"
    kinds = {"str": "string", "int": "number", "float": "number", "list[str]": "string[]"}
    kinds |= {"dict[str, int]": "Record<string, number>", "dict[str, float]": "Record<string, number>"}
    kinds |= {"list[NextEdit]": "NextEdit[]", "tuple[str, ...]": "string[]", "types.Range | None": "Range | null"}
    kinds |= {"tuple[types.Range, ...]": "Range[]", "list[dict[str, Any]]": "{ range: Range; newText: string }[]"}
    kinds["dict[str, Any]"] = ""  # an LSP object, which the mirror spells out
    mirrored = dict(re.findall(r"^  (\w+): (.+);$", found[1], re.MULTILINE))
    expected = {field.name: kinds[str(field.type)] for field in fields(payload)}
    assert list(mirrored) == list(expected)
    assert {name: kind for name, kind in mirrored.items() if expected[name]} == {
        name: kind for name, kind in expected.items() if kind
    }


def test_client_commands_do_not_hide_the_servers() -> None:
    """The client library registers the server's commands itself; the same name twice would not start."""
    announced = {one["command"] for one in _manifest()["contributes"]["commands"]}
    servers = {value for name, value in vars(protocol).items() if name.startswith("COMMAND_")}
    assert announced & servers == set()


def test_nothing_is_sent_anywhere() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (FOLDER / "src").glob("*.ts"))
    assert not re.search(r"https?://|fetch\(|createTelemetryLogger|TelemetryLogger|node:https?|node:net", sources)
    assert _manifest()["license"] == "Apache-2.0"
