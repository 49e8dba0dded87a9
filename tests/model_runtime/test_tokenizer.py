"""Any text survives encoding and decoding byte for byte, and special names typed by a user stay text."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_runtime.errors import CheckpointCorrupt, CheckpointMissing, RequestError
from model_runtime.tokenizer import ADDED_TOKENS, MASK_TOKEN, Tokenizer, byte_symbols, token_text_to_bytes
from tests.support.tiny_model import (
    QWEN_SPECIALS,
    tiny_base_vocabulary,
    tiny_vocabulary,
    write_tiny_checkpoint,
    write_tiny_gguf,
)

TEXTS = {
    "empty": "",
    "ascii": "def f(self):\n    return x\n",
    "no final newline": "x = 1",
    "crlf": "def f():\r\n\treturn 1\r\n",
    "tabs": "\t\tif x:\n\t\t\tprint()\n",
    "emoji": "print('👩‍💻 🏳️‍🌈')  # done ✅",
    "cjk": "# 注释：返回值\n名前 = '日本語'\n",
    "decomposed": unicodedata.normalize("NFD", "é à ñ ô"),
    "controls": "\x00\x07\x1b[0m\x7f\u2028\ufeff",
    "special names": "<|fim_prefix|><|mask|><|im_end|>",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tokenizer") / "tiny")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_round_trip(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)) == text.encode()
    assert not any(map(tokenizer.is_special, ids))


@given(st.text())
def test_any_text_round_trips(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_merges_are_used(tokenizer: Tokenizer) -> None:
    pieces = [tokenizer.token_bytes(token_id) for token_id in tokenizer.encode("    return self")]
    assert b"return" in pieces
    assert b"self" in pieces


def test_digits_stay_apart(tokenizer: Tokenizer) -> None:
    assert [tokenizer.token_bytes(token_id) for token_id in tokenizer.encode("2048")] == [b"2", b"0", b"4", b"8"]


def test_special_tokens(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.token_id(name) for name in (*QWEN_SPECIALS, *ADDED_TOKENS)]
    assert None not in ids
    assert len(set(ids)) == len(ids)
    assert tokenizer.token_id("<|nothing|>") is None
    mask = tokenizer.token_id(MASK_TOKEN)
    assert mask is not None
    assert tokenizer.is_special(mask)
    assert tokenizer.token_bytes(mask) == b""
    assert tokenizer.vocab_size == len(tiny_vocabulary())


def test_layout_text_holds_special_tokens(tokenizer: Tokenizer) -> None:
    prefix, middle = tokenizer.token_id("<|fim_prefix|>"), tokenizer.token_id("<|fim_middle|>")
    assert tokenizer.encode_layout("<|fim_prefix|>x<|fim_middle|>") == [prefix, *tokenizer.encode("x"), middle]
    assert tokenizer.encode_layout("plain") == tokenizer.encode("plain")


def test_decoding_a_cut_character(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("日")
    assert tokenizer.decode(ids[:2]) == "\ufffd"
    assert tokenizer.decode_bytes(ids[:2]) == "日".encode()[:2]


def test_lone_surrogate_is_refused_with_its_offset(tokenizer: Tokenizer) -> None:
    with pytest.raises(RequestError, match="offset 2"):
        tokenizer.encode("ab\ud83dcd")


def test_byte_symbols_are_a_bijection() -> None:
    assert len(set(byte_symbols())) == 256
    assert token_text_to_bytes("".join(byte_symbols())) == bytes(range(256))


def test_gguf_gives_the_same_ids(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from_gguf = Tokenizer.load(write_tiny_gguf(tmp_path / "tiny.gguf"))
    assert from_gguf.vocab_size == len(tiny_base_vocabulary())
    for text in TEXTS.values():
        assert from_gguf.encode(text) == tokenizer.encode(text)


def test_a_normaliser_in_the_file_is_not_applied(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text()) | {"normalizer": {"type": "NFC"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    text = TEXTS["decomposed"]
    assert Tokenizer.load(tmp_path).decode(Tokenizer.load(tmp_path).encode(text)) == text


def test_missing_and_corrupt(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMissing, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)
    text = (folder / "tokenizer.json").read_text()
    for damaged in ("", "{}", text[:200], text[:-50]):
        (tmp_path / "tokenizer.json").write_text(damaged)
        with pytest.raises(CheckpointCorrupt, match=r"tokenizer\.json"):
            Tokenizer.load(tmp_path)


def test_a_vocabulary_without_all_bytes_is_refused(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    del document["model"]["vocab"]["~"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointCorrupt, match="byte 0x7e"):
        Tokenizer.load(tmp_path)
