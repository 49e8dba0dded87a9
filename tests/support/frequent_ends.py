"""Makes a random model end often: a seventh of its tokens count as ends, and half of the ends are refused."""

from __future__ import annotations

import pytest

from model_runtime.diffusion.endings import BlockEndings
from model_runtime.tokenizer import Tokenizer


def end_often(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts of Python middles behind which an end was refused, in order, as it happens."""
    refused: list[str] = []

    def may_end(self: BlockEndings, middle: str) -> bool:
        if len(middle) % 2:
            refused.append(middle)
        return len(middle) % 2 == 0

    def ends(self: Tokenizer) -> dict[str, int]:
        return {f"<{token_id}>": token_id for token_id in range(0, self.vocab_size, 7)}

    monkeypatch.setattr(BlockEndings, "may_end", may_end)
    monkeypatch.setattr(Tokenizer, "is_special", lambda self, token_id: token_id % 7 == 0)
    monkeypatch.setattr(Tokenizer, "special_tokens", property(ends))
    return refused
