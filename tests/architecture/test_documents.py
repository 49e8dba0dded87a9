"""The documents say what is true: named tests and files exist, and the commands they show parse."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from seedls.cli import build_parser
from tests.architecture.source_tree import ROOT

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/architecture.md")
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NAMED_FILE = re.compile(r"`((?:docs|seedls|model_runtime|models|benchmarks|tests|demo|editors)/[\w./-]+\.\w+)`")
COMMAND = re.compile(r"^\s*(seedls (?!COMMAND)[a-z].*?)(?:\s+#.*)?$", re.MULTILINE)
NUM_INVARIANTS = 21


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def functions_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED_TEST.findall(text_of("docs/architecture.md")))))
def test_a_named_test_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file(), f"docs/architecture.md names {path}, which does not exist"
    assert name in functions_in(ROOT / path), f"docs/architecture.md names {path}::{name}, which does not exist"


def test_every_invariant_is_listed() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\|.*\|$", text_of("docs/architecture.md"), re.MULTILINE)
    assert rows == [str(number) for number in range(1, NUM_INVARIANTS + 1)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_exist(document: str) -> None:
    missing = sorted({name for name in NAMED_FILE.findall(text_of(document)) if not (ROOT / name).exists()})
    assert not missing, f"{document} points to files that do not exist: {missing}"


@pytest.mark.parametrize("line", sorted(set(COMMAND.findall(text_of("README.md")))))
def test_a_command_of_the_readme_parses(line: str) -> None:
    assert build_parser().parse_args(shlex.split(line)[1:]).run


def test_the_makefile_has_every_target_it_promises() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    assert {
        "help",
        "demo",
        "test",
        "check",
        "fix",
        "bench",
        "test-gpu",
        "bench-gpu",
        "test-editors",
        "clean",
    } <= targets


def test_ci_runs_the_checks_and_the_tests() -> None:
    assert re.findall(r"^make (\w+)", text_of(".ci/run"), re.MULTILINE) == ["check", "test"]
