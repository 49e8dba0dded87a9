"""`python -m benchmarks.plots`: SVG charts from bench reports and evaluation runs; no plotting library needed.

latency REPORT.json OUT.svg       T(b): ms a forward over block size
parallelism REPORT.json OUT.svg   tokens a forward of every decoding setting
quality OUT.svg RUN RUN... [--title TITLE]    pass@1 with its interval over tokens a forward, one point a run folder
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 70, 150, 40, 60
INK, GRID, LINE = "#24292f", "#d0d7de", "#0969da"


@dataclass(frozen=True, slots=True)
class Point:
    """One mark: position, label, and the ends of its error bar."""

    x: float
    y: float
    label: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Axes:
    """Title, axis names, and the labelled x values."""

    title: str
    x_name: str
    y_name: str
    x_ticks: tuple[tuple[float, str], ...]


def draw(axes: Axes, points: Sequence[Point], *, is_line: bool) -> str:
    """The chart as SVG text. Raises ValueError when there is nothing to draw."""
    if not points:
        raise ValueError(f"{axes.title}: nothing to draw")
    x_values = [x for x, _ in axes.x_ticks] + [point.x for point in points]
    x_low, x_high = min(x_values), max(x_values)
    y_high = max(point.high for point in points) * 1.1 or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - x_low) / (x_high - x_low) if x_high > x_low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / y_high * (HEIGHT - TOP - BOTTOM)

    parts = [_frame(axes), *_y_grid(y_high, place)]
    for x, label in axes.x_ticks:
        at, _ = place(x, 0)
        parts.append(_text(at, HEIGHT - BOTTOM + 18, label, "middle"))
    if is_line:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(point.x, point.y) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    for index, point in enumerate(points):
        x, y = place(point.x, point.y)
        _, low = place(point.x, point.low)
        _, high = place(point.x, point.high)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{INK}"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{LINE}"/>')
        # Staggered: neighbours may be closer than their labels are wide.
        parts.append(_text(x + 8, y - 6 - 15 * (index % 3), point.label, "start"))
    return "\n".join([*parts, "</svg>", ""])


def latency_chart(report: dict[str, Any]) -> str:
    """T(b) with its quartiles; block sizes evenly spaced, because they double."""
    rows = sorted(report.get("latency", {}).items(), key=lambda item: int(item[0]))
    points = [
        Point(index, row["ms_per_forward"], f"{row['ms_per_forward']:.1f}", *row["quartiles"])
        for index, (_, row) in enumerate(rows)
    ]
    ticks = tuple((float(index), block) for index, (block, _) in enumerate(rows))
    return draw(Axes(f"One forward, {_device(report)}", "block size", "ms", ticks), points, is_line=True)


def parallelism_chart(report: dict[str, Any]) -> str:
    """Tokens a forward of every setting of the decode table."""
    rows = [(name, row["tokens_per_forward"] or 0.0) for name, row in report.get("decode", {}).items()]
    points = [Point(index, value, f"{value:.2f}", value, value) for index, (_, value) in enumerate(rows)]
    ticks = tuple((float(index), name.replace("lossless", "ll")) for index, (name, _) in enumerate(rows))
    return draw(Axes(f"Tokens a forward, {_device(report)}", "setting", "tokens", ticks), points, is_line=False)


def quality_chart(runs: Sequence[Path], title: str = "Quality and parallelism") -> str:
    """Quality over parallelism. Raises ValueError for a folder without a summary."""
    points = []
    for run in runs:
        try:
            summary = json.loads((run / "summary.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{run}: no readable summary.json: {error}") from None
        low, high = summary["interval_95"]
        parallelism = summary["tokens_per_forward"] or 0.0
        points.append(Point(parallelism, 100 * summary["pass_at_1"], run.name, 100 * low, 100 * high))
    points.sort(key=lambda point: point.x)
    ticks = tuple((float(x), str(x)) for x in range(int(max((p.x for p in points), default=0)) + 2))
    return draw(Axes(title, "tokens a forward", "pass@1, %", ticks), points, is_line=False)


def _device(report: dict[str, Any]) -> str:
    model = report.get("model", {})
    return f"{model.get('name', '')} {model.get('device', '')} {model.get('precision', '')}".strip()


def _frame(axes: Axes) -> str:
    middle = (LEFT + WIDTH - RIGHT) / 2
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            _text(middle, 22, axes.title, "middle", 15),
            _text(middle, HEIGHT - 14, axes.x_name, "middle"),
            f'<g transform="translate(18 {HEIGHT / 2}) rotate(-90)">{_text(0, 0, axes.y_name, "middle")}</g>',
        ]
    )


def _y_grid(y_high: float, place: Any) -> list[str]:
    parts = []
    magnitude = 10 ** math.floor(math.log10(y_high / 4))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if y_high / (factor * magnitude) <= 7)
    for index in range(int(y_high / step) + 1):
        value = step * index
        _, y = place(0, value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{value:.3g}", "end"))
    return parts


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{INK}"'
    return f"<text {attributes}>{escape(text)}</text>"


def main(argv: Sequence[str] | None = None) -> int:
    """0 when written, 1 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description="Draw SVG charts of measurements.")
    charts = parser.add_subparsers(dest="chart", required=True)
    for name in ("latency", "parallelism"):
        chart = charts.add_parser(name)
        chart.add_argument("report", type=Path, help="JSON written by `seedls bench --out`")
        chart.add_argument("out", type=Path)
    chart = charts.add_parser("quality")
    chart.add_argument("out", type=Path)
    chart.add_argument("runs", nargs="+", type=Path, help="run folders of `seedls eval`; their names are the labels")
    chart.add_argument("--title", default="Quality and parallelism")
    arguments = parser.parse_args(argv)
    try:
        if arguments.chart == "quality":
            svg = quality_chart(arguments.runs, arguments.title)
        else:
            report = json.loads(arguments.report.read_text("utf-8"))
            svg = latency_chart(report) if arguments.chart == "latency" else parallelism_chart(report)
        arguments.out.write_text(svg, "utf-8")
    except (OSError, ValueError, KeyError) as error:
        print(f"plots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
