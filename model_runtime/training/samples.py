"""From holes and edit pairs to token ids, in the layouts the decoder uses, as an endless reproducible stream.

Batch number n is a function of (seed, n) alone, so a resumed run sees exactly the samples it would have seen.
Prefix, suffix and middle are tokenised apart, as at inference: a cut inside a word leaves its pieces as they are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from model_runtime.prompts import FENCE, InfillLayout, Specials, edit_ids, infill_ids
from model_runtime.tokenizer import Tokenizer
from model_runtime.training.data.edits import EditPair, draw_edit
from model_runtime.training.data.fim import ContextWidths, Hole, draw_hole, draw_relatives
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.objective import Sample, packed_length
from model_runtime.training.retention import plain_samples

MAX_PROMPT_TOKENS = 300
MAX_TARGET_TOKENS = 110
MAX_EDIT_TOKENS = 420
MAX_TRIES = 200


@dataclass(frozen=True, slots=True)
class Mixture:
    """How the stream is composed."""

    edit_share: float = 0.12
    """Of all samples; edits are longer, so this is about a third of the scored tokens."""
    suffix_first_share: float = 0.3
    """Of the holes."""
    relatives: int = 0
    """Holes drawn in a batch beside each suffix-first one, with the same end and suffix: nearly all of their prompts
    is shared, so they cost little more than what is to be learned of them."""
    widths: ContextWidths = field(default_factory=ContextWidths)


class SampleMaker:
    """Tokenises holes and edits of one vocabulary, in the layouts of model_runtime.prompts."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._specials = Specials.of(tokenizer)

    def infill(self, hole: Hole, *, suffix_first: bool) -> Sample:
        """The hole as a sample: its middle and the end token are to be learned."""
        layout: InfillLayout = "suffix-first" if suffix_first else "prefix-first"
        encode = self.tokenizer.encode
        prompt = infill_ids(self.tokenizer, encode(hole.prefix), encode(hole.suffix), layout=layout)
        target = [*encode(hole.middle), self._specials.end_of_text]
        kind = "suffix_first" if suffix_first else "prefix_first"
        lines = "multi" if hole.is_multi_line else "single"
        return Sample((*prompt, *target), len(prompt), f"{kind}/{lines}")

    def edit(self, pair: EditPair) -> Sample:
        """The pair as a sample: the edited text, the closing fence and the end of the turn are to be learned."""
        before, after = pair.before.rstrip("\n"), pair.after.rstrip("\n")
        prompt = edit_ids(self.tokenizer, before, pair.instruction, language=pair.language)
        target = [*self.tokenizer.encode(f"{after}\n{FENCE}"), self._specials.im_end]
        return Sample((*prompt, *target), len(prompt), "edit")


def is_short_enough(sample: Sample) -> bool:
    """True when a sample fits the budget a CPU run can pay."""
    target = len(sample.ids) - sample.prompt_length
    if sample.kind == "edit":
        return len(sample.ids) <= MAX_EDIT_TOKENS
    return sample.prompt_length <= MAX_PROMPT_TOKENS and target <= MAX_TARGET_TOKENS


class SampleStream:
    """Draws batches from a set of files."""

    def __init__(self, sources: Sequence[SourceFile], maker: SampleMaker, mixture: Mixture, seed: int) -> None:
        self._sources = sources
        self._python = [source for source in sources if source.language == "python"]
        self._maker, self._mixture, self._seed = maker, mixture, seed

    def batch(self, number: int, max_tokens: int) -> list[Sample]:
        """Samples of batch `number`: as many as fit `max_tokens`, at least one."""
        rng = random.Random(f"{self._seed}:{number}")
        samples: list[Sample] = []
        total = 0
        while True:
            family = self._draw_family(rng)
            total += packed_length(family)
            if samples and total > max_tokens:
                return samples
            samples += family

    def plain(self, number: int, max_tokens: int) -> list[Sample]:
        """Ordinary text of batch `number`, for the retention loss: as many pieces as fit `max_tokens`."""
        rng = random.Random(f"{self._seed}:{number}:plain")
        return plain_samples(self._sources, self._maker.tokenizer, rng, max_tokens)

    def draw(self, rng: random.Random) -> Sample:
        """One sample; tries until a file offers one that is short enough."""
        return self._draw(rng)[0]

    def _draw(self, rng: random.Random) -> tuple[Sample, Hole | None]:
        """A sample, and the hole it was made of if it is suffix first."""
        is_edit = rng.random() < self._mixture.edit_share
        suffix_first = rng.random() < self._mixture.suffix_first_share
        for _ in range(MAX_TRIES):
            if is_edit and self._python:
                pair, hole = draw_edit(rng.choice(self._python), rng), None
                sample = self._maker.edit(pair) if pair else None
            else:
                hole = draw_hole(rng.choice(self._sources), rng, self._mixture.widths)
                sample = self._maker.infill(hole, suffix_first=suffix_first) if hole else None
            if sample is not None and is_short_enough(sample):
                return sample, hole if suffix_first else None
        raise AssertionError(f"no sample in {MAX_TRIES} tries: the data has no usable file")

    def _draw_family(self, rng: random.Random) -> list[Sample]:
        """A sample and its relatives, ordered so that each shares the most with the one before it."""
        sample, hole = self._draw(rng)
        if hole is None or not self._mixture.relatives:
            return [sample]
        relatives = draw_relatives(hole, rng, self._mixture.relatives)
        family = [sample, *(self._maker.infill(relative, suffix_first=True) for relative in relatives)]
        return sorted(filter(is_short_enough, family), key=lambda each: each.prompt_length)
