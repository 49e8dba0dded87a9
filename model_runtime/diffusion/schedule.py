"""How much work to put into one step: from what a forward costs on this device and from how often drafts are right.

A step that drafts b positions costs T(1 + b) and commits one token more than it has drafts accepted. If each draft is
right with probability p, independently, that is (1 - p^(b+1)) / (1 - p) tokens (Leviathan et al. 2023, arXiv
2211.17192, eq. 1). The block is the b with the most expected tokens a millisecond; with a deadline, among those that
still fit. Pure numbers: no tensors, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from model_runtime.diffusion.blocks import MAX_BLOCK

_SIZES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, MAX_BLOCK)


# Prompt tokens a forward. On a CPU a cancelled request waits for one block gladly, not for more.
PROMPT_ROWS_CPU = 64
PROMPT_ROWS_GPU = 1024

# Of what was learned about drafts: half is left after some twenty looks, so that a file that repeats itself soon shows.
_FADE = 0.97

# Share of it that a new request forgets: a source that never gets a turn could not show that it has become better.
_RELAX = 0.1

# (probability, weight in looks) of a source before anything was seen; good enough to start with, learned from there.
_PRIORS = {
    "canvas": (0.95, 6.0),
    "warm": (0.85, 4.0),
    "typed": (0.7, 4.0),
    "ngram-4": (0.75, 4.0),
    "ngram-3": (0.6, 4.0),
    "ngram-2": (0.4, 4.0),
    "denoiser": (0.5, 3.0),
}
_PRIOR = (0.3, 4.0)


@dataclass(frozen=True, slots=True)
class LatencyCurve:
    """T(rows): milliseconds of one forward, measured at some row counts and interpolated between them."""

    points: tuple[tuple[int, float], ...]
    """(rows, ms), rows ascending, at least one."""

    @classmethod
    def of(cls, measured: dict[int, float]) -> LatencyCurve:
        """From rows -> ms. More rows never count as cheaper: a measured dip is noise."""
        points: list[tuple[int, float]] = []
        for rows in sorted(measured):
            points.append((rows, max(measured[rows], points[-1][1] if points else 0.0)))
        return cls(tuple(points))

    @classmethod
    def assumed(cls, device_type: str) -> LatencyCurve:
        """The shape to go by where nothing was measured; its scale is learned from the first forwards."""
        return cls(((1, 45.0), (33, 150.0))) if device_type == "cpu" else cls(((1, 5.0), (65, 7.0)))

    def ms(self, rows: int) -> float:
        """Milliseconds of a forward of that many rows; straight on beyond the last two points."""
        points = self.points
        if rows <= points[0][0] or len(points) == 1:
            return points[0][1]
        right = next((i for i, (count, _) in enumerate(points) if count >= rows), len(points) - 1)
        (rows_left, ms_left), (rows_right, ms_right) = points[right - 1], points[right]
        return ms_left + (ms_right - ms_left) * (rows - rows_left) / (rows_right - rows_left)


class Pace:
    """What a forward takes just now: the curve times how busy the machine is."""

    _WEIGHT = 0.3
    """Of the newest forward in the running mean."""

    def __init__(self, curve: LatencyCurve, prompt_rows: int = PROMPT_ROWS_CPU) -> None:
        """`prompt_rows` is how many prompt tokens one forward reads."""
        self.curve = curve
        self.prompt_rows = prompt_rows
        self._slowdown: float | None = None
        self._prompt_ms: float | None = None

    def ms(self, rows: int) -> float:
        """Expected milliseconds of a denoising step of that many rows."""
        return self.curve.ms(rows) * (self._slowdown or 1.0)

    def prompt_ms(self, num_tokens: int) -> float:
        """Expected milliseconds of reading that many tokens of a prompt."""
        num_full, rest = divmod(num_tokens, self.prompt_rows)
        full_ms = self.ms(self.prompt_rows) if self._prompt_ms is None else self._prompt_ms
        return num_full * full_ms + (self.ms(rest) if rest else 0.0)

    def observe(self, rows: int, ms: float) -> None:
        """Learn from one denoising step."""
        # A forward that took eight times as long was not slow: the machine did something else.
        ratio = min(8.0, max(0.05, ms / self.curve.ms(rows)))
        self._slowdown = ratio if self._slowdown is None else self._mix(self._slowdown, ratio)

    def observe_prompt(self, num_tokens: int, ms: float) -> None:
        """Learn from one forward over a prompt."""
        if num_tokens == self.prompt_rows:
            self._prompt_ms = ms if self._prompt_ms is None else self._mix(self._prompt_ms, ms)

    def _mix(self, old: float, new: float) -> float:
        return old + self._WEIGHT * (new - old)


@dataclass(slots=True)
class _Chances:
    """Drafts that were looked at, and those that were right; old ones fade."""

    num_right: float
    num_seen: float


@dataclass(slots=True)
class Acceptance:
    """Probability that a draft is right, by where it came from."""

    chances: dict[str, _Chances] = field(default_factory=dict)

    def probability(self, source: str) -> float:
        """Of one draft position of this source, given that those before it were right."""
        chance = self._of(source)
        return chance.num_right / chance.num_seen

    def record(self, source: str, num_drafted: int, num_accepted: int) -> None:
        """Learn from one step: the first wrong draft was looked at, those behind it were not."""
        if num_drafted == 0:
            return
        chance = self._of(source)
        prior, weight = _PRIORS.get(source, _PRIOR)
        num_looks = num_accepted + (num_accepted < num_drafted)
        fade = _FADE**num_looks
        chance.num_right = prior * weight + (chance.num_right - prior * weight) * fade + num_accepted
        chance.num_seen = weight + (chance.num_seen - weight) * fade + num_looks

    def relax(self) -> None:
        """A new request: what was learned counts a little less, so that a source once given up gets another try."""
        for source, chance in self.chances.items():
            prior, weight = _PRIORS.get(source, _PRIOR)
            chance.num_right += _RELAX * (prior * weight - chance.num_right)
            chance.num_seen += _RELAX * (weight - chance.num_seen)

    def _of(self, source: str) -> _Chances:
        if source not in self.chances:
            prior, weight = _PRIORS.get(source, _PRIOR)
            self.chances[source] = _Chances(prior * weight, weight)
        return self.chances[source]


def expected_tokens(probability: float, num_drafts: int) -> float:
    """Tokens that a step with that many drafts commits on average, its own included."""
    if probability >= 1.0:
        return num_drafts + 1.0
    return (1.0 - probability ** (num_drafts + 1)) / (1.0 - probability)


def choose_block(pace: Pace, probability: float, limit: int, ms_left: float | None = None) -> int:
    """Positions to draft, 0 to `limit`, for the most expected tokens a millisecond.

    With `ms_left` only what fits, if anything does.
    """
    sizes = _sizes_to(limit)
    if ms_left is not None:
        sizes = [size for size in sizes if pace.ms(1 + size) <= ms_left] or [0]
    return max(sizes, key=lambda size: expected_tokens(probability, size) / pace.ms(1 + size))


def choose_masks(
    pace: Pace, probability: float, chance: float, num_drafts: int, limit: int, ms_left: float | None = None
) -> int:
    """Masked rows, 0 to `limit`, to put behind `num_drafts` guesses that all hold with probability `chance`.

    A mask is used only if those guesses hold. Then it gives a draft for the next step, right with `probability`, and
    that draft costs a row there; the mask costs a row in this step in any case. Rows are weighed against tokens at
    what a token costs without drafts, T(1). With `ms_left` only what fits.
    """
    ms_a_token = pace.ms(1)
    now = pace.ms(1 + num_drafts)

    def gain(size: int) -> float:
        cost = pace.ms(1 + num_drafts + size) - now + chance * (pace.ms(1 + size) - pace.ms(1))
        return chance * (expected_tokens(probability, size) - 1.0) - cost / ms_a_token

    sizes = [size for size in _sizes_to(limit) if ms_left is None or pace.ms(1 + num_drafts + size) <= ms_left]
    return max(sizes, key=gain, default=0)


def _sizes_to(limit: int) -> list[int]:
    return [size for size in _SIZES if size < limit] + [limit]


def num_worth_checking(pace: Pace, probabilities: Sequence[float], ms_left: float | None = None) -> int:
    """How much of a draft with known probabilities to put on the canvas.

    A position counts only if all before it are right, so its worth is the product of the chain that leads to it: what
    stands behind an uncertain position waits until that one is committed. With `ms_left` only what fits.
    """
    best, best_rate = 0, 1.0 / pace.ms(1)
    chain, tokens = 1.0, 1.0
    for i, probability in enumerate(probabilities):
        chain *= probability
        tokens += chain
        ms = pace.ms(2 + i)
        if ms_left is not None and ms > ms_left:
            break
        rate = tokens / ms
        if rate > best_rate:
            best, best_rate = i + 1, rate
    return best
