"""`seedls refactor` with a scripted model: what is shown, written, checked, put back, and continued."""

from __future__ import annotations

import codecs
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import model_runtime
from model_runtime import RequestError
from seedls.cli import main
from tests.seedls.scripted_runtime import Script, script

__all__ = ["script"]

BODY = "def one():\n    return 1\n\n\ndef two():\n    return 2\n"
EDITED = BODY.replace("return 1", "return 10")


def ten(text: str) -> str:
    return text.replace("return 1", "return 10")


@pytest.fixture
def project(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files, the middle one without anything to change; a home of its own; the model writes 10 for 1."""
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    script.rewrite = ten
    root = tmp_path / "project"
    root.mkdir()
    for name, text in {"a.py": BODY, "b.py": "def three():\n    return 3\n", "c.py": BODY}.items():
        (root / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(root)
    return root


def refactor(*flags: str, instruction: str = "ten for one") -> int:
    return main(["refactor", ".", "--instruction", instruction, *flags])


def report(capsys: pytest.CaptureFixture[str], *flags: str, code: int = 0, instruction: str = "ten for one") -> Any:
    capsys.readouterr()
    assert refactor("--json", *flags, instruction=instruction) == code
    return json.loads(capsys.readouterr().out)


def statuses(result: Any) -> dict[str, str]:
    return {file["path"]: file["status"] for file in result["files"]}


def python_check(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def reading_check(condition: str) -> str:
    """A check that fails when `condition` holds of the texts `a` and `c`."""
    return python_check(
        "import sys; a, c = (open(name).read() for name in ('a.py', 'c.py')); print('looked'); "
        f"sys.exit(3 * bool({condition}))"
    )


def test_a_dry_run_prints_a_diff_and_touches_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in project.iterdir()}
    assert refactor() == 0
    captured = capsys.readouterr()
    assert {path.name: path.read_bytes() for path in project.iterdir()} == before
    assert captured.out.count("-    return 1\n+    return 10\n") == 2
    assert "3 files: 2 would change, 1 unchanged" in captured.err
    assert "units: 2 edited, 3 left as they are, 0 refused" in captured.err
    assert "model: 45 tokens, 20 forwards (2.2 tokens a forward)" in captured.err
    patch = subprocess.run(["git", "apply", "--check", "-"], input=captured.out.encode(), cwd=project, check=False)
    assert patch.returncode == 0


def test_write_replaces_and_keeps_the_originals(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = report(capsys, "--write")
    assert statuses(result) == {"a.py": "changed", "b.py": "unchanged", "c.py": "changed"}
    assert (project / "a.py").read_text() == EDITED
    kept = [path.read_bytes() for path in (Path(result["run"]) / "contents").iterdir()]
    assert BODY.encode() in kept
    assert sorted(path.name for path in project.iterdir()) == ["a.py", "b.py", "c.py"]


def test_the_dry_run_that_was_seen_is_what_gets_written(
    project: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refactor() == 0
    num_asked = len(script.requests)
    result = report(capsys, "--write", "--resume")
    assert statuses(result)["a.py"] == "changed" and (project / "a.py").read_text() == EDITED
    assert len(script.requests) == num_asked, "the model is not asked twice"
    assert len(script.configs) == 1, "nor loaded"


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_what_fails_the_check_is_put_back_byte_for_byte(
    jobs: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = codecs.BOM_UTF8 + BODY.replace("\n", "\r\n").encode().rstrip()
    (project / "c.py").write_bytes(original)
    result = report(capsys, "--write", "--jobs", jobs, "--check", reading_check("'10' in c"), code=1)
    assert statuses(result) == {"a.py": "changed", "b.py": "unchanged", "c.py": "rolled_back"}
    assert (project / "c.py").read_bytes() == original
    assert (project / "a.py").read_text() == EDITED
    assert "the check ended with 3: looked" in result["files"][2]["reason"]
    again = report(capsys, "--write", "--resume", code=1)
    assert statuses(again) == statuses(result) and (project / "c.py").read_bytes() == original


def test_a_check_that_fails_by_itself_stops_everything(
    project: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refactor("--write", "--check", python_check("raise SystemExit('broken already')")) == 1
    assert "nothing was changed: before any edit, the check ended with 1: broken already" in capsys.readouterr().err
    assert not script.configs and (project / "a.py").read_text() == BODY


def test_a_check_that_hangs_is_ended(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hang = python_check("import time\nif '10' in open('a.py').read() + open('c.py').read(): time.sleep(60)")
    result = report(capsys, "--write", "--check-timeout", "1", "--check", hang, code=1)
    assert statuses(result) == {"a.py": "rolled_back", "b.py": "unchanged", "c.py": "rolled_back"}
    assert "ran longer than 1 s" in result["files"][0]["reason"]
    assert (project / "a.py").read_text() == BODY


def test_what_a_check_makes_of_the_file_is_kept_aside(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil = python_check("import sys\nif '10' in open('a.py').read(): open('a.py', 'a').write('# mine'); sys.exit(1)")
    result = report(capsys, "--write", "--check", spoil, code=1)
    assert (project / "a.py").read_text() == BODY
    reason = result["files"][0]["reason"]
    assert Path(reason.rpartition(" ")[2]).read_text() == f"{EDITED}# mine"


def test_edits_that_fail_a_check_are_refused_one_by_one(
    project: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "a.py").write_text(BODY + "\n\ndef long():\n" + "    x = 1\n" * 30, encoding="utf-8")
    script.rewrite = lambda text: text.replace("return 1", "return 10").replace("return 2", "return (2")
    script.error_at = {2: RequestError("the range has 9 tokens")}
    result = report(capsys, "--write", "--max-lines", "10")
    assert (project / "a.py").read_text().startswith(EDITED)
    assert [(unit["unit"], unit["line"], unit["reason"]) for unit in result["files"][0]["refused"]] == [
        ("two", 5, "it would add a syntax error"),
        ("long", 9, "31 lines, --max-lines is 10"),
    ]
    assert result["files"][1] | {"ms": 0} == {
        "path": "b.py",
        "status": "refused",
        "reason": "1 edit not kept",
        "units": {"changed": 0, "unchanged": 0, "refused": 1},
        "refused": [{"unit": "three", "line": 1, "reason": "the range has 9 tokens"}],
        "tokens": 0,
        "forwards": 0,
        "ms": 0,
    }


@pytest.mark.parametrize("reason", ["length", "deadline", "cancelled", "low_confidence"])
def test_an_answer_that_was_cut_short_is_refused(
    reason: Any, project: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.edit_finish = reason
    result = report(capsys, "--write")
    assert set(statuses(result).values()) == {"refused"}
    assert result["files"][0]["refused"][0]["reason"] == f"the model did not finish ({reason})"


def test_an_instruction_about_docstrings_keeps_the_code(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = report(capsys, "--write", instruction="add docstrings")
    assert statuses(result) == {"a.py": "refused", "b.py": "unchanged", "c.py": "refused"}
    assert "it changes code" in result["files"][0]["refused"][0]["reason"]
    assert (project / "a.py").read_text() == BODY


def test_more_than_the_instruction_speaks_of_can_be_allowed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = report(capsys, "--write", "--may-change", "all", instruction="add docstrings")
    assert statuses(result) == {"a.py": "changed", "b.py": "unchanged", "c.py": "changed"}


def test_type_hints_bring_their_imports(project: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "a.py").write_bytes(
        b"import os\r\n\r\n\r\ndef f(a):\r\n    return a\r\n\r\ndef g(a):\r\n    return a\r\n"
    )
    script.rewrite = lambda text: text.replace("(a)", "(a: Any) -> Any")
    result = report(capsys, "--write", instruction="add type hints")
    assert result["files"][0]["units"] == {"changed": 2, "unchanged": 0, "refused": 0}
    assert (project / "a.py").read_bytes() == (
        b"import os\r\nfrom typing import Any\r\n\r\n\r\n"
        b"def f(a: Any) -> Any:\r\n    return a\r\n\r\ndef g(a: Any) -> Any:\r\n    return a\r\n"
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"def f():\r\n\treturn 1  # \xf0\x9f\x99\x82\r\n",
        codecs.BOM_UTF8 + b"def f():\n\treturn 1",
        b"def f():\r    return 1\r\rdef g():\r    return 1\r",
        b"x = 'a\r\n'\ndef f():\r\n    return 1\nprint(f())",
        b"# coding: utf8\ndef f():\n    return 1\n",
        "# -*- coding: utf-8 -*-\nclass Ä:\n    def f(self):\n        return 1\n\n\n".encode(),
    ],
)
def test_every_other_byte_is_kept(raw: bytes, project: Path) -> None:
    (project / "a.py").write_bytes(raw)
    assert refactor("--write") == 0
    assert (project / "a.py").read_bytes() == raw.replace(b"return 1", b"return 10")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"# caf\xe9\n", "is not UTF-8 text (byte 0xe9 at offset 5)"),
        (b"x = 1\0", "is a binary file (NUL byte at offset 5)"),
        (b"# -*- coding: latin-1 -*-\ndef f():\n    return 1\n", "it declares the encoding 'iso-8859-1'"),
        (b"# coding: ascii\n", "it declares the encoding 'ascii'"),
        (b"# -*- coding: klingon -*-\n", "its encoding declaration is wrong (unknown encoding: klingon)"),
    ],
)
def test_other_encodings_are_refused(
    raw: bytes, reason: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "a.py").write_bytes(raw)
    result = report(capsys, "--write")
    assert (result["files"][0]["status"], result["files"][0]["reason"]) == ("refused", reason)
    assert (project / "a.py").read_bytes() == raw


def test_an_empty_file_is_left_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "a.py").write_bytes(b"")
    assert statuses(report(capsys, "--write"))["a.py"] == "unchanged"
    assert (project / "a.py").read_bytes() == b""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_and_resume(jobs: str, project: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.error_at = {3: KeyboardInterrupt()}
    assert refactor("--write", "--jobs", jobs) == 1
    assert "interrupted after 2 of 3 files; the same command with --resume continues" in capsys.readouterr().err
    assert (project / "c.py").read_text() == BODY
    num_asked = len(script.requests)
    result = report(capsys, "--write", "--resume", "--jobs", jobs)
    assert statuses(result) == {"a.py": "changed", "b.py": "unchanged", "c.py": "changed"}
    assert len(script.requests) == num_asked + 2, "only the third file is asked about"
    again = report(capsys, "--write", "--resume")
    assert statuses(again) == statuses(result) and len(script.requests) == num_asked + 2


def test_a_file_that_changed_meanwhile_is_refused(
    project: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.error_at = {2: KeyboardInterrupt()}
    assert refactor("--write") == 1
    (project / "c.py").write_text("mine = 1\n", encoding="utf-8")
    result = report(capsys, "--write", "--resume", code=1)
    assert statuses(result) == {"a.py": "changed", "b.py": "unchanged", "c.py": "conflict"}
    assert result["files"][2]["reason"].startswith("it changed after the run began")
    assert (project / "c.py").read_text() == "mine = 1\n"


def test_a_file_that_changes_while_the_model_works_is_refused(
    project: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    def rewrite(text: str) -> str:
        (project / "a.py").write_text("mine = 1\n", encoding="utf-8")
        return ten(text)

    script.rewrite = rewrite
    result = report(capsys, "--write", code=1)
    assert statuses(result)["a.py"] == "conflict" and (project / "a.py").read_text() == "mine = 1\n"


def test_a_proposal_is_not_written_over_a_newer_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refactor() == 0
    (project / "a.py").write_text("mine = 1\n", encoding="utf-8")
    (project / "c.py").unlink()
    result = report(capsys, "--write", "--resume", code=1)
    assert statuses(result) == {"a.py": "conflict", "b.py": "unchanged", "c.py": "conflict"}
    assert (project / "a.py").read_text() == "mine = 1\n" and not (project / "c.py").exists()


def test_resume_with_nothing_to_resume_starts(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refactor("--resume") == 0
    assert "there is no earlier run of this job" in capsys.readouterr().err


def test_another_instruction_is_another_job(project: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    assert refactor() == 0
    report(capsys, "--resume", instruction="something else")
    assert len(script.configs) == 2


def test_a_damaged_journal_says_so_and_loses_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(report(capsys, "--write")["run"])
    journal = run / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b'"done"' not in line) + b"garbage\n" + lines[-1][:9])
    after = {path.name: path.read_bytes() for path in project.iterdir()}
    result = report(capsys, "--write", "--resume")
    assert statuses(result) == {"a.py": "changed", "b.py": "unchanged", "c.py": "changed"}
    assert result["damaged_journal_lines"] == 2
    assert {path.name: path.read_bytes() for path in project.iterdir()} == after
    journal.write_bytes(b"garbage\n")
    assert refactor("--write", "--resume") == 1
    assert "has no readable plan" in capsys.readouterr().err


def test_the_same_job_runs_once_at_a_time(project: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []

    def rewrite(text: str) -> str:
        if not codes:
            codes.append(refactor("--write"))
        return ten(text)

    script.rewrite = rewrite
    assert refactor("--write") == 0
    assert codes == [1] and "already running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--check", "true"], "--check needs --write"),
        (["--write", "--check", "'"], "cannot be split"),
        (["--write", "--check", " "], "--check is empty"),
        (["--instruction", " "], "--instruction is empty"),
        (["--write", "--diff"], "not allowed with"),
        (["--jobs", "0"], "'0' is not 1 or more"),
    ],
)
def test_usage_errors(
    flags: list[str], message: str, project: Path, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refactor(*flags) == 2
    assert message in capsys.readouterr().err and not script.configs


def test_a_check_that_is_not_there_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refactor("--write", "--check", "no-such-program-here") == 1
    assert "'no-such-program-here'" in capsys.readouterr().err


def test_no_files_is_no_error(project: Path, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    result = report(capsys, "--only", "*.go")
    assert result["files"] == [] and not script.configs


def test_a_home_that_cannot_be_written_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEEDLS_HOME", str(project / "a.py"))
    assert refactor() == 1
    assert "cannot write under" in capsys.readouterr().err
    assert Path(model_runtime.default_home()) == project / "a.py"
