"""Old text and new text -> the smallest replacements, and those -> a WorkspaceEdit the client can apply.

Owns diffing, rebasing of edits over later typing, and the shapes of `WorkspaceEdit`. It does not know where the new
text comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from lsprotocol import types

from seedls.documents import DocumentSnapshot
from seedls.positions import split_lines

_MAX_DIFF_LINES = 4000
"""Above this many differing lines one hunk is sent: the matcher's time grows with the square."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Put `new_text` where [start, end) was; character offsets of the old text."""

    start: int
    end: int
    new_text: str


@dataclass(frozen=True, slots=True)
class EditAbilities:
    """What the client understands in a WorkspaceEdit."""

    document_changes: bool = False
    change_annotations: bool = False


def common_prefix_length(first: str, second: str) -> int:
    """Number of equal leading characters, by bisection over slices (fast on long equal texts)."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def common_suffix_length(first: str, second: str, limit: int) -> int:
    """Number of equal trailing characters, at most `limit`."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if first[len(first) - middle : len(first) - low] == second[len(second) - middle : len(second) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def single_replacement(old: str, new: str) -> Replacement | None:
    """The one smallest replacement that turns `old` into `new`; None when they are equal."""
    if old == new:
        return None
    head = common_prefix_length(old, new)
    tail = common_suffix_length(old, new, min(len(old), len(new)) - head)
    return _keep_line_endings_whole(old, Replacement(head, len(old) - tail, new[head : len(new) - tail]))


def minimal_replacements(old: str, new: str) -> list[Replacement]:
    """Smallest hunks from `old` to `new`: matched line by line, then trimmed inside each hunk. Ascending, disjoint."""
    outer = single_replacement(old, new)
    if outer is None:
        return []
    old_lines, new_lines = split_lines(old), split_lines(new)
    if max(len(old_lines), len(new_lines)) > _MAX_DIFF_LINES:
        return [outer]
    matcher = SequenceMatcher(None, old_lines, new_lines, autojunk=False)
    starts = [0]
    for line in old_lines:
        starts.append(starts[-1] + len(line))
    hunks: list[Replacement] = []
    for tag, first, last, new_first, new_last in matcher.get_opcodes():
        if tag != "equal":
            hunks += _trimmed_hunk(old, starts, (first, last), new_lines[new_first:new_last])
    return _joined(hunks)


def _trimmed_hunk(old: str, starts: list[int], lines: tuple[int, int], new_lines: list[str]) -> list[Replacement]:
    """One replacement a line when the hunk keeps its number of lines, else one for the hunk."""
    first, last = lines
    pairs: list[tuple[int, int, str]]
    if last - first == len(new_lines):
        pairs = [(starts[first + idx], starts[first + idx + 1], line) for idx, line in enumerate(new_lines)]
    else:
        pairs = [(starts[first], starts[last], "".join(new_lines))]
    hunks = []
    for start, end, new_text in pairs:
        inner = single_replacement(old[start:end], new_text)
        if inner is not None:
            hunks.append(Replacement(start + inner.start, start + inner.end, inner.new_text))
    return hunks


def _joined(hunks: Iterable[Replacement]) -> list[Replacement]:
    """Join hunks that touch. They never overlap: each lies inside its own lines."""
    joined: list[Replacement] = []
    for hunk in hunks:
        if joined and hunk.start == joined[-1].end:
            previous = joined.pop()
            hunk = Replacement(previous.start, hunk.end, previous.new_text + hunk.new_text)
        joined.append(hunk)
    return joined


def _keep_line_endings_whole(old: str, hunk: Replacement) -> Replacement:
    """Move boundaries out of `\\r\\n` pairs: no LSP position lies inside one."""
    start, end, new_text = hunk.start, hunk.end, hunk.new_text
    if 0 < start < len(old) and old[start - 1 : start + 1] == "\r\n":
        start -= 1
        new_text = "\r" + new_text
    if 0 < end < len(old) and old[end - 1 : end + 1] == "\r\n":
        end += 1
        new_text += "\n"
    return Replacement(start, end, new_text)


def apply_replacements(text: str, replacements: Sequence[Replacement]) -> str:
    """Apply ascending, disjoint replacements."""
    pieces: list[str] = []
    cursor = 0
    for hunk in replacements:
        pieces += (text[cursor : hunk.start], hunk.new_text)
        cursor = hunk.end
    pieces.append(text[cursor:])
    return "".join(pieces)


def rebase(replacements: Sequence[Replacement], base: str, current: str) -> list[Replacement] | None:
    """Map replacements of `base` onto `current`; None when the later typing touches one of them."""
    typed = single_replacement(base, current)
    if typed is None:
        return list(replacements)
    shift = len(typed.new_text) - (typed.end - typed.start)
    moved = []
    for hunk in replacements:
        if hunk.end < typed.start:
            moved.append(hunk)
        elif hunk.start > typed.end:
            moved.append(Replacement(hunk.start + shift, hunk.end + shift, hunk.new_text))
        else:
            return None
    return moved


def to_workspace_edit(
    snapshot: DocumentSnapshot,
    replacements: Sequence[Replacement],
    label: str,
    abilities: EditAbilities,
    needs_confirmation: bool,
) -> types.WorkspaceEdit:
    """The richest WorkspaceEdit the client understands: annotated, versioned, or plain `changes`."""
    edits = [types.TextEdit(snapshot.range_at(hunk.start, hunk.end), hunk.new_text) for hunk in replacements]
    if not abilities.document_changes:
        return types.WorkspaceEdit(changes={snapshot.uri: edits})
    identifier = types.OptionalVersionedTextDocumentIdentifier(snapshot.uri, snapshot.version)
    if not abilities.change_annotations:
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(identifier, edits)])
    annotated = [
        types.AnnotatedTextEdit(f"seedls.{number}", edit.range, edit.new_text)
        for number, edit in enumerate(edits, start=1)
    ]
    annotations: dict[types.ChangeAnnotationIdentifier, types.ChangeAnnotation] = {
        edit.annotation_id: types.ChangeAnnotation(
            label=label if len(annotated) == 1 else f"{label} ({number} of {len(annotated)})",
            needs_confirmation=needs_confirmation,
            description=f"line {edit.range.start.line + 1}",
        )
        for number, edit in enumerate(annotated, start=1)
    }
    return types.WorkspaceEdit(
        document_changes=[types.TextDocumentEdit(identifier, annotated)], change_annotations=annotations
    )
