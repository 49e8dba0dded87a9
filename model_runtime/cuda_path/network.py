"""The network that decoding sees on a CUDA device: forwards and whole denoising steps as replays over fixed memory.

A step is one replay: layers, head, commit, and the rows of the next step are computed on the device; the host copies a
few rows in and a few numbers out, and logits never exist. Since the device knows the next step's rows before the host
has read this step's result, that step can be started at once (`run ahead`): if the host then asks for just those rows,
as it does for one token at a time and while whole canvases hold, the device has not waited for the host. What was
started in vain wrote behind the committed tokens only, where the next forward writes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.cuda_path.graphs import Capture, Graphs
from model_runtime.cuda_path.memory import (
    PROMPT_ROWS,
    STEP_ROWS,
    HostRows,
    PendingResult,
    ResultReader,
    RowMemory,
    StepRecord,
    bucket,
)
from model_runtime.errors import RequestError
from model_runtime.kernels.formats import pack_token_set
from model_runtime.models.fused_qwen2 import FusedQwen2

_STREAK = 2
"""Steps in a row that asked for the foreseen rows before the device runs ahead."""


class StaticCache(KeyValueCache):
    """The cache as the kernels see it: whole layers, at addresses that never change."""

    epoch = 0
    """Changes whenever committed rows may have become others: what was foreseen before then is void."""

    def truncate(self, length: int) -> None:
        """See KeyValueCache."""
        super().truncate(length)
        self.epoch += 1

    def append_prompt_rows(self, token_ids: Sequence[int], keys: Tensor, values: Tensor) -> None:
        """See KeyValueCache."""
        super().append_prompt_rows(token_ids, keys, values)
        self.epoch += 1

    def memory(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, each (H, capacity, D)."""
        return self._keys[layer], self._values[layer]

    @property
    def address(self) -> int:
        """Tells caches apart: graphs are bound to one."""
        return self._keys.data_ptr()


