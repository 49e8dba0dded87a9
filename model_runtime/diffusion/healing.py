"""Token healing: a word half typed is written again from its first token, so that `pri|` can become `print`.

The tokens of a text that stops inside a word are not those of the whole word: behind `pr` + `i` the model has hardly
ever seen `nt`. So the prompt ends before the last piece that typing may still change, and the first tokens written are
held to the bytes already typed: each must begin with what is left of them, or be a part of it. Source of the idea:
token healing in Guidance (S. Lundberg 2023), here over several tokens and in parallel on the canvas.

Pure: token ids and bytes; what the ids' logits are is denoise.py's business.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from model_runtime.tokenizer import Tokenizer

MAX_TYPED_BYTES = 48
_NO_BYTES = b""


class TokenIndex:
    """The vocabulary in the order of its bytes: which tokens begin with some bytes, or are a beginning of them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        named = sorted(
            (tokenizer.token_bytes(token_id), token_id)
            for token_id in range(tokenizer.vocab_size)
            if tokenizer.token_bytes(token_id)
        )
        self._bytes = [each for each, _ in named]
        self._ids = [token_id for _, token_id in named]
        self.allowed = lru_cache(maxsize=256)(self._allowed)

    def _allowed(self, left: bytes) -> tuple[int, ...]:
        """Ids of the tokens that agree with `left` as far as both go."""
        end = _next_after(left)
        first = bisect_left(self._bytes, left)
        stop = bisect_left(self._bytes, end) if end is not None else len(self._bytes)
        ids = self._ids[first:stop]
        for length in range(1, len(left)):
            i = bisect_left(self._bytes, left[:length])
            while i < len(self._bytes) and self._bytes[i] == left[:length]:
                ids.append(self._ids[i])
                i += 1
        return tuple(ids)


class Healing:
    """What is left to write again of the bytes already typed."""

    def __init__(self, tokenizer: Tokenizer, index: TokenIndex, typed: bytes) -> None:
        self._tokenizer = tokenizer
        self._index = index
        self._left = typed

    @property
    def left(self) -> bytes:
        """Typed bytes that no committed token covers yet."""
        return self._left

    def commit(self, token_ids: Sequence[int]) -> None:
        """Tokens that are now part of the text."""
        for token_id in token_ids:
            if not self._left:
                return
            self._left = self._after(self._left, token_id)

    def allowed_rows(self, canvas: Sequence[int]) -> list[tuple[int, ...]]:
        """Ids allowed at the first rows, each behind the canvas guesses before it; free rows are left out.

        A guess that is not allowed itself is refused at its row, so what stands behind it does not matter.
        """
        rows: list[tuple[int, ...]] = []
        left = self._left
        for token_id in [*canvas, None]:
            if not left:
                break
            allowed = self._index.allowed(left)
            rows.append(allowed)
            if token_id is None or token_id not in allowed:
                break
            left = self._after(left, token_id)
        return rows

    def _after(self, left: bytes, token_id: int) -> bytes:
        return left[len(self._tokenizer.token_bytes(token_id)) :]


def split_typed(tokenizer: Tokenizer, prefix_ids: Sequence[int]) -> tuple[int, bytes]:
    """How many of a prefix's tokens stay, and the bytes of the others: a word the cursor is still in.

    Only behind a letter, a digit or an underscore; (all, b"") elsewhere and for words longer than MAX_TYPED_BYTES.
    """
    kept, typed = len(prefix_ids), _NO_BYTES
    while kept:
        token = tokenizer.token_bytes(prefix_ids[kept - 1])
        if not token or not _is_word(token[-1]):
            break
        typed = token + typed
        kept -= 1
        if len(typed) > MAX_TYPED_BYTES:
            return len(prefix_ids), _NO_BYTES
        if not _is_word(token[0]):
            break  # the token that begins the word, with the blank or the point before it
    return kept, typed


def _is_word(byte: int) -> bool:
    return byte >= 0x80 or byte == ord("_") or chr(byte).isalnum()


def _next_after(prefix: bytes) -> bytes | None:
    """The smallest byte string that is greater than all that begin with `prefix`; None if there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
