"""Which id stands for "not yet known", and which ids may never be written.

The checkpoint's `config.json` comes first, then the vocabulary's mask token, then the published id of the family. A
mask that is an ordinary word would be silently wrong, so each answer is checked against the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from model_runtime.errors import CheckpointMismatch
from model_runtime.families.config import FamilyConfig


def mask_token_id(
    config: FamilyConfig, special_tokens: Mapping[str, int], vocab_size: int, token_text: Callable[[int], str]
) -> int:
    """The id; CheckpointMismatch says what is wrong.

    `vocab_size`: ids of the tokenizer; `token_text`: the text of an ordinary one.
    """
    family, rows = config.family, config.shape.vocab_size
    in_vocabulary = [special_tokens[name] for name in family.mask_tokens if name in special_tokens]
    candidates = [each for each in (config.mask_token_id, *in_vocabulary, family.mask_token_id) if each is not None]
    if not candidates:
        raise CheckpointMismatch(
            f"family {family.name!r} needs a mask token: config.json has no mask_token_id and the vocabulary none of "
            f"{', '.join(family.mask_tokens)}"
        )
    mask = candidates[0]
    if not 0 <= mask < rows:
        raise CheckpointMismatch(f"mask token {mask} is outside the {rows} rows of the embedding")
    if mask < vocab_size and mask not in special_tokens.values():
        raise CheckpointMismatch(f"mask token {mask} is the text {token_text(mask)!r} in this vocabulary")
    if in_vocabulary and mask not in in_vocabulary:
        name = family.mask_tokens[[n in special_tokens for n in family.mask_tokens].index(True)]
        raise CheckpointMismatch(f"config.json says mask token {mask}, the vocabulary has {name} as {in_vocabulary[0]}")
    return mask


def forbidden_ids(
    config: FamilyConfig, mask: int, special_tokens: Mapping[str, int], vocab_size: int, *, may_expand: bool = False
) -> list[int]:
    """Ids never written: the mask, the rows behind the vocabulary, the expansion mark unless `may_expand`."""
    ids = {mask, *range(vocab_size, config.shape.vocab_size)}
    expand = special_tokens.get(config.family.expand_token or "")
    if expand is not None and not may_expand:
        ids.add(expand)
    return sorted(ids)


def check_vocabulary(config: FamilyConfig, vocab_size: int) -> None:
    """CheckpointMismatch if the tokenizer has ids without a row. More rows than ids is common padding, and fine."""
    if vocab_size > config.shape.vocab_size:
        raise CheckpointMismatch(f"the vocabulary has {vocab_size} ids, the embedding {config.shape.vocab_size} rows")


def end_ids(config: FamilyConfig, special_tokens: Mapping[str, int]) -> list[int]:
    """Ids of the family's end tokens that this vocabulary has."""
    return sorted({special_tokens[name] for name in config.family.end_tokens if name in special_tokens})