@dataclass(slots=True)
class StepStatistics:
    """What running ahead was worth."""

    steps: int = 0
    foreseen: int = 0
    """Steps that had been started before the host asked."""
    in_vain: int = 0


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A step that was started before anybody asked."""

    pending: PendingResult
    memory: RowMemory
    address: int
    """Of the cache."""
    accept: float


@dataclass(frozen=True, slots=True)
class _Foreseen:
    """The rows the device has laid out for the step after the last."""

    ids: list[int]
    num_causal: int
    length: int
    epoch: int


class FusedNetwork:
    """A FusedQwen2 with its memory and graphs. Not thread-safe: one thread owns the device."""

    def __init__(self, model: FusedQwen2, capture: Capture | None = None, *, run_ahead: bool = True) -> None:
        """`capture` None: the same functions, called instead of replayed."""
        self.model = model
        self.config, self.device, self.dtype = model.config, model.device, model.dtype
        self.has_denoiser = model.has_denoiser
        self.graphs = Graphs(capture)
        self.statistics = StepStatistics()
        self._mask_id = model.config.mask_token_id if model.config.mask_token_id is not None else 0
        self._memory: dict[int, RowMemory] = {}
        self._hidden: dict[int, Tensor] = {}
        self._reader = ResultReader(model.device)
        self._forbidden = torch.zeros(-(-model.config.vocab_size // 32), dtype=torch.int32, device=model.device)
        self._forbidden_ids: Tensor | None = None
        self._run_ahead, self._streak = run_ahead, 0
        self._ahead: _Ahead | None = None
        self._foreseen: _Foreseen | None = None

    @property
    def num_bytes(self) -> int:
        """Memory held by the weights."""
        return self.model.num_bytes

    def new_cache(self, capacity: int) -> StaticCache:
        """An empty cache for this network. Its capacity is at most the number of positions loaded."""
        config = self.config
        return StaticCache(config.num_layers, config.num_kv_heads, config.head_dim, capacity, self.dtype, self.device)

    @torch.inference_mode()
    def forward(
        self, token_ids: Tensor, cache: KeyValueCache, num_canvas: int = 0, *, is_prompt: bool = False
    ) -> Tensor:
        """token_ids (T,) behind the committed ones, the last `num_canvas` bidirectional and through the denoiser.

        Returns hidden states (T, V), valid until the next forward. RequestError if the rows do not fit the cache.
        """
        assert isinstance(cache, StaticCache)
        num_rows = token_ids.shape[0]
        cache.require_room(num_rows)
        self._forget_ahead()
        given = HostRows(token_ids.tolist(), num_rows - num_canvas, cache.length)
        rows = bucket(num_rows, PROMPT_ROWS if is_prompt else STEP_ROWS)
        memory = RowMemory(num_rows, self.device) if rows is None else self._row_memory(rows)
        memory.load(given)
        step, gate = memory.step, memory.step.gate if num_canvas else None
        if rows is None:
            return self.model.hidden(step.ids, gate, step.state, cache.memory)
        if rows not in self._hidden:
            self._hidden[rows] = torch.zeros(rows, self.config.hidden_size, dtype=self.dtype, device=self.device)
        target = self._hidden[rows]

        def layers() -> None:
            target.copy_(self.model.hidden(step.ids, gate, step.state, cache.memory))

        self.graphs.run(("layers", rows, gate is not None, cache.address), layers)
        return target[:num_rows]

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (R, V) -> float32 (R, vocabulary)."""
        return self.model.logits(hidden)

    @torch.inference_mode()
    def decide(
        self,
        anchor: int,
        canvas: Sequence[int],
        num_masks: int,
        cache: KeyValueCache,
        forbidden: Tensor,
        accept: float,
    ) -> StepRecord:
        """One greedy denoising step over [anchor, guesses, masks] behind the committed tokens; commits nothing.

        `forbidden` (F,) are ids never chosen; `accept` as in `StepMemory`. RequestError if the rows do not fit.
        """
        assert isinstance(cache, StaticCache)
        ids = [anchor, *canvas, *[self._mask_id] * num_masks]
        cache.require_room(len(ids))
        rows = bucket(len(ids), STEP_ROWS)
        if rows is None:
            raise RequestError(f"a step of {len(ids)} rows is more than {STEP_ROWS[-1]}")
        self._forbid(forbidden)
        asked = _Foreseen(ids, 1 + len(canvas), cache.length, cache.epoch)
        is_foreseen = asked == self._foreseen
        self._streak = self._streak + 1 if is_foreseen else 0
        now = self._take_ahead(is_foreseen, cache, accept)
        if now is None:
            memory = self._row_memory(rows)
            memory.load(HostRows(ids, asked.num_causal, asked.length, accept))
            now = self._start(memory, cache, num_masks > 0, accept)
        if self._run_ahead and self._streak >= _STREAK:
            self._ahead = self._start(now.memory, cache, num_masks > 0, accept)
        record = now.pending.wait()
        next_ids, next_causal = record.next_rows(now.memory.rows, cache.capacity, self._mask_id)
        self._foreseen = _Foreseen(next_ids, next_causal, record.length + 1 + record.num_accepted, cache.epoch)
        self.statistics.steps += 1
        return record

    @torch.inference_mode()
    def prepare(self, cache: KeyValueCache) -> None:
        """Run every step and prompt that fits the cache once: kernels compile, graphs are captured, memory is planned.

        Writes behind the committed tokens only. Without it the first request of each size would pay.
        """
        assert isinstance(cache, StaticCache)
        room = cache.capacity - cache.length
        none = torch.zeros(0, dtype=torch.long, device=self.device)
        for rows in STEP_ROWS:
            if rows <= room:
                self.decide(0, [0] * (rows - 1), 0, cache, none, 2.0)
            if rows <= room and rows > 1 and self.has_denoiser:
                self.decide(0, [0] * (rows // 2 - 1), rows - rows // 2, cache, none, 2.0)
        for rows in PROMPT_ROWS:
            if rows <= room:
                self.forward(torch.zeros(rows, dtype=torch.long), cache, is_prompt=True)
        self.statistics = StepStatistics()
        self._forget_ahead()
        self.statistics.in_vain = 0

    def describe(self) -> list[str]:
        """One line on the operations, one on graphs, for `seedls doctor`."""
        graphs = f"graphs: on, {self.graphs.num_captured} captured" if self.graphs.is_capturing else "graphs: off"
        return [*self.model.kernels.describe(), graphs]

    @torch.inference_mode()
    def denoise_once(self, memory: RowMemory, cache: StaticCache, has_masks: bool) -> None:
        """What a step's graph holds: layers, head and commit over `memory`, which then holds the next step's rows."""
        step = memory.step
        hidden = self.model.hidden(step.ids, step.gate if has_masks else None, step.state, cache.memory)
        head = self.model.head(hidden, step.judged, self._forbidden)
        self.model.kernels.commit_run(
            head.tokens, head.probabilities, head.current_probabilities, step, cache.capacity, self._mask_id
        )

    def _start(self, memory: RowMemory, cache: StaticCache, has_masks: bool, accept: float) -> _Ahead:
        """Queue a step over what `memory` holds, and the copy of its result."""
        key = ("step", memory.rows, has_masks, cache.address)
        self.graphs.run(key, lambda: self.denoise_once(memory, cache, has_masks))
        return _Ahead(self._reader.start(memory.step.result), memory, cache.address, accept)

    def _take_ahead(self, is_foreseen: bool, cache: StaticCache, accept: float) -> _Ahead | None:
        """The step that was started for just this call, if there is one."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        if is_foreseen and ahead.address == cache.address and ahead.accept == accept:
            self.statistics.foreseen += 1
            return ahead
        self.statistics.in_vain += 1
        return None

    def _forget_ahead(self) -> None:
        if self._ahead is not None:
            self.statistics.in_vain += 1
        self._ahead = self._foreseen = None

    def _forbid(self, forbidden: Tensor) -> None:
        if self._forbidden_ids is not forbidden:
            # A step that runs ahead was queued before this copy and has read the old set.
            self._forget_ahead()
            self._forbidden.copy_(pack_token_set(forbidden.to(self.device), self.config.vocab_size))
            self._forbidden_ids = forbidden

    def _row_memory(self, rows: int) -> RowMemory:
        if rows not in self._memory:
            self._memory[rows] = RowMemory(rows, self.device)
        return self._memory[rows]
