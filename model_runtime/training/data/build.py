"""The data command: pins -> archives -> gates -> shards, with a count of everything dropped.

Joins packages, filters, dedup, decontaminate and shards; decides nothing of its own but the order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from model_runtime.errors import RuntimeFailure
from model_runtime.training.data.decontaminate import Decontaminator
from model_runtime.training.data.dedup import DuplicateFilter
from model_runtime.training.data.filters import refusal
from model_runtime.training.data.packages import Pin, SourceFile, fetch_archive, read_sources
from model_runtime.training.data.shards import MANIFEST, data_digest, write_shards

PACKAGE_CAP_CHARS = 6_000_000
"""No package may dominate; what is over the cap is dropped from the end of its file list."""

Report = Callable[[str], None]


def build_data(
    pins: Sequence[Pin], archives: Path, out: Path, decontaminator: Decontaminator, report: Report
) -> dict[str, Any]:
    """Write shards and `manifest.json` into `out`; returns the manifest. A package that cannot be had is reported."""
    out.mkdir(parents=True, exist_ok=True)
    duplicates = DuplicateFilter()
    drops: Counter[str] = Counter()
    kept: dict[str, list[SourceFile]] = {"train": [], "held_out": []}
    packages = []
    # Held-out packages first: a training file that repeats one of theirs is then the one that is dropped.
    for pin in sorted(pins, key=lambda pin: not pin.is_held_out):
        try:
            archive = fetch_archive(pin, archives)
        except RuntimeFailure as error:
            report(str(error))
            drops["package-unavailable"] += 1
            continue
        sources = _kept_sources(archive, pin, duplicates, decontaminator, drops)
        kept["held_out" if pin.is_held_out else "train"] += sources
        chars = sum(len(source.text) for source in sources)
        packages.append(
            {
                "name": pin.name,
                "version": pin.version,
                "registry": pin.registry,
                "licence": sources[0].licence if sources else None,
                "held_out": pin.is_held_out,
                "files": len(sources),
                "chars": chars,
            }
        )
        report(f"{pin.name} {pin.version}: {len(sources)} files, {chars:,} characters")
    manifest = {
        "shards": {
            "train": write_shards(out, "train", kept["train"]),
            "held_out": write_shards(out, "held_out", kept["held_out"]),
        },
        "packages": packages,
        "dropped": dict(sorted(drops.items())),
        "decontamination_ngrams": len(decontaminator),
    }
    partial = out / f"{MANIFEST}.part"
    partial.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    partial.replace(out / MANIFEST)
    report(f"data digest {data_digest(out)}")
    return manifest


def _kept_sources(
    archive: Path, pin: Pin, duplicates: DuplicateFilter, decontaminator: Decontaminator, drops: Counter[str]
) -> list[SourceFile]:
    kept: list[SourceFile] = []
    chars = 0
    num_seen = 0
    for source in read_sources(archive, pin.name):
        num_seen += 1
        reason = refusal(source)
        if reason is None and chars > PACKAGE_CAP_CHARS:
            reason = "package-cap"
        if reason is None and decontaminator.is_contaminated(source.text):
            reason = "evaluation-overlap"
        if reason is None and (kind := duplicates.admit(source.text)):
            reason = f"duplicate-{kind}"
        if reason:
            drops[reason] += 1
            continue
        kept.append(source)
        chars += len(source.text)
    if not num_seen:
        drops["package-licence-or-empty"] += 1
    return kept
