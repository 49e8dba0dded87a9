"""What may stand on a canvas, and what each of its rows is asked: one definition for training and decoding.

A canvas of s slots behind an anchor (the newest committed token) stands at the s positions after it. As in the base, a
row answers for the slot behind it:

    anchor row   answers for slot 0; it is a causal row of the base, so slot 0 is never the denoiser's business
    row i        (slot i's own row) answers for slot i + 1, and the last row for the slot behind the canvas

An answer is a token (keep the slot or replace it), `delete` (the slot does not belong there) or `insert` (something is
missing in front of the slot). Corruption makes such questions from clean text; `apply_answers` turns answers into the
next canvas. Pure: integers in, integers out.

Edit corruption with a share of at most a tenth: Seed Diffusion (Song et al. 2025, arXiv 2508.02193); keep, replace,
delete and insert as answers: Levenshtein Transformer (Gu et al. 2019, arXiv 1905.11006).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from model_runtime.errors import CheckpointMismatch
from model_runtime.tokenizer import Tokenizer

NOT_ASKED = -100
"""Answer of a row that is not scored."""
MAX_EDIT_SHARE = 0.1
"""Edit distance of a corrupted canvas to the clean text, as a share of its slots."""
MASK_SHARE = 0.25
"""Of replaced and inserted tokens: shown as masks, so that a mask too many or in a good token's place occurs."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids of the tokens that mean something on a canvas only; none of them is ever committed."""

    mask: int
    delete: int
    insert: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Marks:
        """CheckpointMismatch naming a mark this vocabulary lacks."""
        ids = {name: tokenizer.token_id(f"<|{name}|>") for name in ("mask", "delete", "insert")}
        for name, token_id in ids.items():
            if token_id is None:
                raise CheckpointMismatch(f"the vocabulary has no <|{name}|> token: it cannot be denoised")
        return cls(**{name: int(token_id) for name, token_id in ids.items() if token_id is not None})


@dataclass(frozen=True, slots=True)
class CanvasBlock:
    """A canvas behind an anchor of a clean sequence, with what its rows should answer."""

    anchor: int
    """Index of the anchor in the clean sequence."""
    shown: tuple[int, ...]
    """The slots' tokens as they stand, masks among them."""
    answers: tuple[int, ...]
    """Row i's answer for slot i + 1; NOT_ASKED where it is not scored."""
    clean_rows: tuple[int, ...]
    """Index of the clean row that predicts the same token, -1 where the answer is no token of the clean text."""

    @property
    def size(self) -> int:
        """Slots."""
        return len(self.shown)


def mask_block(ids: Sequence[int], anchor: int, is_masked: Sequence[bool], mask: int) -> CanvasBlock:
    """Hide some slots; a row is asked where the slot behind it is hidden, and the last row always."""
    slots = range(anchor + 1, anchor + 1 + len(is_masked))
    shown = tuple(mask if hidden else ids[place] for place, hidden in zip(slots, is_masked, strict=True))
    asked = [*is_masked[1:], True]
    answers = tuple(ids[place + 1] if ask else NOT_ASKED for place, ask in zip(slots, asked, strict=True))
    clean_rows = tuple(place if ask else -1 for place, ask in zip(slots, asked, strict=True))
    return CanvasBlock(anchor, shown, answers, clean_rows)


def draft_block(ids: Sequence[int], anchor: int, drafted: Sequence[int]) -> CanvasBlock:
    """Show a model's own drafts in place of the clean tokens; every row is asked for the clean one."""
    slots = range(anchor + 1, anchor + 1 + len(drafted))
    return CanvasBlock(anchor, tuple(drafted), tuple(ids[place + 1] for place in slots), tuple(slots))


@dataclass(slots=True)
class _Slot:
    shown: int
    clean: int
    """Index of the clean token this slot stands for, -1 when it does not belong here."""
    is_gap_before: bool = False


def corrupt_block(
    ids: Sequence[int],
    anchor: int,
    size: int,
    marks: Marks,
    pool: Sequence[int],
    rng: random.Random,
    max_share: float = MAX_EDIT_SHARE,
) -> CanvasBlock:
    """Delete, insert and replace up to `max_share` of the `size` clean tokens behind the anchor; every row is asked.

    Wrong tokens come from `pool`. The edit distance to the clean tokens is at most floor(size * max_share). Slot 0 is
    left alone (the base judges it), and never are two neighbours deleted, so one `insert` mends a gap.
    """
    slots = [_Slot(ids[place], place) for place in range(anchor + 1, anchor + 1 + size)]
    num_edits = min(rng.randint(0, int(size * max_share)), size - 1)
    deleted: set[int] = set()
    result = slots[:1]
    chosen = set(rng.sample(range(1, size), num_edits)) if num_edits else set()
    for index in range(1, size):
        slot = slots[index]
        kind = rng.choice(("delete", "insert", "replace")) if index in chosen else "keep"
        if kind == "delete" and index - 1 not in deleted:
            deleted.add(index)
            continue
        slot.is_gap_before = index - 1 in deleted
        if kind == "insert":
            # A spurious token in front of the slot; a gap there stays the slot's own affair.
            result.append(_Slot(_wrong_token(slot.shown, marks, pool, rng), -1))
        elif kind != "keep":
            slot.shown = _wrong_token(slot.shown, marks, pool, rng)
        result.append(slot)
    return _asked_everywhere(ids, anchor, result, marks)


def _asked_everywhere(ids: Sequence[int], anchor: int, slots: Sequence[_Slot], marks: Marks) -> CanvasBlock:
    answers, clean_rows = [], []
    for slot in slots[1:]:
        if slot.clean < 0:
            answer, row = marks.delete, -1
        elif slot.is_gap_before:
            answer, row = marks.insert, -1
        else:
            answer, row = ids[slot.clean], slot.clean - 1
        answers.append(answer)
        clean_rows.append(row)
    last = max(slot.clean for slot in slots)  # the slot behind the canvas: the clean token after the last one shown
    return CanvasBlock(anchor, tuple(slot.shown for slot in slots), (*answers, ids[last + 1]), (*clean_rows, last))


def _wrong_token(right: int, marks: Marks, pool: Sequence[int], rng: random.Random) -> int:
    if rng.random() < MASK_SHARE:
        return marks.mask
    for _ in range(8):
        if (token := rng.choice(pool)) != right:
            return token
    return marks.mask  # a pool of one token


def apply_answers(shown: Sequence[int], answers: Sequence[int], marks: Marks) -> list[int]:
    """The next canvas: `answers[i]` is what slot i got (the anchor's row answers for slot 0).

    Of an answer `insert` one mask comes in front of the slot, whose token stays for the next step to judge.
    """
    result: list[int] = []
    for token, answer in zip(shown, answers, strict=True):
        if answer == marks.insert:
            result += [marks.mask, token]
        elif answer != marks.delete:
            result.append(answer)
    return result
