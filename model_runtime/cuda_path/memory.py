"""The rows of a forward in memory that never moves: one packed copy in, one copy out, nothing allocated in between.

Owns the layout and the host's side of both copies. A step's function reads and writes these tensors only, so it can be
called as it is (on any device) or captured and replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_runtime.kernels.reference import StepMemory

STEP_ROWS = (1, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 264)
"""Rows that steps are laid out for: an anchor, up to 128 guesses and as many masks."""
PROMPT_ROWS = (16, 64, 128, 256, 512, 1024)
_GATE_ALIGNMENT = 4
"""float32 values: kernels want the gate at a multiple of 16 bytes."""


def bucket(num_rows: int, sizes: Sequence[int]) -> int | None:
    """The smallest of ascending `sizes` that holds the rows, or None."""
    return next((size for size in sizes if size >= num_rows), None)


@dataclass(frozen=True, slots=True)
class HostRows:
    """What a forward works on, as the host says it."""

    ids: Sequence[int]
    """Causal rows, then masks."""
    num_causal: int
    length: int
    """Tokens in the cache."""
    accept: float = 2.0
    """See `StepMemory.accept`."""


class RowMemory:
    """Room for R rows on a device, with the host's staging area."""

    def __init__(self, rows: int, device: torch.device) -> None:
        padded = -(-rows // _GATE_ALIGNMENT) * _GATE_ALIGNMENT
        self.rows = rows
        is_cuda = device.type == "cuda"
        self._staging = _views(torch.zeros(3 * padded + 4, dtype=torch.int32, pin_memory=is_cuda), rows, padded)
        self._packed = _views(torch.zeros(3 * padded + 4, dtype=torch.int32, device=device), rows, padded)
        result = torch.zeros(4 + 3 * rows, dtype=torch.int32, device=device)
        ids, judged, gate, state, accept = self._packed.parts
        self.step = StepMemory(ids, judged, gate, state, accept, result)

    def load(self, given: HostRows) -> None:
        """Lay the rows out and queue their copy. The last load's copy must be over, as it is once a result was read."""
        ids, judged, gate, state, accept = self._staging.parts
        num_rows, num_causal = len(given.ids), given.num_causal
        self._staging.whole.zero_()
        ids[:num_rows] = torch.tensor(given.ids, dtype=torch.int32)
        judged.fill_(-1)
        judged[: num_causal - 1] = ids[1:num_causal]
        gate[num_causal:num_rows] = 1.0
        state.copy_(torch.tensor([given.length, num_causal, num_rows], dtype=torch.int32))
        accept.fill_(given.accept)
        self.reload()

    def reload(self) -> None:
        """Queue the copy of what was loaded last once more: a step rewrites its rows."""
        self._packed.whole.copy_(self._staging.whole, non_blocking=True)


@dataclass(frozen=True, slots=True)
class _Packed:
    whole: Tensor
    parts: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    """ids, judged, gate, state, accept."""


def _views(whole: Tensor, rows: int, padded: int) -> _Packed:
    tail = whole[3 * padded :]
    gate = whole[2 * padded : 2 * padded + rows].view(torch.float32)
    return _Packed(whole, (whole[:rows], whole[padded : padded + rows], gate, tail[:3], tail[3:].view(torch.float32)))


class ResultReader:
    """Copies results to the host in the background: the stream goes on, only whoever waits for a result waits."""

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        size = 4 + 3 * STEP_ROWS[-1]
        # Two slots: the next step's result may be on its way while this one's is being read.
        self._slots = [torch.zeros(size, dtype=torch.int32, pin_memory=self._is_cuda) for _ in range(2)]
        self._next = 0

    def start(self, result: Tensor) -> PendingResult:
        """Queue the copy of a result behind everything queued so far."""
        slot = self._slots[self._next][: len(result)]
        self._next = 1 - self._next
        slot.copy_(result, non_blocking=True)
        if not self._is_cuda:
            return PendingResult(slot, None)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return PendingResult(slot, event)


@dataclass(frozen=True, slots=True)
class PendingResult:
    """A result on its way. To be read before the next but one is started."""

    slot: Tensor
    event: torch.cuda.Event | None

    def wait(self) -> StepRecord:
        """The result, once it is here."""
        if self.event is not None:
            self.event.synchronize()
        rows = (len(self.slot) - 4) // 3
        accepted, length, num_causal, num_rows = self.slot[:4].tolist()
        tokens = self.slot[4 : 4 + num_rows].tolist()
        floats = self.slot[4 + rows :].view(torch.float32)
        return StepRecord(
            accepted, length, num_causal, tokens, floats[:num_rows].tolist(), floats[rows : rows + num_rows].tolist()
        )


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What a denoising step decided, row by row."""

    num_accepted: int
    length: int
    """Tokens in the cache before the step."""
    num_causal: int
    token_ids: list[int]
    """Each row's most probable token."""
    probs: list[float]
    """Its probability."""
    guess_probs: list[float]
    """The probability of the guess that stands behind the row; 0 where there is none."""

    def next_rows(self, rows: int, capacity: int, mask_id: int) -> tuple[list[int], int]:
        """(ids, causal rows) that the device laid out for the next step: `reference.commit_run`'s rule once more."""
        accepted, num_guesses = self.num_accepted, self.num_causal - 1
        num_masks = len(self.token_ids) - self.num_causal
        room = max(1, min(rows, capacity - self.length - 1 - accepted))
        next_guesses = min(num_masks if accepted == num_guesses else num_guesses - accepted, room - 1)
        next_masks = min(num_masks, room - 1 - next_guesses)
        ids = self.token_ids[accepted : accepted + 1 + next_guesses]
        return [*ids, *[mask_id] * next_masks], 1 + next_guesses
