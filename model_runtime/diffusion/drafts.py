"""Where a canvas gets its first guesses when no denoiser is trained: from text that is already there.

`NgramDrafter` continues as the same few tokens were continued before (prompt lookup: in the file, the snippets, the
text just written). `CanvasDrafter` starts from the text being edited and keeps its place in it through insertions,
deletions and substitutions, so what an edit leaves alone is guessed right and costs one position of one forward.
Pure: lists of token ids in and out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Drafter(Protocol):
    """Guesses the tokens that come next."""

    def commit(self, token_ids: Sequence[int]) -> None:
        """Tokens that are now part of the text."""

    def draft(self, num_tokens: int) -> list[int]:
        """At most that many guesses for what follows; fewer, or none, when there is nothing to go by."""


def source_of(drafter: Drafter) -> str:
    """Where the newest draft came from: drafts of one source are right about equally often. `canvas` if not said."""
    return str(getattr(drafter, "source", "canvas"))


class NoDrafter:
    """Never guesses: one token a forward."""

    source = "none"

    def commit(self, token_ids: Sequence[int]) -> None:
        """Nothing to remember."""

    def draft(self, num_tokens: int) -> list[int]:
        """Nothing."""
        return []


class NgramDrafter:
    """Continue as the last `longest` ... `shortest` tokens were continued at their latest earlier place."""

    def __init__(self, context: Sequence[int], longest: int = 4, shortest: int = 2) -> None:
        self._sizes = tuple(range(longest, shortest - 1, -1))
        self._tokens: list[int] = []
        self._place: dict[tuple[int, ...], int] = {}
        self.source = f"ngram-{shortest}"
        self.commit(context)

    def commit(self, token_ids: Sequence[int]) -> None:
        tokens = self._tokens
        for token_id in token_ids:
            # A place is recorded once its continuation exists, so a lookup of the newest tokens finds an earlier one.
            for size in self._sizes:
                if len(tokens) >= size:
                    self._place[tuple(tokens[-size:])] = len(tokens)
            tokens.append(token_id)

    def draft(self, num_tokens: int) -> list[int]:
        tokens = self._tokens
        for size in self._sizes:
            if len(tokens) < size:
                continue
            place = self._place.get(tuple(tokens[-size:]))
            if place is not None:
                self.source = f"ngram-{size}"
                return tokens[place : place + num_tokens]
        return []


class CanvasDrafter:
    """Guess that the old text goes on, from the place in it that the new text has reached."""

    # After a deviation: how far ahead, and how far back, the old text is searched for the two newest tokens.
    _LOOK_AHEAD = 64
    _LOOK_BACK = 8

    def __init__(self, old: Sequence[int], fallback: Drafter | None = None) -> None:
        self._old = list(old)
        self._fallback = fallback if fallback is not None else NoDrafter()
        self._last: int | None = None
        self._place = 0
        self._num_lost = 0

    @property
    def source(self) -> str:
        return "canvas" if self._num_lost == 0 else source_of(self._fallback)

    @property
    def is_lost(self) -> bool:
        """True inside new text, until the old text is found again."""
        return self._num_lost > 0

    @property
    def place(self) -> int:
        """Index of the first old token that the new text has not passed."""
        return self._place

    def commit(self, token_ids: Sequence[int]) -> None:
        self._fallback.commit(token_ids)
        for token_id in token_ids:
            self._follow(token_id)
            self._last = token_id

    def draft(self, num_tokens: int) -> list[int]:
        if self._num_lost == 0:
            return self._old[self._place : self._place + num_tokens]
        # Inside new text: what was written elsewhere is the better guess; else as many tokens were replaced as written.
        guess = self._place + self._num_lost
        return self._fallback.draft(num_tokens) or self._old[guess : guess + num_tokens]

    def _follow(self, token_id: int) -> None:
        old, place = self._old, self._place
        if self._num_lost == 0:
            if place < len(old) and old[place] == token_id:
                self._place += 1
                return
            self._num_lost = 1
            return
        found = self._find_pair(token_id)
        if found is None and old[place + self._num_lost : place + self._num_lost + 1] == [token_id]:
            found = place + self._num_lost + 1  # one token for one: a substitution
        if found is None and old[place : place + 1] == [token_id]:
            found = place + 1  # the deviation was an insertion
        if found is None:
            self._num_lost += 1
        else:
            self._place, self._num_lost = found, 0

    def _find_pair(self, token_id: int) -> int | None:
        """Place behind the nearest old pair equal to the two newest tokens, forward first."""
        old, pair = self._old, [self._last, token_id]
        for start in range(self._place, min(len(old) - 1, self._place + self._LOOK_AHEAD)):
            if old[start : start + 2] == pair:
                return start + 2
        for start in range(self._place - 1, max(-1, self._place - self._LOOK_BACK), -1):
            if old[start : start + 2] == pair:
                return start + 2
        return None


class WarmDrafter:
    """Guess that what was proposed here before still holds; where the user or the model left it, as `fallback` does."""

    def __init__(self, proposed: Sequence[int], fallback: Drafter, source: str = "warm") -> None:
        self._canvas = CanvasDrafter(proposed, fallback)
        self._fallback = fallback
        self._own_source = self.source = source

    def commit(self, token_ids: Sequence[int]) -> None:
        self._canvas.commit(token_ids)

    def draft(self, num_tokens: int) -> list[int]:
        guesses = self._canvas.draft(num_tokens)
        if guesses and not self._canvas.is_lost:
            self.source = self._own_source
            return guesses
        guesses = guesses or self._fallback.draft(num_tokens)
        self.source = source_of(self._fallback)
        return guesses
