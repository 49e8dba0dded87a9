"""Names, types, defaults and limits of settings are the server's in both clients, proved by what the server accepts.

The generated section of package.json is compared with what its generator writes in vscode/test_package.py; here nothing
is taken from the generator.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from seedls.settings import Option, Settings, option_table, resolve_settings
from tests.editors.neovim.test_plugin import run_lua
from tests.support.lsp_client import ROOT

VSCODE = ROOT / "editors" / "vscode"
NEOVIM = ROOT / "editors" / "neovim"
PROPERTIES: dict[str, dict[str, Any]] = json.loads((VSCODE / "package.json").read_text(encoding="utf-8"))[
    "contributes"
]["configuration"]["properties"]
TABLE = list(option_table())
KEYS = [option.key for option, _ in TABLE]
SAMPLES: dict[str, list[Any]] = {
    "boolean": [True, False],
    "integer": [-1, 0, 1, 7, 50, 100, 500, 3000, 10**7, 10**9],
    "number": [-0.5, 0, 0.25, 1, 1.5, 10**7],
    "string": ["", "x", "eager", "subtle", "lossless", "fast", "ar", "auto", "cuda:1", "cuda:", "gpu"],
    "array": [[], ["x"], ["x", "y"]],
}
"""Values of each JSON type, on both sides of every limit of the table."""


def fits(schema: dict[str, Any], value: Any) -> bool:
    """Whether the editor would accept the value; the part of JSON Schema that package.json uses."""
    kinds = {"boolean": bool, "integer": int, "number": int | float, "string": str, "array": list}
    if not isinstance(value, kinds[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return False
    if isinstance(value, list):
        return all(isinstance(one, str) for one in value) and schema["items"] == {"type": "string"}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return False
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        return False
    return value in schema.get("enum", [value])


@pytest.mark.parametrize(("option", "default"), TABLE, ids=KEYS)
def test_vs_code_accepts_what_the_server_accepts(option: Option, default: Any) -> None:
    schema = PROPERTIES[f"seedls.{option.key}"]
    given = list(default) if isinstance(default, tuple) else default
    assert (schema["default"], type(schema["default"])) == (given, type(given))
    verdicts = {
        json.dumps(value): (fits(schema, value), resolve_settings({option.key: value})[1] == [])
        for values in SAMPLES.values()
        for value in values
    }
    differing = {value for value, (in_editor, in_server) in verdicts.items() if in_editor != in_server}
    assert differing == set()
    assert {accepted for accepted, _ in verdicts.values()} == {True, False}


def test_the_extension_reads_settings_by_their_type_and_default() -> None:
    source = (VSCODE / "src" / "config.ts").read_text(encoding="utf-8")
    read = re.findall(r'\.get<([\w\[\]]+)>\("([\w.]+)", (.+?)\)', source)
    assert len(read) >= 7
    kinds = {"boolean": "boolean", "string": "string", "string[]": "array", "number": "number"}
    for kind, key, default in read:
        schema = PROPERTIES[f"seedls.{key}"]
        assert (kinds[kind], json.loads(default)) == (schema["type"], schema["default"]), key
    written = re.findall(r'\.update\("([\w.]+)"', source)
    watched = re.findall(r"affectsConfiguration\(`\$\{SECTION\}\.([\w.]+)`", source)
    assert [key for key in [*written, *watched] if f"seedls.{key}" not in PROPERTIES] == []


def test_no_other_source_of_the_extension_reads_settings() -> None:
    for path in (VSCODE / "src").glob("*.ts"):
        if path.name != "config.ts":
            assert "getConfiguration(" not in path.read_text(encoding="utf-8"), path.name


def test_settings_that_the_plugin_itself_changes_exist() -> None:
    """`:Seedls toggle` is the one that does."""
    source = "".join(path.read_text(encoding="utf-8") for path in NEOVIM.rglob("*.lua"))
    groups = "|".join(sorted({key.split(".")[0] for key in KEYS if "." in key}))
    spelled = set(re.findall(rf"'((?:{groups})\.\w+)'", source)) | {
        f"completion.{name}" for name in re.findall(r"\bcompletion\.(\w+)", source)
    }
    assert spelled == {"completion.disabledLanguages"}
    assert spelled <= set(KEYS)


def _changed(option: Option, default: Any) -> Any:
    """A value that is not the default and that the server accepts."""
    if isinstance(default, tuple):
        return [] if default else ["👋", 'a"\\b']
    candidates = [not default] if isinstance(default, bool) else [one for some in SAMPLES.values() for one in some]
    return next(
        one
        for one in candidates
        if one != default and type(one) is type(default) and not resolve_settings({option.key: one})[1]
    )


@pytest.mark.e2e
@pytest.mark.parametrize("is_nested", [True, False], ids=["nested", "dotted"])
def test_every_setting_passes_through_neovim_unchanged(tmp_path: Path, is_nested: bool) -> None:
    wanted = {option.key: _changed(option, default) for option, default in TABLE}
    given: dict[str, Any] = {}
    for key, value in wanted.items():
        *groups, name = key.split(".") if is_nested else [key]
        place = given
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
    sent = tmp_path / "sent.json"
    run_lua(
        tmp_path,
        f"""
        local given = vim.json.decode(table.concat(vim.fn.readfile('{tmp_path / "given.json"}')))
        local seedls = require('seedls')
        seedls.setup({{ enable = false, settings = given }})
        assert(#seedls.problems == 0)
        local section = vim.lsp.config.seedls.settings.seedls
        vim.fn.writefile({{ vim.json.encode(section) }}, '{sent}')
        """,
    )
    resolved, complaints = resolve_settings(json.loads(sent.read_text(encoding="utf-8")))
    assert complaints == []
    defaults = asdict(Settings())
    assert [name for name, value in asdict(resolved).items() if value == defaults[name]] == []
    expected, _ = resolve_settings(wanted)
    assert resolved == expected
    assert len(fields(Settings)) == len(wanted)
