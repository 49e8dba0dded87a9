"""What a family's network sees of a sequence: all of it, its blocks so far, or its known tokens first.

A view turns "predictions for positions a to b of this sequence" into one forward, aligned so that row i of the answer
is about position a + i whatever the family's logit shift, and keeps what it may keep in the cache. It counts forwards
and computed rows: the price of a step is rows, not steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from model_runtime.cache.canvas_cache import CanvasCache
from model_runtime.models.decoder import Decoder

Reuse = Literal["none", "prefix", "dual"]
"""Of a network that sees both ways: nothing; the rows before the block; those before and behind it (Fast-dLLM, Wu et
al. 2025, arXiv 2505.22618). Reused rows are stale: they were computed when the block was still masked."""

PREFILL_ROWS = 256


class View(Protocol):
    """The network as one sequence's decoder sees it."""

    forwards: int
    """Forwards so far, prompt included."""
    rows: int
    """Positions computed in them."""

    def logits(self, token_ids: Sequence[int], start: int, stop: int) -> Tensor:
        """(stop - start, vocabulary): what belongs at those positions of the sequence."""

    def finish(self, token_ids: Sequence[int], stop: int) -> None:
        """Everything before `stop` is final."""


class FullView:
    """Every row sees every row; nothing is exact but a forward over the whole sequence."""

    def __init__(
        self, network: Decoder, cache: CanvasCache, *, shift: bool, reuse: Reuse = "none", refresh_every: int = 0
    ) -> None:
        """`refresh_every` steps of a block all rows are computed again (0: only when a block begins)."""
        self.forwards = self.rows = 0
        self._network, self._cache, self._shift = network, cache, int(shift)
        self._reuse, self._refresh_every = reuse, refresh_every
        self._block: tuple[int, int, int] | None = None
        self._age = 0

    def logits(self, token_ids: Sequence[int], start: int, stop: int) -> Tensor:
        block = (len(token_ids), start, stop)
        first = max(0, start - self._shift)
        is_stale = block != self._block or self._reuse == "none"
        is_old = self._refresh_every > 0 and self._age >= self._refresh_every
        if is_stale or is_old:
            low, high = 0, len(token_ids)
            self._block, self._age = block, 0
        else:
            low, high = first, len(token_ids) if self._reuse == "prefix" else stop
            self._age += 1
        hidden = _forward(self._network, self._cache, token_ids, low, high, len(token_ids), None)
        self.forwards, self.rows = self.forwards + 1, self.rows + high - low
        wanted = torch.arange(start, stop, device=hidden.device) - self._shift
        return self._network.logits(hidden[wanted.clamp_min(0) - low])

    def finish(self, token_ids: Sequence[int], stop: int) -> None:
        """Nothing becomes final: later tokens still change earlier rows."""


