"""The runtime: load a model, warm it up, complete, generate, edit, measure, close.

One object owns one network and one cache, and is used from one thread. It joins the parts (loading, prompts, the
decoding loop) and holds no algorithm of its own.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from model_runtime.api import (
    CompletionRequest,
    CompletionResult,
    EditRequest,
    EditStep,
    GenerateRequest,
    GenerateResult,
    ModelInfo,
    RepairRequest,
    SamplingParams,
    ShouldStop,
    never_stop,
)
from model_runtime.cache.prefix import PrefixStore
from model_runtime.checkpoint import Checkpoint, expected_shapes, open_checkpoint, read_family
from model_runtime.config import ModelConfig, RuntimeConfig, default_home
from model_runtime.conversion import read_record
from model_runtime.cuda_path.network import FusedNetwork
from model_runtime.diffusion.drafts import Drafter, NgramDrafter, NoDrafter
from model_runtime.diffusion.edit import edit
from model_runtime.diffusion.generate import Model, Task, decode
from model_runtime.diffusion.generated_text import GeneratedText
from model_runtime.diffusion.infill import candidates, infill, read_ahead, timings
from model_runtime.diffusion.repair import repair
from model_runtime.diffusion.schedule import PROMPT_ROWS_CPU, PROMPT_ROWS_GPU, LatencyCurve, Pace
from model_runtime.diffusion.switches import Switches
from model_runtime.errors import CheckpointCorrupt, CheckpointError, OutOfMemory, RequestError, RuntimeFailure
from model_runtime.failover import cpu_at_load, on_cpu, reason_to_leave, release_device_memory
from model_runtime.install import find_checkpoint
from model_runtime.latency import CURVE_ROWS, is_steady, latency_file, read_curve, write_curve
from model_runtime.loading import Adapters, LoadProgress, Placement, choose_placement, load_network, read_adapters
from model_runtime.manifest import models_folder
from model_runtime.models.qwen2 import Qwen2
from model_runtime.packed_linears import PackedLinears, packed_folder
from model_runtime.prompts import GENERATE_SYSTEM, InfillLayout, chat_ids
from model_runtime.tokenizer import ADDED_TOKENS, Tokenizer

Answer = TypeVar("Answer")


class Runtime:
    """A loaded model. Not thread-safe: one thread owns it."""

    def __init__(
        self,
        network: Qwen2 | FusedNetwork,
        tokenizer: Tokenizer,
        info: ModelInfo,
        cache_tokens: int,
        layout: InfillLayout = "prefix-first",
        prefix_cache_bytes: int = 0,
        curve_file: Path | None = None,
        config: RuntimeConfig | None = None,
    ) -> None:
        """`curve_file` holds, or gets, the device's latency curve; None: it is not kept.

        `config`, where the network is on a device that may fail, is what the CPU goes on from; None: failures stand.
        """
        forbidden = [token_id for name in ADDED_TOKENS if (token_id := tokenizer.token_id(name)) is not None]
        # Rows of the head behind the vocabulary (padding of the published tables) are no tokens at all.
        forbidden += range(tokenizer.vocab_size, network.config.vocab_size)
        self.info = info
        self._network = network
        self._curve_file = curve_file
        self._config = config
        curve = None if curve_file is None else read_curve(curve_file)
        self._is_measured = curve is not None
        self._model = Model(
            network,
            network.new_cache(cache_tokens),
            tokenizer,
            torch.tensor(sorted(set(forbidden)), dtype=torch.long, device=network.device),
            mask_token_id=network.config.mask_token_id if network.has_denoiser else None,
            layout=layout,
            prefixes=PrefixStore(prefix_cache_bytes),
            pace=Pace(curve or LatencyCurve.assumed(network.device.type), _prompt_rows(network.device)),
        )

    @classmethod
    def load(cls, config: RuntimeConfig, progress: LoadProgress | None = None) -> Runtime:
        """Load an installed model or a checkpoint path; raises CheckpointError, RequestError or OutOfMemory.

        `progress(message, fraction)` is called with fractions 0-1 on the calling thread.
        """
        device = choose_placement(config).device
        try:
            return cls._load(config, progress)
        except Exception as error:
            instead = cpu_at_load(config, device, error)
            if instead is None:
                raise
        release_device_memory()
        runtime = cls._load(instead[0], progress)
        runtime.info = replace(runtime.info, fallback=instead[1])
        return runtime

    @classmethod
    def _load(cls, config: RuntimeConfig, progress: LoadProgress | None) -> Runtime:
        placement = choose_placement(config)
        if config.threads is not None:
            if config.threads < 1:
                raise RequestError(f"threads is {config.threads}, must be at least 1")
            torch.set_num_threads(config.threads)
        home = config.home or default_home()
        path = find_checkpoint(config.model, home)
        if path.is_dir() and read_family(path) is not None:
            from model_runtime.family_runtime import load_family

            return load_family(path, path.name if Path(config.model).exists() else config.model, config, progress)
        shipped = models_folder() / config.model if not Path(config.model).exists() else None
        adapters = read_adapters(path, shipped) if config.use_adapters and path.is_dir() else Adapters()
        tokenizer = Tokenizer.load(path)
        with open_checkpoint(path) as checkpoint:
            name = config.model if shipped is not None else path.name
            digest, packed = _digest(path), None
            if config.keep_packed and digest and placement.device.type == "cpu" and placement.precision == "int8":
                packed = PackedLinears(packed_folder(home, name, digest, adapters.healing))
            network = _load_network(checkpoint, placement, config.cache_tokens, adapters, progress, packed)
            info = _model_info(name, path, checkpoint.config, placement, network, adapters)
        if progress is not None:
            progress("Loaded", 1.0)
        # Suffix first keeps the cache valid while the prefix grows; only a healed base has learned that layout.
        layout: InfillLayout = "prefix-first" if adapters.healing is None else "suffix-first"
        # A checkpoint that we did not convert has no digest to tell it from others: its curve is not kept.
        curve_file = latency_file(home, network.device, info.precision, info.digest) if info.digest else None
        given = (config.cache_tokens, layout, config.prefix_cache_bytes, curve_file)
        return cls(network, tokenizer, info, *given, None if placement.device.type == "cpu" else config)

    def warm_up(self) -> None:
        """One small completion, so that the first real one does not pay for lazy set-up.

        On a device that was never measured also its latency curve, some two seconds on a CPU, kept in the home folder.
        """
        if isinstance(self._network, FusedNetwork):
            self._serve(self._prepare)
        if self._curve_file is not None and not self._is_measured:
            self.latency_curve(CURVE_ROWS, context=128, repeats=2)
        self.complete(CompletionRequest("def add(a, b):\n    return ", "\n", params=SamplingParams(max_tokens=2)))

    def complete(self, request: CompletionRequest, should_stop: ShouldStop = never_stop) -> CompletionResult:
        """Fill the hole between prefix and suffix; Cancelled if stopped before the first token was there."""
        return self._serve(lambda model: infill(model, request, should_stop))

    def candidates(
        self, request: CompletionRequest, count: int, should_stop: ShouldStop = never_stop
    ) -> list[CompletionResult]:
        """Up to `count` different middles, best first: the first is `complete`'s, the others start otherwise.

        They share the prompt and the deadline; fewer come back when the time runs out or the texts repeat.
        """
        if count < 1:
            raise RequestError(f"count is {count}, must be at least 1")
        return self._serve(lambda model: candidates(model, request, count, should_stop))

    def read_ahead(self, request: CompletionRequest, should_stop: ShouldStop = never_stop) -> int:
        """Read a hole's prompt into the cache while nothing else is to do; the tokens that are there now.

        A later `complete` at the same place finds them. Stopping keeps what has been read so far.
        """
        return self._serve(lambda model: read_ahead(model, request, should_stop))

    def generate(self, request: GenerateRequest, should_stop: ShouldStop = never_stop) -> GenerateResult:
        """Continue a prompt, or answer it through the chat layout."""
        return self._serve(lambda model: _generate(model, request, should_stop))

    def edit(self, request: EditRequest, should_stop: ShouldStop = never_stop) -> Iterator[EditStep]:
        """Rewrite a range; yields a valid whole text after every step, the last one final."""
        yield from self._serve_steps(lambda model: edit(model, request, should_stop))

    def repair(self, request: RepairRequest, should_stop: ShouldStop = never_stop) -> Iterator[EditStep]:
        """Correct what is probably wrong, or make the text consistent with a change; steps as those of `edit`."""
        yield from self._serve_steps(lambda model: repair(model, request, should_stop))

    def _serve_steps(self, begin: Callable[[Model], Iterator[EditStep]]) -> Iterator[EditStep]:
        try:
            with _clean_after_failure(self._model):
                yield from begin(self._model)
            return
        except Exception as error:
            if not self._leave_device(error):
                raise
        with _clean_after_failure(self._model):
            yield from begin(self._model)

    def latency_curve(self, rows: Sequence[int], context: int = 512, repeats: int = 5) -> dict[int, float]:
        """Median milliseconds of one forward of that many rows behind `context` cached tokens.

        From three points on it is the curve that the scheduler goes by from now on, and at the next start unless the
        machine was too busy for it (`latency.is_steady`).
        """
        model = self._model
        token = torch.arange(max([*rows, 256]), device=self._network.device) % 256
        with _clean_after_failure(model):
            model.cache.truncate(0)
            # Kept prompts are not touched: what is read here is no prompt of anyone.
            while model.cache.length < context:
                chunk = token[: min(256, context - model.cache.length)]
                self._network.forward(chunk, model.cache, is_prompt=True)
                model.cache.commit(chunk.tolist())
            # In rounds: what the machine does besides for a while then hits all row counts alike. The first warms up.
            rounds = [[self._time_forward(token[:count]) for count in rows] for _ in range(repeats + 1)]
            times = {count: [each[i] for each in rounds[1:]] for i, count in enumerate(rows)}
            model.cache.truncate(0)
        curve = {count: statistics.median(each) for count, each in times.items()}
        if len(curve) >= 3:
            self._is_measured = True
            # A busy machine only ever adds: the shape is that of the least, how busy it is the pace learns.
            least = {count: min(each) for count, each in times.items()}
            model.pace.curve = LatencyCurve.of(least)
            if self._curve_file is not None and is_steady(times):
                write_curve(self._curve_file, least, self._network.num_bytes)
        return curve

    @property
    def switches(self) -> Switches:
        """Which of the decoder's ideas are on; all of them unless a measurement compares."""
        return self._model.switches

    @switches.setter
    def switches(self, switches: Switches) -> None:
        self._model = replace(self._model, switches=switches)

    @property
    def has_denoiser(self) -> bool:
        """True where masked positions are drafted by the model, not only from text that is there."""
        return self._model.mask_token_id is not None

    def twin(self, switches: Switches) -> Runtime:
        """Another runtime over the same weights, with caches and experience of its own: for comparisons in one run."""
        model = self._model
        other = Runtime(self._network, model.tokenizer, self.info, model.cache.capacity, model.layout)
        other._model = replace(
            other._model,
            prefixes=PrefixStore(model.prefixes.budget),
            pace=Pace(model.pace.curve, model.pace.prompt_rows),
            switches=switches,
        )
        return other

    def close(self) -> None:
        """Free the weights and the cache; the runtime cannot be used afterwards."""
        del self._model, self._network
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _serve(self, work: Callable[[Model], Answer]) -> Answer:
        """A request's answer; where the device fails under it, the CPU's."""
        try:
            with _clean_after_failure(self._model):
                return work(self._model)
        except Exception as error:
            if not self._leave_device(error):
                raise
        with _clean_after_failure(self._model):
            return work(self._model)

    def _leave_device(self, error: Exception) -> bool:
        """Load the model on the CPU and go on from there; False where the device is not at fault.

        Never raises `error` itself: its traceback would then hold this frame and the frame the error, a cycle that
        keeps a cancelled request's memory.
        """
        reason = reason_to_leave(error)
        if reason is None or self._config is None:
            return False
        config = on_cpu(self._config, reason)
        del self._model, self._network
        release_device_memory()
        self.__dict__.update(Runtime._load(config, None).__dict__)
        self.info = replace(self.info, fallback=reason)
        return True

    def _prepare(self, model: Model) -> None:
        """Compile and capture now what requests will need; nothing to do where the CPU has taken over meanwhile."""
        if isinstance(self._network, FusedNetwork):
            self._network.prepare(model.cache)

    def _time_forward(self, token_ids: torch.Tensor) -> float:
        """Milliseconds of one forward behind what the cache holds."""
        started = time.perf_counter()
        if isinstance(self._network, FusedNetwork):
            first, *others = token_ids.tolist()
            self._network.decide(first, others, 0, self._model.cache, self._model.forbidden, 2.0)
        else:
            logits = self._network.logits(self._network.forward(token_ids, self._model.cache))
            logits[0, 0].item()  # waits for the device
        return (time.perf_counter() - started) * 1e3


