"""Thousands of random requests with cancellations: is an answer ever wrong, does anything hang, does memory grow?

    python -m benchmarks.soak [--requests 10000] [--model coder-0.5b] [--seed 0] [--max-tokens 8]

Documents are edited, jumped between and completed at random places, with every policy, with drafts, deadlines and
cancellations at any step. Each request has a twin asked at another time, behind another history: finished answers of
`ar` and `lossless` must be equal where both read as much (a deadline may narrow the window). Exit code 1 when one
differs, when a cancelled request goes on for more than a step, or when the resident memory of the last half grew by
more than `--growth` MiB.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from model_runtime import (
    Cancelled,
    CompletionRequest,
    EditRequest,
    Runtime,
    SamplingParams,
    StopRules,
    runtime_config_from_environment,
)

WORDS = (
    *("def ", "self.", "return ", " = ", "x", "()", "\n", "    ", "pri", "é", "🎉", "\t", "\r\n", "[", "]", "for "),
    *("in ", "range(", "):\n", "name", "value", "if ", "else:\n", "print(", '"text"', "# note\n"),
)
DEADLINES_MS = (0.0, 1.0, 5.0, 20.0, 100.0, 400.0, 1000.0)


@dataclass(slots=True)
class Outcome:
    """What a soak saw."""

    requests: int = 0
    cancelled: int = 0
    late: int = 0
    compared: int = 0
    wrong: list[str] = field(default_factory=list)
    slow_stops: int = 0
    overshoot_ms: list[float] = field(default_factory=list)
    """Of each answer that its deadline ended: how long after it."""
    resident_mib: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def growth_mib(self) -> float:
        """Resident memory at the end over that at half time."""
        half = self.resident_mib[len(self.resident_mib) // 2 :]
        return half[-1] - half[0] if half else 0.0


class StopAfter:
    """A `should_stop` that turns true at its n-th call and counts how often it is asked after that."""

    def __init__(self, count: int | None) -> None:
        self._left = count
        self.num_after = 0

    def __call__(self) -> bool:
        if self._left is None:
            return False
        self._left -= 1
        self.num_after += self._left < -1
        return self._left < 0


class Soak:
    """Random documents, requests and cancellations, all from one seed."""

    def __init__(self, runtime: Runtime, seed: int, max_tokens: int) -> None:
        self._runtime = runtime
        self._rng = random.Random(seed)
        self._max_tokens = max_tokens
        self._documents = [self._text(80) for _ in range(6)]
        # By request and how much of the documents it could read: a deadline may have narrowed its window.
        self._answers: dict[tuple[CompletionRequest, int], str] = {}
        self.outcome = Outcome()

    def run(self, num_requests: int) -> Outcome:
        """Ask, compare, measure."""
        started = time.perf_counter()
        for i in range(num_requests):
            if self._rng.random() < 0.03:
                self._edit()
            else:
                self._complete()
            self.outcome.requests += 1
            if i % max(1, num_requests // 20) == 0:
                self.outcome.resident_mib.append(resident_mib())
        self.outcome.resident_mib.append(resident_mib())
        self.outcome.seconds = time.perf_counter() - started
        return self.outcome

    def _complete(self) -> None:
        rng, outcome = self._rng, self.outcome
        request = self._known() if self._answers and rng.random() < 0.5 else self._new()
        params = request.params
        if rng.random() < 0.1:
            params = replace(params, deadline_ms=rng.choice(DEADLINES_MS))
        exact = rng.choice(["ar", "lossless", "lossless", "lossless", "fast"])
        params = replace(params, policy=exact, block_size=rng.choice([None, None, 1, 3, 8, 40]))
        earlier = next((text for (known, _), text in self._answers.items() if known == request), "")
        draft = rng.choice(["", "", earlier, self._text(4)])
        stop = StopAfter(rng.choice([None, None, None, None, None, 0, 1, 3]))
        try:
            result = self._runtime.complete(replace(request, params=params, draft=draft), stop)
        except Cancelled:
            outcome.cancelled += 1
            return
        finally:
            outcome.slow_stops += stop.num_after > 0
        if result.finish_reason in ("cancelled", "deadline"):
            outcome.cancelled += result.finish_reason == "cancelled"
            outcome.late += result.finish_reason == "deadline"
            if result.finish_reason == "deadline" and params.deadline_ms is not None:
                outcome.overshoot_ms.append(result.timings.total_ms - params.deadline_ms)
        elif params.policy != "fast":
            self._compare(request, result.timings.prompt_tokens, result.text)

    def _compare(self, request: CompletionRequest, prompt_tokens: int, text: str) -> None:
        expected = self._answers.setdefault((request, prompt_tokens), text)
        self.outcome.compared += expected is not text
        if expected != text:
            self.outcome.wrong.append(f"{request.prefix[-30:]!r}: {expected!r} then {text!r}")
        if len(self._answers) > 200:
            del self._answers[next(iter(self._answers))]

    def _edit(self) -> None:
        text = self._text(12) or "x"
        steps = self._runtime.edit(EditRequest(text, "change it", params=SamplingParams(max_tokens=self._max_tokens)))
        for count, _ in enumerate(steps):
            if count > 2 and self._rng.random() < 0.3:
                break  # the reader went away
            if self._rng.random() < 0.2:
                self._complete()  # and another request comes in between

    def _known(self) -> CompletionRequest:
        return self._rng.choice(list(self._answers))[0]

    def _new(self) -> CompletionRequest:
        """Type into a document, or jump, and ask there."""
        rng = self._rng
        i = rng.randrange(len(self._documents))
        text = self._documents[i]
        cursor = rng.randrange(len(text) + 1)
        if rng.random() < 0.7:
            text = text[:cursor] + self._text(2) + text[cursor + rng.randrange(3) :]
            self._documents[i] = text[-1200:]
        cursor = min(cursor, len(text))
        stop = StopRules(max_lines=rng.choice([None, 1, 3]), stop_at_suffix=rng.random() < 0.5)
        params = SamplingParams(max_tokens=rng.randrange(1, self._max_tokens + 1))
        return CompletionRequest(text[:cursor], text[cursor:], stop=stop, params=params)

    def _text(self, num_words: int) -> str:
        return "".join(self._rng.choice(WORDS) for _ in range(self._rng.randrange(num_words + 1)))


def resident_mib() -> float:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Load, soak, print; 1 when something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--requests", type=int, default=10_000, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, default=8, help="of a request (default %(default)s)")
    parser.add_argument("--growth", type=float, default=64.0, metavar="MIB", help="allowed (default %(default)s)")
    parser.add_argument(
        "--prefix-cache-mib",
        type=int,
        default=16,
        metavar="MIB",
        help="kept prompts: small, so that the store is full long before half time (default %(default)s)",
    )
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args(argv)
    config = runtime_config_from_environment()
    config = replace(
        config,
        model=arguments.model or config.model,
        threads=arguments.threads or config.threads,
        prefix_cache_bytes=arguments.prefix_cache_mib * 2**20,
    )
    outcome = Soak(Runtime.load(config), arguments.seed, arguments.max_tokens).run(arguments.requests)
    print(
        f"{outcome.requests} requests in {outcome.seconds:.0f} s: {outcome.cancelled} cancelled, {outcome.late} late, "
        f"{outcome.compared} compared, {len(outcome.wrong)} wrong, {outcome.slow_stops} stopped late; resident "
        f"{outcome.resident_mib[-1]:.0f} MiB, {outcome.growth_mib:+.0f} MiB in the second half"
    )
    if over := outcome.overshoot_ms:
        print(f"behind the deadline, ms: p50 {statistics.median(over):.0f}, most {max(over):.0f}")
    for line in outcome.wrong[:20]:
        print(f"wrong: {line}")
    return 1 if outcome.wrong or outcome.slow_stops or outcome.growth_mib > arguments.growth else 0


if __name__ == "__main__":
    sys.exit(main())
