"""The canvas of an edit: what is expected to follow, kept in step with what is written.

It starts as the old text. Every token that was written is followed in it through insertions, deletions and
substitutions; a substitution that was seen once is put into the rest of the canvas, and taken out again when the model
does not follow. At any time it knows which old text has not been reached. It decides nothing: wrong guesses are
rejected by the step that evaluates them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from model_runtime.diffusion.drafts import Drafter, NoDrafter
from model_runtime.diffusion.substitutions import Substitutions, observed


class Text(Protocol):
    """The part of a tokenizer that is needed here."""

    def encode(self, text: str) -> list[int]: ...

    def decode_bytes(self, ids: Iterable[int]) -> bytes: ...

    def token_bytes(self, token_id: int) -> bytes: ...


class EditDrafter:
    """Guesses that the old text goes on, with the substitutions of this edit carried through it."""

    # After a deviation: how far ahead, and how far back, the canvas is searched for the two newest tokens, and how far
    # ahead for more of them, which are less likely to stand there by chance.
    _LOOK_AHEAD = 64
    _LOOK_BACK = 16
    _LOOK_FAR = 800
    _FAR_TOKENS = 4
    # So many tokens after the text was found again it is sure: until then the place that was left counts as well.
    _SURE_TOKENS = 8
    # Tokens of what stayed that are looked at before a replacement, to see whole words.
    _CONTEXT_TOKENS = 12

    def __init__(
        self,
        old: str,
        text: Text,
        fallback: Drafter | None = None,
        substitutions: Substitutions | None = None,
    ) -> None:
        """`substitutions` may be shared by the windows of one edit; what they hold is believed in from the start."""
        self._text = text
        self._fallback = fallback if fallback is not None else NoDrafter()
        self._old = old.encode("utf-8")
        self._substitutions = substitutions if substitutions is not None else Substitutions()
        self._new: list[int] = []
        self._first_offset = self._first_written = 0
        self._canvas: list[int] = []
        self._old_ends: list[int] = []
        """Byte offset in the old text that stands behind each canvas token."""
        self._piece_starts: list[int] = []
        """Of a canvas token that stands in for some old text: the first canvas token that does; else -1."""
        self._place = 0
        """Index of the first canvas token that the new text has not passed."""
        self._lost_at: tuple[int, int] | None = None
        """(canvas index, new index) where the new text left the canvas; None while it follows."""
        self._trail: list[tuple[int, int]] = [(0, 0)]
        """(tokens written, old bytes passed) wherever the new text followed the canvas."""
        self._left_from: tuple[int, int] | None = None
        """(canvas index that was left, tokens written when the text was found again) of the last deviation."""
        self._fill_from(0, "")

    @property
    def source(self) -> str:
        """Where the newest draft came from."""
        return "canvas" if self.follows else "canvas-lost"

    @property
    def old_offset(self) -> int:
        """Bytes of the old text that the new text has passed."""
        return self._old_end(self._place)

    @property
    def written(self) -> list[int]:
        """All tokens committed so far."""
        return list(self._new)

    @property
    def num_followed(self) -> int:
        """How many of the newest tokens were where the canvas has them."""
        if self._lost_at is not None:
            return 0
        return len(self._new) - (self._left_from[1] if self._left_from is not None else self._first_written)

    @property
    def is_sure(self) -> bool:
        """True when enough was followed since the last deviation for `old_offset` to be no coincidence."""
        return self.follows and (self._left_from is None or self.num_followed >= self._SURE_TOKENS)

    @property
    def follows(self) -> bool:
        """True while the newest tokens are where the canvas has them, so that `old_offset` is sure."""
        return self._lost_at is None

    def commit(self, token_ids: Sequence[int]) -> None:
        """Follow tokens that are now part of the text."""
        self._fallback.commit(token_ids)
        for token_id in token_ids:
            self._new.append(token_id)
            self._follow(token_id)
            if self.follows:
                self._trail.append((len(self._new), self.old_offset))

    def last_before(self, old_offset: int) -> tuple[int, int]:
        """The last (tokens written, old bytes passed) at which at most `old_offset` bytes of whole characters were."""
        old = self._old
        for num_tokens, offset in reversed(self._trail):
            if offset <= old_offset and (offset == len(old) or old[offset] & 0xC0 != 0x80):
                return num_tokens, offset
        return 0, 0

    def go_on_from(self, num_tokens: int, forced: Sequence[int], old_offset: int) -> None:
        """Take back all but the first tokens; `forced` stand behind them and the old text goes on at `old_offset`."""
        self._fallback.commit(forced)
        self._new = [*self._new[:num_tokens], *forced]
        self._trail = [each for each in self._trail if each[0] <= num_tokens]
        self._place, self._lost_at, self._left_from = 0, None, None
        self._canvas, self._old_ends, self._piece_starts = [], [], []
        self._first_offset, self._first_written = old_offset, len(self._new)
        self._trail.append((len(self._new), old_offset))
        self._fill_from(old_offset, self._decode(self._new[-1:])[-1:])

    def draft(self, num_tokens: int) -> list[int]:
        """The canvas from here; inside new text first what was written elsewhere."""
        if self._lost_at is None:
            return self._canvas[self._place : self._place + num_tokens]
        # Until the text is found again: as many tokens were replaced as written.
        guess = self._place + len(self._new) - self._lost_at[1]
        return self._fallback.draft(num_tokens) or self._canvas[guess : guess + num_tokens]

    def _follow(self, token_id: int) -> None:
        """Take the newest token of the new text into account."""
        canvas, place = self._canvas, self._place
        if self._lost_at is None:
            if canvas[place : place + 1] == [token_id]:
                self._place += 1
            elif not self._gives_up_piece():
                self._lost_at = (place, len(self._new) - 1)
            return
        num_lost = len(self._new) - 1 - self._lost_at[1]
        found = self._find_again()
        num_agreed = 2
        if found is None:
            num_agreed = 1
            if canvas[place + num_lost : place + num_lost + 1] == [token_id]:
                found = place + num_lost + 1  # one token for one: a substitution
            elif canvas[place : place + 1] == [token_id]:
                found = place + 1  # the deviation was an insertion
        if found is not None:
            self._found_again(found, num_agreed)

    def _gives_up_piece(self) -> bool:
        """The model did not write what was expected in the place of some old text: expect the old text again."""
        start = self._piece_starts[self._place] if self._place < len(self._canvas) else -1
        if start < 0:
            return False
        first, last = self._old_end(start), self._old_end(self._place + 1)
        if not self._substitutions.doubt(self._old[first:last].decode("utf-8", "replace")):
            return False
        tokens = self._new[len(self._new) - 1 - (self._place - start) :]
        del self._new[len(self._new) - len(tokens) :]
        self._place = start
        self._fill_from(first, self._decode(self._new[-2:])[-1:])
        for token_id in tokens:
            self._new.append(token_id)
            self._follow(token_id)
        return True

    def _find_again(self) -> int | None:
        """Place behind the nearest canvas tokens equal to the newest ones: near ones first, then far ones, then old."""
        place, ahead, back = self._place, self._LOOK_AHEAD, self._LOOK_BACK
        pair, more = self._new[-2:], self._new[-self._FAR_TOKENS :]
        near = [*range(place, place + ahead), *range(place - 1, place - back - 1, -1)]
        found = self._first_match(pair, near)
        if found is None and len(more) == self._FAR_TOKENS:
            found = self._first_match(more, range(place, place + self._LOOK_FAR))
        if found is None and self._left_from is not None:
            found = self._first_match(pair, range(self._left_from[0], self._left_from[0] + ahead))
        return found

    def _first_match(self, tokens: Sequence[int], starts: Iterable[int]) -> int | None:
        canvas, size = self._canvas, len(tokens)
        for start in starts:
            if start >= 0 and canvas[start : start + 1] == tokens[:1] and canvas[start : start + size] == tokens:
                return start + size
        return None

    def _found_again(self, place: int, num_agreed: int) -> None:
        """The new text is at `place` of the canvas: learn what was replaced on the way, and look at the rest anew."""
        assert self._lost_at is not None
        left_at, new_left_at = self._lost_at
        is_sure = self._left_from is None or len(self._new) - self._left_from[1] > self._SURE_TOKENS
        self._left_from = (left_at if is_sure or self._left_from is None else self._left_from[0], len(self._new))
        self._place, self._lost_at = place, None
        end, new_end = place - num_agreed, len(self._new) - num_agreed
        if end < left_at or new_end < new_left_at:
            return
        old = self._old[self._old_end(left_at) : self._old_end(end)].decode("utf-8", "replace")
        new = self._decode(self._new[new_left_at:new_end])
        right = self._old[self._old_end(end) :][:64].decode("utf-8", "replace")
        left = self._decode(self._new[max(0, new_left_at - self._CONTEXT_TOKENS) : new_left_at])
        seen = observed(left, old, new, right) if old != new else None
        if seen is not None and self._substitutions.learn(seen):
            self._fill_from(self.old_offset, self._decode(self._new[-2:])[-1:])

    def _old_end(self, index: int) -> int:
        return self._old_ends[index - 1] if index else self._first_offset

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._text.decode_bytes(token_ids).decode("utf-8", "replace")

    def _fill_from(self, offset: int, before: str) -> None:
        """Write the canvas anew from a byte offset of the old text on; what was passed stays."""
        del self._canvas[self._place :], self._old_ends[self._place :], self._piece_starts[self._place :]
        try:
            rest = self._old[offset:].decode("utf-8")
        except UnicodeDecodeError:
            rest = self._old[offset:].decode("utf-8", "ignore")  # inside a character: its end is not guessed
        pieces = list(self._substitutions.applied(rest, before))
        ids = self._text.encode("".join(new for _, new in pieces))
        lengths = [len(self._text.token_bytes(token_id)) for token_id in ids]
        for old_end, is_inside in _old_ends(pieces, lengths, offset):
            index = len(self._old_ends)
            goes_on = index > self._place and self._piece_starts[-1] >= 0
            self._piece_starts.append((self._piece_starts[-1] if goes_on else index) if is_inside else -1)
            self._old_ends.append(old_end)
        self._canvas += ids


def _old_ends(pieces: Sequence[tuple[str, str]], lengths: Sequence[int], offset: int) -> Iterator[tuple[int, bool]]:
    """For tokens of those byte lengths over the new pieces: the old byte offset behind each, and whether it stands,
    wholly or in part, for old text that is expected to change.

    Inside a replaced piece the old one counts as passed.
    """
    sizes = [(len(old.encode("utf-8")), len(new.encode("utf-8")), old != new) for old, new in pieces]
    done = piece_idx = piece_start = 0
    for length in lengths:
        done += length
        is_inside = piece_idx < len(sizes) and sizes[piece_idx][2] and done > piece_start
        while piece_idx < len(sizes) and piece_start + sizes[piece_idx][1] <= done:
            piece_start += sizes[piece_idx][1]
            offset += sizes[piece_idx][0]
            piece_idx += 1
            is_inside = is_inside or (piece_idx < len(sizes) and sizes[piece_idx][2] and done > piece_start)
        inside = 0
        if piece_idx < len(sizes) and done > piece_start:
            inside = sizes[piece_idx][0] if sizes[piece_idx][2] else done - piece_start
        yield offset + inside, is_inside
