"""Pruning: closure under merges, unchanged segmentation, determinism, and the committed kept list."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer

from model_runtime.errors import CheckpointCorrupt, CheckpointMismatch, CheckpointMissing
from model_runtime.install import find_checkpoint
from model_runtime.manifest import load_manifest, manifest_names
from model_runtime.tokenizer import ADDED_TOKENS, Tokenizer, byte_symbols
from model_runtime.vocabulary import (
    BLANK,
    Vocabulary,
    add_word_forms,
    choose_kept_ids,
    close_under_merges,
    count_tokens,
    kept_digest,
    main,
    merge_parts,
    prune,
    read_kept_list,
    tokenizer_json,
    vocabulary_from_json,
    write_kept_list,
)
from tests.support.tiny_model import QWEN_SPECIALS, tiny_base_vocabulary, tiny_vocabulary, write_tiny_gguf

LETTERS = "aben "


def _random_base(seed: int, num_merges: int = 60) -> Vocabulary:
    """A vocabulary of merges learned by nobody: any two tokens may merge, one merge per token."""
    rng = random.Random(seed)
    symbols = list(byte_symbols())
    tokens = list(symbols)
    alive = [symbols[ord(letter)] for letter in LETTERS]
    merges = []
    while len(merges) < num_merges:
        left, right = rng.choice(alive), rng.choice(alive)
        if left + right not in tokens and len(left + right) < 12:
            merges.append((left, right))
            tokens.append(left + right)
            alive.append(left + right)
    return Vocabulary(tuple(tokens), tuple(merges), ("<|end|>", "<|fim|>"))


def _fast(vocabulary: Vocabulary) -> FastTokenizer:
    return FastTokenizer.from_str(tokenizer_json(vocabulary))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), num_extra=st.integers(0, 60), data=st.data())
def test_pruned_segmentation_is_the_full_one_when_all_its_tokens_are_kept(
    seed: int, num_extra: int, data: st.DataObject
) -> None:
    base = _random_base(seed)
    counts = {token_id: data.draw(st.integers(0, 5)) for token_id in range(256, len(base.tokens))}
    kept = choose_kept_ids(base, counts, 256 + len(base.specials) + num_extra)
    full, pruned = _fast(base), _fast(prune(base, kept))
    rows = {old: new for new, old in enumerate(kept)}
    for text in data.draw(st.lists(st.text(alphabet=LETTERS, max_size=40), min_size=5, max_size=5)):
        full_ids, pruned_ids = full.encode(text).ids, pruned.encode(text).ids
        if all(token_id in rows for token_id in full_ids):
            assert pruned_ids == [rows[token_id] for token_id in full_ids]
        assert Tokenizer(pruned).decode(pruned_ids) == text


@given(seed=st.integers(0, 10_000), num_kept=st.integers(258, 318))
@settings(deadline=None, max_examples=40)
def test_kept_ids_are_closed_and_hold_bytes_and_specials(seed: int, num_kept: int) -> None:
    base = _random_base(seed)
    rng = random.Random(seed)
    counts = {token_id: rng.randrange(9) for token_id in range(len(base.tokens))}
    kept = choose_kept_ids(base, counts, num_kept)
    assert len(kept) == num_kept
    assert kept == sorted(set(kept))
    assert close_under_merges(kept, merge_parts(base)) == set(kept)
    assert set(range(256)) <= set(kept)
    assert set(range(len(base.tokens), len(base))) <= set(kept)


def test_frequent_tokens_come_first_and_bring_their_halves() -> None:
    base = tiny_base_vocabulary()
    index = {token: token_id for token_id, token in enumerate(base.tokens)}
    kept = choose_kept_ids(base, {index["return"]: 5, index["self"]: 1}, 256 + len(base.specials) + 5)
    words = {base.tokens[token_id] for token_id in kept if 256 <= token_id < len(base.tokens)}
    # The fifth goes to the best-ranked token that fits: "self" would need two more.
    assert words == {"return", "retur", "tur", "re", "tu"}


def test_a_kept_word_brings_its_other_forms() -> None:
    """`item.price` is one token behind `item` to the base: without `.price` it would write another word."""
    halves = (("p", "r"), ("i", "c"), ("ic", "e"), ("pr", "ice"))
    forms = tuple((symbol, "price") for symbol in (BLANK, ".", "(", "_", "9", "x"))
    others = (("o", "f"), (".", "of"), ("of", "f"), (".", "off"))
    merges = (*halves, *forms, *others)
    tokens = (*byte_symbols(), *(left + right for left, right in merges))
    base = Vocabulary(tokens, merges, QWEN_SPECIALS)
    index = {token: token_id for token_id, token in enumerate(tokens)}
    chosen = choose_kept_ids(base, {index[f"{BLANK}price"]: 9}, 256 + len(QWEN_SPECIALS) + 5)
    kept = add_word_forms(base, chosen, multiple=1)
    words = {tokens[token_id] for token_id in kept if 256 <= token_id < len(tokens)}
    assert words == {"pr", "ic", "ice", "price", f"{BLANK}price", ".price", "(price", "_price"}
    assert close_under_merges(kept, merge_parts(base)) == set(kept)
    filled = add_word_forms(base, chosen, multiple=2)
    assert (len(filled) + len(ADDED_TOKENS)) % 2 == 0 and set(kept) <= set(filled)
    assert len(filled) - len(kept) < 2


@pytest.mark.model
def test_the_default_vocabulary_has_the_words_of_applications() -> None:
    """Names of domain objects, which libraries hardly use: each form one token, as the base writes it."""
    tokenizer = Tokenizer.load(find_checkpoint("coder-0.5b"))
    for text in (".price", ".println", ".player", ".users", ".cost", "_price", "(player", " inventory", ".balance"):
        assert len(tokenizer.encode(text)) == 1, text


def test_an_open_set_is_refused() -> None:
    base = tiny_base_vocabulary()
    without_half = [token_id for token_id in range(len(base)) if base.tokens[token_id : token_id + 1] != ("tu",)]
    with pytest.raises(CheckpointMismatch, match="not closed under merges"):
        prune(base, without_half)
    with pytest.raises(CheckpointMismatch, match="byte token"):
        prune(base, list(range(1, 200)))
    with pytest.raises(CheckpointMismatch, match="ascend"):
        prune(base, [3, 2])
    with pytest.raises(CheckpointMismatch, match="is not in a vocabulary"):
        prune(base, [*range(256), 99_999])


def test_added_tokens_come_last() -> None:
    pruned = prune(tiny_base_vocabulary(), range(len(tiny_base_vocabulary())))
    assert pruned == tiny_vocabulary()
    assert pruned.specials[-3:] == ADDED_TOKENS


def test_json_reads_back() -> None:
    vocabulary = tiny_vocabulary()
    assert vocabulary_from_json(tokenizer_json(vocabulary)) == vocabulary
    assert tokenizer_json(vocabulary) == tokenizer_json(tiny_vocabulary())
    for damaged in ("", "{}", "[]", '{"model": 3}'):
        with pytest.raises(CheckpointCorrupt, match="BPE"):
            vocabulary_from_json(damaged)


def test_counting_takes_special_names_as_text() -> None:
    counts = count_tokens(tiny_base_vocabulary(), ["return self", "<|endoftext|>"])
    assert counts[len(tiny_base_vocabulary().tokens)] == 0
    assert counts.total() == len("return self<|endoftext|>") - len("retur") - len("sel")


def test_kept_list_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "list.txt.xz"
    write_kept_list(file, [0, 5, 900])
    assert read_kept_list(file) == [0, 5, 900]
    with pytest.raises(CheckpointMissing, match="nothing"):
        read_kept_list(tmp_path / "nothing.xz")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointCorrupt, match=r"list\.txt\.xz"):
        read_kept_list(file)


def test_command_is_deterministic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write_tiny_gguf(tmp_path / "tiny.gguf")
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("def f(self):\n    return self\n" * 5)
    (source / "é.md").write_text("returns print\n")
    outs = [tmp_path / "1.xz", tmp_path / "2.xz"]
    rows = str(256 + len(tiny_base_vocabulary().specials) + len(ADDED_TOKENS) + 8)
    for out in outs:
        assert main(["--base", str(base), "--count", str(source), "--out", str(out), "--rows", rows]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    capsys.readouterr()
    assert main(["--base", str(base), "--measure", str(source), "--kept", str(outs[0])]) == 0
    assert "python: " in capsys.readouterr().out


def test_committed_list_is_the_one_the_manifests_name() -> None:
    """The list that ships: its digest, its size, and that it holds every byte and every special token of Qwen2.5."""
    for name in manifest_names():
        manifest = load_manifest(name)
        assert manifest.vocabulary_file is not None
        kept = read_kept_list(manifest.vocabulary_file)
        assert kept_digest(kept) == manifest.vocabulary_sha256
        assert len(kept) + len(ADDED_TOKENS) == 56_320
        assert set(range(256)) <= set(kept)
        assert set(range(151_643, 151_665)) <= set(kept)
        assert manifest.vocabulary_file.stat().st_size < 200_000


def test_counts_add_over_texts() -> None:
    parts = [count_tokens(tiny_base_vocabulary(), [text]) for text in ("def f():\n", "print(x)")]
    assert count_tokens(tiny_base_vocabulary(), ["def f():\n", "print(x)"]) == sum(parts, Counter())