class BlockCausalView:
    """Rows see their block and those before it: the keys and values of finished blocks are exact for good."""

    def __init__(self, network: Decoder, cache: CanvasCache, *, shift: bool, block_size: int, offset: int = 0) -> None:
        """`offset`: the first block is that much shorter."""
        self.forwards = self.rows = 0
        self._network, self._cache, self._shift = network, cache, shift
        self._block_size, self._offset = block_size, offset
        self._last: Tensor | None = None

    def block_of(self, position: int) -> int:
        """Number of the block a position belongs to."""
        return (position + self._offset) // self._block_size

    def block_end(self, position: int) -> int:
        """Where the block of a position ends."""
        return (self.block_of(position) + 1) * self._block_size - self._offset

    def logits(self, token_ids: Sequence[int], start: int, stop: int) -> Tensor:
        """The span lies in one block; blocks before it that are not in the cache yet come along in the same forward."""
        begin = self.block_end(start) - self._block_size
        low, high = self._cache.length, min(self.block_end(start), len(token_ids))
        hidden = self._run(token_ids, low, high)
        if begin > low:
            self._last = hidden[begin - low - 1]
            self._cache.commit(token_ids[low : max(begin, 0)])
        if not self._shift:
            return self._network.logits(hidden[start - low : stop - low])
        before = hidden[start - low - 1 : start - low] if start > low else self._last_row(hidden)
        return self._network.logits(torch.cat([before, hidden[start - low : stop - low - 1]]))

    def finish(self, token_ids: Sequence[int], stop: int) -> None:
        """Only a shifted model pays a forward here: the row before the next block predicts its first token."""
        if self._shift:
            self.prefill(token_ids, stop)

    def prefill(self, token_ids: Sequence[int], stop: int) -> int:
        """Bring a piece of the whole blocks before `stop` into the cache; returns the rows that are still missing."""
        end = self.block_end(stop) - self._block_size
        low = self._cache.length
        if end <= low:
            return 0
        high = min(end, self.block_end(low + max(PREFILL_ROWS, self._block_size) - 1))
        hidden = self._run(token_ids, low, high)
        self._last = hidden[-1]
        self._cache.commit(token_ids[low:high])
        return end - high

    def next_token_logits(self) -> Tensor | None:
        """(vocabulary,) for the position behind the cache, of a shifted model; None where no row says it."""
        return None if self._last is None or not self._shift else self._network.logits(self._last[None])[0]

    def _last_row(self, hidden: Tensor) -> Tensor:
        return hidden[:1] if self._last is None else self._last[None]

    def _run(self, token_ids: Sequence[int], low: int, high: int) -> Tensor:
        mask = None
        if self.block_of(low) != self.block_of(high - 1):
            blocks = torch.tensor([self.block_of(i) for i in range(low, high)], device=self._network.device)
            mask = torch.zeros(len(blocks), len(blocks), device=self._network.device)
            mask.masked_fill_(blocks[:, None] < blocks[None, :], float("-inf"))
        self.forwards, self.rows = self.forwards + 1, self.rows + high - low
        return _forward(self._network, self._cache, token_ids, low, high, high, mask)


class ReorderedView:
    """Causal rows, the known tokens of the active span before its masks, each at its own position (WeDLM)."""

    def __init__(self, network: Decoder, cache: CanvasCache, mask_token_id: int) -> None:
        self.forwards = self.rows = 0
        self._network, self._cache, self._mask_token_id = network, cache, mask_token_id

    def logits(self, token_ids: Sequence[int], start: int, stop: int) -> Tensor:
        low = self._cache.length
        known = [i for i in range(low, stop) if token_ids[i] != self._mask_token_id]
        masks = [i for i in range(low, stop) if token_ids[i] == self._mask_token_id]
        order = known + masks
        device = self._network.device
        positions = torch.tensor(order, device=device)
        tokens = torch.tensor([token_ids[i] for i in order], device=device)
        causal = torch.full((len(order), len(order)), float("-inf"), device=device).triu_(1)
        hidden = self._network.forward_canvas(tokens, positions, self._cache.window(low, stop), causal)
        self.forwards, self.rows = self.forwards + 1, self.rows + len(order)
        # Known rows that stand in their final order, nothing missing before them, stay as they are.
        final = next((n for n, i in enumerate(known) if i != low + n), len(known))
        self._cache.commit([token_ids[i] for i in known[:final]])
        place = {position: row for row, position in enumerate(order)}
        # A committed position was final before this forward: nobody asks for its row again.
        rows = torch.tensor([place.get(i, 0) for i in range(start, stop)], device=device)
        return self._network.logits(hidden[rows])

    def finish(self, token_ids: Sequence[int], stop: int) -> None:
        """The next forward brings the finished rows into the cache."""


def _forward(
    network: Decoder,
    cache: CanvasCache,
    token_ids: Sequence[int],
    low: int,
    high: int,
    num_visible: int,
    mask: Tensor | None,
) -> Tensor:
    """Rows [low, high) of the sequence seeing [0, num_visible); returns hidden states."""
    tokens = torch.tensor(token_ids[low:high], device=network.device)
    positions = torch.arange(low, high, device=network.device)
    return network.forward_canvas(tokens, positions, cache.window(low, num_visible), mask)
