"""The user's settings: one documented table, from which docs/settings.md and the VS Code schema are generated.

Owns keys, types, defaults, ranges and their checking. `options` are what the client sent (anything), `Settings` is what
was resolved (always valid). It does not know where options come from.

    python -m seedls.settings --write     rewrite docs/settings.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

_EXCLUDED = ("**/.env*", "**/*.pem", "**/*.key", "**/id_rsa*", "**/.netrc", "**/secrets.*")


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table."""

    key: str
    """As written in an editor's configuration, below `seedls.`."""
    doc: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ""
    """Regular expression of a whole text."""


def _option(key: str, default: Any, doc: str, **limits: Any) -> Any:
    return field(default=default, metadata={"option": Option(key, doc, **limits)})


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings; every field is a row of the table."""

    model: str = _option("model", "coder-0.5b", "Name of an installed model, or a path to a checkpoint.")
    device: str = _option("device", "auto", "`auto`, `cpu`, `cuda` or `cuda:N`.", pattern=r"auto|cpu|cuda(:[0-9]+)?")
    threads: int = _option("threads", 0, "CPU threads of the model; 0 chooses.", minimum=0, maximum=256)
    completion_enabled: bool = _option("completion.enabled", True, "Offer completions at all.")
    completion_mode: str = _option(
        "completion.mode",
        "eager",
        "`eager`: while typing. `subtle`: only when asked for.",
        choices=("eager", "subtle"),
    )
    completion_max_tokens: int = _option(
        "completion.maxTokens", 96, "Longest completion, in tokens.", minimum=1, maximum=1024
    )
    completion_max_lines: int = _option(
        "completion.maxLines", 8, "Longest completion, in lines.", minimum=1, maximum=100
    )
    completion_candidates: int = _option(
        "completion.candidates", 3, "Suggestions to compute when asked for explicitly.", minimum=1, maximum=5
    )
    completion_deadline_ms: int = _option(
        "completion.deadlineMs",
        2500,
        "Longest time for a completion while typing, in milliseconds; what is ready then is used.",
        minimum=50,
        maximum=60000,
    )
    completion_debounce_ms: int = _option(
        "completion.debounceMs",
        30,
        "Shortest pause in typing before the model starts, in milliseconds.",
        minimum=0,
        maximum=5000,
    )
    completion_debounce_max_ms: int = _option(
        "completion.debounceMaxMs",
        200,
        "Longest such pause: inside a word the server waits until you type slower than you just did. Not above "
        "`completion.debounceMs`: the pause is fixed.",
        minimum=0,
        maximum=5000,
    )
    completion_min_confidence: float = _option(
        "completion.minConfidence",
        0.35,
        "Lines whose mean token probability is below this are not shown; 0 shows everything.",
        minimum=0.0,
        maximum=1.0,
    )
    completion_look_ahead: bool = _option(
        "completion.lookAhead",
        False,
        "While a completion is shown, compute what would follow it, so that it is there when you accept. Keeps the "
        "processor busy for suggestions you may not take.",
    )
    completion_read_ahead: bool = _option(
        "completion.readAhead",
        False,
        "While you edit a file and the caret rests, read the text around it, so that the first completion there sees "
        "more or comes sooner. Only where the editor asks for code actions at the caret; keeps the processor busy.",
    )
    completion_in_comments: bool = _option("completion.inComments", False, "Complete while typing inside comments.")
    completion_in_strings: bool = _option("completion.inStrings", True, "Complete while typing inside strings.")
    completion_disabled_languages: tuple[str, ...] = _option(
        "completion.disabledLanguages", (), "LSP language ids without completions."
    )
    exclude: tuple[str, ...] = _option(
        "exclude", _EXCLUDED, "Globs of files that the model never sees, matched on the whole path."
    )
    policy: str = _option(
        "policy",
        "lossless",
        "`lossless`: what one token at a time would give. `fast`: also accepts near ties. `ar`: the baseline.",
        choices=("lossless", "fast", "ar"),
    )
    edit_max_tokens: int = _option(
        "edit.maxTokens", 2048, "Longest rewritten selection, in tokens.", minimum=16, maximum=8192
    )
    edit_max_characters: int = _option(
        "edit.maxCharacters", 12000, "Largest selection offered for a rewrite.", minimum=100, maximum=200000
    )
    edit_deadline_ms: int = _option(
        "edit.deadlineMs", 120000, "Longest time for a rewrite, in milliseconds.", minimum=500, maximum=3600000
    )
    edit_confirm: bool = _option(
        "edit.confirm", True, "Ask the editor to let you confirm each hunk, where it can (annotated edits)."
    )
    context_prefix_characters: int = _option(
        "context.prefixCharacters", 6000, "Text before the cursor shown to the model.", minimum=200, maximum=100000
    )
    context_suffix_characters: int = _option(
        "context.suffixCharacters", 1500, "Text after the cursor shown to the model.", minimum=0, maximum=100000
    )
    context_repository_characters: int = _option(
        "context.repositoryCharacters",
        0,
        "Text of other files of the workspace shown to the model: definitions in reach, recently changed and similar "
        "lines. 0: other files are never read.",
        minimum=0,
        maximum=20000,
    )
    next_edit_enabled: bool = _option(
        "nextEdit.enabled", True, "Propose follow-up edits to clients that ask for them (`seedls/nextEdit`)."
    )
    kept_rate_enabled: bool = _option(
        "keptRate.enabled",
        True,
        "Note in a local file how much of an accepted completion is still there later: numbers, no text. Never sent "
        "anywhere; the command `seedls.deleteKeptRate` deletes it.",
    )


_SECTIONS = {item.metadata["option"].key.rpartition(".")[0] for item in fields(Settings)} - {""}


def option_table() -> Iterator[tuple[Option, Any]]:
    """(row, default) of every setting, in the order of the documentation."""
    for item in fields(Settings):
        yield item.metadata["option"], item.default


def resolve_settings(*layers: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Merge option layers, later ones winning; returns the settings and one complaint per wrong or unknown value.

    Options may be nested (`{"completion": {"mode": …}}`), dotted (`{"completion.mode": …}`), or both.
    """
    flat: dict[str, Any] = {}
    for layer in layers:
        flat.update(_flatten(layer))
    values: dict[str, Any] = {}
    complaints: list[str] = []
    for item in fields(Settings):
        option: Option = item.metadata["option"]
        if option.key not in flat:
            continue
        given = flat.pop(option.key)
        if given is None:
            continue  # editors send null for "not set"
        value, complaint = _checked(option, item.default, given)
        if complaint:
            complaints.append(complaint)
        else:
            values[item.name] = value
    complaints += [f"unknown setting {key!r}" for key in flat]
    return Settings(**values), complaints


