"""Every operation in plain torch: the specification the CUDA kernels are tested against, and the CPU path.

Arithmetic is in float32 and rounded once, at the end, to the activation type (bfloat16, float16 or float32). Each
function here has a CUDA twin of the same name and signature (plus a backend) in this folder; quantised weight formats
are in formats.py. Knows nothing of models, requests or graphs.

`state` is int32 [3] = (tokens already in the cache, causal rows, rows) of the forward. It lives in device memory so
that a captured graph can be replayed; rows past the third value are padding and come out as zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from model_runtime.kernels.formats import Int4Weight, Int8Weight, LowRank, dequantize_int4, unpack_token_set

Weight = torch.Tensor | Int8Weight | Int4Weight


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(rms_norm(x + residual) * weight, x + residual); x, residual: [rows, hidden]. Without residual the sum is x."""
    summed = x if residual is None else (x.float() + residual.float()).to(x.dtype)
    wide = summed.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale * weight.float()).to(x.dtype), summed


def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up; gate_up: [rows, 2 * width] with the gate first; returns [rows, width]."""
    gate, up = gate_up.float().chunk(2, dim=-1)
    return (torch.nn.functional.silu(gate) * up).to(gate_up.dtype)


def rope_table(capacity: int, head_dim: int, theta: float) -> torch.Tensor:
    """float32 [capacity, head_dim]: cosines of every position's angles in the first half, sines in the second."""
    frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.arange(capacity, dtype=torch.float64)[:, None] * frequencies[None, :]
    return torch.cat([angles.cos(), angles.sin()], dim=-1).float()


def qkv_rope_write(
    qkv: torch.Tensor,
    bias: torch.Tensor | None,
    table: torch.Tensor,
    state: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
) -> torch.Tensor:
    """Add the bias, rotate queries and keys, append keys and values to the cache in place; return the queries.

    qkv: [rows, (heads + 2 * kv_heads) * head_dim]; table: `rope_table`; caches: [kv_heads, capacity, head_dim].
    Row t has position and cache slot state[0] + t. Slots past the capacity are not written. Returns
    [rows, heads, head_dim].
    """
    kv_heads, capacity, head_dim = k_cache.shape
    length, _, num_rows = state.tolist()
    heads = qkv.shape[1] // head_dim - 2 * kv_heads
    wide = qkv.float() if bias is None else qkv.float() + bias.float()
    wide = wide.view(len(qkv), heads + 2 * kv_heads, head_dim)  # (T, H, D)
    num_rows = min(num_rows, capacity - length)
    rotated = torch.zeros_like(wide[:, : heads + kv_heads])
    cos, sin = table[length : length + num_rows, None, :].chunk(2, dim=-1)
    first, second = wide[:num_rows, : heads + kv_heads].chunk(2, dim=-1)
    rotated[:num_rows] = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    slots = slice(length, length + num_rows)
    k_cache[:, slots] = rotated[:num_rows, heads:].transpose(0, 1).to(k_cache.dtype)
    v_cache[:, slots] = wide[:num_rows, heads + kv_heads :].transpose(0, 1).to(v_cache.dtype)
    return rotated[:, :heads].to(qkv.dtype).contiguous()


