"""Which tokens of the base vocabulary are kept, and the tokenizer built from them.

Owns: choosing kept ids from counts (of files an id occurs in), the closure under BPE merges, the committed list of kept
ids, the tokenizer JSON.
It does not know weights (conversion.py gathers the rows) nor where text comes from (corpus.py reads archives).

Why pruning is safe: every id is made by exactly one merge, so its derivation is unique. A kept set that holds all
bytes and, with a token, both halves of its merge therefore holds everything BPE goes through on the way to that
token; the remaining merges keep their order; so text whose full segmentation uses kept tokens only is segmented the
same, and any other text falls back to smaller kept pieces, at worst single bytes.

    python -m model_runtime.vocabulary --base BASE.gguf --count PATHS... --out models/vocabulary/qwen2-code.txt.xz
    python -m model_runtime.vocabulary --base BASE.gguf --add-forms KEPT --out models/vocabulary/qwen2-code.txt.xz
    python -m model_runtime.vocabulary --base BASE.gguf --measure PATHS... --kept models/vocabulary/qwen2-code.txt.xz
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_runtime.errors import CheckpointCorrupt, CheckpointMismatch, CheckpointMissing
from model_runtime.tokenizer import ADDED_TOKENS, byte_symbols

if TYPE_CHECKING:
    from model_runtime.gguf import GgufTokenizer

ROWS_MULTIPLE = 1024
"""Embedding rows come in whole multiples of this, added tokens included."""

BLANK = "\u0120"
"""The byte symbol of a space."""

# Words with their leading space, each digit alone, punctuation with trailing newlines: the base's own splitter.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A byte-level BPE vocabulary: ordinary tokens from id 0, then the special tokens."""

    tokens: tuple[str, ...]
    """Ordinary tokens in byte symbols; the index is the id."""
    merges: tuple[tuple[str, str], ...]
    """Best first."""
    specials: tuple[str, ...]
    """Special token names; the first has id `len(tokens)`."""

    def __len__(self) -> int:
        return len(self.tokens) + len(self.specials)


def base_vocabulary(raw: GgufTokenizer) -> Vocabulary:
    """Read a GGUF's vocabulary; the padding rows at its end are left out."""
    num_ordinary = next((i for i, kind in enumerate(raw.token_types) if kind != 1), len(raw.tokens))
    kinds = raw.token_types[num_ordinary:]
    num_special = next((i for i, kind in enumerate(kinds) if kind not in (3, 4)), len(kinds))
    if any(kind != 5 for kind in kinds[num_special:]):
        raise CheckpointMismatch("the vocabulary mixes ordinary and special tokens: only Qwen2's order is known")
    merges = []
    for rank, merge in enumerate(raw.merges):
        left, _, right = merge.partition(" ")
        if not left or not right:
            raise CheckpointCorrupt(f"merge {rank} is {merge!r}, not two tokens")
        merges.append((left, right))
    specials = tuple(raw.tokens[num_ordinary : num_ordinary + num_special])
    return Vocabulary(tuple(raw.tokens[:num_ordinary]), tuple(merges), specials)


def merge_parts(vocabulary: Vocabulary) -> dict[int, tuple[int, int]]:
    """Id of each merged token -> ids of its two halves; CheckpointCorrupt if a merge names an unknown token."""
    index = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
    parts: dict[int, tuple[int, int]] = {}
    for left, right in vocabulary.merges:
        try:
            parts.setdefault(index[left + right], (index[left], index[right]))
        except KeyError as missing:
            raise CheckpointCorrupt(f"merge {left!r} {right!r} needs the token {missing.args[0]!r}") from None
    return parts


def close_under_merges(ids: Iterable[int], parts: Mapping[int, tuple[int, int]]) -> set[int]:
    """The ids with everything their merges are made of, recursively."""
    closed: set[int] = set()
    pending = list(ids)
    while pending:
        token_id = pending.pop()
        if token_id not in closed:
            closed.add(token_id)
            pending += parts.get(token_id, ())
    return closed


def choose_kept_ids(vocabulary: Vocabulary, counts: Mapping[int, int], num_kept: int) -> list[int]:
    """The `num_kept` ids to keep, ascending: bytes, specials, then the most frequent with their halves.

    Ties go to the lower id, which is the earlier merge, so the choice depends on nothing but the counts.
    """
    parts = merge_parts(vocabulary)
    index = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
    kept = {index[symbol] for symbol in byte_symbols()}
    kept |= set(range(len(vocabulary.tokens), len(vocabulary)))
    ranked = sorted(range(len(vocabulary.tokens)), key=lambda token_id: (-counts.get(token_id, 0), token_id))
    for token_id in ranked:
        if token_id in kept:
            continue
        new = close_under_merges([token_id], parts) - kept
        if len(kept) + len(new) <= num_kept:
            kept |= new
        if len(kept) == num_kept:
            break
    return sorted(kept)


