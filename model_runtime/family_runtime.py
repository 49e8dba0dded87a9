"""The runtime of a checkpoint of the family table: the same calls as `Runtime`, another loop underneath.

`Runtime.load` comes here when a folder's configuration is one of the table's. The autoregressive bases among them
(Qwen3, Llama) get the ordinary runtime over this network; diffusion families get `FamilyRuntime`.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from model_runtime.api import (
    CompletionRequest,
    CompletionResult,
    EditRequest,
    EditStep,
    GenerateRequest,
    GenerateResult,
    ModelInfo,
    SamplingParams,
    ShouldStop,
    never_stop,
)
from model_runtime.checkpoint import open_checkpoint
from model_runtime.config import RuntimeConfig
from model_runtime.conversion import read_record
from model_runtime.diffusion.family_generate import FamilyModel, forbidden_tensor
from model_runtime.diffusion.family_tasks import complete_with_family, edit_with_family, generate_with_family
from model_runtime.diffusion.shift_probe import check_shift
from model_runtime.errors import CheckpointError, RequestError
from model_runtime.families.config import FamilyConfig
from model_runtime.families.mask import check_vocabulary, end_ids, forbidden_ids, mask_token_id
from model_runtime.families.names import family_shapes
from model_runtime.family_loading import load_family_network
from model_runtime.loading import LoadProgress, Placement
from model_runtime.models.decoder import Decoder
from model_runtime.models.qwen2 import Qwen2
from model_runtime.runtime import Runtime
from model_runtime.tokenizer import Tokenizer

if TYPE_CHECKING:
    from model_runtime.api import RepairRequest


class FamilyRuntime(Runtime):
    """A loaded diffusion family. Not thread-safe: one thread owns it."""

    def __init__(self, model: FamilyModel, info: ModelInfo) -> None:
        self.info = info
        self._family_model = model
        self._is_shift_checked = False

    def warm_up(self) -> None:
        """One small completion, so that the first real one does not pay for lazy set-up.

        CheckpointMismatch if the network turns out to have another logit shift than its family.
        """
        self.complete(CompletionRequest("def add(a, b):\n    return ", "\n", params=SamplingParams(max_tokens=2)))

    def complete(self, request: CompletionRequest, should_stop: ShouldStop = never_stop) -> CompletionResult:
        """Fill the hole between prefix and suffix; Cancelled if stopped while reading the prompt."""
        with _CleanCache(self._family_model):
            self._check_shift()
            return complete_with_family(self._family_model, request, should_stop)

    def candidates(
        self, request: CompletionRequest, count: int, should_stop: ShouldStop = never_stop
    ) -> list[CompletionResult]:
        """One: a canvas is denoised as a whole, there is no first token to vary."""
        if count < 1:
            raise RequestError(f"count is {count}, must be at least 1")
        return [self.complete(request, should_stop)]

    def read_ahead(self, request: CompletionRequest, should_stop: ShouldStop = never_stop) -> int:
        """Nothing to do: what a family reads of a prompt depends on what follows it."""
        return 0

    def generate(self, request: GenerateRequest, should_stop: ShouldStop = never_stop) -> GenerateResult:
        """Continue a prompt, or answer it through the family's chat layout."""
        with _CleanCache(self._family_model):
            self._check_shift()
            return generate_with_family(self._family_model, request, should_stop)

    def edit(self, request: EditRequest, should_stop: ShouldStop = never_stop) -> Iterator[EditStep]:
        """Rewrite a range; yields a valid whole text after every step, the last one final."""
        with _CleanCache(self._family_model):
            self._check_shift()
            yield from edit_with_family(self._family_model, request, should_stop)

    def repair(self, request: RepairRequest, should_stop: ShouldStop = never_stop) -> Iterator[EditStep]:
        """Not with these models: RequestError says so."""
        raise RequestError(f"repair without an instruction needs the default model, not {self.info.architecture!r}")

    def latency_curve(self, rows: Sequence[int], context: int = 512, repeats: int = 5) -> dict[int, float]:
        """Median milliseconds of one forward of that many rows behind `context` cached tokens."""
        model = self._family_model
        with _CleanCache(model):
            model.cache.truncate(0)
            return {count: self._time_rows(count, context, repeats) for count in rows}

    @property
    def has_denoiser(self) -> bool:
        """True: masked positions are what these models are trained on."""
        return True

    def close(self) -> None:
        """Free the weights and the cache; the runtime cannot be used afterwards."""
        del self._family_model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _check_shift(self) -> None:
        """Before the first token is written, warmed up or not: a wrong shift writes plausible nonsense."""
        if not self._is_shift_checked:
            model = self._family_model
            check_shift(model.network, model.cache, model.config, model.tokenizer, model.mask_token_id)
            self._is_shift_checked = True

    def _time_rows(self, num_rows: int, context: int, repeats: int) -> float:
        model = self._family_model
        network, times = model.network, []
        tokens = torch.arange(num_rows, device=network.device) % 256
        positions = torch.arange(context, context + num_rows, device=network.device)
        for _ in range(repeats + 1):
            started = time.perf_counter()
            window = model.cache.window(context, context + num_rows)
            logits = network.logits(network.forward_canvas(tokens, positions, window))
            logits[0, 0].item()  # waits for the device
            times.append((time.perf_counter() - started) * 1e3)
        return statistics.median(times[1:])


