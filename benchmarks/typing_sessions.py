"""Typing sessions for decoder measurements: lines of real files typed a few characters at a time, two files by turns.

Each session is a line cut out of a file. Its requests stand where a client asks while the line is being typed: behind
the indentation, then a few characters on, mostly inside words. What the author wrote is what is right.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LINES_BEFORE, LINES_AFTER = 40, 20
MIN_LETTERS = 12
STEPS = (0, 2, 5, 9)
"""Characters typed at each request."""


@dataclass(frozen=True, slots=True)
class Session:
    """One line being typed."""

    name: str
    before: str
    """Up to the line's first character."""
    line: str
    """Without indentation and line end."""
    after: str

    def prefix(self, num_typed: int) -> str:
        """The text before the cursor after so many characters of the line."""
        return self.before + self.line[:num_typed]

    def wanted(self, num_typed: int) -> str:
        """What is left of the line."""
        return self.line[num_typed:]


def read_texts(held_out: Path | None) -> list[str]:
    """Texts of a `.jsonl.xz` of held-out files, else some modules of Python's own library, which any machine has."""
    if held_out is not None:
        with lzma.open(held_out, "rt", encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in lines]
    folder = Path(sysconfig.get_paths()["stdlib"])
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]


def cut_sessions(
    texts: Sequence[str], count: int, lines_before: int = LINES_BEFORE, lines_after: int = LINES_AFTER
) -> list[Session]:
    """Lines spread over the files by a hash, so that the choice is fixed and no one's favourite."""

    def order(place: tuple[int, int]) -> str:
        return hashlib.sha256(f"{place[0]}:{place[1]}".encode()).hexdigest()

    files = [text.splitlines(keepends=True) for text in texts]
    places = [(i, j) for i, lines in enumerate(files) for j in range(8, len(lines) - 4) if _is_code(lines[j])]
    chosen = sorted(places, key=order)[:count]
    return [_cut(files[i], i, j, lines_before, lines_after) for i, j in chosen]


def interleaved(sessions: Sequence[Session]) -> list[tuple[Session, int]]:
    """(session, characters typed) in order: two files by turns, as someone who looks from one to the other and back."""
    requests: list[tuple[Session, int]] = []
    for i in range(0, len(sessions), 2):
        pair = sessions[i : i + 2]
        for num_typed in STEPS:
            requests += [(session, num_typed) for session in pair if num_typed < len(session.line) - 1]
    return requests


def _is_code(line: str) -> bool:
    stripped = line.strip()
    return (
        sum(map(str.isalnum, stripped)) >= MIN_LETTERS
        and any(mark in stripped for mark in "=(:")
        and stripped[0] != "#"
    )


def _cut(lines: Sequence[str], file: int, index: int, lines_before: int, lines_after: int) -> Session:
    line = lines[index]
    indent = line[: len(line) - len(line.lstrip())]
    before = "".join(lines[max(0, index - lines_before) : index]) + indent
    after = "\n" + "".join(lines[index + 1 : index + 1 + lines_after])
    return Session(f"{file}:{index + 1}", before, line.strip(), after)
