"""The commands that measure the decoder, on the tiny model: every variant answers every request, and tables add up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import ablation, calibration, caret_jumps
from benchmarks.typing_sessions import STEPS, Session, cut_sessions, interleaved, read_texts
from model_runtime import Runtime, RuntimeConfig
from seedls.settings import Settings
from tests.support.tiny_model import write_tiny_checkpoint

TEXT = "".join(f"value_{i} = compute(first_{i}, 'é🎉')\n\tif value_{i}:  # note\n" for i in range(40))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("ablation") / "tiny")
    loaded = Runtime.load(RuntimeConfig(model=str(folder), device="cpu", precision="float32", cache_tokens=4096))
    yield loaded
    loaded.close()


def test_sessions_are_lines_of_the_files_and_always_the_same() -> None:
    sessions = cut_sessions([TEXT, TEXT.upper()], 12)
    assert sessions == cut_sessions([TEXT, TEXT.upper()], 12) and len(sessions) == 12
    for session in sessions:
        text = TEXT if session.line.islower() or session.line[0].islower() else TEXT.upper()
        assert session.prefix(3) + session.wanted(3) + session.after in text
        assert session.line and not session.line[0].isspace()


def test_two_files_take_turns() -> None:
    one, other = Session("a", "", "x" * 20, ""), Session("b", "", "y" * 4, "")
    order = [(session.name, typed) for session, typed in interleaved([one, other])]
    assert order[:4] == [("a", 0), ("b", 0), ("a", 2), ("b", 2)]
    assert [typed for name, typed in order if name == "a"] == list(STEPS)
    assert [typed for name, typed in order if name == "b"] == [0, 2]


def test_the_library_of_this_python_is_there_to_be_typed() -> None:
    assert len(cut_sessions(read_texts(None)[:5], 4)) == 4


def test_every_variant_answers_every_request(runtime: Runtime) -> None:
    sessions = cut_sessions([TEXT], 2)
    rows = {row["variant"]: row for row in ablation.run_ablation(runtime, sessions, min_confidence=0.2)}
    assert list(rows) == list(ablation.VARIANTS)
    assert {row["requests"] for row in rows.values()} == {len(interleaved(sessions))}
    base = rows["all on"]
    assert rows["prefix cache off"]["read"] > 2 * base["read"]
    for name in ("prefix cache off", "warm canvas off", "T(b) scheduler off", "one token a forward"):
        assert rows[name]["same_text_as_all_on"] == 1.0
        assert rows[name]["exact"] == base["exact"]
    assert rows["one token a forward"]["tokens_per_forward"] == 1.0
    assert rows["gating off"]["shown"] >= base["shown"]
    assert "nothing to fuse" in rows["verification fusion off"]["note"]
    lines = ablation.as_markdown(list(rows.values())).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 2 + len(rows)


def test_some_variants_only(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ablation.run_ablation(runtime, cut_sessions([TEXT], 1), 0.2, ("all on", "fast policy"))
    assert [row["variant"] for row in rows] == ["all on", "fast policy"]
    with pytest.raises(SystemExit):
        ablation.main(["--only", "fast policy,everything off"])
    assert "unknown variant 'everything off'" in capsys.readouterr().err


def test_a_rest_reads_what_the_first_completion_then_need_not(runtime: Runtime) -> None:
    sessions = cut_sessions([TEXT, TEXT.upper()], 4, 20, 10)
    none, long = caret_jumps.run_jumps(runtime, sessions, (0.0, 30.0), Settings())
    assert none["jumps"] == long["jumps"] == 4
    assert long["seen_p50"] >= none["seen_p50"] > 4 * long["read_p50"]
    assert none["read_p50"] > 4 * long["read_p50"]
    lines = caret_jumps.as_markdown([none, long]).splitlines()
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 4
    with pytest.raises(SystemExit):
        caret_jumps.main(["--rests", "a,b"])


def test_calibration_recommends_a_minimum_that_reaches_the_share() -> None:
    judged = [(0.9, True)] * 6 + [(0.6, True)] * 3 + [(0.6, False)] * 3 + [(0.2, False)] * 12
    rows = calibration.table(judged)
    shown = {minimum: (share, right) for minimum, share, right in rows}
    assert shown[0.0] == (1.0, 9 / 24)
    assert shown[0.65] == (0.25, 1.0)
    assert shown[0.95] == (0.0, None)
    assert calibration.recommend(rows, 0.7) == 0.25
    assert calibration.recommend(rows, 0.9) == 0.65
    assert calibration.recommend(calibration.table([(0.9, False)]), 0.5) is None


def test_calibration_judges_every_line_proposed(runtime: Runtime) -> None:
    judged = calibration.judge_lines(runtime, cut_sessions([TEXT], 2))
    assert judged and all(0 <= confidence <= 1 for confidence, _ in judged)


def test_texts_come_from_a_held_out_file(tmp_path: Path) -> None:
    import lzma

    file = tmp_path / "held.jsonl.xz"
    with lzma.open(file, "wt", encoding="utf-8") as stream:
        stream.write('{"text": "a = 1\\r\\n\\tb🎉"}\n')
    assert read_texts(file) == ["a = 1\r\n\tb🎉"]
