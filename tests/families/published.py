"""Tiny checkpoints in the published layout of each family, from `data/`, with a vocabulary to match.

Each folder of `data/` holds the configuration and sharded weights (bfloat16; CoDA's float32) as they are published,
and what that code computed from them: `reference.safetensors` (logits), `reference.json` (greedy samples and where
they come from). The weights are random. Tokenizers are made here: bytes and a few merges, special tokens by family.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from model_runtime.checkpoint import open_checkpoint
from model_runtime.config import RuntimeConfig
from model_runtime.family_loading import load_family_network
from model_runtime.models.decoder import Decoder
from model_runtime.vocabulary import Vocabulary, tokenizer_json
from tests.support.tiny_model import QWEN_SPECIALS, TINY_MERGES, tiny_vocabulary

DATA = Path(__file__).parent / "data"

MASK_ID = 286
EXPAND_ID = 287
END_ID = 277

CHECKPOINTS = {
    "a2d-llama": "a2d-bd3lm",
    "a2d-qwen2": "a2d-mdlm",
    "a2d-qwen3": "a2d-bd3lm",
    "coda": "coda",
    "dream": "dream",
    "dream-reasoner": "dream-reasoner",
    "dreamon": "dreamon",
    "fast-dllm-v2": "fast-dllm-v2",
    "llada": "llada",
    "llada2": "llada2",
    "llama": "llama",
    "open-dcoder": "open-dcoder",
    "qwen3": "qwen3",
    "sdar": "sdar",
    "stable-diffcoder": "stable-diffcoder",
    "wedlm-qwen2": "wedlm",
    "wedlm-qwen3": "wedlm",
}
"""Folder of `data/` -> family it is loaded as."""

_MASK_NAMES = {
    "fast-dllm-v2": "|<MASK>|",
    "llada": "<|mdm_mask|>",
    "open-dcoder": "<M>",
    "sdar": "<|MASK|>",
    "stable-diffcoder": "<[MASK_TOKEN]>",
}
_SEED_SPECIALS = (
    "<[end▁of▁sentence]>", "<[begin▁of▁sentence]>", "<[PAD▁TOKEN]>", "<[fim-prefix]>", "<[fim-middle]>",
    "<[fim-suffix]>", "<[reserved0]>", "<[reserved1]>", "<[reserved2]>",
)  # fmt: skip
_LLADA_SPECIALS = (
    "<|endoftext|>", "<|startoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|reserved0|>", "<|reserved1|>", "<|reserved2|>", "<|reserved3|>",
)  # fmt: skip
_LLADA2_SPECIALS = (
    "<|endoftext|>", "<|startoftext|>", "<|role_end|>", "<role>", "</role>",
    "<|reserved0|>", "<|reserved1|>", "<|reserved2|>", "<|reserved3|>",
)  # fmt: skip
_SPECIALS = {"llada": _LLADA_SPECIALS, "llada2": _LLADA2_SPECIALS, "stable-diffcoder": _SEED_SPECIALS}


def vocabulary_of(name: str) -> Vocabulary:
    """277 ordinary tokens, nine special ones, the mask token of the family as id 286, DreamOn's expansion behind it."""
    specials = (*_SPECIALS.get(name, QWEN_SPECIALS), _MASK_NAMES.get(name, "<|mask|>"))
    if name in ("llama", "qwen3"):
        specials = specials[:-1]
    if name == "dreamon":
        specials = (*specials, "<|expand|>")
    return Vocabulary(tiny_vocabulary().tokens, TINY_MERGES, specials)


def write_published(name: str, parent: Path, **changes: Any) -> Path:
    """Copy a checkpoint of `data/` with its tokenizer into a folder named as a user's would be; change config keys."""
    folder = parent / f"tiny-{name}-{CHECKPOINTS[name].removeprefix('a2d-')}"
    shutil.copytree(DATA / name, folder)
    for file in folder.glob("reference.*"):
        file.unlink()
    (folder / "tokenizer.json").write_text(tokenizer_json(vocabulary_of(name)), encoding="utf-8")
    if changes:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        raw = {key: value for key, value in (raw | changes).items() if value is not None}
        (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    return folder


def load_published(folder: Path, *, precision: str = "float32", cache_tokens: int = 128) -> Decoder:
    """The network of a checkpoint on the CPU."""
    config = RuntimeConfig(device="cpu", precision=precision, cache_tokens=cache_tokens)  # type: ignore[arg-type]
    with open_checkpoint(folder) as checkpoint:
        return load_family_network(checkpoint, config)[0]


def reference_tensors(name: str) -> dict[str, torch.Tensor]:
    """What the published code computed: `<case>.ids` (T,) and `<case>.logits` (T, vocabulary)."""
    return load_file(DATA / name / "reference.safetensors")


def reference_samples(name: str) -> dict[str, dict[str, Any]]:
    """Greedy samples of the published sampler, by a name that says how they were drawn."""
    return json.loads((DATA / name / "reference.json").read_text(encoding="utf-8"))["samples"]
