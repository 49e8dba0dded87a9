"""Layouts of the Qwen2.5-Coder family: how a hole, an instruction or a chat is written as token ids.

Shared by decoding and training, so that both see the same thing. Text goes through `Tokenizer.encode`, special tokens
go in by id: nothing a user types can become one. It does not know caches or policies.

    infill, prefix first   <|fim_prefix|> P <|fim_suffix|> S <|fim_middle|>  M <|endoftext|>
    infill, suffix first   <|fim_suffix|> S <|fim_prefix|> P <|fim_middle|>  M <|endoftext|>
    with other files       <|repo_name|> workspace \\n (<|file_sep|> path \\n text)*  <|file_sep|> path \\n  before it
    chat                   <|im_start|> role \\n text <|im_end|> \\n ...  <|im_start|> assistant \\n
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from model_runtime.api import Snippet
from model_runtime.errors import CheckpointMismatch
from model_runtime.tokenizer import Tokenizer

InfillLayout = Literal["prefix-first", "suffix-first"]

END_OF_TEXT = "<|endoftext|>"
FENCE = "```"

DEFAULT_SYSTEM = "You edit code. Reply with the complete edited code only."
GENERATE_SYSTEM = "You are an intelligent programming assistant."

_LANGUAGE_NAMES = {"javascriptreact": "jsx", "typescriptreact": "tsx", "shellscript": "bash", "csharp": "cs"}


@dataclass(frozen=True, slots=True)
class Specials:
    """Ids of the special tokens the layouts need."""

    end_of_text: int
    im_start: int
    im_end: int
    fim_prefix: int
    fim_middle: int
    fim_suffix: int
    repo_name: int
    file_sep: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Specials:
        """CheckpointMismatch naming a token this vocabulary lacks."""
        return cls(
            end_of_text=_required(tokenizer, END_OF_TEXT),
            im_start=_required(tokenizer, "<|im_start|>"),
            im_end=_required(tokenizer, "<|im_end|>"),
            fim_prefix=_required(tokenizer, "<|fim_prefix|>"),
            fim_middle=_required(tokenizer, "<|fim_middle|>"),
            fim_suffix=_required(tokenizer, "<|fim_suffix|>"),
            repo_name=_required(tokenizer, "<|repo_name|>"),
            file_sep=_required(tokenizer, "<|file_sep|>"),
        )


def infill_ids(
    tokenizer: Tokenizer,
    prefix_ids: Sequence[int],
    suffix_ids: Sequence[int],
    *,
    layout: InfillLayout = "prefix-first",
    path: str | None = None,
    snippets: Sequence[Snippet] = (),
) -> list[int]:
    """Prompt of a hole between two encoded texts; the model's answer is the middle, then `<|endoftext|>`."""
    special = Specials.of(tokenizer)
    ids: list[int] = []
    if snippets:
        ids += [special.repo_name, *tokenizer.encode("workspace\n")]
        for snippet in snippets:
            ids += [special.file_sep, *tokenizer.encode(f"{snippet.path}\n{snippet.text}\n")]
        ids += [special.file_sep, *tokenizer.encode(f"{path or 'untitled'}\n")]
    before = [special.fim_prefix, *prefix_ids]
    after = [special.fim_suffix, *suffix_ids]
    ids += before + after if layout == "prefix-first" else after + before
    return [*ids, special.fim_middle]


def chat_ids(tokenizer: Tokenizer, system: str, user: str, answer_start: str = "") -> list[int]:
    """Prompt of one chat turn; `answer_start` is put into the assistant's mouth."""
    special = Specials.of(tokenizer)
    ids: list[int] = []
    for role, text in (("system", system), ("user", user)):
        ids += [special.im_start, *tokenizer.encode(f"{role}\n{text}"), special.im_end, *tokenizer.encode("\n")]
    return [*ids, special.im_start, *tokenizer.encode(f"assistant\n{answer_start}")]


def edit_ids(
    tokenizer: Tokenizer,
    code: str,
    instruction: str,
    *,
    language: str | None = None,
    diagnostics: Sequence[str] = (),
    fence_mark: str = FENCE,
) -> list[int]:
    """Prompt that asks for `code` rewritten; the answer is the code, then a closing fence."""
    fence = opening_fence(language, fence_mark)
    problems = "".join(f"\n- {message}" for message in diagnostics)
    problems = f"\n\nReported problems:{problems}" if problems else ""
    user = f"{instruction.strip()}{problems}\n\n{fence}{code}\n{fence_mark}"
    return chat_ids(tokenizer, DEFAULT_SYSTEM, user, answer_start=fence)


def fence_for(code: str) -> str:
    """A fence that no line of the code closes."""
    longest = max((len(match) for match in re.findall(r"^`{3,}", code, re.MULTILINE)), default=len(FENCE) - 1)
    return "`" * (longest + 1)


def opening_fence(language: str | None, fence_mark: str = FENCE) -> str:
    """The fence line that opens a code block of an LSP language id."""
    return f"{fence_mark}{_LANGUAGE_NAMES.get(language or '', language or '')}\n"


def _required(tokenizer: Tokenizer, name: str) -> int:
    token_id = tokenizer.token_id(name)
    if token_id is None:
        raise CheckpointMismatch(f"the vocabulary has no {name} token: this layout cannot be written")
    return token_id