def add_word_forms(vocabulary: Vocabulary, kept_ids: Sequence[int], multiple: int = ROWS_MULTIPLE) -> list[int]:
    """The kept ids with the other forms of every kept word, ascending, filled up to a whole `multiple` of rows.

    A word is ASCII letters, with or without the blank before it; its forms are the bare word, the word behind a blank
    and behind one symbol (`.price`, `(price`, `_price`). The base writes a form it knows as one token: without that row
    it does not fall back to `.` and `price` but to another word, `item price` for `item.price`. Whether a corpus of
    libraries uses a domain's words as attributes says little about the code of an application that does.

    Filled with the lowest ids still missing, the earliest merges, so that rows divide evenly for matrix products.
    """
    parts = merge_parts(vocabulary)
    num_ordinary = len(vocabulary.tokens)
    stems = {vocabulary.tokens[token_id].removeprefix(BLANK) for token_id in kept_ids if token_id < num_ordinary}
    words = {stem for stem in stems if len(stem) > 1 and stem.isascii() and stem.isalpha()}
    forms = [
        token_id
        for token_id, token in enumerate(vocabulary.tokens)
        if token in words or (token[1:] in words and (token[0] == BLANK or not token[0].isalnum()))
    ]
    kept = set(kept_ids) | close_under_merges(forms, parts)
    num_rows = -(-(len(kept) + len(ADDED_TOKENS)) // multiple) * multiple
    for token_id in range(num_ordinary):
        new = close_under_merges([token_id], parts) - kept
        if len(kept) + len(new) <= num_rows - len(ADDED_TOKENS):
            kept |= new
    return sorted(kept)


def prune(vocabulary: Vocabulary, kept_ids: Sequence[int], added: Sequence[str] = ADDED_TOKENS) -> Vocabulary:
    """The vocabulary of the kept ids in their old order, then `added`; CheckpointMismatch if the set is not closed."""
    kept = set(kept_ids)
    if list(kept_ids) != sorted(kept):
        raise CheckpointMismatch("kept ids must ascend without repeats")
    if kept and not 0 <= min(kept) <= max(kept) < len(vocabulary):
        raise CheckpointMismatch(f"kept id {max(kept)} is not in a vocabulary of {len(vocabulary)}")
    if missing := close_under_merges(kept, merge_parts(vocabulary)) - kept:
        raise CheckpointMismatch(f"kept ids are not closed under merges: {min(missing)} is missing")
    num_ordinary = len(vocabulary.tokens)
    tokens = tuple(vocabulary.tokens[token_id] for token_id in kept_ids if token_id < num_ordinary)
    if absent := set(byte_symbols()) - set(tokens):
        raise CheckpointMismatch(f"kept ids lack the byte token {min(absent)!r}")
    alive = set(tokens)
    merges = tuple(pair for pair in vocabulary.merges if pair[0] + pair[1] in alive)
    specials = tuple(vocabulary.specials[token_id - num_ordinary] for token_id in kept_ids if token_id >= num_ordinary)
    return Vocabulary(tokens, merges, (*specials, *added))


def tokenizer_json(vocabulary: Vocabulary) -> str:
    """The vocabulary as a `tokenizers` JSON document: deterministic text, no normaliser (see tokenizer.py)."""
    num_ordinary = len(vocabulary.tokens)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated", "invert": False}
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": num_ordinary + i,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, name in enumerate(vocabulary.specials)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: token_id for token_id, token in enumerate(vocabulary.tokens)},
            "merges": [list(pair) for pair in vocabulary.merges],
        },
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def vocabulary_from_json(text: str) -> Vocabulary:
    """Read a `tokenizers` JSON of a byte-level BPE with its special tokens last (the normaliser is dropped)."""
    try:
        document = json.loads(text)
        model = document["model"]
        vocab: dict[str, int] = model["vocab"]
        # Older files write a merge as "left right", newer ones as a pair.
        pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
        merges = tuple((str(left), str(right)) for left, right in pairs)
        specials = {int(token["id"]): str(token["content"]) for token in document["added_tokens"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointCorrupt(f"not a readable BPE tokenizer: {error!r}") from None
    tokens = sorted((token for token in vocab if vocab[token] not in specials), key=vocab.__getitem__)
    ids = [*(vocab[token] for token in tokens), *sorted(specials)]
    if ids != list(range(len(ids))):
        raise CheckpointMismatch("ids of the tokenizer are not bytes and merges first, special tokens last")
    return Vocabulary(tuple(tokens), merges, tuple(specials[token_id] for token_id in sorted(specials)))


def count_tokens(vocabulary: Vocabulary, texts: Iterable[str]) -> Counter[int]:
    """How often each id occurs when the texts are encoded."""
    counts: Counter[int] = Counter()
    for ids in _encoded(vocabulary, texts):
        counts.update(ids)
    return counts


def count_documents(vocabulary: Vocabulary, texts: Iterable[str]) -> Counter[int]:
    """In how many of the texts each id occurs: unlike a plain count, one file that repeats a word cannot keep it."""
    counts: Counter[int] = Counter()
    for ids in _encoded(vocabulary, texts):
        counts.update(set(ids))
    return counts


def _encoded(vocabulary: Vocabulary, texts: Iterable[str]) -> Iterator[list[int]]:
    from tokenizers import Tokenizer as FastTokenizer

    fast = FastTokenizer.from_str(tokenizer_json(vocabulary))
    fast.encode_special_tokens = True
    for text in texts:
        yield fast.encode(text, add_special_tokens=False).ids


def kept_list_text(kept_ids: Sequence[int]) -> str:
    """The kept ids as the text whose digest names a vocabulary: one id a line."""
    return "".join(f"{token_id}\n" for token_id in kept_ids)


def kept_digest(kept_ids: Sequence[int]) -> str:
    """sha256 of the uncompressed list, so that it does not depend on the compressor."""
    return hashlib.sha256(kept_list_text(kept_ids).encode()).hexdigest()


def write_kept_list(path: Path, kept_ids: Sequence[int]) -> None:
    """Write the committed form of a kept list (xz of one id a line)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(kept_list_text(kept_ids).encode(), preset=9 | lzma.PRESET_EXTREME))


def read_kept_list(path: Path) -> list[int]:
    """Read a kept list; CheckpointMissing or CheckpointCorrupt naming the file."""
    if not path.is_file():
        raise CheckpointMissing(f"no vocabulary list at {path}")
    try:
        return [int(line) for line in lzma.decompress(path.read_bytes()).decode("ascii").splitlines()]
    except (lzma.LZMAError, ValueError) as error:
        raise CheckpointCorrupt(f"{path} is not a list of kept ids: {error}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Count a corpus and write the kept list, or measure a kept list on held-out text."""
    from model_runtime.corpus import read_texts
    from model_runtime.gguf import GgufFile

    parser = argparse.ArgumentParser(prog="python -m model_runtime.vocabulary", description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="GGUF file with the full vocabulary")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--count", nargs="+", type=Path, metavar="PATH", help="archives or folders to count")
    action.add_argument("--add-forms", type=Path, metavar="KEPT", help="a kept list that lacks forms of its words")
    action.add_argument("--measure", nargs="+", type=Path, metavar="PATH", help="held-out archives or folders")
    parser.add_argument("--out", type=Path, help="kept list to write, with --count or --add-forms")
    parser.add_argument("--kept", type=Path, help="kept list to measure, with --measure")
    parser.add_argument("--rows", type=int, default=49_152, help="rows chosen by count, before other word forms")
    parser.add_argument("--max-bytes", type=int, default=12 << 20, help="text read per language")
    options = parser.parse_args(arguments)
    with GgufFile.open(options.base) as gguf:
        vocabulary = base_vocabulary(gguf.tokenizer())
    if not options.measure and not options.out:
        parser.error("--count and --add-forms need --out")
    if options.add_forms:
        kept = add_word_forms(vocabulary, read_kept_list(options.add_forms))
        write_kept_list(options.out, kept)
        print(f"{len(kept):,} ids kept, sha256 {kept_digest(kept)}")
        return 0
    if options.count:
        counts: Counter[int] = Counter()
        for language, texts in sorted(read_texts(options.count, options.max_bytes).items()):
            found = count_documents(vocabulary, texts)
            counts.update(found)
            print(f"{language}: {len(texts):,} files, {len(found):,} ids", file=sys.stderr)
        kept = add_word_forms(vocabulary, choose_kept_ids(vocabulary, counts, options.rows - len(ADDED_TOKENS)))
        write_kept_list(options.out, kept)
        covered = sum(counts[token_id] for token_id in kept) / max(counts.total(), 1)
        print(f"{len(kept):,} ids kept, {covered:.4%} of counts, {len(counts):,} seen, sha256 {kept_digest(kept)}")
        return 0
    if not options.kept:
        parser.error("--measure needs --kept")
    pruned = prune(vocabulary, read_kept_list(options.kept))
    for language, texts in sorted(read_texts(options.measure, options.max_bytes).items()):
        full, small = count_tokens(vocabulary, texts).total(), count_tokens(pruned, texts).total()
        print(f"{language}: {full:,} -> {small:,} tokens, {small / full - 1:+.2%}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
