"""Text to token ids and back, byte for byte.

Owns the loaded vocabulary: encoding, decoding, the bytes of each token, the ids of special tokens. It does not know
prompts (prompts.py) nor how the vocabulary was chosen (vocabulary.py).

Two rules hold everywhere. Text is never normalised: an edit has to give back the bytes it did not touch, so a file in
decomposed Unicode stays decomposed. And text is only ever text: `<|fim_prefix|>` typed in a user's file becomes the
letters of that name, never the special token; layouts put special tokens in by id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from model_runtime.errors import CheckpointCorrupt, CheckpointMissing, RequestError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer

TOKENIZER_FILE = "tokenizer.json"

MASK_TOKEN = "<|mask|>"
DELETE_TOKEN = "<|delete|>"
INSERT_TOKEN = "<|insert|>"
ADDED_TOKENS = (MASK_TOKEN, DELETE_TOKEN, INSERT_TOKEN)
"""Tokens the base does not have: a hole in the canvas, and two edit marks."""


@lru_cache(maxsize=1)
def byte_symbols() -> tuple[str, ...]:
    """The printable character that stands for each byte in a byte-level BPE vocabulary (GPT-2's table)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    symbols = []
    num_remapped = 0
    for byte in range(256):
        if byte in printable:
            symbols.append(chr(byte))
        else:
            symbols.append(chr(256 + num_remapped))
            num_remapped += 1
    return tuple(symbols)


@lru_cache(maxsize=1)
def _symbol_bytes() -> dict[str, int]:
    return {symbol: byte for byte, symbol in enumerate(byte_symbols())}


def token_text_to_bytes(token: str) -> bytes:
    """The bytes a vocabulary entry stands for; KeyError if it is not written in byte symbols."""
    table = _symbol_bytes()
    return bytes(table[symbol] for symbol in token)


class Tokenizer:
    """A loaded vocabulary. Immutable after construction, safe to share between threads."""

    def __init__(self, fast: FastTokenizer) -> None:
        """`fast` is a byte-level BPE of the `tokenizers` library; CheckpointCorrupt if it is another kind."""
        fast.encode_special_tokens = True
        fast.normalizer = None
        self._fast = fast
        added = {int(token_id): token.content for token_id, token in fast.get_added_tokens_decoder().items()}
        vocab: dict[str, int] = fast.get_vocab(with_added_tokens=True)
        self._specials: Mapping[str, int] = {name: token_id for token_id, name in added.items()}
        self._special_ids = frozenset(added)
        self._bytes = _token_bytes_table(vocab, added)
        names = sorted(self._specials, key=len, reverse=True)
        self._special_pattern = re.compile("|".join(re.escape(name) for name in names) if names else r"(?!)")

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read `tokenizer.json` of a checkpoint folder, or the vocabulary inside a GGUF file."""
        from tokenizers import Tokenizer as FastTokenizer

        path = Path(folder)
        if path.suffix == ".gguf":
            return cls(FastTokenizer.from_str(_tokenizer_json_of_gguf(path)))
        if path.is_file():
            path = path.parent
        file = path / TOKENIZER_FILE
        if not file.is_file():
            if (text := _tokenizer_json_of_text_files(path)) is None:
                raise CheckpointMissing(f"no {TOKENIZER_FILE} in {path}")
            return cls(FastTokenizer.from_str(text))
        try:
            return cls(FastTokenizer.from_str(file.read_text(encoding="utf-8")))
        except CheckpointCorrupt:
            raise
        except Exception as error:  # the library raises bare Exception for any malformed file
            raise CheckpointCorrupt(f"{file} is not a readable tokenizer: {error}") from None

    @property
    def vocab_size(self) -> int:
        """One more than the highest id."""
        return len(self._bytes)

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """Name -> id of every special token."""
        return self._specials

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, special names taken literally; RequestError on a lone surrogate."""
        try:
            ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            offset = next((i for i, char in enumerate(text) if "\ud800" <= char <= "\udfff"), 0)
            raise RequestError(f"text has a lone surrogate at offset {offset}") from None
        return ids

    def encode_layout(self, text: str) -> list[int]:
        """Token ids of text we wrote ourselves, where special names mean the special tokens."""
        ids: list[int] = []
        start = 0
        for match in self._special_pattern.finditer(text):
            ids += self.encode(text[start : match.start()])
            ids.append(self._specials[match.group()])
            start = match.end()
        return ids + self.encode(text[start:])

    def decode(self, ids: Iterable[int]) -> str:
        """Text of the ids. Special tokens add nothing; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Bytes of the ids, exact even where a character is cut; special tokens add nothing."""
        table = self._bytes
        return b"".join(table[token_id] for token_id in ids)

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes of one token, b"" for a special one."""
        return self._bytes[token_id]

    def token_id(self, name: str) -> int | None:
        """Id of a special token such as `<|fim_prefix|>`, None if this vocabulary lacks it."""
        return self._specials.get(name)

    def is_special(self, token_id: int) -> bool:
        """True for tokens that stand for no text."""
        return token_id in self._special_ids


def _token_bytes_table(vocab: Mapping[str, int], added: Mapping[int, str]) -> tuple[bytes, ...]:
    table = [b""] * (max(vocab.values(), default=-1) + 1)
    for token, token_id in vocab.items():
        if token_id in added:
            continue
        try:
            table[token_id] = token_text_to_bytes(token)
        except KeyError:
            raise CheckpointCorrupt(f"vocabulary entry {token_id} ({token!r}) is not byte-level") from None
    missing = [byte for byte, symbol in enumerate(byte_symbols()) if symbol not in vocab]
    if missing:
        raise CheckpointCorrupt(f"vocabulary has no token for byte 0x{missing[0]:02x}: some text could not be encoded")
    return tuple(table)


def _tokenizer_json_of_gguf(path: Path) -> str:
    from model_runtime.gguf import GgufFile
    from model_runtime.vocabulary import base_vocabulary, tokenizer_json

    with GgufFile.open(path) as gguf:
        return tokenizer_json(base_vocabulary(gguf.tokenizer()))


def _tokenizer_json_of_text_files(folder: Path) -> str | None:
    from model_runtime.published_tokenizer import has_published_vocabulary, published_tokenizer_json

    return published_tokenizer_json(folder) if has_published_vocabulary(folder) else None
