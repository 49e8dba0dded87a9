"""Joint commit and edit thresholds for the `fast` policy: canvas tokens are re-evaluated each step and may change.

A canvas token behind the committed run was guessed in an earlier context. Each step shows what the model would write
there now. It replaces the guess only where the model is sure (`edit_threshold`), so that a guess survives a doubtful
better one; committing has its own, ratio threshold (denoise.py). Two thresholds of this kind: LLaDA2.1 (arXiv
2602.08676). A position that would go back to a token it already held is oscillating: it is frozen until its block is
committed. Pure: token ids and probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence


class Revision:
    """Edits one request's canvas; positions are counted from the first token written."""

    def __init__(self, edit_threshold: float) -> None:
        self._threshold = edit_threshold
        self._held: dict[int, set[int]] = {}
        self._frozen: set[int] = set()

    def revise(
        self, first_position: int, guesses: Sequence[int], choices: Sequence[int], probabilities: Sequence[float]
    ) -> list[int]:
        """The guesses from `first_position` on, each kept or replaced by the model's choice of this step.

        Choices behind the last guess are taken as they are.
        """
        self._forget_before(first_position)
        revised = []
        for i, (guess, choice, probability) in enumerate(zip(guesses, choices, probabilities, strict=False)):
            position = first_position + i
            held = self._held.setdefault(position, set())
            held.add(guess)
            if choice != guess and probability >= self._threshold and position not in self._frozen:
                if choice in held:
                    self._frozen.add(position)
                else:
                    guess = choice
            revised.append(guess)
        return [*revised, *choices[len(guesses) :]]

    def _forget_before(self, position: int) -> None:
        for each in [old for old in self._held if old < position]:
            del self._held[each]
            self._frozen.discard(each)
