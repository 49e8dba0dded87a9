"""Progress where no terminal is: silent for short work, a line now and then for long."""

from __future__ import annotations

import pytest

from seedls.commands import progress
from seedls.commands.progress import progress_bar


def test_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("refactoring") as report:
        for i in range(100):
            report("a.py", i / 100)
    assert capsys.readouterr() == ("", "")


def test_long_work_says_where_it_is_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress_bar("refactoring") as report:
        for i in range(100):
            now += 1.0
            report(f"é{i}.py" if i < 60 else "", i / 50)
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == [
        "refactoring: 58% é29.py",
        "refactoring: 100% é59.py",
        "refactoring: 100%",
    ]