def block_attention(
    q: torch.Tensor, k_cache: torch.Tensor, v_cache: torch.Tensor, state: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention of a forward's rows over the cache, which already holds the rows' own keys and values.

    q: [rows, heads, head_dim]; caches: [kv_heads, capacity, head_dim]. Row t of the causal rows sees slots
    0..length + t; rows after them (the canvas) see every slot up to length + rows. Returns [rows, heads, head_dim].
    """
    length, num_causal, num_rows = state.tolist()
    kv_heads, capacity, head_dim = k_cache.shape
    rows, heads, _ = q.shape
    num_rows = min(num_rows, rows, capacity - length)
    total = length + num_rows
    out = torch.zeros_like(q)
    if num_rows <= 0:
        return out
    keys, values = k_cache[:, :total].float(), v_cache[:, :total].float()
    grouped = q[:num_rows].float().view(num_rows, kv_heads, heads // kv_heads, head_dim)
    scores = torch.einsum("tkgd,ksd->tkgs", grouped, keys) * scale
    row = torch.arange(num_rows, device=q.device)
    last_visible = torch.where(row < num_causal, length + row, total - 1)
    hidden = torch.arange(total, device=q.device)[None, :] > last_visible[:, None]
    weights = scores.masked_fill(hidden[:, None, None, :], float("-inf")).softmax(-1)
    out[:num_rows] = torch.einsum("tkgs,ksd->tkgd", weights, values).reshape(num_rows, heads, head_dim).to(q.dtype)
    return out


def dequantize(weight: Weight, dtype: torch.dtype) -> torch.Tensor:
    """The weight as float32, through the rounding the kernels apply when activations are of `dtype`."""
    if isinstance(weight, Int8Weight):
        return weight.values.float() * weight.scales[:, None]
    if isinstance(weight, Int4Weight):
        return dequantize_int4(weight).to(dtype).float()
    return weight.float()


def _linear(
    x: torch.Tensor,
    weight: Weight,
    bias: torch.Tensor | None,
    adapter: LowRank | None,
    gate: torch.Tensor | None,
) -> torch.Tensor:
    out = x.float() @ dequantize(weight, x.dtype).T
    if adapter is not None:
        shrunk = x.float() @ adapter.down.float().T
        if gate is not None:
            shrunk = shrunk * gate[:, None]
        out = out + shrunk.to(x.dtype).float() @ adapter.up.float().T
    if bias is not None:
        out = out + bias.float()
    return out.to(x.dtype)


def linear_dense(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    adapter: LowRank | None = None,
    gate: torch.Tensor | None = None,
) -> torch.Tensor:
    """x @ weight.T + bias, plus gate * (x @ down.T) @ up.T. x: [rows, in], weight: [out, in], gate: float32 [rows].

    The gate opens the adapter row by row (1 on canvas rows, 0 on causal rows), so that causal rows see the base alone.
    """
    return _linear(x, weight, bias, adapter, gate)


def linear_int8(
    x: torch.Tensor,
    weight: Int8Weight,
    bias: torch.Tensor | None = None,
    adapter: LowRank | None = None,
    gate: torch.Tensor | None = None,
) -> torch.Tensor:
    """`linear_dense` over 8-bit weights with one scale an output row."""
    return _linear(x, weight, bias, adapter, gate)


def linear_int4(
    x: torch.Tensor,
    weight: Int4Weight,
    bias: torch.Tensor | None = None,
    adapter: LowRank | None = None,
    gate: torch.Tensor | None = None,
) -> torch.Tensor:
    """`linear_dense` over 4-bit weights with one scale for 32 inputs."""
    return _linear(x, weight, bias, adapter, gate)


@dataclass(frozen=True, slots=True)
class HeadResult:
    """What the head decided for each row of a forward."""

    tokens: torch.Tensor
    """int32 [rows]: the most probable token; the lowest id among equals."""
    probabilities: torch.Tensor
    """float32 [rows]: its probability."""
    current_probabilities: torch.Tensor
    """float32 [rows]: the probability of the token now in the canvas; 0 where that is a mask or not decided here."""
    canvas: torch.Tensor
    """int32 [rows]: the canvas after this denoising step."""
    status: torch.Tensor
    """int32 [2]: masks left in the canvas, positions changed by this step. Both zero: the block is finished."""


def head_argmax(
    hidden: torch.Tensor,
    weight: Weight,
    canvas: torch.Tensor,
    thresholds: torch.Tensor,
    mask_id: int,
    forbidden: torch.Tensor | None = None,
) -> HeadResult:
    """Head, softmax, best token and commit decision. hidden: [rows, width]; weight: [vocabulary, width].

    canvas: int32 [rows], the token each row predicts as it stands now: `mask_id` where it is still masked, -1 where
    the row decides nothing (causal rows, padding). thresholds: float32 [2] = (commit, revise). `forbidden`, of
    `formats.pack_token_set`: tokens never predicted (the mask itself, usually).
    """
    logits = hidden.float() @ dequantize(weight, hidden.dtype).T
    if forbidden is not None:
        logits = logits.masked_fill(unpack_token_set(forbidden, logits.shape[1]), float("-inf"))
    tokens = logits.argmax(-1)
    probabilities = logits.softmax(-1)
    best = probabilities.gather(1, tokens[:, None])[:, 0]
    is_decided = (canvas >= 0) & (canvas < logits.shape[1]) & (canvas != mask_id)
    at_current = canvas.long().clamp(0, logits.shape[1] - 1)
    current = torch.where(is_decided, probabilities.gather(1, at_current[:, None])[:, 0], 0.0)
    decided, status = commit_decision(tokens.to(torch.int32), best, canvas, thresholds, mask_id)
    return HeadResult(tokens.to(torch.int32), best, current, decided, status)


def commit_decision(
    tokens: torch.Tensor, probabilities: torch.Tensor, canvas: torch.Tensor, thresholds: torch.Tensor, mask_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(canvas after the step, status). All int32 [rows] but `probabilities` and `thresholds` (float32).

    A masked position takes its token when the probability reaches the commit threshold; the most probable masked
    position always does, so every step makes progress. A position already decided is replaced when another token's
    probability reaches the revise threshold (a threshold above 1 turns that off).
    """
    commit, revise = thresholds.tolist()
    is_masked = canvas == mask_id
    takes = torch.where(is_masked, probabilities >= commit, (canvas >= 0) & (probabilities >= revise))
    if bool(is_masked.any()):
        takes[int(torch.where(is_masked, probabilities, -1.0).argmax())] = True
    decided = torch.where(takes, tokens, canvas)
    counts = [int((decided == mask_id).sum()), int((decided != canvas).sum())]
    return decided, torch.tensor(counts, dtype=torch.int32, device=canvas.device)


@dataclass(frozen=True, slots=True)
class StepMemory:
    """What a denoising step reads and leaves behind, for up to R rows; fixed addresses, so a step can be replayed."""

    ids: torch.Tensor
    """int32 [R]: the rows' tokens: the anchor, guesses, masks, zeros."""
    judged: torch.Tensor
    """int32 [R]: the guess that stands behind row i and is judged by it; -1 where there is none."""
    gate: torch.Tensor
    """float32 [R]: 1 for masks, 0 for every other row."""
    state: torch.Tensor
    """int32 [3], see the module."""
    accept: torch.Tensor
    """float32 [1]: a guess is accepted from this fraction of the best token's probability on; above 1 only when it is
    the best token."""
    result: torch.Tensor
    """int32 [4 + 3 R]: accepted guesses, length, causal rows and rows of the step; then the head's tokens,
    probabilities and current probabilities (floats as their bits)."""


def commit_run(
    tokens: torch.Tensor,
    probabilities: torch.Tensor,
    current_probabilities: torch.Tensor,
    step: StepMemory,
    capacity: int,
    mask_id: int,
) -> None:
    """Commit the longest run of accepted guesses and the token behind it; leave the next step's rows in `step`.

    The first three are `HeadResult`'s, [R], the head having judged `step.judged`. The next anchor is the token behind
    the run. The next guesses are the tokens the rows behind it chose: the masks' where every guess was accepted, else
    those of the refused guesses. As many masks follow as before, as far as `capacity` and R allow.
    """
    length, num_causal, num_rows = step.state.tolist()
    num_guesses, num_masks, rows = num_causal - 1, num_rows - num_causal, len(tokens)
    threshold = float(step.accept)
    judged = step.judged[:num_guesses]
    if threshold > 1.0:
        is_refused = judged != tokens[:num_guesses]
    else:
        is_refused = current_probabilities[:num_guesses] < threshold * probabilities[:num_guesses]
    accepted = int(is_refused.int().argmax()) if bool(is_refused.any()) else num_guesses
    heads = [tokens, probabilities.view(torch.int32), current_probabilities.view(torch.int32)]
    counts = torch.tensor([accepted, length, num_causal, num_rows], dtype=torch.int32, device=tokens.device)
    step.result.copy_(torch.cat([counts, *heads]))

    length += 1 + accepted
    room = max(1, min(rows, capacity - length))
    num_guesses = min(num_masks if accepted == num_guesses else num_guesses - accepted, room - 1)
    num_masks = min(num_masks, room - 1 - num_guesses)
    num_causal, num_rows = 1 + num_guesses, 1 + num_guesses + num_masks
    step.ids.zero_()[:num_causal] = tokens[accepted : accepted + num_causal]
    step.ids[num_causal:num_rows] = mask_id
    step.judged.fill_(-1)[:num_guesses] = tokens[accepted + 1 : accepted + num_causal]
    step.gate.zero_()[num_causal:num_rows] = 1.0
    step.state.copy_(torch.tensor([length, num_causal, num_rows], dtype=torch.int32))


def canvas_renoise(
    ids: torch.Tensor, probabilities: torch.Tensor, length: torch.Tensor, mask_id: int, threshold: float
) -> torch.Tensor:
    """Mask again every token of the first length[0] whose probability is below the threshold. ids: int32 [capacity]."""
    position = torch.arange(len(ids), device=ids.device)
    doubtful = (position < length) & (probabilities < threshold)
    return torch.where(doubtful, torch.full_like(ids, mask_id), ids)


def canvas_rebuild(
    ids: torch.Tensor, num_insert: torch.Tensor, is_deleted: torch.Tensor, length: torch.Tensor, mask_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Insert and delete in one pass: (ids, source, length) of the new canvas; all int32 [capacity], lengths [1].

    Before position i come num_insert[i] masks, then ids[i] unless is_deleted[i]. `source` gives for each new position
    where its token was, -1 for inserted masks and for the tail, whose ids are the mask too. What would not fit in the
    capacity is cut off.
    """
    built: list[int] = []
    source: list[int] = []
    for i in range(min(int(length), len(ids))):
        count = min(int(num_insert[i]), len(ids))
        built += [mask_id] * count
        source += [-1] * count
        if not is_deleted[i]:
            built.append(int(ids[i]))
            source.append(i)
    new_length = min(len(built), len(ids))
    tail = len(ids) - new_length

    def as_tensor(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=ids.device)

    return (
        as_tensor(built[:new_length] + [mask_id] * tail),
        as_tensor(source[:new_length] + [-1] * tail),
        as_tensor([new_length]),
    )


def canvas_insert(
    ids: torch.Tensor, num_insert: torch.Tensor, length: torch.Tensor, mask_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`canvas_rebuild` that only inserts."""
    return canvas_rebuild(ids, num_insert, torch.zeros_like(ids), length, mask_id)


def canvas_delete(
    ids: torch.Tensor, is_deleted: torch.Tensor, length: torch.Tensor, mask_id: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`canvas_rebuild` that only deletes."""
    return canvas_rebuild(ids, torch.zeros_like(ids), is_deleted, length, mask_id)
