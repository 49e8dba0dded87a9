"""Every compile variant of every kernel that the shipped model shapes can ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variant:
    """One source under one set of compile parameters."""

    source: str
    defines: tuple[tuple[str, int], ...]

    @property
    def label(self) -> str:
        """Compile parameters in short, for a table."""
        return ", ".join(f"{name}={value}" for name, value in self.defines if name != "SEEDLS_BF16") or "-"


def variants(bf16: bool) -> list[Variant]:
    """All variants of one activation type, in the order of the operation table."""
    element = ("SEEDLS_BF16", int(bf16))
    found = [Variant(source, (element,)) for source in ("rms_norm", "swiglu")]
    found += [Variant("qkv_rope_write", (element, ("HEAD_DIM", dim))) for dim in (64, 128)]
    found += [
        Variant("block_attention", (element, ("HEAD_DIM", dim), ("NUM_WARPS", warps)))
        for dim in (64, 128)
        for warps in (1, 2, 4)
    ]
    for source in ("linear_dense", "linear_int8", "linear_int4"):
        found += [
            Variant(source, (element, ("ROW_TILES", rows), ("OUT_TILES", outs)))
            for outs in (1, 2)
            for rows in (1, 2, 4, 8, 16)
            if outs * rows <= 16
        ]
    found += [
        Variant("head_argmax", (element, ("WEIGHT_BITS", bits), ("ROW_TILES", rows), ("OUT_TILES", 2)))
        for bits in (16, 8, 4)
        for rows in (1, 2, 4)
    ]
    return [*found, Variant("commit_run", (element,)), Variant("canvas", (element,))]
