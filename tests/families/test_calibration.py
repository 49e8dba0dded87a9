"""Calibration on code: what is recorded, through which attention, and that the stored bits are the better for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model_runtime.calibration import input_powers
from model_runtime.checkpoint import open_checkpoint
from model_runtime.conversion import no_progress
from model_runtime.families.names import linear_names
from model_runtime.install import import_checkpoint, quantize_model
from model_runtime.models.decoder import Decoder
from model_runtime.quantization import expanded, from_stored
from tests.families.published import CHECKPOINTS, write_published


@pytest.mark.parametrize("name", ["dream", "a2d-qwen2", "llada", "sdar", "llama"])
def test_every_matrix_sees_code(name: str, tmp_path: Path) -> None:
    folder = write_published(name, tmp_path)
    powers = input_powers(folder, CHECKPOINTS[name], no_progress)
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.family is not None
        shapes = {each: checkpoint.shape(each) for each in linear_names(checkpoint.family)}
    assert set(shapes) <= set(powers)
    assert all(powers[each].shape == (shape[1],) and bool((powers[each] > 0).any()) for each, shape in shapes.items())


@pytest.mark.parametrize(("name", "kind"), [("dream", "full"), ("sdar", "block-causal"), ("llama", "causal")])
def test_the_model_reads_as_it_was_trained(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[torch.Tensor | None] = []
    forward = Decoder.forward_canvas

    def seen(self: Decoder, token_ids, positions, window, mask=None):  # type: ignore[no-untyped-def]
        masks.append(mask)
        return forward(self, token_ids, positions, window, mask)

    monkeypatch.setattr(Decoder, "forward_canvas", seen)
    input_powers(write_published(name, tmp_path), CHECKPOINTS[name], no_progress)
    mask = masks[0]
    assert (mask is None) == (kind == "full")
    if mask is not None:
        row = torch.arange(len(mask)) // (4 if kind == "block-causal" else 1)
        assert torch.equal(mask == 0, row[:, None] >= row[None])


@pytest.mark.parametrize("name", ["dream", "llada2"])
def test_calibrated_bits_are_nearer_on_what_code_activates(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    import_checkpoint(write_published(name, tmp_path), "whole", home)
    folders = [quantize_model("whole", 4, f"c{calibrate}", home, calibrate=calibrate) for calibrate in (True, False)]
    calibrated, plain = (load_file(folder / "model.safetensors") for folder in folders)
    powers = input_powers(home / "models" / "whole", CHECKPOINTS[name], no_progress)
    errors = {True: 0.0, False: 0.0}
    with open_checkpoint(home / "models" / "whole") as whole:
        for stored in (each for each in calibrated if each.endswith(".values")):
            weight = stored.removesuffix(".values")
            if weight not in powers:
                continue  # an expert that no token of the sample chose
            original = whole.read(weight).float()
            for is_calibrated, tensors in ((True, calibrated), (False, plain)):
                packed = from_stored(tensors[stored], tensors[f"{weight}.scales"], 4, torch.float32)
                error = float(((expanded(packed) - original).square() * powers[weight]).sum())
                errors[is_calibrated] += error
    assert 0 < errors[True] < 0.99 * errors[False]
