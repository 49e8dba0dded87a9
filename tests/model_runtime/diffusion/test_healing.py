"""Half-typed words: constrained to the typed bytes, the same under every policy, and able to become the whole word."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_runtime import CompletionRequest, Runtime, RuntimeConfig, SamplingParams, StopRules
from model_runtime.diffusion.healing import Healing, TokenIndex, split_typed
from model_runtime.tokenizer import Tokenizer
from tests.support.tiny_model import write_tiny_checkpoint


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("healing") / "tiny")
    loaded = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=512))
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def tokenizer(runtime: Runtime) -> Tokenizer:
    return runtime._model.tokenizer


@pytest.fixture(scope="module")
def index(tokenizer: Tokenizer) -> TokenIndex:
    return TokenIndex(tokenizer)


def agree(token: bytes, left: bytes) -> bool:
    return bool(token) and (token.startswith(left) or left.startswith(token))


@pytest.mark.parametrize("left", [b"p", b"pri", b"print", b"return ", b" ", b"\xf0", b"\xff", b"zzz", "né".encode()])
def test_allowed_tokens_are_those_that_agree_with_the_bytes(
    tokenizer: Tokenizer, index: TokenIndex, left: bytes
) -> None:
    expected = {i for i in range(tokenizer.vocab_size) if agree(tokenizer.token_bytes(i), left)}
    allowed = index.allowed(left)
    assert set(allowed) == expected and len(allowed) == len(expected)
    assert expected, "every byte has a token, so no text is a dead end"


@pytest.mark.parametrize(
    ("prefix", "typed"),
    [
        ("x = pri", b"pri"),
        ("pri", b"pri"),
        ("a.b_c1", b"b_c1"),
        ("x = ", b""),
        ("foo(", b""),
        ("\t", b""),
        ("", b""),
        ("x\r\n", b""),
        ("# naï", "naï".encode()),
        ("🎉", "🎉".encode()),
        ("x" * 80, b""),
    ],
)
def test_the_word_at_the_cursor_is_taken_back(tokenizer: Tokenizer, prefix: str, typed: bytes) -> None:
    ids = tokenizer.encode(prefix)
    kept, taken = split_typed(tokenizer, ids)
    assert taken.lstrip(b" .") == typed
    assert tokenizer.decode_bytes(ids[:kept]) + taken == prefix.encode()


@given(st.text("printself =é", min_size=1, max_size=8), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_allowed_walk_writes_the_typed_bytes_first(
    tokenizer: Tokenizer, index: TokenIndex, typed: str, seed: int
) -> None:
    rng, written = random.Random(seed), b""
    healing = Healing(tokenizer, index, typed.encode())
    while healing.left:
        (allowed,) = healing.allowed_rows([])
        token_id = rng.choice(allowed)
        ahead = healing.allowed_rows([token_id, token_id])
        healing.commit([token_id])
        assert healing.allowed_rows([token_id]) == ahead[1:]
        written += tokenizer.token_bytes(token_id)
    assert written.startswith(typed.encode())
    assert healing.allowed_rows([1, 2]) == []


def asked(prefix: str, **params: object) -> CompletionRequest:
    sampling = SamplingParams(max_tokens=12, **params)  # type: ignore[arg-type]
    return CompletionRequest(prefix, "\n", stop=StopRules(stop_at_suffix=False), params=sampling)


def test_a_half_typed_word_can_become_one_token(runtime: Runtime) -> None:
    """Unhealed, the token `print` cannot follow `pri`; healed, it is written and only its rest is shown."""
    tokenizer = runtime._model.tokenizer
    (whole,) = tokenizer.encode("print")
    found = 0
    for i in range(50):
        request = asked(f"{'xy =()'[: i % 6]}\n{i}.pri")
        kept, typed = split_typed(tokenizer, tokenizer.encode(request.prefix))
        assert typed == b"pri" and kept < len(tokenizer.encode(request.prefix))
        result = runtime.complete(request)
        first = runtime.candidates(request, 1)[0]
        assert first.text == result.text
        found += result.text.startswith("nt") and whole in tokenizer.encode("pri" + result.text)
    assert found, "no case chose the whole word: the test would prove nothing"


def test_lossless_equals_ar_inside_words(runtime: Runtime) -> None:
    rng = random.Random(11)
    for _ in range(40):
        words = [
            rng.choice(["def ", "pri", "self", ".", "é", "ret", "🎉", "\t", "in", " = ", "\r\n"]) for _ in range(9)
        ]
        request = asked("".join(words) + rng.choice(["p", "pri", "sel", "x", "é", "de"]))
        expected = runtime.complete(replace(request, params=replace(request.params, policy="ar")))
        for block in (None, 4):
            actual = runtime.complete(replace(request, params=replace(request.params, block_size=block)))
            assert (actual.text, actual.tokens) == (expected.text, expected.tokens)
            assert actual.token_ends == expected.token_ends
            assert actual.token_probs == pytest.approx(expected.token_probs, abs=1e-5)


def test_rewriting_the_word_costs_no_forward_when_it_stays(runtime: Runtime) -> None:
    """The tokens typed are drafts: what they cost is rows, not forwards."""
    saved = 0
    for i in range(20):
        request = asked(f"value{i} = sel")
        result = runtime.complete(request)
        saved += result.tokens - result.forwards
    assert saved > 0


def test_off_it_reads_the_word_as_it_stands(runtime: Runtime) -> None:
    request = asked("x = pri")
    runtime.switches = replace(runtime.switches, healing=False)
    try:
        plain = runtime.complete(request)
    finally:
        runtime.switches = replace(runtime.switches, healing=True)
    healed = runtime.complete(request)
    assert healed.timings.prompt_tokens < plain.timings.prompt_tokens
    assert len(plain.token_ends) == plain.tokens


def test_offsets_are_of_the_text_shown(runtime: Runtime) -> None:
    for i in range(12):
        result = runtime.complete(asked(f"{i} pri"))
        assert list(result.token_ends) == sorted(result.token_ends)
        assert len(result.token_ends) == len(result.token_probs)
        assert not result.token_ends or result.token_ends[-1] <= len(result.text)
