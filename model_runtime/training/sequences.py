"""The clean sequences that denoiser stages learn from: real code, and the base's own greedy continuations of it.

Greedy text is what lossless verification compares drafts with, so a draft learned there is a draft accepted. It is
written once, a batch at a time, as JSON lines in the run's folder; a stopped run goes on where the file ends.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from model_runtime.errors import Cancelled
from model_runtime.training.evaluate import DECODE_BATCH, DECODE_BATCH_GPU, decode_greedy
from model_runtime.training.loop import stop_on_signals
from model_runtime.training.network import TrainingNetwork
from model_runtime.training.objective import Sample
from model_runtime.training.runs import Report
from model_runtime.training.samples import SampleStream

PLAIN_SHARE = 0.15
"""Of the greedy prompts: plain text to be continued, in no layout."""
PLAIN_PROMPT_TOKENS = 120
MIN_TARGET = 6
"""Samples with fewer tokens to learn have no room for a block."""


class Sequences:
    """Sequence number n is a function of the seed and n alone."""

    _rank, _num_ranks = 0, 1

    def __init__(self, stream: SampleStream, greedy: Sequence[Sample], greedy_share: float, seed: int) -> None:
        self._stream, self._greedy, self._share, self._seed = stream, greedy, greedy_share, seed

    def numbers(self, step: int, per_step: int) -> range:
        """The sequences of a step: this process's own, where several share the work."""
        first = (step * self._num_ranks + self._rank) * per_step
        return range(first, first + per_step)

    def share(self, rank: int, num_ranks: int) -> None:
        """Be one of several processes, each with sequences of its own."""
        self._rank, self._num_ranks = rank, num_ranks

    def sequence(self, number: int) -> tuple[Sample, random.Random]:
        """The sequence, and a generator for what is drawn on it."""
        rng = random.Random(f"sequence:{self._seed}:{number}")
        if self._greedy and rng.random() < self._share:
            return self._greedy[rng.randrange(len(self._greedy))], rng
        while True:
            sample = self._stream.draw(rng)
            if has_room(sample):
                return sample, rng


def has_room(sample: Sample) -> bool:
    """True when a block fits in what is to be written."""
    return len(sample.ids) - sample.prompt_length >= MIN_TARGET


def draw_first_anchor(sample: Sample, rng: random.Random) -> int:
    """Half of the canvases lie in what is to be written, half anywhere: code is code, and the context is paid for."""
    return sample.prompt_length - 1 if rng.random() < 0.5 else min(8, sample.prompt_length - 1)


def greedy_samples(
    network: TrainingNetwork,
    stream: SampleStream,
    stop_ids: Sequence[int],
    count: int,
    max_tokens: int,
    path: Path,
    report: Report,
) -> list[Sample]:
    """`count` prompts of the stream as the base continues them; those without room for a block are left out.

    `path` is the file they are kept in; another base needs another one (`greedy_path`).
    Cancelled after SIGINT or SIGTERM, with what is done kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = _read(path)
    batch_size = DECODE_BATCH if network.device.type == "cpu" else DECODE_BATCH_GPU
    with stop_on_signals() as signals:
        while len(samples) < count and not signals["stop"]:
            numbers = range(len(samples), min(count, len(samples) + batch_size))
            prompts = [draw_prompt(stream, number) for number in numbers]
            answers = decode_greedy(network, [prompt.ids for prompt in prompts], stop_ids, [max_tokens] * len(prompts))
            batch = [
                Sample((*prompt.ids, *answer), len(prompt.ids), f"greedy/{prompt.kind}")
                for prompt, answer in zip(prompts, answers, strict=True)
            ]
            with path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps([s.ids, s.prompt_length, s.kind]) + "\n" for s in batch)
            samples += batch
            report(f"greedy text: {len(samples)} of {count}")
    if signals["stop"]:
        raise Cancelled(f"stopped at {len(samples)} of {count} greedy texts; the same command goes on from there")
    return [sample for sample in samples[:count] if has_room(sample)]


def greedy_path(run: Path, healing: str) -> Path:
    """Where a run keeps the greedy text of the base with this healing adapter (its sha256, empty for none)."""
    return run / f"greedy-{healing[:12] or 'base'}.jsonl"


def draw_prompt(stream: SampleStream, number: int) -> Sample:
    """Prompt `number`: of a hole, of an edit, or plain text."""
    rng = random.Random(f"greedy:{number}")
    if rng.random() < PLAIN_SHARE:
        plain = stream.plain(rng.randrange(1 << 30), PLAIN_PROMPT_TOKENS)[0]
        return Sample(plain.ids, len(plain.ids), "plain")
    sample = stream.draw(rng)
    return Sample(sample.ids[: sample.prompt_length], sample.prompt_length, sample.kind)


def _read(path: Path) -> list[Sample]:
    """What is there, without a last line that was cut off; the file is cut there too."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"".join(line + b"\n" for line in lines[:-1]))
    return [Sample(tuple(ids), length, kind) for ids, length, kind in map(json.loads, lines[:-1])]
