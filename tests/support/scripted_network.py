"""A network that answers edit prompts as a test says, through the real decoding loop: logits, cache, policies.

    model = scripted_model(lambda code: code.replace("old", "new"))
    for step in edit(model, EditRequest(text, "any instruction"), never_stop): ...

It reads the code from the prompt, and writes the rewritten code and the closing fence. Where it was made to go on
behind something else than it would have written, it goes on with the line that has the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from tokenizers import Tokenizer as FastTokenizer
from torch import Tensor

from model_runtime.cache.kv_cache import KeyValueCache
from model_runtime.diffusion.generate import Model
from model_runtime.tokenizer import Tokenizer
from model_runtime.vocabulary import tokenizer_json
from tests.support.tiny_model import tiny_vocabulary

Rewrite = Callable[[str], str]


@dataclass
class ScriptedNetwork:
    """Next-token "logits" of one at the token the script wants."""

    tokenizer: Tokenizer
    rewrite: Rewrite
    num_rows: int = 0
    """Rows evaluated behind prompts."""
    codes: list[str] = field(default_factory=list)
    """The code of every prompt, in order."""
    _targets: dict[tuple[int, ...], bytes] = field(default_factory=dict)

    has_denoiser = False

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def forward(
        self, token_ids: Tensor, cache: KeyValueCache, num_canvas: int = 0, *, is_prompt: bool = False
    ) -> Tensor:
        rows = token_ids.tolist()
        if is_prompt:
            return torch.zeros(len(rows), 1)
        self.num_rows += len(rows)
        before = list(cache.token_ids)
        wanted = [self._next([*before, *rows[: idx + 1]]) for idx in range(len(rows))]
        return torch.tensor(wanted, dtype=torch.float64)[:, None]  # (R, 1): "hidden" is the id itself

    def logits(self, hidden: Tensor) -> Tensor:
        logits = torch.zeros(hidden.shape[0], self.tokenizer.vocab_size)
        logits[torch.arange(hidden.shape[0]), hidden[:, 0].long()] = 9.0
        return logits

    def _next(self, ids: Sequence[int]) -> int:
        start = self.tokenizer.token_id("<|im_start|>")
        end = self.tokenizer.token_id("<|im_end|>")
        assert start is not None and end is not None
        if start not in ids:
            return end
        turn = len(ids) - ids[::-1].index(start)
        written = self.tokenizer.decode_bytes(ids[turn:])
        if not written.startswith(b"assistant\n") or written.count(b"\n") < 2:
            return end  # still inside the prompt: nobody asks
        _, fence, answer = written.split(b"\n", 2)
        return self._continue(self._target(tuple(ids[:turn]), fence.decode()), answer, end)

    def _continue(self, target: bytes, answer: bytes, end: int) -> int:
        if not target.startswith(answer):
            number, line = answer.count(b"\n"), answer.rsplit(b"\n", 1)[-1]
            rest = target.split(b"\n", number)[number:]
            if not rest:
                return end
            goes_on = rest[0].startswith(line)
            target = answer + (rest[0][len(line) :] if goes_on else b"\n" + rest[0].partition(b"\n")[2])
        left = target[len(answer) :]
        if not left:
            return end
        try:
            return self.tokenizer.encode(left.decode())[0]
        except UnicodeDecodeError:
            return self._byte_id(left[0])

    def _target(self, prompt: tuple[int, ...], fence: str) -> bytes:
        if prompt not in self._targets:
            text = self.tokenizer.decode(prompt)
            mark = fence[: len(fence) - len(fence.lstrip("`"))]
            code = text[text.index(f"{fence}\n") + len(fence) + 1 : text.rindex(f"\n{mark}")]
            self.codes.append(code)
            self._targets[prompt] = f"{self.rewrite(code)}\n{mark}".encode()
        return self._targets[prompt]

    def _byte_id(self, byte: int) -> int:
        """The token of one byte: the vocabulary starts with them."""
        return next(idx for idx in range(256) if self.tokenizer.token_bytes(idx) == bytes([byte]))


def scripted_model(rewrite: Rewrite, capacity: int = 4096) -> Model:
    """A model whose network is a `ScriptedNetwork`, over the tiny byte-level vocabulary."""
    tokenizer = Tokenizer(FastTokenizer.from_str(tokenizer_json(tiny_vocabulary())))
    cache = KeyValueCache(1, 1, 1, capacity, torch.float32, torch.device("cpu"))
    return Model(ScriptedNetwork(tokenizer, rewrite), cache, tokenizer, torch.tensor([], dtype=torch.long))
