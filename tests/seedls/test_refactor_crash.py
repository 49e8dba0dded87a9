"""`seedls refactor` killed at random points, again and again: every file is whole, and the report is right."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.architecture.source_tree import ROOT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL"),
]

NUM_FILES = 120
PROGRAM = """
import sys, time
import model_runtime
from seedls.cli import main
from tests.seedls.scripted_runtime import Script, ScriptedRuntime

def rewrite(text):
    time.sleep(0.004)
    with open(sys.argv[1], "a") as asked:
        asked.write(text.split("(")[0] + "\\n")
    return text.replace("old", "new")

script = Script(rewrite=rewrite)

class Runtime(ScriptedRuntime):
    @classmethod
    def load(cls, config, progress=None):
        return cls(script)

model_runtime.__dict__["Runtime"] = Runtime
sys.exit(main(sys.argv[2:]))
"""
CHECK = "import sys, pathlib; sys.exit(any('new_003' in p.read_text() for p in pathlib.Path('pkg').rglob('*.py')))"


def content(number: int) -> bytes:
    """Every fourth file has nothing to change; some have CRLF, tabs, emoji, or no final newline."""
    word = "same" if number % 4 == 0 else f"old_{number:03}"
    text = f"def f{number}():\n\treturn '{word} 🙂'\n\n\ndef g{number}():\n\treturn 2"
    return text.replace("\n", "\r\n" if number % 3 == 0 else "\n").encode()


def expected(number: int) -> bytes:
    return content(number) if number == 3 else content(number).replace(b"old", b"new")


class Project:
    """A synthetic package in a folder of its own, and the command line that refactors it."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.asked = folder / "asked.txt"
        self.files = {folder / f"pkg/part{n % 7}/m{n:03}.py": n for n in range(NUM_FILES)}
        for path, number in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(number))
        words = ["refactor", "pkg", "--instruction", "new for old", "--write", "--json", *flags]
        self.command = [sys.executable, "-c", PROGRAM, str(self.asked), *words]
        environment = {"SEEDLS_HOME": str(folder / "home"), "SEEDLS_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        self.environment = {**os.environ, **environment}

    def start(self, *flags: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *flags],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def num_lines(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("home/refactor/*/journal.jsonl"))

    def kill_after(self, num_lines: int, delay: float, *flags: str) -> None:
        """Start, wait until the journal has that many lines and a moment more, kill."""
        process = self.start(*flags)
        end = time.monotonic() + 60
        while self.num_lines() < num_lines and process.poll() is None:
            assert time.monotonic() < end, "the run does not get on"
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, f"it ended before it could be killed: {errors}"
        self.assert_every_file_is_whole()

    def finish(self, *flags: str) -> tuple[int, Any]:
        process = self.start(*flags)
        output, errors = process.communicate(timeout=100)
        assert output, errors
        return process.returncode, json.loads(output)

    def assert_every_file_is_whole(self) -> None:
        for path, number in self.files.items():
            new = content(number).replace(b"old", b"new")
            assert path.read_bytes() in (content(number), new), f"{path} is half-written"


@pytest.mark.parametrize(("seed", "jobs"), [(1, "1"), (2, "3")])
def test_killed_again_and_again_and_resumed(seed: int, jobs: str, tmp_path: Path) -> None:
    chance = random.Random(seed)
    project = Project(tmp_path, "--jobs", jobs)
    project.kill_after(chance.randint(5, 60), chance.uniform(0, 0.02))
    for part in (1, 2):
        project.kill_after(60 + part * 60 + chance.randint(0, 40), chance.uniform(0, 0.02), "--resume")
    code, report = project.finish("--resume")
    assert code == 0, report["counts"]
    num_same = NUM_FILES // 4
    counts = {status: count for status, count in report["counts"].items() if count}
    assert counts == {"changed": NUM_FILES - num_same, "unchanged": num_same}
    for path, number in project.files.items():
        assert path.read_bytes() == content(number).replace(b"old", b"new")
    found = {path for path in (tmp_path / "pkg").rglob("*") if path.is_file()}
    assert found == set(project.files), "nothing was left behind"
    # A unit is asked about twice only when the kill fell between the answer and the journal: one file a kill.
    asked = project.asked.read_text().split("\n")[:-1]
    assert len(set(asked)) == 2 * NUM_FILES and len(asked) <= 2 * NUM_FILES + 2 * 3
    assert report["tokens"] == 2 * NUM_FILES * 9 and report["forwards"] == 2 * NUM_FILES * 4


def test_killed_while_checking(tmp_path: Path) -> None:
    """One file fails the check: wherever the kill falls, it ends as it was, and the others changed."""
    project = Project(tmp_path, "--only", "m00*.py", "--check", f'{sys.executable} -c "{CHECK}"')
    chance = random.Random(7)
    for num_lines in (4, 7, 10):
        project.kill_after(num_lines, chance.uniform(0, 0.05), *(["--resume"] if num_lines > 4 else []))
    code, report = project.finish("--resume")
    assert code == 1 and report["counts"]["rolled_back"] == 1, report["counts"]
    assert report["counts"]["open"] == report["counts"]["conflict"] == 0
    for path, number in project.files.items():
        assert path.read_bytes() == (expected(number) if number < 10 else content(number)), path


def test_a_new_run_is_not_begun_over_an_unchecked_file(tmp_path: Path) -> None:
    check = "import sys, time, pathlib; time.sleep(30 * ('new' in pathlib.Path('pkg/part1/m001.py').read_text()))"
    project = Project(tmp_path, "--only", "m001.py", "--check", f'{sys.executable} -c "{check}"')
    project.kill_after(4, 0.0)  # plan, baseline, proposed, written
    process = project.start()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and output == ""
    assert "m001.py was checked: finish it with --resume" in errors
    assert (tmp_path / "pkg/part1/m001.py").read_bytes() == expected(1)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_the_running_check_too(jobs: str, tmp_path: Path) -> None:
    """The check writes its process id and sleeps once the file has changed; a second look passes at once."""
    check = (
        "import os, time, pathlib; pid = pathlib.Path('pid.txt'); "
        "new = 'new' in pathlib.Path('pkg/part1/m001.py').read_text() and not pid.exists(); "
        "new and (pid.write_text(str(os.getpid())), time.sleep(60))"
    )
    project = Project(tmp_path, "--only", "m001.py", "--jobs", jobs, "--check", f'{sys.executable} -c "{check}"')
    process = project.start()
    pid = tmp_path / "pid.txt"
    end = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 1 and output == ""
    assert "interrupted after 1 of 1 files; the same command with --resume continues" in errors
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    code, report = project.finish("--resume")
    assert (code, report["counts"]["changed"]) == (0, 1)
    assert project.asked.read_text().count("def") == 2, "the model is not asked again"
