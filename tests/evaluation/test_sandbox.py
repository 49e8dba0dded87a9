from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from model_runtime.evaluation import sandbox
from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.sandbox import Execution, Limits, isolation, run_program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox enforces everything on Linux only")


def _python(code: str, **limits: float) -> Execution:
    return run_program({"main.py": code}, [sys.executable, "-I", "main.py"], Limits(**limits))  # type: ignore[arg-type]


def _processes_of(marker: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_text() if entry.name.isdecimal() else ""
        except OSError:
            continue
        if marker in command:
            found.append(command)
    return found


def test_a_good_program_passes_and_a_bad_one_fails() -> None:
    assert _python("print('ü🙂')").outcome == "passed"
    failed = _python("raise SystemExit(3)")
    assert (failed.outcome, failed.returncode) == ("failed", 3)
    assert "ZeroDivisionError" in _python("1 / 0").output


def test_a_hanging_program_is_stopped_in_time() -> None:
    started = time.monotonic()
    assert _python("import time\ntime.sleep(60)", wall_seconds=0.5).outcome == "timeout"
    assert _python("while True: pass", cpu_seconds=1, wall_seconds=20).outcome == "timeout"
    assert time.monotonic() - started < 12


def test_a_program_that_closes_its_output_and_hangs_is_stopped() -> None:
    code = "import os, time\nos.close(1)\nos.close(2)\ntime.sleep(60)"
    assert _python(code, wall_seconds=0.5).outcome == "timeout"


def test_a_fork_bomb_is_contained_and_leaves_nothing() -> None:
    code = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    execution = run_program(
        {"bomb_1a2b.py": code}, [sys.executable, "-I", "bomb_1a2b.py"], Limits(wall_seconds=1, processes=16)
    )
    assert execution.outcome in ("timeout", "processes")
    time.sleep(0.1)
    assert _processes_of("bomb_1a2b.py") == []


def test_children_that_leave_the_group_die_with_the_program() -> None:
    code = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(60)\n"
        "        os._exit(0)\n"
    )
    assert run_program({"orphan_3c4d.py": code}, [sys.executable, "-I", "orphan_3c4d.py"]).outcome == "passed"
    time.sleep(0.1)
    assert _processes_of("orphan_3c4d.py") == []


def test_a_memory_eater_is_stopped_alone_and_as_a_family() -> None:
    assert _python("x = bytearray(1 << 30)", memory_bytes=256 << 20).outcome == "memory"
    family = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0:\n"
        "        x = bytearray(b'x' * (60 << 20))\n"
        "        time.sleep(30)\n"
        "time.sleep(30)\n"
    )
    assert _python(family, memory_bytes=128 << 20, wall_seconds=10).outcome == "memory"


def test_an_output_flood_is_cut() -> None:
    execution = _python("while True: print('x' * 1000)", output_bytes=10_000)
    assert execution.outcome == "output"
    assert len(execution.output) <= 10_000


def test_files_are_limited_to_the_folder_and_its_size(tmp_path: Path) -> None:
    assert _python("open('big', 'w').write('x' * (2 << 20))", file_bytes=1 << 20).outcome == "failed"
    if "read_only" in isolation().need:
        target = tmp_path / "outside"
        assert _python(f"open({str(target)!r}, 'w')").outcome == "failed"
        assert not target.exists()


def test_the_folder_is_fresh_and_deleted() -> None:
    execution = _python("import os\nprint(os.getcwd(), sorted(os.listdir()))\nopen('left', 'w')")
    folder, _, listing = execution.output.strip().partition(" ")
    assert listing == "['main.py']"
    assert not Path(folder).exists()


def test_there_is_no_network() -> None:
    if not isolation().has_network_lock:
        pytest.skip(isolation().description)
    code = "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)"
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        execution = _python(code.format(port=server.getsockname()[1]))
    assert execution.outcome == "failed"
    assert "Error" in execution.output


@pytest.mark.parametrize("need", [candidate for candidate, _ in sandbox._CANDIDATES])
def test_every_isolation_that_works_here_blocks_the_network(need: tuple[str, ...]) -> None:
    if ("user" in need and os.getuid() != 0) or not sandbox._is_usable(need):
        pytest.skip(f"not usable here: {need}")
    code = "import socket\nsocket.create_connection(('127.0.0.1', 9), 2)"
    execution = sandbox._run({"m.py": code}, [sys.executable, "-I", "m.py"], Limits(), need, {})
    assert "Network is unreachable" in execution.output or "Permission denied" in execution.output


def test_secrets_of_the_environment_do_not_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_SECRET", "hidden")
    assert "hidden" not in _python("import os\nprint(dict(os.environ))").output


def test_a_missing_command_is_an_error_of_the_run_not_of_the_answer() -> None:
    with pytest.raises(EvaluationError, match="no-such-command"):
        run_program({}, ["no-such-command"])
