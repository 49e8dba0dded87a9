from __future__ import annotations

import pytest

from model_runtime.evaluation.sandbox import Limits
from model_runtime.evaluation.toolchains import missing_tools, run_tests, without_unused_imports


def test_python_passes_only_at_the_end_of_its_tests() -> None:
    assert run_tests("python", "assert 1 + 1 == 2").outcome == "passed"
    assert run_tests("python", "assert 1 + 1 == 3").outcome == "failed"
    early = run_tests("python", "import os\nos._exit(0)\nassert False")
    assert early.outcome == "failed"
    assert "ended before its tests" in early.output


@pytest.mark.parametrize(
    ("language", "good", "bad", "early"),
    [
        ("javascript", "console.assert(1 + 1 === 2);", "console.assert(1 + 1 === 3);", "process.exit(0);"),
        ("typescript", "const n: number = 1; console.assert(n === 1);", "throw new Error('no');", "process.exit(0);"),
        (
            "go",
            'package main\n\nimport (\n\t"strings"\n)\n\nfunc main() {\n}\n',
            'package main\n\nfunc main() {\n\tpanic("no")\n}\n',
            "",
        ),
    ],
)
def test_other_languages(language: str, good: str, bad: str, early: str) -> None:
    if reason := missing_tools(language):
        pytest.skip(reason)
    assert run_tests(language, good).outcome == "passed"
    assert run_tests(language, bad).outcome == "failed"
    if early:
        assert run_tests(language, early).outcome == "failed"


def test_an_unknown_language_is_reported_not_run() -> None:
    assert missing_tools("cobol") == "no runner for 'cobol'"


def test_limits_reach_the_program() -> None:
    assert run_tests("python", "import time\ntime.sleep(30)", Limits(wall_seconds=0.5)).outcome == "timeout"


def test_unused_go_imports_are_dropped() -> None:
    program = 'package main\n\nimport (\n\t"encoding/json"\n\t"math"\n)\n\nfunc main() { json.Marshal(1) }\n'
    assert '"math"' not in without_unused_imports(program)
    assert '"encoding/json"' in without_unused_imports(program)
    none_used = 'import (\n\t"math"\n)\nfunc main() {}\n'
    assert without_unused_imports(none_used) == "func main() {}\n"
    assert without_unused_imports("func main() {}") == "func main() {}"
