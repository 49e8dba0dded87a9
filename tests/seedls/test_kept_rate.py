from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from lsprotocol import types

from seedls import kept_rate
from seedls.kept_rate import KeptRateFile, accepted, measure
from seedls.session import Session, ShownCompletion
from tests.seedls.texts import texts
from tests.support.fake_engine import FakeEngine, Script

BEFORE = "import os\n\n\ndef add(a, b):\n    "
TEXT = "total = a + b\n    return total"


def _kept(now: str, text: str = TEXT) -> float:
    return measure(accepted("file:///a", "python", BEFORE, text), now.split("\n")).kept


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        (BEFORE + TEXT + "\n", 1.0),
        ("# new\n" * 40 + BEFORE + TEXT + "\n", 1.0),  # moved down as a whole
        (BEFORE + "\n", 0.0),
        ("", 0.0),
    ],
)
def test_what_is_kept(now: str, kept: float) -> None:
    assert _kept(now) == kept


def test_a_part_is_kept() -> None:
    assert 0.5 < _kept(BEFORE + "total = a - b\n    return total\n") < 1.0
    assert 0.0 < _kept(BEFORE + "return a + b\n") < 0.8


@settings(deadline=None)
@given(texts, texts, texts)
def test_any_text_gives_a_share(before: str, text: str, now: str) -> None:
    figure = measure(accepted("file:///a", "python", before, text), now.split("\n"))
    assert 0.0 <= figure.kept <= 1.0


def test_the_file_holds_numbers_and_no_text_and_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rate, "_MAX_FILE_BYTES", 500)
    file = KeptRateFile(tmp_path / "home")
    for _ in range(50):
        file.append(measure(accepted("file:///secret", "python", BEFORE, TEXT), [BEFORE + TEXT]))
    lines = file.path.read_text("utf-8").splitlines()
    assert all(set(json.loads(line)) == {"day", "language", "characters", "kept", "seconds"} for line in lines)
    assert "total" not in file.path.read_text("utf-8")
    assert "secret" not in file.path.read_text("utf-8")
    assert file.path.stat().st_size < 700
    assert file.delete() is True
    assert file.delete() is False


def test_a_file_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    file = KeptRateFile(tmp_path / "home")
    file.append(measure(accepted("file:///a", "python", "", "x"), ["x"]))
    assert not file.path.exists() and (tmp_path / "home").read_text() == "not a folder"


def _session(monkeypatch: pytest.MonkeyPatch, home: Path, **options: object) -> Session:
    monkeypatch.setenv("SEEDLS_HOME", str(home))
    session = Session(lambda settings: FakeEngine(Script()))
    session.set_options("initialize", options)
    session.documents.open(types.TextDocumentItem("file:///a.py", "python", 1, BEFORE + TEXT + "\n"))
    session.shown["file:///a.py"] = ShownCompletion(BEFORE, "\n", TEXT, "id-1")
    return session


def test_an_accepted_completion_is_looked_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    session = _session(monkeypatch, tmp_path)
    taken = session.take_accepted("id-1")
    assert taken is not None
    assert session.take_accepted("unknown") is None
    session.forget("file:///a.py")  # closed before the time was over
    session.note_kept(taken)
    (line,) = (tmp_path / "kept_rate.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["kept"] == 1.0
    assert session.metrics.counters["kept.characters"] == session.metrics.counters["accepted.characters"] > 0
    session.close()


def test_switched_off_nothing_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    session = _session(monkeypatch, tmp_path, keptRate={"enabled": False})
    assert session.take_accepted("id-1") is None
    session.close()
    assert list(tmp_path.iterdir()) == []
