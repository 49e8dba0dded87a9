"""The canvas of an edit keeps its place and expects what it has seen; substitutions are read right."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer

from model_runtime.diffusion.drafts import NgramDrafter
from model_runtime.diffusion.edit_drafts import EditDrafter
from model_runtime.diffusion.substitutions import Substitution, Substitutions, announced, observed
from model_runtime.tokenizer import Tokenizer
from model_runtime.vocabulary import tokenizer_json
from tests.support.tiny_model import tiny_vocabulary

TOKENIZER = Tokenizer(FastTokenizer.from_str(tokenizer_json(tiny_vocabulary())))
TEXTS = st.text(alphabet=st.sampled_from("ab_. (\n🎉"), max_size=40)


def num_forwards(drafter: EditDrafter, new: str, block: int = 32) -> int:
    """Steps to write `new` when every guess is verified: the right ones and one token more are committed."""
    ids = TOKENIZER.encode(new)
    place = steps = 0
    while place < len(ids):
        right = 0
        for guess in drafter.draft(block):
            if place + right >= len(ids) or guess != ids[place + right]:
                break
            right += 1
        drafter.commit(ids[place : place + right + 1])
        place += right + 1
        steps += 1
    return steps


OLD = "".join(f"def f{number}(rate):\n    return self.rate * {number}\n" for number in range(12))


def forwards_for(new: str, *expected: Substitution) -> int:
    believed = Substitutions()
    for substitution in expected:
        believed.learn(substitution)
    return num_forwards(EditDrafter(OLD, TOKENIZER, None, believed), new)


NUM_TOKENS = len(TOKENIZER.encode(OLD))


def test_unchanged_text_is_guessed_whole() -> None:
    assert forwards_for(OLD) <= NUM_TOKENS // 33 + 1


@pytest.mark.parametrize(
    ("old", "new", "most"),
    [
        ("(rate)", "(r)", 14),
        ("self.rate", "self._rate", 14),
        ("f3", "f3_and_more", 14),
        ("def f5(rate):\n    return self.rate * 5\n", "", 4),
        ("f4", "x = 1\ndef f4", 14),
    ],
)
def test_a_change_costs_its_own_tokens_and_few_more(old: str, new: str, most: int) -> None:
    changed = OLD.replace(old, new)
    extra = forwards_for(changed) - len(TOKENIZER.encode(changed)) // 33
    assert extra <= most, extra


def test_what_was_announced_costs_nothing() -> None:
    new = OLD.replace("self.rate", "self.factor")
    assert forwards_for(new, Substitution("rate", "factor", is_member=True)) <= len(TOKENIZER.encode(new)) // 33 + 1


def test_a_wrong_expectation_is_given_up() -> None:
    assert forwards_for(OLD, Substitution("rate", "factor")) - NUM_TOKENS // 33 <= 6


@settings(deadline=None)
@given(TEXTS, TEXTS, st.booleans())
def test_any_pair_of_texts_is_followed_without_failing(old: str, new: str, is_expecting: bool) -> None:
    believed = Substitutions()
    if is_expecting:
        believed.learn(Substitution("a", "bb"))
    drafter = EditDrafter(old, TOKENIZER, NgramDrafter([]), believed)
    size = len(old.encode())
    for token in TOKENIZER.encode(new):
        assert len(drafter.draft(5)) <= 5
        drafter.commit([token])
        assert 0 <= drafter.old_offset <= size
        num_tokens, offset = drafter.last_before(size // 2)
        assert num_tokens <= len(drafter.written) and offset <= size // 2
    drafter.go_on_from(0, TOKENIZER.encode("ab"), size)
    assert drafter.written == TOKENIZER.encode("ab") and drafter.old_offset == size


@settings(deadline=None)
@given(TEXTS)
def test_a_text_that_stays_is_passed_byte_for_byte(text: str) -> None:
    believed = Substitutions()
    believed.learn(Substitution("a", "b_b"))
    drafter = EditDrafter(text, TOKENIZER, None, believed)
    expected = "".join(new for _, new in believed.applied(text))
    drafter.commit(TOKENIZER.encode(expected))
    assert drafter.follows and drafter.old_offset == len(text.encode())


@pytest.mark.parametrize(
    ("left", "old", "new", "right", "seen"),
    [
        ("x = ", "rate", "factor", " * 2", Substitution("rate", "factor")),
        ("x = my_", "rate", "factor", "s * 2", Substitution("my_rates", "my_factors")),
        ("self.", "a", "b", "()", Substitution("a", "b", is_member=True)),
        ("return", " a", " bb", "\n", Substitution("a", "bb")),
        ("x = ", "", "self.", "count + 1", Substitution("count", "self.count")),
        ("f()", "", " -> None", ":", None),
        ("a\n", "b\n", "c\n", "d", Substitution("b", "c")),
        ("a ", "b\nc", "d", "", None),
        ("a ", "b" * 40, "c" * 40, "", None),
        ("", "", "", "", None),
    ],
)
def test_what_is_seen_of_a_replacement(left: str, old: str, new: str, right: str, seen: Substitution | None) -> None:
    assert observed(left, old, new, right) == seen


@settings(deadline=None)
@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_any_replacement_is_looked_at_without_failing(left: str, old: str, new: str, right: str) -> None:
    seen = observed(left, old, new, right)
    assert seen is None or (seen.old.strip() == seen.old and "\n" not in seen.old + seen.new)


def test_members_and_names_are_not_mixed_up() -> None:
    believed = Substitutions()
    believed.learn(Substitution("rate", "factor", is_member=True))
    applied = "".join(new for _, new in believed.applied("rate self.rate my_rate rates x.rate"))
    assert applied == "rate self.factor my_rate rates x.factor"
    assert believed.doubt("rate") and not believed.doubt("rate")
    assert "".join(new for _, new in believed.applied("x.rate")) == "x.rate"


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("Rename `rate` to `factor`.", Substitution("rate", "factor")),
        ("rename the variable rate to factor", Substitution("rate", "factor")),
        ("Use Factor instead of rate.", Substitution("rate", "Factor")),
        ("Replace 'rate' with \"factor\" everywhere", Substitution("rate", "factor")),
        ("Rename nothing to factor", None),
        ("Add type hints.", None),
        ("", None),
    ],
)
def test_what_an_instruction_announces(instruction: str, expected: Substitution | None) -> None:
    assert announced(instruction, "def f(rate):\n    return rate") == expected
