"""Tables of edit rows: speed by share of text changed, quality by policy. Pure: rows in, text out."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Sequence

from benchmarks.edits.rows import POLICIES, Row

_SHARES = ((0.0, 0.0), (0.0, 0.02), (0.02, 0.05), (0.05, 0.10), (0.10, 0.20), (0.20, 9.0))
"""(above, at most); the first is "nothing changed"."""


def speed_table(rows: Iterable[Row]) -> str:
    """Tokens a forward and time against AR regeneration, for answers that changed so much of the text."""
    by_case: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(row.case_id, {})[row.policy] = row
    lines = [
        "| text changed | policy | cases | tokens a forward | against ar: forwards | denoising time |",
        "|---|---|---|---|---|---|",
    ]
    for above, most in (*_SHARES, (-1.0, 0.10)):
        for policy in POLICIES[1:]:
            group = [case for case in by_case.values() if policy in case and _is_in(case[policy].share, above, most)]
            if group:
                lines.append(_speed_line(_share_name(above, most), policy, group))
    return "\n".join(lines)


def _is_in(share: float, above: float, most: float) -> bool:
    return share == 0.0 if above == most else above < share <= most


def _share_name(above: float, most: float) -> str:
    if above == most:
        return "none"
    if above < 0:
        return f"at most {most:.0%}, all"
    return f"above {above:.0%}" if most > 1 else f"{above:.0%}-{most:.0%}"


def _speed_line(name: str, policy: str, group: Sequence[dict[str, Row]]) -> str:
    chosen = [case[policy] for case in group]
    ratio = sum(row.tokens for row in chosen) / max(1, sum(row.forwards for row in chosen))
    pairs = [(case["ar"], case[policy]) for case in group if "ar" in case]
    if not pairs:
        return f"| {name} | {policy} | {len(group)} | {ratio:.1f} | - | - |"
    forwards = statistics.median(ar.forwards / max(1, row.forwards) for ar, row in pairs)
    ms = statistics.median(ar.denoise_ms / max(1e-9, row.denoise_ms) for ar, row in pairs)
    return f"| {name} | {policy} | {len(group)} | {ratio:.1f} | {forwards:.1f}x fewer | {ms:.1f}x less |"


def quality_table(rows: Iterable[Row], offered: Collection[tuple[str, str]]) -> str:
    """What came of the edits; `offered` are the (case, policy) of answers that a user would see."""
    rows = list(rows)
    lines = [
        "| policy | cases | as the reference | changed nothing | no end | new syntax errors | outside the range "
        "| offered | of these, as the reference | new syntax errors |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for policy in POLICIES:
        group = [row for row in rows if row.policy == policy]
        if group:
            seen = [row for row in group if (row.case_id, row.policy) in offered]
            counts = (
                sum(row.is_reference for row in group),
                sum(row.share == 0.0 for row in group),
                sum(row.finish_reason != "end" for row in group),
                sum(row.adds_syntax_error for row in group),
                sum(row.changes_outside for row in group),
                len(seen),
                sum(row.is_reference for row in seen),
                sum(row.adds_syntax_error for row in seen),
            )
            lines.append(f"| {policy} | {len(group)} | {' | '.join(map(str, counts))} |")
    differing = _num_differing(rows)
    lines.append("")
    lines.append(f"lossless differs from ar in {differing} of the cases that have both")
    return "\n".join(lines)


def _num_differing(rows: Sequence[Row]) -> int:
    texts = {(row.case_id, row.policy): row.text for row in rows}
    return sum(
        texts[case, "ar"] != text
        for (case, policy), text in texts.items()
        if policy == "lossless" and (case, "ar") in texts
    )
