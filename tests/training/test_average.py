"""An average of two adapters lies between them, and says what it is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from model_runtime.adapters import read_adapter
from model_runtime.errors import CheckpointMismatch, RequestError
from model_runtime.training.__main__ import main
from model_runtime.training.average import average_adapters
from model_runtime.training.export import write_adapter

METADATA = {"kind": "healing", "rank": 2, "alpha": 4.0, "base": "tiny", "base_digest": "0" * 64}


def write(path: Path, seed: int, metadata: Mapping[str, Any] = METADATA, name: str = "q") -> Path:
    torch.manual_seed(seed)
    write_adapter(path, {f"{name}.weight": (torch.randn(2, 6), torch.randn(5, 2))}, metadata)
    card = {"steps": seed, "command": f"seedls train heal --seed {seed}"}
    path.with_name(f"{path.stem}.card.json").write_text(json.dumps(card), encoding="utf-8")
    path.with_name(f"{path.stem}.loss.svg").write_text(f"<svg>{seed}</svg>", encoding="utf-8")
    return path


def test_an_average_lies_between_the_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier, later = write(tmp_path / "one.safetensors", 1), write(tmp_path / "two.safetensors", 2)
    out = tmp_path / "out" / "healing.safetensors"
    assert main(["average", str(earlier), str(later), "--share", "0.25", "--out", str(out)]) == 0
    assert f"{out.stat().st_size:,} bytes" in capsys.readouterr().err
    first, second, found = map(read_adapter, (earlier, later, out))
    for part in ("a", "b"):
        one, two, mean = (getattr(each.factors["q.weight"], part) for each in (first, second, found))
        expected = 0.75 * one + 0.25 * two
        assert torch.allclose(mean, expected, atol=float(expected.abs().max()) / 250)
    made_of = {"share": 0.25, "earlier": first.digest, "later": second.digest}
    assert found.metadata["average"] == made_of and found.base_digest == first.base_digest
    card = json.loads((tmp_path / "out" / "healing.card.json").read_text(encoding="utf-8"))
    assert (card["steps"], card["average"]) == (2, made_of)
    assert [run["steps"] for run in card["earlier_runs"]] == [1]
    assert (tmp_path / "out" / "healing.loss.svg").read_text(encoding="utf-8") == "<svg>2</svg>"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_are_the_two_themselves(tmp_path: Path, share: float) -> None:
    both = write(tmp_path / "one.safetensors", 1), write(tmp_path / "two.safetensors", 2)
    average_adapters(*both, share, tmp_path / "out.safetensors")
    same, found = read_adapter(both[int(share)]), read_adapter(tmp_path / "out.safetensors")
    assert torch.allclose(found.factors["q.weight"].b, same.factors["q.weight"].b, atol=0.02)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rank": 3}, "rank"),
        ({"alpha": 8.0}, "alpha"),
        ({"base_digest": "1" * 64}, "base_digest"),
        ({"kind": "mask"}, "kind"),
    ],
)
def test_what_does_not_belong_together_is_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    one = write(tmp_path / "one.safetensors", 1)
    metadata = {**METADATA, **change}
    torch.manual_seed(2)
    rank = int(metadata["rank"])
    two = tmp_path / "two.safetensors"
    write_adapter(two, {"q.weight": (torch.randn(rank, 6), torch.randn(5, rank))}, metadata)
    with pytest.raises(CheckpointMismatch, match=named):
        average_adapters(one, two, 0.5, tmp_path / "out.safetensors")
    with pytest.raises(CheckpointMismatch, match="different linears"):
        average_adapters(one, write(tmp_path / "k.safetensors", 3, name="k"), 0.5, tmp_path / "out.safetensors")
    with pytest.raises(RequestError, match=r"1\.5"):
        average_adapters(one, one, 1.5, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_denoisers_are_not_averaged(tmp_path: Path) -> None:
    mask = write(tmp_path / "mask.safetensors", 1, {**METADATA, "kind": "mask"})
    with pytest.raises(CheckpointMismatch, match="only healing"):
        average_adapters(mask, mask, 0.5, tmp_path / "out.safetensors")
