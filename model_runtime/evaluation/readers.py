"""Rows out of JSON, JSON-lines and gzipped JSON-lines files, with errors that name the file and the line.

Knows file formats; does not know benchmarks.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_runtime.evaluation.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object and where it stood."""

    values: dict[str, Any]
    path: Path
    line: int
    """1-based line in a .jsonl file, 1-based index in a .json list."""

    def text(self, key: str) -> str:
        """A required string; raises DataError naming file, line and key."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.error(f"{key!r} is {_describe(value)}, expected a string")
        return value

    def optional_text(self, key: str) -> str:
        """A string, or "" when missing or null."""
        return "" if self.values.get(key) is None else self.text(key)

    def texts(self, key: str) -> list[str]:
        """A required list of strings."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(f"{key!r} is {_describe(value)}, expected a list of strings")
        return value

    def identifier(self, key: str) -> str:
        """A required string or whole number, as text."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise self.error(f"{key!r} is {_describe(value)}, expected a string or a number")
        return str(value)

    def error(self, message: str) -> DataError:
        """The error to raise about this row."""
        return DataError(f"{self.path}:{self.line}: {message}")


def read_rows(path: Path) -> list[Row]:
    """All rows of a .json (list of objects), .jsonl or .jsonl.gz file; raises DataError."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot read: {error}") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 at byte {error.start}") from None
    if path.suffix == ".json":
        return list(_rows_of_list(path, text))
    return list(_rows_of_lines(path, text))


def _rows_of_list(path: Path, text: str) -> Iterator[Row]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{getattr(error, 'lineno', 1)}: not JSON: {error}") from None
    if not isinstance(items, list):
        raise DataError(f"{path}:1: expected a list of objects, found {_describe(items)}")
    for index, item in enumerate(items, start=1):
        yield _row(path, index, item)


def _rows_of_lines(path: Path, text: str) -> Iterator[Row]:
    # Only \n ends a line: JSON strings may hold U+2028 and others that str.splitlines would cut at.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON: {error}") from None
        yield _row(path, number, item)


def _row(path: Path, number: int, item: object) -> Row:
    if not isinstance(item, dict):
        raise DataError(f"{path}:{number}: expected an object, found {_describe(item)}")
    return Row(values=item, path=path, line=number)


def _describe(value: object) -> str:
    if value is None:
        return "missing"
    return type(value).__name__