class _clean_after_failure:
    """Empty the caches when a request fails unexpectedly: a device that failed may have left anything in them.

    A cancelled or refused request is no such failure: what it had read is right, and the next one goes on from it.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None or not issubclass(kind, Exception):
            return
        if not issubclass(kind, RuntimeFailure) or issubclass(kind, OutOfMemory):
            self._model.cache.truncate(0)
            self._model.prefixes.clear()


def _generate(model: Model, request: GenerateRequest, should_stop: Callable[[], bool]) -> GenerateResult:
    started = time.perf_counter()
    tokenizer = model.tokenizer
    if request.chat:
        prompt = chat_ids(tokenizer, request.system or GENERATE_SYSTEM, request.prompt)
    else:
        prompt = tokenizer.encode(request.prompt)
    if not prompt:
        raise RequestError("the prompt is empty")
    drafter: Drafter = NoDrafter() if request.params.policy == "ar" else NgramDrafter(prompt)
    answer = GeneratedText(tokenizer, request.stop_strings)
    *_, state = decode(model, Task(prompt, drafter, answer.judge, request.params, should_stop, started))
    assert state.finish_reason is not None
    given = (len(state.token_ids), state.forwards, timings(state, started))
    return GenerateResult(answer.text, state.finish_reason, *given)


def _load_network(
    checkpoint: Checkpoint,
    placement: Placement,
    num_positions: int,
    adapters: Adapters,
    progress: LoadProgress | None,
    packed: PackedLinears | None,
) -> Qwen2 | FusedNetwork:
    """`load_network`, once more without the kept rows where they turn out to be damaged."""
    try:
        network = load_network(checkpoint, placement, num_positions, adapters, progress, packed=packed)
    except CheckpointCorrupt:
        if packed is None or not packed.is_hit:
            raise
        packed.discard()
        network = load_network(checkpoint, placement, num_positions, adapters, progress, packed=packed)
    except BaseException:
        if packed is not None and not packed.is_hit:
            packed.discard()
        raise
    if packed is not None:
        packed.finish()
    return network


def _prompt_rows(device: torch.device) -> int:
    return PROMPT_ROWS_CPU if device.type == "cpu" else PROMPT_ROWS_GPU


def _digest(path: Path) -> str:
    """Of a checkpoint that we converted; "" for any other, which has no record."""
    try:
        return read_record(path).digest if path.is_dir() else ""
    except CheckpointError:
        return ""


def _model_info(
    name: str, path: Path, config: ModelConfig, placement: Placement, network: Qwen2 | FusedNetwork, adapters: Adapters
) -> ModelInfo:
    return ModelInfo(
        name=name,
        architecture=config.architecture,
        parameters=sum(math.prod(shape) for shape in expected_shapes(config).values()),
        vocabulary=config.vocab_size,
        context_length=config.max_position,
        device=str(placement.device),
        precision=" + ".join(filter(None, (placement.precision, adapters.kinds))),
        checkpoint=str(path),
        digest=_digest(path),
        resident_bytes=network.num_bytes,
        operations="; ".join(network.describe()) if isinstance(network, FusedNetwork) else "plain torch",
        adapters=adapters.digests,
    )
