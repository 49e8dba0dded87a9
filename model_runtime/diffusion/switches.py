"""Switches for the decoder's ideas, all on unless a measurement or a test compares with and without."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Switches:
    """Each turns one idea off without touching the others; none changes what `lossless` writes but `healing`."""

    prefix_cache: bool = True
    """Reuse keys and values of earlier prompts."""
    warm_canvas: bool = True
    """Start from the text proposed before (`CompletionRequest.draft`)."""
    fusion: bool = True
    """Draft the next canvas in the forward that verifies this one."""
    schedule: bool = True
    """Choose the block from the latency curve; else it grows and shrinks with the drafts' luck."""
    healing: bool = True
    """Write a half-typed word again from its first token."""
    gating: bool = True
    """Cut at the first weak line (`SamplingParams.min_confidence`)."""
