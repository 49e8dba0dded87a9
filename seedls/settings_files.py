"""Settings that live in the workspace: `seedls.toml`, or `[tool.seedls]` of `pyproject.toml`.

Owns which file counts and what such a file may not do: it comes with the code, so it can be somebody else's. It does
not know the settings table.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_MAX_BYTES = 1_000_000


def read_settings_files(roots: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The options of the first folder that has some, and complaints naming file and reason.

    `seedls.toml` comes before `pyproject.toml`. An unreadable file is a complaint, not an error.
    """
    complaints: list[str] = []
    for root in roots:
        for name, table in (("seedls.toml", ()), ("pyproject.toml", ("tool", "seedls"))):
            options, complaint = _read(Path(root) / name, table)
            complaints += [f"{name}: {complaint}"] if complaint else []
            if options is not None:
                complaints += [f"{name}: {line}" for line in _drop_what_is_not_its_own(options)]
                return options, complaints
    return {}, complaints


def _read(path: Path, table: tuple[str, ...]) -> tuple[dict[str, Any] | None, str | None]:
    try:
        if not path.is_file():
            return None, None
        if path.stat().st_size > _MAX_BYTES:
            return None, f"larger than {_MAX_BYTES} bytes"
        options: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return None, f"cannot be read ({type(error).__name__})"
    except tomllib.TOMLDecodeError as error:
        return None, f"not TOML ({error})"
    for key in table:
        options = options.get(key) if isinstance(options, Mapping) else None
    return (dict(options), None) if isinstance(options, Mapping) else (None, None)


def _drop_what_is_not_its_own(options: dict[str, Any]) -> list[str]:
    """A workspace may name an installed model, not a file to load weights from."""
    model = options.get("model")
    if isinstance(model, str) and ("/" in model or "\\" in model or model.startswith((".", "~"))):
        del options["model"]
        return [f"model: {model!r} is a path; a workspace may only name an installed model"]
    return []
