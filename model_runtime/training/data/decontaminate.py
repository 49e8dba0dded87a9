"""Keeps evaluation problems out of the training data, by shared word 10-grams.

Owns reading every string out of an evaluation folder (JSON, JSON lines, gzipped or not) and the overlap test. One
shared 10-gram drops the file: losing a few files costs nothing, a leaked answer spoils every figure.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_runtime.errors import RequestError

NGRAM_WORDS = 10
MIN_DISTINCT_WORDS = 7
"""Shorter vocabularies are boilerplate (`0 0 0 0 ...`), shared by unrelated code."""

_WORD = re.compile(r"\w+")


class Decontaminator:
    """The 10-grams of all evaluation texts."""

    def __init__(self) -> None:
        self._grams: set[bytes] = set()

    @classmethod
    def from_folder(cls, folder: Path) -> Decontaminator:
        """Read every `.jsonl`, `.json` and `.jsonl.gz` below `folder`; RequestError when there is none."""
        paths = sorted(path for path in folder.rglob("*") if path.name.endswith((".jsonl", ".json", ".jsonl.gz")))
        if not paths:
            raise RequestError(f"no .jsonl, .json or .jsonl.gz file below {folder}")
        found = cls()
        for path in paths:
            for text in _strings_of_file(path):
                found.add(text)
        return found

    def add(self, text: str) -> None:
        """Forbid the 10-grams of this text."""
        self._grams.update(_grams(text))

    def __len__(self) -> int:
        return len(self._grams)

    def is_contaminated(self, text: str) -> bool:
        """True when the text shares a 10-gram with any evaluation text."""
        return any(gram in self._grams for gram in _grams(text))


def _grams(text: str) -> Iterator[bytes]:
    words = _WORD.findall(text.lower())
    for start in range(len(words) - NGRAM_WORDS + 1):
        gram = words[start : start + NGRAM_WORDS]
        if len(set(gram)) >= MIN_DISTINCT_WORDS:
            yield hashlib.blake2b(" ".join(gram).encode(), digest_size=8).digest()


def _strings_of_file(path: Path) -> Iterator[str]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    documents = [text] if path.suffix == ".json" else [line for line in text.splitlines() if line.strip()]
    for document in documents:
        yield from _strings(json.loads(document))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        # One problem's texts follow each other: prompt, then solution, as they do in a file.
        strings = [text for item in value.values() for text in _strings(item)]
        yield from strings
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
