"""What reuse saves and what it costs, in forwards and computed rows; how weights are streamed."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_runtime.cache.canvas_cache import CanvasCache
from model_runtime.checkpoint import SafetensorsFiles, open_checkpoint
from model_runtime.config import RuntimeConfig
from model_runtime.diffusion.canvas import Canvas, denoise_span
from model_runtime.diffusion.canvas_views import BlockCausalView, FullView, Reuse
from model_runtime.diffusion.unmask import Rule
from model_runtime.errors import RequestError
from model_runtime.families.names import linear_names
from model_runtime.family_loading import load_family_network
from model_runtime.models.decoder import Decoder
from tests.families.published import MASK_ID, load_published, write_published

PROMPT, NEW, BLOCK = 48, 32, 8
NOTHING = torch.tensor([MASK_ID])


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Decoder]:
    parent = tmp_path_factory.mktemp("published")
    return {name: load_published(write_published(name, parent)) for name in ("llada", "dream", "sdar")}


def run_full(network: Decoder, reuse: Reuse, refresh_every: int = 0, *, shift: bool) -> tuple[list[int], int, int]:
    prompt = torch.randint(0, 256, (PROMPT,), generator=torch.Generator().manual_seed(1)).tolist()
    canvas = Canvas(prompt + [MASK_ID] * NEW, MASK_ID, NOTHING)
    view = FullView(network, network.new_canvas_cache(128), shift=shift, reuse=reuse, refresh_every=refresh_every)
    for start in range(PROMPT, PROMPT + NEW, BLOCK):
        for _ in denoise_span(view, canvas, start, start + BLOCK, Rule()):
            pass
    return canvas.token_ids[PROMPT:], view.forwards, view.rows


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_stale_rows_save_rows_and_no_forwards(name: str, networks: dict[str, Decoder]) -> None:
    shift = int(name == "dream")
    total, blocks = PROMPT + NEW, NEW // BLOCK
    _, forwards, rows = run_full(networks[name], "none", shift=bool(shift))
    assert (forwards, rows) == (NEW, NEW * total)
    _, forwards, rows = run_full(networks[name], "prefix", shift=bool(shift))
    behind = sum(total - start + shift for start in range(PROMPT, total, BLOCK))
    assert (forwards, rows) == (NEW, blocks * total + (BLOCK - 1) * behind)
    _, forwards, rows = run_full(networks[name], "dual", shift=bool(shift))
    assert (forwards, rows) == (NEW, blocks * total + (NEW - blocks) * (BLOCK + shift))
    assert rows < 0.25 * NEW * total


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_refreshing_costs_rows(name: str, networks: dict[str, Decoder]) -> None:
    shift = name == "dream"
    exact, _, most = run_full(networks[name], "none", shift=shift)
    stale, _, least = run_full(networks[name], "dual", shift=shift)
    assert stale != exact, "the approximation must show here for this test to say anything"
    often, seldom = (run_full(networks[name], "dual", steps, shift=shift)[2] for steps in (1, 4))
    assert least < seldom < often < most


@pytest.mark.parametrize("reuse", ["prefix", "dual"])
@pytest.mark.parametrize("name", ["llada", "dream"])
def test_reused_rows_are_exact_while_nothing_changes(name: str, reuse: Reuse, networks: dict[str, Decoder]) -> None:
    network, shift = networks[name], name == "dream"
    tokens = torch.randint(0, 256, (40,), generator=torch.Generator().manual_seed(2)).tolist()
    tokens[20:28] = [MASK_ID] * 8
    view = FullView(network, network.new_canvas_cache(64), shift=shift, reuse=reuse)
    whole, again = view.logits(tokens, 20, 28), view.logits(tokens, 20, 28)
    assert view.rows == 40 + (20 if reuse == "prefix" else 8) + shift
    assert torch.allclose(whole, again, atol=1e-4)
    longer = [*tokens[:24], MASK_ID, *tokens[24:]]
    fresh = FullView(network, network.new_canvas_cache(64), shift=shift)
    assert torch.allclose(view.logits(longer, 20, 29), fresh.logits(longer, 20, 29), atol=1e-4), "lengths move rows"


def test_a_block_causal_step_costs_its_block(networks: dict[str, Decoder]) -> None:
    network = networks["sdar"]
    prompt = torch.randint(0, 256, (PROMPT,), generator=torch.Generator().manual_seed(1)).tolist()
    view = BlockCausalView(network, network.new_canvas_cache(128), shift=False, block_size=BLOCK)
    canvas = Canvas(list(prompt), MASK_ID, NOTHING)
    view.prefill(canvas.token_ids, PROMPT)
    assert (view.forwards, view.rows) == (1, PROMPT)
    for _ in range(NEW // BLOCK):
        begin = len(canvas.token_ids)
        canvas.token_ids += [MASK_ID] * BLOCK
        for _ in denoise_span(view, canvas, begin, begin + BLOCK, Rule()):
            pass
    # A finished block comes into the cache with the first forward of the next one: no forward of its own.
    assert (view.forwards, view.rows) == (1 + NEW, PROMPT + NEW * BLOCK + (NEW // BLOCK - 1) * BLOCK)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 8), st.data())
def test_a_prefix_is_the_same_read_in_any_pieces(length: int, size: int, offset: int, data: st.DataObject) -> None:
    network = _SDAR[0] if _SDAR else _SDAR.append(_load_sdar()) or _SDAR[0]
    offset %= size
    tokens = data.draw(st.lists(st.integers(0, 255), min_size=length, max_size=length))
    cut = data.draw(st.integers(0, length))
    hole = [MASK_ID] * size

    def first_logits(pieces: list[int]) -> torch.Tensor:
        view = BlockCausalView(network, network.new_canvas_cache(64), shift=False, block_size=size, offset=offset)
        for stop in pieces:
            while view.prefill(tokens, stop):
                pass
        begin = len(tokens)
        return view.logits(tokens + hole[: view.block_end(begin) - begin], begin, view.block_end(begin))

    whole, pieces, none = first_logits([length]), first_logits([cut, length]), first_logits([])
    assert torch.allclose(whole, pieces, atol=1e-4) and torch.allclose(whole, none, atol=1e-4)


_SDAR: list[Decoder] = []


def _load_sdar() -> Decoder:
    import tempfile

    with tempfile.TemporaryDirectory() as parent:
        return load_published(write_published("sdar", Path(parent)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=30), st.lists(st.integers(0, 2), max_size=30), st.integers(1, 8), st.data())
def test_only_whole_equal_blocks_are_kept(old: list[int], new: list[int], size: int, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, size - 1))
    cache = CanvasCache(1, 1, 2, 64, torch.float32, torch.device("cpu"))
    cache.keep_common_prefix([], size, offset)
    cache.commit(old)
    kept = cache.keep_common_prefix(new, size, offset)
    shared = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    assert 0 <= kept <= shared < kept + size or kept == 0
    assert kept == 0 or (kept + offset) % size == 0
    assert list(cache.token_ids) == old[:kept]
    assert cache.keep_common_prefix(new, size + 1, 0) == 0, "other blocks are other rows"


def test_a_window_outside_the_cache_is_refused() -> None:
    cache = CanvasCache(1, 1, 2, 8, torch.float32, torch.device("cpu"))
    with pytest.raises(RequestError, match="9 tokens do not fit the cache of 8"):
        cache.window(0, 9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("name", ["llada2", "dream"])
def test_weights_are_streamed(name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No matrix is ever whole in memory as it is stored, let alone the file: two slices are alive at most."""
    folder = write_published(name, tmp_path)
    alive = {"now": 0, "most": 0}
    monkeypatch.setattr("model_runtime.family_loading.ROWS_AT_ONCE", 16)

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        size = tensor.numel()
        alive["now"] += size
        alive["most"] = max(alive["most"], alive["now"])
        weakref.finalize(tensor, lambda: alive.__setitem__("now", alive["now"] - size))
        return tensor

    read_rows = SafetensorsFiles.read_rows
    whole = set[str]()
    read = SafetensorsFiles.read
    monkeypatch.setattr(SafetensorsFiles, "read", lambda self, each: (whole.add(each), read(self, each))[1])
    monkeypatch.setattr(SafetensorsFiles, "read_rows", lambda self, *which: counted(read_rows(self, *which)))
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.family is not None
        linears = set(linear_names(checkpoint.family))
        load_family_network(checkpoint, RuntimeConfig(device="cpu", precision=precision, cache_tokens=64))  # type: ignore[arg-type]
    assert whole and not whole & linears, "norms, biases, the router and the embedding alone are read at once"
    assert 0 < alive["most"] <= 2 * 16 * 64
