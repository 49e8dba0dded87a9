"""The model sees `\\n` only; the file keeps its own line endings.

Owns the mapping between a text and its `\\n`-only form. It does not know documents or the protocol.
"""

from __future__ import annotations

from bisect import bisect_left

_REPLACEMENT = "\ufffd"
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), _REPLACEMENT)


class NormalisedText:
    """A text with `\\r\\n` and lone `\\r` read as `\\n`, and lone surrogates (not encodable) as U+FFFD."""

    __slots__ = ("_carriage_returns", "line_ending", "original", "text")

    def __init__(self, original: str) -> None:
        self.original = original
        self._carriage_returns: list[int] = []
        """Normalised offsets of the `\\n` that stand for `\\r\\n`, ascending."""
        self.line_ending = dominant_line_ending(original)
        self.text = _readable(self._without_carriage_returns() if "\r" in original else original)

    def _without_carriage_returns(self) -> str:
        pieces = self.original.split("\r\n")
        offset = -1
        for piece in pieces[:-1]:
            offset += len(piece) + 1
            self._carriage_returns.append(offset)
        return "\n".join(pieces).replace("\r", "\n")

    def to_original(self, offset: int) -> int:
        """Original offset of a normalised one; never between `\\r` and `\\n`."""
        return offset + bisect_left(self._carriage_returns, offset)

    def from_original(self, offset: int) -> int:
        """Normalised offset of an original one; between `\\r` and `\\n` counts as before both."""
        low, high = 0, len(self._carriage_returns)
        while low < high:
            middle = (low + high) // 2
            # The `\r` of pair number `middle` sits `middle` characters further right in the original.
            if self._carriage_returns[middle] + middle < offset:
                low = middle + 1
            else:
                high = middle
        return offset - low

    def restored(self, text: str) -> str:
        """Text from the model with the file's dominant line ending."""
        return text if self.line_ending == "\n" else text.replace("\n", self.line_ending)


def dominant_line_ending(text: str) -> str:
    """The most frequent of `\\n`, `\\r\\n` and lone `\\r`; `\\n` when there is none."""
    if "\r" not in text:  # the usual case, and three counts of a long text are a tenth of what a keystroke may cost
        return "\n"
    pairs = text.count("\r\n")
    counts = {"\n": text.count("\n") - pairs, "\r\n": pairs, "\r": text.count("\r") - pairs}
    return max(counts, key=lambda ending: counts[ending])


def _readable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.translate(_SURROGATES)
    return text


def line_bounds(text: str, start: int, end: int) -> tuple[int, int]:
    """Widen [start, end) of a `\\n`-only text to whole lines, without the last terminator."""
    first = text.rfind("\n", 0, start) + 1
    if end > start and text[end - 1 : end] == "\n":
        end -= 1  # a selection that ends at the start of a line does not mean that line
    last = text.find("\n", max(end, first))
    return first, len(text) if last < 0 else last