def load_family(path: Path, name: str, config: RuntimeConfig, progress: LoadProgress | None = None) -> Runtime:
    """Load a checkpoint folder of the table; raises CheckpointError, RequestError or OutOfMemory."""
    tokenizer = Tokenizer.load(path)
    with open_checkpoint(path) as checkpoint:
        family = checkpoint.family
        assert family is not None
        check_vocabulary(family, tokenizer.vocab_size)
        network, placement, _ = load_family_network(checkpoint, config, progress)
    if progress is not None:
        progress("Loaded", 1.0)
    info = _info(name, path, family, placement, network)
    capacity = min(config.cache_tokens, family.shape.max_position)
    if not family.family.is_diffusion:
        # The autoregressive loop asks a network for no more than `Decoder` has of `Qwen2`.
        return Runtime(cast(Qwen2, network), tokenizer, info, capacity)
    return FamilyRuntime(_model(network, tokenizer, family, capacity), info)


def _model(network: Decoder, tokenizer: Tokenizer, config: FamilyConfig, capacity: int) -> FamilyModel:
    specials, size = tokenizer.special_tokens, tokenizer.vocab_size
    mask = mask_token_id(config, specials, size, lambda token: tokenizer.token_bytes(token).decode("utf-8", "replace"))
    expand = specials.get(config.family.expand_token or "")
    forbidden = forbidden_ids(config, mask, specials, size, may_expand=expand is not None)
    return FamilyModel(
        network=network,
        cache=network.new_canvas_cache(capacity),
        tokenizer=tokenizer,
        config=config,
        mask_token_id=mask,
        forbidden=forbidden_tensor(forbidden, network.device),
        expand_id=expand,
        end_ids=frozenset(end_ids(config, specials)),
    )


def _info(name: str, path: Path, config: FamilyConfig, placement: Placement, network: Decoder) -> ModelInfo:
    return ModelInfo(
        name=name,
        architecture=config.family.name,
        parameters=sum(math.prod(shape) for shape in family_shapes(config).values()),
        vocabulary=config.shape.vocab_size,
        context_length=config.shape.max_position,
        device=str(placement.device),
        precision=placement.precision,
        checkpoint=str(path),
        digest=_digest(path),
        resident_bytes=network.num_bytes,
    )


def _digest(path: Path) -> str:
    try:
        return read_record(path).digest
    except CheckpointError:
        return ""  # a folder that was not imported has no record


class _CleanCache:
    """Empty the cache when a request fails half-way: rows written but not committed must never be trusted."""

    def __init__(self, model: FamilyModel) -> None:
        self._cache = model.cache

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            self._cache.truncate(0)
