"""Attention of a few new rows over the cached ones: a causal prefix and, behind it, a bidirectional block.

The first `T - num_canvas` rows are causal, the last `num_canvas` rows see every cached row and every row of this
forward (block diffusion's pattern, Arriola et al. 2025, arXiv 2503.09573). Grouped heads share keys and values.
"""

from __future__ import annotations

import torch
from torch import Tensor


def block_mask(num_rows: int, num_canvas: int, device: torch.device) -> Tensor:
    """(T, T) float32 to add to the scores of the new rows among themselves: 0 where row i sees row j, else -inf."""
    mask = torch.full((num_rows, num_rows), float("-inf"), device=device).triu_(1)
    if num_canvas:
        mask[num_rows - num_canvas :] = 0.0
    return mask


def attend_exact(query: Tensor, keys: Tensor, values: Tensor, num_canvas: int) -> Tensor:
    """`attend` with every causal row computed by itself over just the keys it sees; shapes as there.

    The same calls as decoding one token a forward, so the result is the same to the last bit. Stacking rows changes the
    order of sums by 1e-7; 8-bit activations turn that into rounding flips, and those moved logits by up to 1.8 and one
    greedy choice in forty (coder-0.5b), which lossless verification cannot have.
    Costs 6 to 20 % of a forward of 8 to 30 rows.
    """
    num_rows, num_keys = query.shape[0], keys.shape[1]
    num_causal = num_rows - num_canvas
    first_end = num_keys - num_rows + 1
    parts = [
        attend(query[i : i + 1], keys[:, : first_end + i], values[:, : first_end + i], None) for i in range(num_causal)
    ]
    if num_canvas:
        parts.append(attend(query[num_causal:], keys, values, None))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """query (T, H, D); keys and values (K, S, D), the last T of the S rows new; mask (T, T) of `block_mask` or None.

    Returns (T, H * D) in the query's type. Scores and softmax are float32.
    """
    num_rows, num_heads, head_dim = query.shape
    num_kv_heads, num_keys, _ = keys.shape
    group = num_heads // num_kv_heads
    # One product a key/value head: its query heads and rows stacked.
    stacked = query.view(num_rows, num_kv_heads, group, head_dim).permute(1, 2, 0, 3)
    stacked = (stacked * head_dim**-0.5).reshape(num_kv_heads, group * num_rows, head_dim)
    scores = torch.bmm(stacked, keys.transpose(1, 2)).float()  # (K, group * T, S)
    if mask is not None:
        scores.view(num_kv_heads, group, num_rows, num_keys)[..., num_keys - num_rows :] += mask
    weights = torch.softmax(scores, dim=-1).to(values.dtype)
    attended = torch.bmm(weights, values).view(num_kv_heads, group, num_rows, head_dim)
    return attended.permute(2, 0, 1, 3).reshape(num_rows, num_heads * head_dim)
