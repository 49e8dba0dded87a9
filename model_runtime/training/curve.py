"""A loss curve as a small SVG, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 640, 320, 40


def write_curve(path: Path, losses: Sequence[float], held_out: Sequence[Sequence[float]]) -> None:
    """Draw the loss of every step (thin), its running mean (thick) and the held-out points."""
    path.write_text(curve_svg(losses, held_out), encoding="utf-8")


def curve_svg(losses: Sequence[float], held_out: Sequence[Sequence[float]]) -> str:
    """The SVG text; an empty run gives an empty frame."""
    top = max([*losses, *(point[1] for point in held_out), 0.1])
    last = max([len(losses), *(int(point[0]) for point in held_out), 1])

    def place(step: float, loss: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * step / last
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * loss / top
        return f"{x:.1f},{y:.1f}"

    def line(points: Sequence[Sequence[float]], colour: str, width: float) -> str:
        joined = " ".join(place(step, loss) for step, loss in points)
        return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width}"/>'

    steps = [(index + 1, loss) for index, loss in enumerate(losses)]
    windows = [losses[max(0, index - 9) : index + 1] for index in range(len(losses))]
    means = [(index + 1, sum(window) / len(window)) for index, window in enumerate(windows)]
    frame = f"M{MARGIN},{MARGIN} V{HEIGHT - MARGIN} H{WIDTH - MARGIN}"
    centres = [place(*point).split(",") for point in held_out]
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="#c33"/>' for x, y in centres)
    caption = f"loss a scored token (top {top:.2f}); red: held out"
    box = f"0 0 {WIDTH} {HEIGHT}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="11">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><path d="{frame}" fill="none" stroke="#888"/>'
        f"{line(steps, '#bcd', 1)}{line(means, '#369', 2)}{line([tuple(p) for p in held_out], '#c33', 1)}{dots}"
        f'<text x="{MARGIN}" y="{MARGIN - 8}">{caption}</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - MARGIN + 16}" text-anchor="end">{last} steps</text></svg>\n'
    )
