from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import plots

REPORT = {
    "model": {"name": "m<1>", "device": "cpu", "precision": "int8"},
    "latency": {
        "8": {"ms_per_forward": 20.0, "quartiles": [19.0, 22.0]},
        "1": {"ms_per_forward": 10.0, "quartiles": [9.0, 11.0]},
    },
    "decode": {"ar": {"tokens_per_forward": 1.0}, "lossless-b8": {"tokens_per_forward": 2.5}},
}


def _circles(svg: str) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(svg)
    return [
        (float(node.attrib["cx"]), float(node.attrib["cy"])) for node in root.iter("{http://www.w3.org/2000/svg}circle")
    ]


def test_latency_goes_up_and_to_the_right_inside_the_picture() -> None:
    (x1, y1), (x2, y2) = _circles(plots.latency_chart(REPORT))
    assert x1 < x2 < plots.WIDTH
    # SVG counts downwards: twice the time is twice as high above the axis.
    base = plots.HEIGHT - plots.BOTTOM
    assert base - y2 == pytest.approx(2 * (base - y1), abs=0.2)


def test_every_setting_is_drawn() -> None:
    svg = plots.parallelism_chart(REPORT)
    assert len(_circles(svg)) == 2
    assert "m&lt;1&gt; cpu int8" in svg


def test_quality_is_drawn_from_run_folders(tmp_path: Path) -> None:
    for name, share, parallelism in (("ar", 0.5, 1.0), ("fast", 0.4, 3.0)):
        (tmp_path / name).mkdir()
        summary = {"pass_at_1": share, "interval_95": [share - 0.1, share + 0.1], "tokens_per_forward": parallelism}
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    out = tmp_path / "q.svg"
    assert plots.main(["quality", str(out), str(tmp_path / "ar"), str(tmp_path / "fast")]) == 0
    assert len(_circles(out.read_text())) == 2


def test_what_cannot_be_drawn_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text("{}")
    assert plots.main(["latency", str(empty), str(tmp_path / "o.svg")]) == 1
    assert plots.main(["quality", str(tmp_path / "o.svg"), str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 2
    assert not (tmp_path / "o.svg").exists()
