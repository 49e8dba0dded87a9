"""What the editor clients say is what the server says: protocol names, commands, languages, settings.

Run as a script it writes Neovim's mirror of the protocol.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from seedls import protocol
from seedls.settings import option_table, resolve_settings
from tests.support.lsp_client import ROOT

NEOVIM = ROOT / "editors" / "neovim"
MIRROR = NEOVIM / "lua" / "seedls" / "protocol.lua"
VSCODE = ROOT / "editors" / "vscode"
PAGES = sorted((ROOT / "docs" / "editors").glob("*.md"))
DOCUMENTS = [*PAGES, NEOVIM / "README.md", NEOVIM / "doc" / "seedls.txt", ROOT / "README.md"]
FILETYPES = {"cs": "csharp", "sh": "shellscript"}
"""Neovim's names where they are not the protocol's."""


def neovim_mirror() -> str:
    """The text of protocol.lua for the server's names of now."""
    lines = []
    for name, value in vars(protocol).items():
        if name.isupper():
            lines.append(f"  {name} = {value}," if isinstance(value, int) else f"  {name} = '{value}',")
    head = (
        "-- What the server speaks beyond the standard: written from seedls/protocol.py by\n"
        "-- `python -m tests.editors.test_contracts`. Owns names only.\n\nreturn {\n"
    )
    return head + "\n".join(lines) + "\n}\n"


def test_neovims_names_are_the_servers() -> None:
    assert MIRROR.read_text(encoding="utf-8") == neovim_mirror(), "run python -m tests.editors.test_contracts"


def test_neovim_spells_no_name_of_the_protocol_itself() -> None:
    """One place to change: everything else takes the names from the mirror."""
    names = [value for name, value in vars(protocol).items() if name.isupper() and isinstance(value, str)]
    for path in NEOVIM.rglob("*.lua"):
        if path.name != "protocol.lua":
            text = path.read_text(encoding="utf-8")
            assert [name for name in names if name.count("seedls") and f"'{name}'" in text] == [], path


def test_both_clients_serve_the_same_languages() -> None:
    source = (NEOVIM / "lsp" / "seedls.lua").read_text(encoding="utf-8")
    listed = re.search(r"filetypes = {(.*?)}", source, re.DOTALL)
    assert listed is not None
    filetypes = {FILETYPES.get(name, name) for name in re.findall(r"'(\w+)'", listed[1])}
    mapped = dict(re.findall(r"(\w+) = '(\w+)'", re.search(r"LANGUAGE_IDS = {(.*?)}", source)[1]))  # type: ignore[index]
    assert mapped == FILETYPES
    typescript = (VSCODE / "src" / "languages.ts").read_text(encoding="utf-8")
    block = re.search(r"LANGUAGES.*?= \[(.*?)\];", typescript, re.DOTALL)
    assert block is not None
    languages = set(re.findall(r'"(\w+)"', block[1]))
    assert languages == filetypes


def _settings_in(value: object, prefix: str = "") -> list[str]:
    """Dotted keys of every leaf of a nested table."""
    if not isinstance(value, dict):
        return [prefix]
    return [key for name, inner in value.items() for key in _settings_in(inner, f"{prefix}.{name}" if prefix else name)]


def _fenced(language: str) -> list[tuple[Path, str]]:
    found = []
    for path in DOCUMENTS:
        blocks = re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        found += [(path, block) for block in blocks]
    return found


@pytest.mark.parametrize(("path", "block"), _fenced("toml"), ids=lambda value: getattr(value, "name", ""))
def test_documented_toml_holds_real_settings(path: Path, block: str) -> None:
    config = tomllib.loads(block)
    server = config["language-server"]["seedls"]
    assert [server["command"], *server["args"]] == ["seedls", "serve", "--stdio"]
    assert resolve_settings(server.get("config", {}))[1] == [], path
    assert any("seedls" in language["language-servers"] for language in config["language"])


@pytest.mark.parametrize(("path", "block"), _fenced("json"), ids=lambda value: getattr(value, "name", ""))
def test_documented_json_holds_real_settings(path: Path, block: str) -> None:
    text = json.dumps(json.loads(block))
    assert "seedls" in text
    assert '"serve"' in text
    for settings in re.findall(r'"(?:settings|initializationOptions)": ({[^{}]*(?:{[^{}]*}[^{}]*)*})', text):
        chosen = json.loads(settings)
        assert resolve_settings(chosen.get("seedls", chosen))[1] == [], path


def _lua_in(path: Path) -> set[str]:
    """The set-ups of a page, without the way they are broken into lines."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```lua\n(.*?)^```|>lua\n(.*?)^<$", text, re.MULTILINE | re.DOTALL)
    return {" ".join("".join(pair).split()) for pair in blocks if "seedls" in "".join(pair)}


def test_every_page_has_the_same_set_ups_of_neovim_and_none_is_long() -> None:
    page = _lua_in(ROOT / "README.md")
    assert len(page) == 3
    assert _lua_in(NEOVIM / "README.md") == page
    assert page <= _lua_in(NEOVIM / "doc" / "seedls.txt")
    blocks = re.findall(
        r"^```lua\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert max(len(block.splitlines()) for block in blocks) <= 5


def test_documented_settings_exist() -> None:
    keys = {option.key for option, _ in option_table()}
    client_keys = {"server.path", "server.package", "server.pipArguments", "server.python", "trace.server"}
    for path in [*DOCUMENTS, VSCODE / "README.md"]:
        named = set(re.findall(r"`seedls\.([\w.]+)`", path.read_text(encoding="utf-8")))
        assert named - keys - client_keys == set(), path


if __name__ == "__main__":
    MIRROR.write_text(neovim_mirror(), encoding="utf-8", newline="\n")
