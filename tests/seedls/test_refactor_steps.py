"""`seedls refactor` stopped before every single write, sync and rename it makes, then resumed."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from seedls.cli import main
from tests.seedls.scripted_runtime import Script, script

__all__ = ["script"]

GOOD, BAD = b"def good():\r\n\treturn 1", b"def bad():\n    return 1\n"
CHECK = shlex.join([sys.executable, "-S", "-c", "import sys; sys.exit('10' in open('bad.py').read())"])
COMMAND = ["refactor", ".", "--instruction", "ten for one", "--write", "--check", CHECK, "--json"]


class Crash(BaseException):
    """Stands for the end of the process: nothing but the outermost caller catches it."""


class CrashPoint:
    """Raises Crash instead of call number `at` (from 0) of a write, a sync or a rename, and at every later one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.num_calls = 0
        self._at = at
        for owner, name in ((os, "write"), (os, "fsync"), (Path, "replace"), (Path, "chmod")):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, original: object) -> object:
        def counted(*arguments: object) -> object:
            number, self.num_calls = self.num_calls, self.num_calls + 1
            if number >= self._at:
                raise Crash
            assert callable(original)
            return original(*arguments)

        return counted


def crash(at: int) -> bool:
    """Run until the crash point; False when the run ended before it."""
    with pytest.MonkeyPatch.context() as patch:
        point = CrashPoint(patch, at)
        try:
            main([*COMMAND, "--resume"])
        except Crash:
            return True
        assert point.num_calls == at
        return False


def test_every_crash_point_can_be_resumed_from(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script.rewrite = lambda text: text.replace("return 1", "return 10")
    for at in range(200):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "bad.py").write_bytes(BAD)
        (folder / "good.py").write_bytes(GOOD)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / f"home{at}"))
        num_asked = len(script.requests)
        has_crashed = crash(at)
        assert (folder / "good.py").read_bytes() in (GOOD, GOOD + b"0")
        assert (folder / "bad.py").read_bytes() in (BAD, BAD.replace(b"1", b"10"))
        capsys.readouterr()
        code = main([*COMMAND, "--resume"])
        output = capsys.readouterr()
        assert code == 1, output.err
        counts = json.loads(output.out)["counts"]
        assert (counts["changed"], counts["rolled_back"]) == (1, 1), f"crash point {at}: {output.out}"
        assert (folder / "good.py").read_bytes() == GOOD + b"0"
        assert (folder / "bad.py").read_bytes() == BAD
        assert sorted(path.name for path in folder.iterdir()) == ["bad.py", "good.py"]
        assert len(script.requests) - num_asked <= 3, "at most one file is asked about again"
        if not has_crashed:
            assert at > 20, "a run writes more often than that"
            return
    raise AssertionError("the run never ended")
