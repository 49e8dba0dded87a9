"""The fixed work that every speed measurement does, so that figures of different days compare.

Written for this project. Change it only together with `WORKLOAD_VERSION`.
"""

from __future__ import annotations

from model_runtime.evaluation.cases import Case

WORKLOAD_VERSION = 2

_PYTHON = '''"""Stock of a small shop: items, orders and a report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Item:
    name: str
    price: float
    amount: int = 0


@dataclass
class Order:
    customer: str
    lines: list[tuple[str, int]] = field(default_factory=list)

    def add(self, name: str, amount: int) -> None:
        if amount <= 0:
            raise ValueError(f"amount must be positive, got {amount}")
        self.lines.append((name, amount))


class Stock:
    def __init__(self, items: list[Item]) -> None:
        self.items = {item.name: item for item in items}

    @classmethod
    def load(cls, path: Path) -> Stock:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return cls([Item(row["name"], row["price"], row["amount"]) for row in rows])

    def save(self, path: Path) -> None:
        rows = [{"name": item.name, "price": item.price, "amount": item.amount} for item in self.items.values()]
        path.write_text(json.dumps(rows, indent=2), encoding="utf-8")

    def take(self, order: Order) -> float:
        total = 0.0
        for name, amount in order.lines:
            item = self.items[name]
            if item.amount < amount:
                raise ValueError(f"only {item.amount} of {name} left")
            item.amount -= amount
            total += item.price * amount
        return total

    def missing(self, minimum: int) -> list[str]:
        return sorted(item.name for item in self.items.values() if item.amount < minimum)
'''

_JAVASCRIPT = """// A cache with a fixed number of entries; the one not used for longest goes first.
class LruCache {
  constructor(capacity) {
    if (capacity < 1) throw new RangeError(`capacity must be positive, got ${capacity}`);
    this.capacity = capacity;
    this.entries = new Map();
  }

  get(key) {
    if (!this.entries.has(key)) return undefined;
    const value = this.entries.get(key);
    this.entries.delete(key);
    this.entries.set(key, value);
    return value;
  }

  set(key, value) {
    this.entries.delete(key);
    if (this.entries.size >= this.capacity) {
      const oldest = this.entries.keys().next().value;
      this.entries.delete(oldest);
    }
    this.entries.set(key, value);
  }

  get size() {
    return this.entries.size;
  }
}

module.exports = { LruCache };
"""

# (name, language, text, first characters of the hole, the hole's end marker, lines asked for)
_HOLES = (
    ("python-line-raise", "python", _PYTHON, 'raise ValueError(f"amount', "\n", 1),
    ("python-line-return", "python", _PYTHON, "return cls([Item", "\n", 1),
    ("python-line-rows", "python", _PYTHON, "rows = [{", "\n", 1),
    ("python-block-take", "python", _PYTHON, "item = self.items[name]", "        return total", None),
    ("python-line-sorted", "python", _PYTHON, "return sorted(item.name", "\n", 1),
    ("python-line-append", "python", _PYTHON, "self.lines.append", "\n", 1),
    ("python-line-items", "python", _PYTHON, "self.items = {item", "\n", 1),
    ("python-line-write", "python", _PYTHON, "path.write_text(json", "\n", 1),
    ("python-line-amount", "python", _PYTHON, "if item.amount < amount", "\n", 1),
    ("python-line-total", "python", _PYTHON, "total += item.price", "\n", 1),
    ("javascript-line-throw", "javascript", _JAVASCRIPT, "throw new RangeError", "\n", 1),
    ("javascript-line-capacity", "javascript", _JAVASCRIPT, "this.capacity = capacity", "\n", 1),
    ("javascript-line-has", "javascript", _JAVASCRIPT, "if (!this.entries.has(key))", "\n", 1),
    ("javascript-line-full", "javascript", _JAVASCRIPT, "if (this.entries.size >= this", "\n", 1),
    ("javascript-block-get", "javascript", _JAVASCRIPT, "const value = this.entries.get", "  }\n\n  set", None),
    ("javascript-block-set", "javascript", _JAVASCRIPT, "const oldest", "    }\n    this.entries.set", None),
)

_EDITS = (
    ("edit-docstrings", "python", _PYTHON, "Add a one-line docstring to every method."),
    ("edit-rename", "javascript", _JAVASCRIPT, "Rename the method set to put."),
)


def completion_cases() -> list[Case]:
    """Holes in two files: single lines and blocks."""
    cases = []
    for name, language, text, start, end_marker, max_lines in _HOLES:
        begin = text.index(start)
        end = text.index(end_marker, begin)
        cases.append(
            Case(
                case_id=name,
                kind="infill",
                language=language,
                prefix=text[:begin],
                suffix=text[end:],
                expected=text[begin:end],
                has_tests=False,
                max_tokens=96,
                max_lines=max_lines,
            )
        )
    return cases


def edit_cases() -> list[Case]:
    """Whole-file edits where most of the text stays."""
    return [
        Case(
            case_id=name,
            kind="edit",
            language=language,
            prefix=text,
            instruction=instruction,
            has_tests=False,
            max_tokens=1024,
        )
        for name, language, text, instruction in _EDITS
    ]
