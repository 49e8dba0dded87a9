"""A vocabulary published as `vocab.json` and `merges.txt`, as one `tokenizer.json`.

Dream and its relatives ship no `tokenizer.json`: their tokenizer is a Python file, which is never run. What it does is
Qwen's byte-level BPE with a few added tokens, and the two text files say the rest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_runtime.errors import CheckpointCorrupt, CheckpointMismatch
from model_runtime.vocabulary import Vocabulary, tokenizer_json

VOCAB_FILE, MERGES_FILE = "vocab.json", "merges.txt"


def has_published_vocabulary(folder: Path) -> bool:
    """True if the two text files are there."""
    return (folder / VOCAB_FILE).is_file() and (folder / MERGES_FILE).is_file()


def published_tokenizer_json(folder: Path) -> str:
    """The text of a `tokenizer.json`; CheckpointCorrupt or CheckpointMismatch naming the file."""
    try:
        vocab = {str(token): int(i) for token, i in _json(folder / VOCAB_FILE).items()}
        lines = (folder / MERGES_FILE).read_text(encoding="utf-8").split("\n")
        added = _added_tokens(folder)
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise CheckpointCorrupt(f"{folder} has no readable vocabulary: {error}") from None
    merges = []
    for line in lines:
        if line.startswith("#version") or not line.strip():
            continue
        left, _, right = line.rstrip("\r").partition(" ")
        merges.append((left, right))
    tokens = sorted((token for token in vocab if token not in added), key=vocab.__getitem__)
    specials = sorted(added, key=added.__getitem__)
    ids = [*(vocab[token] for token in tokens), *(added[name] for name in specials)]
    if ids != list(range(len(ids))):
        raise CheckpointMismatch(f"ids of {folder / VOCAB_FILE} and its added tokens do not follow each other")
    return tokenizer_json(Vocabulary(tuple(tokens), tuple(merges), tuple(specials)))


def _added_tokens(folder: Path) -> dict[str, int]:
    added: dict[str, int] = {}
    if (folder / "tokenizer_config.json").is_file():
        decoder = _json(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
        added |= {str(each["content"]): int(token_id) for token_id, each in decoder.items()}
    if (folder / "added_tokens.json").is_file():
        added |= {str(name): int(token_id) for name, token_id in _json(folder / "added_tokens.json").items()}
    return added


def _json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return value
