"""Untyped values from the wire as plain dicts, whatever the protocol library made of JSON objects."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """`value` with every object as a dict, also inside lists; scalars stay."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value
