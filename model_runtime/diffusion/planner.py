"""What the next step puts on the canvas: which guesses, how many of them, and how many masked rows behind them.

Guesses come from the first source that has any: text that is there (drafts.py), the denoiser's masked rows of the last
step, or what the last step's rows would write behind a guess that was wrong (Jacobi iteration). How many is decided by
the device's latency curve and by how often that source was right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model_runtime.diffusion.blocks import AdaptiveBlock
from model_runtime.diffusion.denoise import StepResult
from model_runtime.diffusion.drafts import source_of
from model_runtime.diffusion.revision import Revision
from model_runtime.diffusion.schedule import Acceptance, choose_block, choose_masks, num_worth_checking
from model_runtime.diffusion.task import Model, Task

DEFAULT_BLOCK = 48
"""The largest block the scheduler may choose unasked: behind it even a perfect draft gains little on any device."""

# Without the scheduler: before the drafts have shown their luck, a step costs little more than one token's.
_FIRST_BLOCK = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """The canvas of one step."""

    canvas: list[int]
    num_masks: int
    source: str
    """Where the guesses came from: one of `Acceptance`'s sources."""


class Planner:
    """Plans the steps of one request and learns from them."""

    def __init__(self, model: Model, task: Task) -> None:
        self._model = model
        self._task = task
        self._limit = task.params.block_size or DEFAULT_BLOCK
        self._luck = AdaptiveBlock(self._limit, start=_FIRST_BLOCK)
        # What `fast` writes depends on what is drafted, so each request starts from the same expectations.
        self._acceptance = Acceptance() if task.params.policy == "fast" else model.acceptance
        self._acceptance.relax()
        self._revision = Revision(task.params.edit_threshold)
        self._refined: list[int] = []
        self._refined_probs: list[float] = []
        self._refined_source = "none"
        self._ms_reading = 0.0

    @property
    def block_size(self) -> int:
        """Positions after which a block of `fast` is closed."""
        return self._limit

    def plan(self, room: int, num_unread: int = 0) -> Plan:
        """At most `room` guesses and masks for the next step, which also reads that many rows of the prompt."""
        task, pace = self._task, self._model.pace
        self._ms_reading = pace.ms(1 + num_unread) - pace.ms(1)
        if task.params.policy == "ar" or room <= 0:
            return Plan([], 0, "none")
        asked = min(self._limit, room)
        guesses, source = self._guesses(asked)
        probs = self._refined_probs if source == "denoiser" else None
        canvas = guesses[: self._size(source, len(guesses), probs)]
        # As many as were asked for: the text they come from may well go on behind them.
        goes_on = len(canvas) < len(guesses) or len(guesses) == asked
        num_masks = self._num_masks(canvas, source, probs, goes_on=goes_on)
        return Plan(canvas, max(0, min(num_masks, room - len(canvas))), source)

    def learn(self, plan: Plan, step: StepResult, num_written: int) -> None:
        """`num_written` tokens stand before the step's own."""
        num_drafted = len(plan.canvas)
        self._luck.record(num_drafted, step.num_accepted)
        # Drafts that were not worth checking count as well: their masked rows were paid for.
        num_offered = max(num_drafted, len(self._refined)) if plan.source == "denoiser" else num_drafted
        self._acceptance.record(plan.source, num_offered, step.num_accepted)
        self._refined, self._refined_probs = step.canvas, step.canvas_probs
        self._refined_source = "denoiser" if step.num_accepted == num_drafted else "jacobi"
        if self._task.params.policy == "fast" and step.num_accepted < num_drafted:
            behind = plan.canvas[step.num_accepted + 1 :]
            first = num_written + step.num_accepted + 1
            self._refined = self._revision.revise(first, behind, step.canvas, step.canvas_probs)

    def replace_canvas(self, guesses: list[int], probabilities: list[float]) -> None:
        """Guesses of masked rows that had a forward of their own."""
        self._refined, self._refined_probs, self._refined_source = guesses, probabilities, "denoiser"

    def _guesses(self, num_positions: int) -> tuple[list[int], str]:
        draft, refined = self._task.drafter.draft(num_positions), self._refined
        if not draft and self._masks_are_surer():
            refined = []
        source = source_of(self._task.drafter) if draft else self._refined_source
        if self._task.params.policy != "fast" or self._task.params.block_size is None:
            return (draft or refined)[:num_positions], source
        # A block size asked for: a full block is denoised, behind the guesses there are the newest token again.
        guesses = draft + refined[len(draft) :]
        if self._model.mask_token_id is None:
            newest = guesses or self._task.state.token_ids
            guesses = guesses + newest[-1:] * (num_positions - len(guesses))
        return guesses[:num_positions], source

    def _masks_are_surer(self) -> bool:
        """True where masked rows draft better than what a step's rows would write behind a guess that was wrong."""
        if self._model.mask_token_id is None or self._refined_source != "jacobi" or self._task.params.policy == "fast":
            return False
        probability = self._acceptance.probability
        return self._model.switches.schedule and probability("denoiser") > probability("jacobi")

    def _size(self, source: str, num_guesses: int, probabilities: Sequence[float] | None) -> int:
        if self._task.params.block_size is not None:
            return num_guesses
        if not self._model.switches.schedule:
            return min(self._luck.size, num_guesses)
        pace = self._model.pace
        if probabilities is not None:
            return num_worth_checking(pace, probabilities, self._ms_left())
        return choose_block(pace, self._acceptance.probability(source), num_guesses, self._ms_left())

    def _num_masks(
        self, canvas: Sequence[int], source: str, probabilities: Sequence[float] | None, *, goes_on: bool
    ) -> int:
        if self._model.mask_token_id is None:
            return 0
        if self._task.params.block_size is not None:
            return self._limit
        if not self._model.switches.schedule:
            return self._luck.size
        if goes_on and source != "denoiser":
            return 0  # where these guesses came from there are more: nothing needs drafting
        if probabilities is None:
            chance = self._acceptance.probability(source) ** len(canvas)
        else:
            chance = math.prod(probabilities[: len(canvas)])
        drafted = self._acceptance.probability("denoiser")
        return choose_masks(self._model.pace, drafted, chance, len(canvas), self._limit, self._ms_left())

    def _ms_left(self) -> float | None:
        left = self._task.ms_left()
        return None if left is None else max(0.0, left - self._ms_reading)
