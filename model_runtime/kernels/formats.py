"""Weight formats the kernels read: 8-bit rows, 4-bit groups, low-rank adapters; quantisation and its inverse.

Plain torch. Knows no kernel and no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

INT4_GROUP = 32
"""Inputs that share one 4-bit scale."""

_NIBBLE_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of 8 consecutive inputs is in nibble i of a word: masking word >> 4*i then yields two neighbours at once."""


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """weight[n, k] = values[n, k] * scales[n]."""

    values: torch.Tensor
    """int8 [out, in]."""
    scales: torch.Tensor
    """float32 [out]."""


@dataclass(frozen=True, slots=True)
class Int4Weight:
    """weight[n, k] = (nibble of k - 8) * scales[n, k // 32]."""

    packed: torch.Tensor
    """int32 [out, in / 8], eight nibbles a word in `_NIBBLE_ORDER`."""
    scales: torch.Tensor
    """Activation type [out, in / 32]."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """An adapter that adds up @ down to a weight; its scaling is folded into `up`."""

    down: torch.Tensor
    """Activation type [rank, in]; rank a multiple of 8 (pad with zeros)."""
    up: torch.Tensor
    """Activation type [out, rank]."""


def quantize_int8(weight: torch.Tensor) -> Int8Weight:
    """Symmetric, one scale an output row; weight: [out, in]."""
    wide = weight.float()
    scales = wide.abs().amax(-1).clamp_min(1e-12) / 127
    values = (wide / scales[:, None]).round().clamp(-127, 127).to(torch.int8)
    return Int8Weight(values, scales)


def quantize_int4(weight: torch.Tensor, dtype: torch.dtype) -> Int4Weight:
    """Symmetric around 0 with levels -8..7, one scale of `dtype` for 32 inputs; weight: [out, in], in % 32 == 0."""
    num_out, num_in = weight.shape
    if num_in % INT4_GROUP:
        raise ValueError(f"4-bit weights need inputs in multiples of {INT4_GROUP}, not {num_in}")
    groups = weight.float().view(num_out, num_in // INT4_GROUP, INT4_GROUP)
    extreme = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))[..., 0]
    scales = (extreme / -8).to(dtype)  # the value of largest magnitude lands on -8, the level with no twin
    safe = torch.where(scales == 0, torch.ones_like(scales), scales).float()
    nibbles = ((groups / safe[..., None]).round().clamp(-8, 7) + 8).to(torch.int64)
    ordered = nibbles.view(num_out, num_in // 8, 8)[..., list(_NIBBLE_ORDER)]
    words = (ordered << (4 * torch.arange(8, device=weight.device))).sum(-1)
    words = torch.where(words >= 1 << 31, words - (1 << 32), words)
    return Int4Weight(words.to(torch.int32).contiguous(), scales.contiguous())


def dequantize_int4(weight: Int4Weight) -> torch.Tensor:
    """float32 [out, in], not yet rounded to the activation type."""
    num_out, num_words = weight.packed.shape
    shifts = 4 * torch.arange(8, device=weight.packed.device)
    ordered = (weight.packed.to(torch.int64)[..., None] >> shifts) & 15
    nibbles = torch.empty_like(ordered)
    nibbles[..., list(_NIBBLE_ORDER)] = ordered
    groups = (nibbles.view(num_out, num_words // 4, INT4_GROUP) - 8).float()
    return (groups * weight.scales.float()[..., None]).view(num_out, num_words * 8)


def pack_token_set(token_ids: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """int32 [ceil(vocabulary / 32)] on the device of `token_ids` (F,): bit i % 32 of word i / 32 is set for token i.

    Ids outside the vocabulary are left out.
    """
    members = torch.zeros(-(-vocabulary // 32) * 32, dtype=torch.int64, device=token_ids.device)
    members[token_ids[(token_ids >= 0) & (token_ids < vocabulary)].long()] = 1
    words = (members.view(-1, 32) << torch.arange(32, device=token_ids.device)).sum(-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def unpack_token_set(words: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """bool [vocabulary], true for the tokens of a `pack_token_set`."""
    bits = words.long()[:, None] >> torch.arange(32, device=words.device) & 1
    return bits.view(-1)[:vocabulary].bool()
