"""The family table: attention, logit shift, mask token, block size, tensor names, decode defaults, prompt layouts.

Each row says what the published code of the family does; `docs/models.md` names the source of every value. Ids are
the last resort: a checkpoint's own `config.json` and vocabulary come first (`mask.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Attention = Literal["causal", "full", "block-causal", "reordered"]
"""`causal`: autoregressive. `full`: every row sees every row. `block-causal`: a row sees its block and those before.
`reordered`: causal, the known tokens of a block placed before its masks, positions kept (WeDLM)."""

Order = Literal["confidence", "entropy"]
"""Which masked position is surest: the largest probability, or the smallest entropy."""

Schedule = Literal["one", "even", "spread", "linear"]
"""How many positions a step commits at least. `one`. `even`: the block's masks over the steps, what is left over in the
first ones. `spread`: the masks that are left over the steps that are left, rounded. `linear`: the share of the masks
that a noise schedule falling from 1 to `Decode.epsilon` removes."""

Names = Literal["llama", "llada", "llada2"]
Chat = Literal["chatml", "llada", "llada2", "seed", "none"]
Infill = Literal["canvas", "qwen", "seed", "prefix"]
"""`canvas`: masks between prefix and suffix. `qwen`, `seed`: the vocabulary's own infilling tokens, since the
attention cannot look ahead. `prefix`: continue the prefix, the suffix is not seen."""


@dataclass(frozen=True, slots=True)
class Decode:
    """How a family is decoded when the request does not say otherwise."""

    order: Order = "confidence"
    schedule: Schedule = "one"
    threshold: float = 0.9
    """`fast`: positions whose probability is above it are committed together."""
    block_size: int = 32
    """Positions denoised before the next ones are looked at; a block-causal model's `config.json` may say another."""
    sub_block: int | None = None
    """Positions of a block that are committed before the next ones of it (Fast-dLLM v2)."""
    edit_threshold: float | None = None
    """A committed token of the block is replaced when another is surer than this (LLaDA2.1)."""
    max_edit_steps: int = 16
    epsilon: float = 1e-3
    first_canvas: int = 32
    """Masks of an infill whose length is unknown."""


@dataclass(frozen=True, slots=True)
class Family:
    """One row of the table."""

    name: str
    model_types: tuple[str, ...]
    attention: Attention
    shift: bool
    """True where the row *before* a position predicts it, as in the autoregressive base."""
    names: Names = "llama"
    architectures: tuple[str, ...] = ()
    """Narrows `model_types` where several families share one."""
    marker_tokens: tuple[str, ...] = ()
    """Special tokens that only this family's vocabulary has, where the configuration does not tell."""
    name_hints: tuple[str, ...] = ()
    """Parts of a folder's or repository's name, where neither tells."""
    mask_tokens: tuple[str, ...] = ()
    mask_token_id: int | None = None
    """The published id."""
    blocks_from_prompt: bool = False
    """Blocks are counted from the end of the prompt instead of from the start of the sequence."""
    block_keys: tuple[str, ...] = ()
    """Keys of `config.json` with the trained block size."""
    qkv_bias: bool = False
    qk_norm: bool = False
    end_tokens: tuple[str, ...] = ("<|endoftext|>", "<|im_end|>")
    begin_token: str | None = None
    """Opens a sequence, where the vocabulary has it."""
    expand_token: str | None = None
    """Stands for two masks (DreamOn); with it an end token inside the hole removes a position."""
    chat: Chat = "chatml"
    infill: Infill = "canvas"
    decode: Decode = field(default_factory=Decode)
    repositories: tuple[str, ...] = ()
    """On the Hugging Face hub."""
    licence: str = ""

    @property
    def is_diffusion(self) -> bool:
        """False for the autoregressive bases."""
        return self.attention != "causal"


