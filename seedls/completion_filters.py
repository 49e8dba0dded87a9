"""From what the model wrote to what may be shown: trims, repairs, and reasons for silence. Pure functions.

Owns every rule that a completion passes after decoding. All texts use `\\n`. It does not know the protocol or
the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from seedls.syntax import SyntaxTree

_CLOSERS = ")]}\"'`"
_PAIRS = {")": "(", "]": "[", "}": "{"}
_TEMPLATE_TOKEN = re.compile(r"<\|[A-Za-z_]+\|>|</?s>")
_NEAR = 4000
"""Characters around the cursor that the filters look at: whole files would cost milliseconds a keystroke."""
_SPANS_LINES = ('"""', "'''", "`", "/*", "*/", "<<", "[[", "]]")
"""What begins or ends a text of several lines in some language."""
_MIN_REPEAT = 3
"""A shorter last line that equals the suffix's first line may be a coincidence (`)`, `]`): closers handle it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the completion goes: the texts around the cursor, uncut."""

    before: str
    after: str

    def lines_above(self) -> list[str]:
        """Some lines above the cursor's, nearest last; filters look no further."""
        return self.before[-_NEAR:].split("\n")[:-1]

    def lines_below(self) -> list[str]:
        """Some lines below the cursor's, nearest first."""
        return self.after[:_NEAR].split("\n")[1:]

    @property
    def line_before(self) -> str:
        """The cursor's line, left of the cursor."""
        return self.before[self.before.rfind("\n") + 1 :]

    @property
    def line_after(self) -> str:
        """The cursor's line, right of the cursor."""
        return self.after.partition("\n")[0]


@dataclass(frozen=True, slots=True)
class Filtered:
    """The text to show, or "" and why not."""

    text: str
    reason: str = ""


def filter_completion(
    text: str, place: Place, *, is_multi_line: bool, indent_unit: str, tree: SyntaxTree | None
) -> Filtered:
    """Every rule in order; `tree` is the parse of `place.before + place.after`, or of a part with the cursor inside."""
    text = cut_template_tokens(text)
    if not is_multi_line:
        if text.startswith("\n") and place.line_before.strip():
            return Filtered("", "the line is finished")
        text = text.lstrip("\n").partition("\n")[0]
    text = repair_indentation(text, place, indent_unit)
    text = trim_repeated_suffix(text, place)
    text = trim_duplicate_closers(text, place)
    text = cut_repetition(text)
    text = trim_trailing_blanks(text, place)
    if not text.strip():
        return Filtered("", "nothing but blanks was left")
    if _repeats_line_above(text, place):
        return Filtered("", "it repeats the line above")
    if tree is not None:
        text = keep_parsable(text, place, tree)
        if not text.strip():
            return Filtered("", "it would add a syntax error")
    return Filtered(text)


def cut_weak_lines(text: str, token_ends: Sequence[int], token_probs: Sequence[float], minimum: float) -> str:
    """Keep lines from the start while each line's geometric mean token probability reaches `minimum`."""
    if minimum <= 0 or not token_ends:
        return text
    line_end = 0
    kept = 0
    while line_end < len(text):
        newline = text.find("\n", line_end)
        next_end = len(text) if newline < 0 else newline + 1
        product, count = 1.0, 0
        for end, probability in zip(token_ends, token_probs, strict=False):
            if line_end < end <= next_end:
                product *= max(probability, 1e-9)
                count += 1
        if count and product ** (1 / count) < minimum:
            break
        line_end = kept = next_end
    return text[:kept]


def drop_unfinished_line(text: str) -> str:
    """Without the last line when decoding was cut off in the middle of a multi-line answer."""
    head, newline, _ = text.rpartition("\n")
    return head if newline and head.strip() else text


def cut_template_tokens(text: str) -> str:
    """Cut at the first piece of the model's own prompt layout."""
    found = _TEMPLATE_TOKEN.search(text)
    return text[: found.start()] if found else text


def repair_indentation(text: str, place: Place, unit: str) -> str:
    """Undo the two ways models get indentation wrong: repeating the cursor's own, and starting again from column 0."""
    base = place.line_before
    if base and not base.strip():
        text = _without_doubled_indent(text, base, place, unit)
    first, newline, rest = text.partition("\n")
    indent = base[: len(base) - len(base.lstrip())] if base.strip() else base
    if not newline or not indent or not (base + first).rstrip().endswith((":", "{", "(", "[")):
        return text
    lines = rest.split("\n")
    following = next((line for line in lines if line.strip()), "")
    if not following or _indent_of(following) != unit or len(indent) < len(unit):
        return text
    return first + "\n" + "\n".join(indent + line if line.strip() else line for line in lines)


def _without_doubled_indent(text: str, base: str, place: Place, unit: str) -> str:
    """The model wrote the whole line's indentation although the cursor stands after it."""
    first, newline, rest = text.partition("\n")
    extra = first[: len(first) - len(first.lstrip(" \t"))]
    if not extra or not first.strip():
        return text
    above = next((line for line in reversed(place.lines_above()) if line.strip()), "")
    expected = _indent_of(above) + (unit if above.rstrip().endswith((":", "{", "(", "[")) else "")
    if base + extra != expected and (extra == base or base == expected):
        return first[len(extra) :] + newline + rest
    return text


def _indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def trim_repeated_suffix(text: str, place: Place) -> str:
    """Cut where the answer starts to repeat what already follows the cursor."""
    rest = place.line_after.strip()
    lines = text.split("\n")
    first = lines[0].rstrip()
    if len(rest) >= _MIN_REPEAT and first.endswith(rest):
        with_blanks = place.line_after.rstrip()
        return first.removesuffix(with_blanks) if first.endswith(with_blanks) else first.removesuffix(rest)
    following = _first_two(place.lines_below())
    if rest == "" and following:
        for idx in range(len(lines)):
            tail = _first_two(lines[idx:])
            if _is_repeat(tail, following) and (idx > 0 or not place.line_before.strip()):
                return "\n".join(lines[:idx])
    return text


def _first_two(lines: Iterable[str]) -> list[str]:
    """The first two lines that are not blank, stripped."""
    return list(islice((stripped for line in lines if (stripped := line.strip())), 2))


def _is_repeat(tail: list[str], following: list[str]) -> bool:
    """Two equal lines, or one equal line that is long enough, or the answer's last line."""
    if not tail or tail[0] != following[0] or len(tail[0]) < _MIN_REPEAT:
        return False
    return len(tail) == 1 or len(following) == 1 or tail[1] == following[1] or len(tail[0]) >= 12


def trim_duplicate_closers(text: str, place: Place) -> str:
    """Drop closers at the end of a single-line answer that the text right of the cursor already has."""
    right = place.line_after.strip()
    if "\n" in text or not right or right[0] not in _CLOSERS:
        return text
    trimmed = text.rstrip()
    for length in range(min(len(right), len(trimmed)), 0, -1):
        tail = trimmed[-length:]
        if right.startswith(tail) and all(character in _CLOSERS for character in tail):
            shorter = trimmed[:-length]
            # Needed closers stay: only those that nothing inside the answer opened are duplicates.
            if not _closes_something(shorter, tail):
                return shorter
    return text


def _closes_something(text: str, closers: str) -> bool:
    for closer in closers:
        opener = _PAIRS.get(closer)
        if opener is None:
            if text.count(closer) % 2:
                return True
        elif text.count(opener) > text.count(closer):
            return True
    return False


def cut_repetition(text: str) -> str:
    """Keep one copy when the answer ends in the same line over and over."""
    lines = text.split("\n")
    for idx in range(2, len(lines)):
        if lines[idx].strip() and lines[idx] == lines[idx - 1] == lines[idx - 2]:
            return "\n".join(lines[: idx - 1])
    return text


def trim_trailing_blanks(text: str, place: Place) -> str:
    """No blank lines or spaces at the end, unless text follows on the cursor's line."""
    return text.rstrip("\n") if place.line_after.strip() else text.rstrip()


def _repeats_line_above(text: str, place: Place) -> bool:
    above = place.lines_above()
    if not above or "\n" in text:
        return False
    written = (place.line_before + text).strip()
    return len(written) >= 8 and written == above[-1].strip()


def keep_parsable(text: str, place: Place, tree: SyntaxTree) -> str:
    """The longest run of leading lines that leaves no more syntax errors than the buffer has without it, or "".

    `tree` is the parse of the buffer or of a part of it. The line being typed is mostly broken before the completion;
    so the buffer without that line counts too.
    """
    cursor = len(place.before)
    near = tree.region_around(cursor, cursor)
    near_tree = tree.part(*near)
    near_place = _part_of(place, near_tree)
    if _is_local(text, place) and _decide_alone(near_place, near_tree, tree, near):
        return _longest_parsable(text, near_place, near_tree, 0)
    wide_place = _part_of(place, tree)
    return _longest_parsable(text, wide_place, tree, _allowed_errors(wide_place, tree))


def _is_local(text: str, place: Place) -> bool:
    """False where a comment or string of several lines may begin or end: that changes what the lines far below mean."""
    line = place.line_before + text + place.line_after
    return not any(delimiter in line for delimiter in _SPANS_LINES)


def _decide_alone(place: Place, near_tree: SyntaxTree, tree: SyntaxTree, near: tuple[int, int]) -> bool:
    """True where the nodes around the cursor have no error, or only because of its line. In a region that was broken
    before, an error may also appear further away."""
    if near_tree.count_errors() == 0:
        return True
    return not tree.has_errors_outside(*near) and _allowed_errors(place, near_tree) == 0


def _part_of(place: Place, tree: SyntaxTree) -> Place:
    """The place within the parsed part."""
    return Place(place.before[tree.origin :], place.after[: tree.end - len(place.before)])


def _allowed_errors(place: Place, tree: SyntaxTree) -> int:
    """Syntax errors of the buffer as it is, or without the line being typed, whichever are fewer."""
    errors = tree.count_errors()
    return min(errors, tree.reparsed(_without_cursor_line(place)).count_errors()) if errors else 0


def _longest_parsable(text: str, place: Place, tree: SyntaxTree, allowed: int) -> str:
    lines = text.split("\n")
    for count in range(len(lines), 0, -1):
        candidate = "\n".join(lines[:count]).rstrip() if count < len(lines) else text
        if not candidate.strip():
            continue
        completed = place.before + candidate + _body_of_opened_block(place, candidate, tree.language_id) + place.after
        if tree.reparsed(completed).count_errors() <= allowed:
            return candidate
    return ""


def _without_cursor_line(place: Place) -> str:
    """The buffer as if the cursor's line were not there; its line break stays, so other lines keep their places."""
    return place.before[: len(place.before) - len(place.line_before)] + place.after[len(place.line_after) :]


def _body_of_opened_block(place: Place, text: str, language_id: str) -> str:
    """A Python header line (`if x:`) is whole although its body is still to come: give it one for the check."""
    if language_id != "python" or not text.rstrip().endswith(":") or place.line_after.strip():
        return ""
    line = (place.line_before + text).split("\n")[-1]
    following = next((line for line in place.lines_below() if line.strip()), "")
    indent = _indent_of(line)
    return "" if len(_indent_of(following)) > len(indent) else f"\n{indent}    pass"


def indent_unit(text: str) -> str:
    """A tab when the text indents with tabs, else its smallest step of spaces (4 when there is none)."""
    return _indent_unit_of(text[: 2 * _NEAR])


@lru_cache(maxsize=16)
def _indent_unit_of(sample: str) -> str:
    """Of a file's beginning, which rarely changes while typing below it."""
    if re.search(r"^\t", sample, re.MULTILINE):
        return "\t"
    widths = {len(match) for match in re.findall(r"^( +)\S", sample, re.MULTILINE)}
    for width in (2, 4, 8, 3):
        if width in widths and all(found % width == 0 for found in widths):
            return " " * width
    return "    "
