"""One file through the model, unit by unit; what passes the checks is kept, the rest is refused with its reason.

Pure but for the runtime that is handed in: texts in, texts out. It writes nothing and knows no journal.
"""

from __future__ import annotations

import codecs
import io
import tokenize
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from seedls.commands.source_file import SourceFile, with_own_line_endings
from seedls.edit_checks import Edit, Scope, reason_to_refuse, unfinished_reason, with_missing_imports
from seedls.engine import EditRequest, EditStep, RequestError, SamplingParams
from seedls.refactoring.run_state import RefusedUnit, Work
from seedls.refactoring.units import Unit, units_of
from seedls.syntax import SyntaxTree, parse


class EditingRuntime(Protocol):
    """What is needed of `model_runtime.Runtime`."""

    def edit(self, request: EditRequest) -> Iterator[EditStep]: ...


@dataclass(frozen=True, slots=True)
class EditTask:
    """What is asked of every unit."""

    instruction: str
    max_lines: int
    scope: Scope
    params: SamplingParams


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file's new text, with its own line endings, and what the model did."""

    text: str
    work: Work


OnUnit = Callable[[str, float], None]
"""(name of the unit, fraction of the file that is behind it)."""


def encoding_problem(source: SourceFile, language: str) -> str | None:
    """Why a UTF-8 file may still not be written as UTF-8: Python files can declare another encoding."""
    if language != "python":
        return None
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source.raw).readline)
    except SyntaxError as error:
        return f"its encoding declaration is wrong ({error.msg})"
    return None if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig") else f"it declares the encoding {encoding!r}"


def rewrite_file(
    runtime: EditingRuntime, task: EditTask, source: SourceFile, path: str, language: str, on_unit: OnUnit
) -> Rewritten:
    """Edit every unit in text order, each on top of the edits before it. `path` is what the model is told."""
    text = source.unix_text
    tree = parse(language, text)
    assert tree is not None, "files without a grammar are left out when files are found"
    units = units_of(tree, task.max_lines)
    refused = [_too_long(text, unit, task.max_lines) for unit in units.too_long]
    num_changed = tokens = forwards = 0
    ms = 0.0
    for idx, unit in enumerate(units.fitting):
        on_unit(unit.name, idx / len(units.fitting))
        shift = len(tree.text) - len(text)  # edits and imports so far lie before this unit
        answer = _edited(runtime, task, tree, (unit.start + shift, unit.end + shift), path)
        tokens, forwards, ms = tokens + answer.tokens, forwards + answer.forwards, ms + answer.ms
        if answer.reason is not None:
            refused.append(RefusedUnit(unit.name, _line_of(text, unit), answer.reason))
        elif answer.text != tree.text:
            tree = tree.reparsed(answer.text)
            num_changed += 1
    num_unchanged = len(units.fitting) + len(units.too_long) - len(refused) - num_changed
    refused.sort(key=lambda unit: unit.line)
    work = Work(num_changed, num_unchanged, tuple(refused), tokens, forwards, ms)
    return Rewritten(with_own_line_endings(source.text, tree.text), work)


@dataclass(frozen=True, slots=True)
class _Answer:
    """The whole text to go on with, or the reason to refuse what the model made of one unit."""

    text: str
    reason: str | None = None
    tokens: int = 0
    forwards: int = 0
    ms: float = 0.0


def _edited(runtime: EditingRuntime, task: EditTask, tree: SyntaxTree, span: tuple[int, int], path: str) -> _Answer:
    start, end = span
    request = EditRequest(tree.text, task.instruction, start, end, path, tree.language_id, params=task.params)
    try:
        last = deque(runtime.edit(request), maxlen=1)
    except RequestError as error:
        return _Answer(tree.text, " ".join(str(error).split()))
    if not last:
        return _Answer(tree.text, "the model gave no answer")
    step = last[0]
    text = step.text
    reason = unfinished_reason(step.is_final, step.finish_reason)
    if reason is None and text != tree.text:
        edit = Edit(tree, text, start, end, task.instruction, task.scope)
        reason = reason_to_refuse(edit)
        text = text if reason is not None else with_missing_imports(edit)
    return _Answer(text, reason, step.tokens, step.forwards, step.timings.total_ms)


def _too_long(text: str, unit: Unit, max_lines: int) -> RefusedUnit:
    return RefusedUnit(unit.name, _line_of(text, unit), f"{unit.num_lines} lines, --max-lines is {max_lines}")


def _line_of(text: str, unit: Unit) -> int:
    return text.count("\n", 0, unit.start) + 1
