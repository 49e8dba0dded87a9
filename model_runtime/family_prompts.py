"""Prompt layouts of the families: how a hole, an instruction or a chat is written as token ids.

Text goes through `Tokenizer.encode`, special tokens go in by id, as in `prompts.py`, whose layouts the Qwen-based
families share. Editor features ask for an infill or an edit and never know the family.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_runtime.api import CompletionRequest, EditRequest
from model_runtime.errors import CheckpointMismatch
from model_runtime.families.table import Family
from model_runtime.prompts import DEFAULT_SYSTEM, FENCE, infill_ids, opening_fence
from model_runtime.tokenizer import Tokenizer

MAX_PREFIX_TOKENS = 1536
MAX_SUFFIX_TOKENS = 512

_SYSTEM, _USER = "\0system", "\0user"
"""Places of the template that take text; no template has a zero byte."""

_CHATS: dict[str, tuple[str, ...]] = {
    "chatml": (
        "<|im_start|>system\n",
        _SYSTEM,
        "<|im_end|>\n<|im_start|>user\n",
        _USER,
        "<|im_end|>\n<|im_start|>assistant\n",
    ),
    "llada": (
        "<|startoftext|><|start_header_id|>system<|end_header_id|>\n\n",
        _SYSTEM,
        "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
        _USER,
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "llada2": (
        "<role>SYSTEM</role>",
        _SYSTEM,
        "\ndetailed thinking off<|role_end|><role>HUMAN</role>",
        _USER,
        "<|role_end|><role>ASSISTANT</role>",
    ),
    "seed": (
        "<[begin▁of▁sentence]>system\n",
        _SYSTEM,
        "<[end▁of▁sentence]><[begin▁of▁sentence]>user\n",
        _USER,
        "<[end▁of▁sentence]><[begin▁of▁sentence]>assistant\n",
    ),
}
_REQUIRED = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llada": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "llada2": ("<|role_end|>",),
    "seed": ("<[begin▁of▁sentence]>", "<[end▁of▁sentence]>"),
}


@dataclass(frozen=True, slots=True)
class FamilyPrompt:
    """What stands before the hole, and behind it where the family can see that."""

    before: list[int]
    after: list[int]
    is_hole: bool = False
    """The answer ends where the hole is full, not only at an end token."""


def family_infill(tokenizer: Tokenizer, family: Family, request: CompletionRequest) -> FamilyPrompt:
    """CheckpointMismatch naming a token this vocabulary lacks."""
    prefix = tokenizer.encode(request.prefix)[-MAX_PREFIX_TOKENS:]
    suffix = tokenizer.encode(request.suffix)[:MAX_SUFFIX_TOKENS]
    if family.infill == "qwen":
        return FamilyPrompt(infill_ids(tokenizer, prefix, suffix, path=request.path, snippets=request.snippets), [])
    if family.infill == "seed":
        first, second, third = (_id(tokenizer, f"<[fim-{part}]>") for part in ("suffix", "prefix", "middle"))
        return FamilyPrompt([first, *suffix, second, *prefix, third], [])
    before = _begin(tokenizer, family) + prefix or [_id(tokenizer, *family.end_tokens)]
    if family.infill == "prefix":
        return FamilyPrompt(before, [])
    # A model that finds the hole's length has learned holes in whole files, which end in an end token.
    end = [_id(tokenizer, *family.end_tokens)] if family.expand_token else []
    return FamilyPrompt(before, suffix + end, is_hole=True)


def family_chat(tokenizer: Tokenizer, family: Family, system: str, user: str, answer_start: str = "") -> FamilyPrompt:
    """One chat turn; CheckpointMismatch if the family has no chat layout or the vocabulary lacks its tokens."""
    if family.chat == "none":
        raise CheckpointMismatch(f"family {family.name!r} has no chat layout: use it for plain continuation")
    for name in _REQUIRED[family.chat]:
        _id(tokenizer, name)
    ids: list[int] = []
    for piece in _CHATS[family.chat]:
        if piece in (_SYSTEM, _USER):
            ids += tokenizer.encode(system if piece == _SYSTEM else user)
        else:
            ids += tokenizer.encode_layout(piece)
    return FamilyPrompt(ids + tokenizer.encode(answer_start), [])


def family_continuation(tokenizer: Tokenizer, family: Family, text: str) -> FamilyPrompt:
    """Plain text to be continued."""
    return FamilyPrompt(_begin(tokenizer, family) + tokenizer.encode(text), [])


def family_edit(
    tokenizer: Tokenizer, family: Family, code: str, request: EditRequest, fence_mark: str = FENCE
) -> FamilyPrompt:
    """Asks for `code` rewritten; the answer is the code, then a closing fence."""
    fence = opening_fence(request.language, fence_mark)
    problems = "".join(f"\n- {message}" for message in request.diagnostics)
    problems = f"\n\nReported problems:{problems}" if problems else ""
    user = f"{request.instruction.strip()}{problems}\n\n{fence}{code}\n{fence_mark}"
    return family_chat(tokenizer, family, DEFAULT_SYSTEM, user, answer_start=fence)


def _begin(tokenizer: Tokenizer, family: Family) -> list[int]:
    begin = None if family.begin_token is None else tokenizer.token_id(family.begin_token)
    return [] if begin is None else [begin]


def _id(tokenizer: Tokenizer, *names: str) -> int:
    for name in names:
        token_id = tokenizer.token_id(name)
        if token_id is not None:
            return token_id
    raise CheckpointMismatch(f"the vocabulary has no {' or '.join(names)} token: this layout cannot be written")
