"""Request and response types of the runtime: frozen, plain values, no torch.

Everything here speaks text and character offsets (Python string indices). Positions, URIs and JSON belong to the
callers. Cancellation is a `should_stop()` callable that the runtime calls between denoising steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Policy = Literal["ar", "lossless", "fast"]
"""`ar`: one token a forward, greedy (the baseline). `lossless`: drafts verified in parallel, same text as `ar`.
`fast`: drafts are also accepted where the model is nearly indifferent."""

FinishReason = Literal["end", "suffix", "stop_rule", "length", "deadline", "cancelled", "low_confidence"]

ShouldStop = Callable[[], bool]


def never_stop() -> bool:
    """The `should_stop` of a caller that never cancels."""
    return False


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to decode one request. Greedy and deterministic unless `temperature` > 0, then deterministic under `seed`."""

    policy: Policy = "lossless"
    max_tokens: int = 64
    block_size: int | None = None
    """Canvas positions denoised together, 1-128; None lets the runtime choose."""
    max_steps: int | None = None
    """`fast` only: denoising steps a block gets before its canvas is taken as it is; None: as many as it needs."""
    temperature: float = 0.0
    seed: int = 0
    accept_threshold: float = 0.3
    """`fast` only: a draft token is committed if its probability is at least this fraction of the best token's."""
    edit_threshold: float = 0.6
    """`fast` only: a canvas token that is not committed yet is replaced where the model's choice is this probable."""
    min_confidence: float = 0.0
    """Infills only: cut before the first line whose tokens' geometric mean probability is below this, and stop writing
    it as soon as that is certain; 0 keeps everything. `benchmarks/calibration.py` says what a value buys."""
    deadline_ms: float | None = None
    """Wall-clock budget from the call; when it runs out the tokens committed so far are returned. Also chooses how much
    context is read and how much is drafted. Kept within one forward."""


@dataclass(frozen=True, slots=True)
class StopRules:
    """When an infill is finished, beyond the model's own end token.

    The caller knows the syntax, the runtime the text.
    """

    max_lines: int | None = None
    """Stop after this many newline-terminated lines (1: single-line completion)."""
    stop_at_suffix: bool = True
    """End where the text after the cursor resumes, and drop the repeated part."""
    stop_at_dedent: bool = False
    """End before the first non-blank line that is indented less than the line the cursor is on."""
    stop_strings: tuple[str, ...] = ()
    """End before the first of these strings."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of another file shown to the model as context."""

    path: str
    """Relative to the workspace, with forward slashes."""
    text: str


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Fill the hole between `prefix` and `suffix` of one file."""

    prefix: str
    suffix: str = ""
    path: str | None = None
    """Workspace-relative, forward slashes; shown to the model when snippets are."""
    language: str | None = None
    """LSP language id."""
    snippets: tuple[Snippet, ...] = ()
    draft: str = ""
    """Text proposed for this hole before, if any: what of it still holds is verified in parallel instead of written
    again. Never changes what is written by `ar` and `lossless`."""
    stop: StopRules = field(default_factory=StopRules)
    params: SamplingParams = field(default_factory=SamplingParams)


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Answer a free prompt, through the model's chat layout when `chat`, else as plain continuation."""

    prompt: str
    chat: bool = False
    system: str | None = None
    stop_strings: tuple[str, ...] = ()
    params: SamplingParams = field(default_factory=SamplingParams)


@dataclass(frozen=True, slots=True)
class EditRequest:
    """Rewrite `text[start:end]` as `instruction` says; text outside that range never changes."""

    text: str
    instruction: str
    start: int = 0
    end: int | None = None
    """None: the end of the text."""
    path: str | None = None
    language: str | None = None
    diagnostics: tuple[str, ...] = ()
    """Messages of problems in the range, most important first."""
    pinned: tuple[tuple[int, int], ...] = ()
    """Spans [start, end) of `text` that the result has byte for byte, in order; whole lines and words stay whole."""
    params: SamplingParams = field(default_factory=lambda: SamplingParams(max_tokens=2048))


@dataclass(frozen=True, slots=True)
class RepairRequest:
    """Look for mistakes in `text[start:end]` and correct them, or carry a change through it; nobody says how."""

    text: str
    start: int = 0
    end: int | None = None
    """None: the end of the text."""
    path: str | None = None
    language: str | None = None
    problems: tuple[tuple[int, int, str], ...] = ()
    """(start, end, message) of what was reported; these places are looked at whatever the model thinks of them."""
    changes: tuple[tuple[str, str], ...] = ()
    """(before, after) of what the user has just changed: the rest is made consistent with it."""
    pinned: tuple[tuple[int, int], ...] = ()
    """As in `EditRequest`; the user's own change belongs here."""
    params: SamplingParams = field(default_factory=lambda: SamplingParams(max_tokens=2048))


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds spent, and what was reused."""

    prefill_ms: float = 0.0
    """Reading the prompt, but for what the first denoising step reads of its end."""
    denoise_ms: float = 0.0
    total_ms: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens whose keys and values were already in the cache."""


@dataclass(frozen=True, slots=True)
class CompletionResult:
    """Text to insert at the cursor ("" when there is nothing worth showing) and how it was made."""

    text: str
    finish_reason: FinishReason
    tokens: int
    """Tokens committed, stop token included."""
    forwards: int
    """Network forwards after the prompt was in the cache."""
    confidence: float
    """Geometric mean probability of the tokens of `text`, 0-1."""
    token_ends: tuple[int, ...] = ()
    """End offset in `text` of each token, with `token_probs` its probability."""
    token_probs: tuple[float, ...] = ()
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """A continuation and how it was made."""

    text: str
    finish_reason: FinishReason
    tokens: int
    forwards: int
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class EditStep:
    """One step of a running edit: a complete candidate for the whole text, valid to stop at."""

    text: str
    """The whole text, the part outside the range unchanged."""
    done_offset: int
    """Text before this offset is final."""
    is_final: bool
    finish_reason: FinishReason
    tokens: int
    forwards: int
    timings: Timings = field(default_factory=Timings)
    num_left: int = 0
    """Windows of a long range that were left as they were because their rewrite found no end."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is loaded."""

    name: str
    architecture: str
    parameters: int
    vocabulary: int
    context_length: int
    device: str
    precision: str
    checkpoint: str
    digest: str
    resident_bytes: int
    fallback: str = ""
    """Why the CPU serves instead of the GPU that was chosen; empty when nothing is amiss."""
    operations: str = ""
    """What computes: plain torch or CUDA kernels, which of them not, and whether steps are replayed from graphs."""
    adapters: tuple[tuple[str, str], ...] = ()
    """(kind, sha256 of its file) of each adapter that was added to the base, whose digest is `digest`."""

    def provenance(self) -> dict[str, object]:
        """What a report says of the model that it measured."""
        shown = {"name": self.name, "digest": self.digest, "adapters": dict(self.adapters)}
        return {**shown, "device": self.device, "precision": self.precision}
