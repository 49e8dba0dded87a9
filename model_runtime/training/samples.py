"""From holes and edit pairs to token ids, in the layouts the decoder uses, as an endless reproducible stream.

Batch number n is a function of (seed, n) alone, so a resumed run sees exactly the samples it would have seen.
Prefix, suffix and middle are tokenised apart, as at inference: a cut inside a word leaves its pieces as they are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from model_runtime.errors import CheckpointMismatch
from model_runtime.tokenizer import Tokenizer
from model_runtime.training.data.edits import EditPair, draw_edit
from model_runtime.training.data.fim import ContextWidths, Hole, draw_hole
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.objective import Sample

MAX_PROMPT_TOKENS = 300
MAX_TARGET_TOKENS = 110
MAX_EDIT_TOKENS = 420
MAX_TRIES = 200

EDIT_SYSTEM = "You edit code. Reply with the complete edited code only."


@dataclass(frozen=True, slots=True)
class Mixture:
    """How the stream is composed."""

    edit_share: float = 0.12
    """Of all samples; edits are longer, so this is about a third of the scored tokens."""
    suffix_first_share: float = 0.3
    """Of the holes."""
    widths: ContextWidths = field(default_factory=ContextWidths)


class SampleMaker:
    """Tokenises holes and edits of one vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        names = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|endoftext|>", "<|im_end|>")
        ids = [tokenizer.token_id(name) for name in names]
        for name, token_id in zip(names, ids, strict=True):
            if token_id is None:
                raise CheckpointMismatch(f"this vocabulary has no {name}")
        self._prefix, self._suffix, self._middle, self.end_id, self.turn_end_id = (i for i in ids if i is not None)

    def infill_prompt(self, prefix: str, suffix: str, *, suffix_first: bool) -> list[int]:
        """Ids up to and with `<|fim_middle|>`, in one of the two layouts."""
        before = [self._prefix, *self._tokenizer.encode(prefix)]
        after = [self._suffix, *self._tokenizer.encode(suffix)]
        return [*after, *before, self._middle] if suffix_first else [*before, *after, self._middle]

    def infill(self, hole: Hole, *, suffix_first: bool) -> Sample:
        """The hole as a sample: its middle and the end token are to be learned."""
        prompt = self.infill_prompt(hole.prefix, hole.suffix, suffix_first=suffix_first)
        layout = "suffix_first" if suffix_first else "prefix_first"
        lines = "multi" if hole.is_multi_line else "single"
        target = [*self._tokenizer.encode(hole.middle), self.end_id]
        return Sample((*prompt, *target), len(prompt), f"{layout}/{lines}")

    def edit_prompt(self, instruction: str, before: str, language: str) -> list[int]:
        """Ids of the chat layout up to the opened fence of the answer."""
        opening = f"<|im_start|>system\n{EDIT_SYSTEM}<|im_end|>\n<|im_start|>user\n{instruction}\n\n```{language}\n"
        return [
            *self._tokenizer.encode_layout(opening),
            *self._tokenizer.encode(before if before.endswith("\n") else before + "\n"),
            *self._tokenizer.encode_layout(f"```<|im_end|>\n<|im_start|>assistant\n```{language}\n"),
        ]

    def edit(self, pair: EditPair) -> Sample:
        """The pair as a sample: the edited text, the closing fence and the end of the turn are to be learned."""
        prompt = self.edit_prompt(pair.instruction, pair.before, pair.language)
        after = pair.after if pair.after.endswith("\n") else pair.after + "\n"
        target = [*self._tokenizer.encode(after + "```"), self.turn_end_id]
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
            sample = self.draw(rng)
            total += len(sample.ids)
            if samples and total > max_tokens:
                return samples
            samples.append(sample)

    def draw(self, rng: random.Random) -> Sample:
        """One sample; tries until a file offers one that is short enough."""
        is_edit = rng.random() < self._mixture.edit_share
        suffix_first = rng.random() < self._mixture.suffix_first_share
        for _ in range(MAX_TRIES):
            sample = self._draw_edit(rng) if is_edit and self._python else self._draw_infill(rng, suffix_first)
            if sample is not None and is_short_enough(sample):
                return sample
        raise AssertionError(f"no sample in {MAX_TRIES} tries: the data has no usable file")

    def _draw_edit(self, rng: random.Random) -> Sample | None:
        pair = draw_edit(rng.choice(self._python), rng)
        return self._maker.edit(pair) if pair else None

    def _draw_infill(self, rng: random.Random, suffix_first: bool) -> Sample | None:
        hole = draw_hole(rng.choice(self._sources), rng, self._mixture.widths)
        return self._maker.infill(hole, suffix_first=suffix_first) if hole else None
