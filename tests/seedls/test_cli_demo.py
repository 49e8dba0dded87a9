"""`seedls demo`: the plan in demo/ is sound, and the verdict fails when something is empty or broken."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from seedls.cli import main
from tests.architecture.source_tree import ROOT
from tests.seedls.scripted_runtime import Script, script

__all__ = ["script"]

DEMO = ROOT / "demo"


def annotate(function: str) -> str:
    return function.replace("common(counts, limit):", "common(counts, limit: int):")


def test_the_plan_cuts_at_least_three_holes_and_edits_a_function(script: Script) -> None:
    script.rewrite = annotate
    assert main(["demo"]) == 0
    holes, edits = script.requests[:-1], script.requests[-1:]
    assert len(holes) >= 3 and len(edits) == 1
    cut = {entry["hole"] for entry in tomllib.loads((DEMO / "demo.toml").read_text(encoding="utf-8"))["completion"]}
    for request in holes:
        whole = next(path.read_text(encoding="utf-8") for path in DEMO.glob("*.py") if path.name == request.path)
        middle = whole[len(request.prefix) : len(whole) - len(request.suffix)]
        assert request.prefix + middle + request.suffix == whole
        assert middle in cut, "the model must not be shown the hole"


def test_the_edit_names_one_whole_function(script: Script) -> None:
    script.rewrite = annotate
    assert main(["demo"]) == 0
    request = script.requests[-1]
    (function,) = ast.parse(request.text[request.start : request.end]).body
    assert isinstance(function, ast.FunctionDef) and function.name == "most_common"


def test_it_prints_text_tokens_forwards_ms_and_speed(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.rewrite = annotate
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert "«42»" in shown and "3 tokens, 2 forwards, 12 ms, 240.0 tokens/s" in shown
    assert "+def most_common(counts, limit: int):" in shown


def test_an_empty_completion_fails(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.middle, script.rewrite = "  \n", annotate
    assert main(["demo"]) == 1
    assert "is empty" in capsys.readouterr().err


def test_an_edit_that_changes_nothing_fails(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.rewrite = str
    assert main(["demo"]) == 1
    assert "the edit of most_common in word_count.py is empty" in capsys.readouterr().err


def test_an_edit_that_breaks_the_file_fails(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.rewrite = lambda function: function.replace("common(counts, limit):", "common(counts, limit:")
    assert main(["demo"]) == 1
    assert "broke the syntax" in capsys.readouterr().err
    script.rewrite, script.outside = annotate, "import os\n"
    assert main(["demo"]) == 1
    assert "outside the function" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (None, "there is no"),
        ("[[completion]\n", "demo.toml"),
        ('[[completion]]\nfile = "a.py"\nhole = "zzz"\n', "0 places"),
        ('[[completion]]\nfile = "a.py"\nhole = "x"\n', "2 places"),
        ('[[completion]]\nfile = "b.py"\nhole = "x"\n', "b.py"),
        ('[[edit]]\nfile = "a.py"\nfunction = "f"\ninstruction = "x"\n', "no function 'f'"),
    ],
)
def test_a_bad_plan_is_named(
    plan: str | None, message: str, script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("x = x\n", encoding="utf-8")
    if plan is not None:
        (tmp_path / "demo.toml").write_text(plan, encoding="utf-8")
    assert main(["demo", "--folder", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert not script.configs


@pytest.mark.parametrize("name", sorted(path.name for path in DEMO.glob("*.py")))
def test_the_demo_files_are_real_programs(name: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", str(DEMO / name), "--help"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