def _flatten(layer: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in layer.items():
        name = prefix + str(key)
        if isinstance(value, Mapping):
            yield from _flatten(value, name + ".")
        elif value == [] and name in _SECTIONS:
            pass  # Lua writes an empty table like an empty list
        else:
            yield name, value


def _checked(option: Option, default: Any, given: Any) -> tuple[Any, str | None]:
    """The value to use, or a complaint naming key, value and what is allowed."""
    if isinstance(default, bool):
        if isinstance(given, bool):
            return given, None
        return None, f"{option.key}: {given!r} is not true or false"
    if isinstance(default, tuple):
        if isinstance(given, (list, tuple)) and all(isinstance(entry, str) for entry in given):
            return tuple(given), None
        return None, f"{option.key}: {given!r} is not a list of strings"
    if isinstance(default, str):
        return _checked_string(option, given)
    return _checked_number(option, default, given)


def _checked_string(option: Option, given: Any) -> tuple[Any, str | None]:
    if not isinstance(given, str) or not given:
        return None, f"{option.key}: {given!r} is not a non-empty string"
    if option.choices and given not in option.choices:
        return None, f"{option.key}: {given!r} is not one of {', '.join(option.choices)}"
    if option.pattern and not re.fullmatch(option.pattern, given):
        return None, f"{option.key}: {given!r} is not {option.doc.rstrip('.').replace('`', '')}"
    return given, None


def _checked_number(option: Option, default: float, given: Any) -> tuple[Any, str | None]:
    wanted = "whole number" if isinstance(default, int) else "number"
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or (isinstance(default, int) and float(given) % 1 != 0):
        return None, f"{option.key}: {given!r} is not a {wanted}"
    low, high = option.minimum, option.maximum
    if (low is not None and given < low) or (high is not None and given > high) or given != given:
        return None, f"{option.key}: {given!r} is not between {low} and {high}"
    return type(default)(given), None


def vscode_properties() -> dict[str, dict[str, Any]]:
    """`contributes.configuration.properties` of the VS Code extension."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array"}
    properties: dict[str, dict[str, Any]] = {}
    for option, default in option_table():
        schema: dict[str, Any] = {
            "type": names[type(default)],
            "default": list(default) if isinstance(default, tuple) else default,
            "markdownDescription": option.doc,
        }
        if isinstance(default, tuple):
            schema["items"] = {"type": "string"}
        if option.choices:
            schema["enum"] = list(option.choices)
        elif option.pattern:
            schema["pattern"] = f"^({option.pattern})$"
        elif isinstance(default, str):
            schema["minLength"] = 1
        if option.minimum is not None:
            schema["minimum"] = option.minimum
        if option.maximum is not None:
            schema["maximum"] = option.maximum
        properties[f"seedls.{option.key}"] = schema
    return properties


def settings_markdown() -> str:
    """The text of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Generated from `seedls/settings.py` by `python -m seedls.settings --write`; do not edit.",
        "",
        "The server reads `initializationOptions`, then `workspace/configuration` (section `seedls`) or",
        "`workspace/didChangeConfiguration`, then `seedls.toml` or else `[tool.seedls]` of `pyproject.toml` in the",
        "workspace folder; later ones win (editors send a default for every key, so a file that came first would",
        "never count). A wrong value is named in one message and its default is used. All take effect at once, the",
        "files when they are saved; changing `model`, `device` or `threads` loads the model again.",
        "",
        "A file in the workspace comes with the code: its `exclude` adds to yours, and its `model` may only name an",
        "installed one.",
        "",
        "| key | default | allowed | what it does |",
        "|---|---|---|---|",
    ]
    for option, default in option_table():
        lines.append(f"| `{option.key}` | {_shown(default)} | {_allowed(option, default)} | {option.doc} |")
    return "\n".join(lines) + "\n"


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ", ".join(f"`{entry}`" for entry in default) or "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _allowed(option: Option, default: Any) -> str:
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    if option.minimum is not None:
        return f"{option.minimum:g} to {option.maximum:g}"
    return {bool: "true, false", tuple: "list of strings"}.get(type(default), "text")


def main(arguments: list[str]) -> int:
    """Write docs/settings.md (`--write`) or print it."""
    text = settings_markdown()
    if arguments == ["--write"]:
        path = Path(__file__).parent.parent / "docs" / "settings.md"
        path.write_text(text, encoding="utf-8", newline="\n")
        return 0
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
