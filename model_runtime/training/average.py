"""Between two healing adapters, one trained on from the other: what the later learned, less of what it forgot.

Weight-space ensembling of a fine-tuned model with what it was tuned from (Wortsman et al. 2022, arXiv 2109.01903). The
factors are averaged, not their products, so the rank stays; that is near the average of the products only because the
later adapter's factors began as the earlier's. Owns the file that comes of it, and its card.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from model_runtime.adapters import read_adapter
from model_runtime.errors import CheckpointMismatch, RequestError
from model_runtime.training.card import write_json
from model_runtime.training.export import write_adapter


def average_adapters(earlier: Path, later: Path, share: float, out: Path) -> int:
    """Write factors `(1 - share) * earlier + share * later`; returns the file's size in bytes.

    CheckpointMismatch unless both are healing adapters of one base, rank, scale and set of linears. The later one's
    card and curve go along, the earlier one's card into it.
    """
    if not 0.0 <= share <= 1.0:
        raise RequestError(f"share is {share}, must be 0 to 1")
    one, other = read_adapter(earlier), read_adapter(later)
    for what in ("kind", "rank", "alpha", "base_digest"):
        if getattr(one, what) != getattr(other, what):
            raise CheckpointMismatch(f"{earlier} and {later} differ in {what}")
    if one.kind != "healing":
        raise CheckpointMismatch(f"{earlier} is a {one.kind} adapter: only healing adapters are averaged")
    if {name: each.b.shape for name, each in one.factors.items()} != {
        name: each.b.shape for name, each in other.factors.items()
    }:
        raise CheckpointMismatch(f"{earlier} and {later} adapt different linears")
    factors = {
        name: (_between(low.a, other.factors[name].a, share), _between(low.b, other.factors[name].b, share))
        for name, low in one.factors.items()
    }
    average = {"share": share, "earlier": one.digest, "later": other.digest}
    metadata = {key: value for key, value in other.metadata.items() if key != "format"}
    num_bytes = write_adapter(out, factors, {**metadata, "average": average})
    _write_card(earlier, later, average, out)
    return num_bytes


def _between(x: Tensor, y: Tensor, share: float) -> Tensor:
    return (1 - share) * x + share * y


def _write_card(earlier: Path, later: Path, average: dict[str, Any], out: Path) -> None:
    cards = [_beside(path, "card.json") for path in (earlier, later)]
    before, card = (json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {} for path in cards)
    runs = [*before.pop("earlier_runs", []), before] if before else []
    write_json(_beside(out, "card.json"), {**card, "average": average, "earlier_runs": runs})
    if (curve := _beside(later, "loss.svg")).is_file() and curve != _beside(out, "loss.svg"):
        shutil.copyfile(curve, _beside(out, "loss.svg"))


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}.{name}")
