"""The command line as a whole: help, usage errors, exit codes, one-line failures, and the real process."""

from __future__ import annotations

import subprocess
import sys

import pytest

import model_runtime
from model_runtime import CheckpointMissing, OutOfMemory
from seedls import __version__
from seedls.cli import build_parser, main
from tests.architecture.source_tree import ROOT
from tests.seedls.scripted_runtime import Script, script

__all__ = ["script"]

COMMANDS = ("serve", "complete", "infill", "generate", "edit", "edits", "doctor", "demo", "model")
MODEL_ACTIONS = ("list", "install", "info", "verify", "import")


@pytest.mark.parametrize("words", [[], *[[name] for name in COMMANDS], *[["model", name] for name in MODEL_ACTIONS]])
def test_help_shows_examples_and_ends_with_0(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: seedls")
    assert not words or "example" in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"seedls {__version__}\n"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("", "COMMAND"),
        ("nonsense", "nonsense"),
        ("complete a.py --line x --column 0", "'x'"),
        ("complete a.py --line -1 --column 0", "'-1'"),
        ("complete a.py --line 0 --column 0 --block 0", "'0'"),
        ("complete a.py --line 0 --column 0 --block 129", "'129'"),
        ("complete a.py --line 0 --column 0 --temperature nan", "'nan'"),
        ("complete a.py --line 0 --column 0 --policy best", "'best'"),
        ("edit a.py --instruction x --range 4", "'4'"),
        ("edit a.py --instruction x --range 9:4", "'9:4'"),
        ("edit a.py --instruction x --json --write", "--write"),
        ("serve --tcp nowhere", "'nowhere'"),
        ("serve --tcp localhost:99999", "'localhost:99999'"),
        ("model", "ACTION"),
    ],
)
def test_usage_errors_name_the_value_and_end_with_2(line: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [CheckpointMissing("coder-9 is not installed"), OutOfMemory("needs 9 GiB,\n has 4"), KeyboardInterrupt()]
)
def test_a_failure_is_one_line_and_ends_with_1(
    error: BaseException, script: Script, tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    script.error_at[0] = error
    file = ROOT / "demo" / "inventory.py"
    assert main(["complete", str(file), "--line", "0", "--column", "0"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("seedls: ") and captured.err.count("\n") == 1
    assert " ".join(str(error).split()) in captured.err
    assert captured.out == ""
    assert script.closed == 1


def test_a_mistake_of_ours_is_not_hidden(script: Script) -> None:
    script.error_at[0] = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError):
        main(["complete", str(ROOT / "demo" / "inventory.py"), "--line", "0", "--column", "0"])


def test_runtime_flags_reach_the_runtime(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDLS_DEVICE", "cuda:7")
    file = str(ROOT / "demo" / "inventory.py")
    assert main(["complete", file, "--line", "0", "--column", "0", "--model", "m", "--threads", "3"]) == 0
    assert main(["complete", file, "--line", "0", "--column", "0", "--device", "cpu", "--precision", "float32"]) == 0
    first, second = script.configs
    assert (first.model, first.threads, first.device) == ("m", 3, "cuda:7")
    assert (second.model, second.precision, second.device) == ("coder-0.5b", "float32", "cpu")


def test_a_wrong_environment_is_one_line(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEEDLS_THREADS", "many")
    assert main(["complete", str(ROOT / "demo" / "inventory.py"), "--line", "0", "--column", "0"]) == 1
    captured = capsys.readouterr()
    assert "many" in captured.err and captured.err.count("\n") == 1


def test_decoding_flags_reach_the_runtime(script: Script) -> None:
    words = "--line 0 --column 0 --policy fast --max-tokens 7 --block 16 --steps 3 --temperature 0.5 --seed 9"
    assert main(["complete", str(ROOT / "demo" / "inventory.py"), *words.split()]) == 0
    params = script.requests[0].params
    assert (params.policy, params.max_tokens, params.block_size) == ("fast", 7, 16)
    assert (params.max_steps, params.temperature, params.seed) == (3, 0.5, 9)


def test_programs_get_their_own_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def find_program(name: str) -> object:
        return (lambda argv: seen.append(list(argv)) or 5) if name == "train" else None

    monkeypatch.setitem(model_runtime.__dict__, "find_program", find_program)
    assert main(["train", "mask", "--help"]) == 5
    assert seen == [["mask", "--help"]]
    assert "train" in build_parser().format_help()
    assert main(["bench"]) == 2, "a program that is not installed is an unknown command"


def test_find_program_knows_only_what_is_shipped() -> None:
    assert model_runtime.find_program("no-such-program") is None
    for name, module in (("train", "training/__main__.py"), ("eval", "evaluation/__main__.py")):
        assert (model_runtime.find_program(name) is not None) == (ROOT / "model_runtime" / module).is_file()


def test_the_real_process(tmp_path: object) -> None:
    command = [sys.executable, "-m", "seedls", "complete", "no such file.py", "--line", "0", "--column", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "seedls: cannot read no such file.py: No such file or directory\n"
    assert done.stdout == ""
