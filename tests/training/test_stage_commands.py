"""The denoiser stages from their command lines: each from the one before, then export and table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_runtime.adapters import merge_into, read_adapter
from model_runtime.errors import CheckpointMismatch
from model_runtime.training.__main__ import main
from model_runtime.training.data.packages import SourceFile
from model_runtime.training.data.shards import MANIFEST, write_shards
from model_runtime.training.recipes import STAGES, recipe_for

FLAGS = """
--steps 1 --precision float32 --sequences 1 --blocks 2 --block-min 4 --block-max 12 --context 24 --trajectories 2
--warmup-steps 1 --device cpu --held-out 2
"""
SMALL = FLAGS.split()


@pytest.fixture
def common(tiny_base: Path, sources: list[SourceFile], tmp_path: Path) -> list[str]:
    data = tmp_path / "data"
    data.mkdir()
    shards = {split: write_shards(data, split, sources) for split in ("train", "held_out")}  # type: ignore[arg-type]
    (data / MANIFEST).write_text(json.dumps({"shards": shards}), encoding="utf-8")
    return ["--base", str(tiny_base), "--data", str(data)]


def test_all_stages_one_after_the_other(common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(name: str) -> Path:
        return tmp_path / name

    mask = ["--rank", "2", "--first-layer", "1", "--greedy", "2", "--greedy-tokens", "8", "--keep", "2"]
    assert main(["mask", *common, *SMALL, *mask, "--run", str(run("mask"))]) == 0
    for before, stage in (("mask", "edit"), ("edit", "order"), ("order", "onpolicy")):
        arguments = ["--greedy", "0", "--run", str(run(stage)), "--start", str(run(before))]
        assert main([stage, *common, *SMALL, *arguments]) == 0, stage
    card = json.loads((run("onpolicy") / "card.json").read_text(encoding="utf-8"))
    assert card["stages"] == ["mask", "edit", "order", "onpolicy"] and card["steps"] == 1
    assert {name.split(" at ")[0] for name in card["figures"]} == {"drafting", "mending", "steps a block"}
    assert set(card["figures"]["steps a block at step 1"]) == {"1", "2", "4", "8", "20"}

    out = tmp_path / "mask.safetensors"
    assert main(["export", *common, "--run", str(run("onpolicy")), "--out", str(out)]) == 0
    adapter = read_adapter(out)
    assert adapter.kind == "mask" and adapter.mask_embedding is not None and adapter.mask_embedding.shape == (64,)
    assert adapter.edit_head is not None and adapter.edit_head.shape == (2, 64)
    assert adapter.metadata["stages"] == ["mask", "edit", "order", "onpolicy"]
    assert 0.25 <= adapter.metadata["temperature"] <= 4
    with pytest.raises(CheckpointMismatch, match="cannot be merged"):
        merge_into({}, adapter)

    capsys.readouterr()
    assert main(["evaluate", *common, "--run", str(run("mask")), "--cases", "1"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["same_text"] == 1.0 and figures["with"]["tokens_per_forward"] >= 1.0

    table = tmp_path / "table.json"
    capsys.readouterr()
    rows = ["--row", "0", "--row", f"+4={out}", "--cases", "1", "--max-tokens", "5", "--precision", "float32"]
    assert main(["ablation", *common, *rows, "--out", str(table)]) == 0
    printed = capsys.readouterr()
    assert "already measured" not in printed.err
    texts = {name: row["texts"] for name, row in json.loads(table.read_text(encoding="utf-8"))["rows"].items()}
    assert texts["0"] == texts["+4"], "lossless: no denoiser changes the text"
    assert "| +4 | lossless |" in printed.out and printed.out.splitlines()[2].endswith("| 100.0% |")
    assert main(["ablation", *common, *rows, "--out", str(table)]) == 0
    assert capsys.readouterr().err.count("already measured") == 2


def test_later_stages_need_a_start(common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", *common, *SMALL, "--run", str(tmp_path / "run")]) == 1
    assert "--start" in capsys.readouterr().err
    assert main(["edit", *common, *SMALL, "--run", str(tmp_path / "run"), "--start", str(tmp_path / "none")]) == 1
    assert main(["ablation", *common, "--row", "1=none.safetensors", "--out", str(tmp_path / "t.json")]) == 1
    assert "none.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_recipes_are_complete(stage: str, device: str) -> None:
    recipe = recipe_for(stage, device)
    assert set(recipe) == set(recipe_for("mask", "cpu"))
    assert recipe["block_min"] <= recipe["block_max"]
    assert not (recipe["keep"] and recipe["first_layer"] == 0)
    if stage != "mask":
        assert recipe["keep"] == 0, "their canvases change with the denoiser"
