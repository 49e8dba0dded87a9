"""What must never be shown: text that follows anyway, closers that are there already, a new syntax error.

Written apart from the server's own filters, so that a rule that is wrong there is not wrong here too.
"""

from __future__ import annotations

from collections.abc import Sequence

from seedls.syntax import parse

REPEATED_SUFFIX, DUPLICATE_CLOSER, SYNTAX_ERROR = "repeated_suffix", "duplicate_closer", "added_syntax_error"
FAULTS = (REPEATED_SUFFIX, DUPLICATE_CLOSER, SYNTAX_ERROR)
_PAIRS = {")": "(", "]": "[", "}": "{"}
_MIN_LINE = 3


def faults_of(language: str, before: str, shown: str, after: str) -> tuple[str, ...]:
    """Names from FAULTS for `shown` put between the texts around the caret; () for silence."""
    if not shown.strip():
        return ()
    found = []
    if _repeats_suffix(shown, after):
        found.append(REPEATED_SUFFIX)
    line_before, line_after = before.rpartition("\n")[2], after.partition("\n")[0]
    if _num_unopened(line_before + shown + line_after) > _num_unopened(line_before + line_after):
        found.append(DUPLICATE_CLOSER)
    old, new = _num_errors(language, before + after), _num_errors(language, before + shown + after)
    # A line that opens a block is whole although its body is still to come.
    if new > old and not shown.rstrip().endswith((":", "{", "(", "[", ",")):
        found.append(SYNTAX_ERROR)
    return tuple(found)


def _repeats_suffix(shown: str, after: str) -> bool:
    rest = after.partition("\n")[0].strip()
    if len(rest) >= _MIN_LINE:
        return shown.rstrip().endswith(rest)
    following = _lines(after)[:1]
    last = _lines(shown)[-1:]
    return bool(following) and not rest and len(following[0]) >= _MIN_LINE and last == following


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _num_unopened(text: str) -> int:
    """Closing brackets without an opening one before them."""
    waiting: list[str] = []
    unopened = 0
    for character in text:
        if character in _PAIRS.values():
            waiting.append(character)
        elif character in _PAIRS:
            if waiting and waiting[-1] == _PAIRS[character]:
                waiting.pop()
            else:
                unopened += 1
    return unopened


def _num_errors(language: str, text: str) -> int:
    tree = parse(language, text)
    return 0 if tree is None else tree.count_errors()


def count_faults(found: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """How often each occurred."""
    return {name: sum(name in one for one in found) for name in FAULTS}
