"""A text file as the commands see it: decoded once, addressed by line and column, written back byte for byte.

Owns decoding, line splitting, line endings and the atomic replace. Knows no model. Line endings are LSP's: LF, CRLF
and lone CR end a line; form feeds and Unicode separators do not.
"""

from __future__ import annotations

import codecs
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from seedls.commands.failure import CommandFailed
from seedls.line_endings import NormalisedText
from seedls.text_edits import Replacement, apply_replacements, minimal_replacements


@dataclass(frozen=True, slots=True)
class SourceFile:
    """What was on disk: `text` is decoded, without the byte order mark, with its own line endings."""

    path: Path
    raw: bytes
    text: str

    @property
    def unix_text(self) -> str:
        """The text with every line ending as LF: what the model sees."""
        return NormalisedText(self.text).text


def read_source(path: Path) -> SourceFile:
    """Read a UTF-8 text file; raises CommandFailed naming the file and why it cannot be used."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror or error}") from None
    if b"\0" in raw:
        raise CommandFailed(f"{path} is a binary file (NUL byte at offset {raw.index(0)})")
    try:
        text = raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + len(raw) - len(error.object)  # counted from the byte order mark, if there is one
        raise CommandFailed(f"{path} is not UTF-8 text (byte {raw[offset]:#04x} at offset {offset})") from None
    return SourceFile(path=path, raw=raw, text=text)


def offset_at(file: SourceFile, line: int, column: int) -> int:
    """Offset in `unix_text` of a 0-based line and column in characters; CommandFailed when past the end."""
    start, end = _line_span(file, line)
    if column > end - start:
        raise CommandFailed(f"column {column} is past the end of line {line} of {file.path} ({end - start} characters)")
    return start + column


def range_at(file: SourceFile, first: int, last: int) -> tuple[int, int]:
    """Offsets in `unix_text` of 0-based lines first to last, both included, without the last line's ending."""
    return _line_span(file, first)[0], _line_span(file, last)[1]


def with_own_line_endings(original: str, edited: str) -> str:
    """`edited` (LF) with the endings of `original`: what stays keeps its own, new lines get the file's usual one."""
    normal = NormalisedText(original)
    hunks = [
        Replacement(
            normal.to_original(hunk.start),
            normal.to_original(hunk.end),
            normal.restored(hunk.new_text.replace("\r\n", "\n")),
        )
        for hunk in minimal_replacements(normal.text, edited)
    ]
    result = apply_replacements(original, hunks)
    # Where lone CR and LF are mixed, a deletion can push them together into one CRLF: then all lines end alike.
    return result if NormalisedText(result).text == edited else normal.restored(edited)


def replace_source(file: SourceFile, text: str) -> None:
    """Write `text` over the file in one step, keeping mode and byte order mark; refuse if it changed meanwhile."""
    target = file.path.resolve()  # a symbolic link keeps pointing where it did
    content = text.encode("utf-8")
    if file.raw.startswith(codecs.BOM_UTF8):
        content = codecs.BOM_UTF8 + content
    try:
        if target.read_bytes() != file.raw:
            raise CommandFailed(f"{file.path} changed on disk while the edit ran; nothing was written")
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(target.stat().st_mode & 0o7777)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CommandFailed(f"cannot write {file.path}: {error.strerror or error}") from None


def _line_span(file: SourceFile, line: int) -> tuple[int, int]:
    lines = file.unix_text.split("\n")
    if line >= len(lines):
        plural = "" if len(lines) == 1 else "s"
        raise CommandFailed(f"line {line} is past the end of {file.path} ({len(lines)} line{plural}, counted from 0)")
    start = sum(len(text) + 1 for text in lines[:line])
    return start, start + len(lines[line])
