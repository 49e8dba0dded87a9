"""A tiny base, its tokenizer and a handful of source files: enough to run every stage in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from model_runtime.tokenizer import Tokenizer
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.samples import SampleMaker
from tests.support.tiny_model import write_tiny_checkpoint

PYTHON_TEXT = '''"""A module."""

import os


def first(values: list[int], default: int = 0) -> int:
    """Return the first value that is not zero."""
    for value in values:
        if value != 0:
            return value
    return default


class Shelf:
    """Things in rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.items = [[] for _ in range(rows)]

    def put(self, row: int, item: str) -> bool:
        if row >= self.rows:
            raise IndexError("no such row")
        self.items[row].append(item)
        return True

    def names(self, row: int) -> list[str]:
        kept = [item.strip() for item in self.items[row] if item]
        return kept if kept else []

    def show(self, row: int) -> str:
        count = len(self.items[row])
        label = f"row {row} holds {count}"
        return label + os.linesep
'''

TYPESCRIPT_TEXT = """export function clamp(value: number, low: number, high: number): number {
  if (value < low) {
    return low;
  }
  return Math.min(value, high);
}

export class Counter {
  private counts = new Map<string, number>();

  add(name: string): number {
    const next = (this.counts.get(name) ?? 0) + 1;
    this.counts.set(name, next);
    return next;
  }
}
"""


@pytest.fixture
def sources() -> list[SourceFile]:
    """One Python and one TypeScript file."""
    return [
        SourceFile("alpha", "alpha/shelf.py", "python", PYTHON_TEXT, "MIT"),
        SourceFile("beta", "package/src/clamp.ts", "typescript", TYPESCRIPT_TEXT, "MIT"),
    ]


@pytest.fixture
def tiny_base(tmp_path: Path) -> Path:
    """A random three-layer checkpoint."""
    return write_tiny_checkpoint(tmp_path / "tiny", num_layers=3)


@pytest.fixture
def tokenizer(tiny_base: Path) -> Tokenizer:
    """The tiny checkpoint's tokenizer."""
    return Tokenizer.load(tiny_base)


@pytest.fixture
def maker(tokenizer: Tokenizer) -> SampleMaker:
    """Samples in the tiny vocabulary."""
    return SampleMaker(tokenizer)


@pytest.fixture
def report() -> Callable[[str], None]:
    """Progress that nobody reads."""
    return lambda message: None