FAMILIES: tuple[Family, ...] = (
    Family("qwen2", ("qwen2",), "causal", True, qkv_bias=True, infill="qwen", licence="Apache-2.0"),
    Family("qwen3", ("qwen3",), "causal", True, qk_norm=True, infill="qwen", licence="Apache-2.0"),
    Family("llama", ("llama",), "causal", True, chat="none", infill="prefix", end_tokens=(), licence="the model's"),
    Family(
        "dream",
        ("Dream",),
        "full",
        True,
        architectures=("DreamModel",),
        mask_tokens=("<|mask|>",),
        mask_token_id=151666,
        qkv_bias=True,
        decode=Decode(order="entropy", schedule="linear"),
        repositories=(
            "Dream-org/Dream-v0-Base-7B",
            "Dream-org/Dream-v0-Instruct-7B",
            "Dream-org/Dream-Coder-v0-Base-7B",
            "Dream-org/Dream-Coder-v0-Instruct-7B",
        ),
        licence="Apache-2.0 (code; weights: see the card)",
    ),
    Family(
        "dreamon",
        ("Dream",),
        "full",
        True,
        architectures=("DreamModel",),
        marker_tokens=("<|expand|>",),
        name_hints=("dreamon",),
        mask_tokens=("<|mask|>",),
        mask_token_id=151666,
        begin_token="<|beginoftext|>",
        expand_token="<|expand|>",
        qkv_bias=True,
        decode=Decode(order="entropy", schedule="one", first_canvas=4),
        repositories=("Dream-org/DreamOn-v0-7B",),
        licence="Apache-2.0 (code; weights: see the card)",
    ),
    Family(
        "diffucoder",
        ("Dream",),
        "full",
        True,
        architectures=("DreamModel",),
        name_hints=("diffucoder",),
        mask_tokens=("<|mask|>",),
        mask_token_id=151666,
        qkv_bias=True,
        decode=Decode(order="entropy", schedule="linear"),
        repositories=("apple/DiffuCoder-7B-Base", "apple/DiffuCoder-7B-Instruct", "apple/DiffuCoder-7B-cpGRPO"),
        licence="Apple (see the card)",
    ),
    Family(
        "dream-reasoner",
        ("Dream",),
        "block-causal",
        False,
        architectures=("DreamForCausalLM",),
        mask_tokens=("<|mask|>", "<|MASK|>"),
        mask_token_id=151669,
        block_keys=("block_size",),
        qk_norm=True,
        infill="qwen",
        repositories=("Dream-org/DreamReasoner-8B", "Dream-org/DreamReasoner-8B-Base"),
        licence="Apache-2.0",
    ),
    Family(
        "open-dcoder",
        ("qwen2",),
        "full",
        True,
        marker_tokens=("<M>",),
        name_hints=("open-dcoder", "open_dcoder"),
        mask_tokens=("<M>",),
        mask_token_id=151665,
        qkv_bias=True,
        decode=Decode(order="entropy", schedule="linear"),
        repositories=("fredzzp/open-dcoder-0.5B",),
        licence="Apache-2.0 (code; weights: see the card)",
    ),
    Family(
        "a2d-mdlm",
        ("a2d-qwen2", "a2d-qwen3", "a2d-llama"),
        "full",
        False,
        name_hints=("mdlm",),
        mask_tokens=("<|mask|>",),
        decode=Decode(schedule="spread"),
        repositories=(
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1",
            "dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1",
        ),
        licence="Apache-2.0",
    ),
    Family(
        "a2d-bd3lm",
        ("a2d-qwen2", "a2d-qwen3", "a2d-llama"),
        "block-causal",
        False,
        name_hints=("bd3lm",),
        mask_tokens=("<|mask|>",),
        blocks_from_prompt=True,
        infill="qwen",
        decode=Decode(schedule="spread"),
        repositories=(
            "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-bd3lm-v0.1",
            "dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1",
        ),
        licence="Apache-2.0",
    ),
    Family(
        "fast-dllm-v2",
        ("Fast_dLLM_Qwen",),
        "block-causal",
        True,
        mask_tokens=("|<MASK>|",),
        mask_token_id=151665,
        block_keys=("bd_size",),
        qkv_bias=True,
        infill="qwen",
        decode=Decode(threshold=0.95, sub_block=8),
        repositories=("Efficient-Large-Model/Fast_dLLM_v2_1.5B", "Efficient-Large-Model/Fast_dLLM_v2_7B"),
        licence="Apache-2.0",
    ),
    Family(
        "wedlm",
        ("wedlm",),
        "reordered",
        False,
        mask_token_id=151665,
        mask_tokens=("<|mask|>", "<|MASK|>"),
        infill="qwen",
        decode=Decode(block_size=16),
        repositories=("tencent/WeDLM-7B-Instruct", "tencent/WeDLM-8B-Instruct"),
        licence="Apache-2.0",
    ),
    Family(
        "sdar",
        ("sdar",),
        "block-causal",
        False,
        mask_tokens=("<|MASK|>", "<MASK>"),
        mask_token_id=151669,
        block_keys=("block_size",),
        qk_norm=True,
        infill="qwen",
        decode=Decode(schedule="even", threshold=0.85, block_size=4),
        repositories=("JetLM/SDAR-1.7B-Chat", "JetLM/SDAR-4B-Chat", "JetLM/SDAR-8B-Chat"),
        licence="MIT",
    ),
    Family(
        "coda",
        ("CoDA",),
        "full",
        True,
        mask_tokens=("<|mask|>",),
        mask_token_id=151669,
        qk_norm=True,
        decode=Decode(order="entropy", schedule="linear"),
        repositories=("Salesforce/CoDA-v0-Base", "Salesforce/CoDA-v0-Instruct"),
        licence="CC-BY-NC-4.0",
    ),
    Family(
        "stable-diffcoder",
        ("llama",),
        "block-causal",
        False,
        architectures=("StableDiffcoderForCausalLM", "SeedDiffcoderForCausalLM"),
        name_hints=("stable-diffcoder", "stable_diffcoder"),
        mask_tokens=("<[MASK_TOKEN]>",),
        mask_token_id=5,
        end_tokens=("<[end▁of▁sentence]>",),
        chat="seed",
        infill="seed",
        decode=Decode(threshold=0.95, block_size=4),
        repositories=("ByteDance-Seed/Stable-DiffCoder-8B-Base", "ByteDance-Seed/Stable-DiffCoder-8B-Instruct"),
        licence="MIT",
    ),
    Family(
        "llada",
        ("llada",),
        "full",
        False,
        names="llada",
        mask_tokens=("<|mdm_mask|>",),
        mask_token_id=126336,
        begin_token="<|startoftext|>",
        end_tokens=("<|endoftext|>", "<|eot_id|>"),
        chat="llada",
        decode=Decode(schedule="even"),
        repositories=("GSAI-ML/LLaDA-8B-Base", "GSAI-ML/LLaDA-8B-Instruct", "GSAI-ML/LLaDA-1.5"),
        licence="MIT",
    ),
    Family(
        "llada2",
        ("llada2_moe",),
        "block-causal",
        False,
        names="llada2",
        mask_tokens=("<|mask|>",),
        mask_token_id=156895,
        end_tokens=("<|endoftext|>", "<|role_end|>"),
        chat="llada2",
        infill="prefix",
        decode=Decode(threshold=0.95),
        repositories=("inclusionAI/LLaDA2.0-mini",),
        licence="Apache-2.0",
    ),
    Family(
        "llada2.1",
        ("llada2_moe", "llada21_moe"),
        "block-causal",
        False,
        names="llada2",
        name_hints=("llada2.1", "llada21"),
        mask_tokens=("<|mask|>",),
        mask_token_id=156895,
        end_tokens=("<|endoftext|>", "<|role_end|>"),
        chat="llada2",
        infill="prefix",
        decode=Decode(threshold=0.95, edit_threshold=0.9),
        repositories=("inclusionAI/LLaDA2.1-mini",),
        licence="Apache-2.0",
    ),
)

_BY_NAME = {family.name: family for family in FAMILIES}


def family_names() -> list[str]:
    """Every family, in table order."""
    return list(_BY_NAME)


def family_by_name(name: str) -> Family | None:
    """The row of that name, None if there is none."""
    return _BY_NAME.get(name)
