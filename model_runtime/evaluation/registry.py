"""Every quality benchmark by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.corpus import load_corpus
from model_runtime.evaluation.edits import load_edits
from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.humaneval import load_humaneval, load_humaneval_chat
from model_runtime.evaluation.infilling import (
    load_multi_line,
    load_random_span,
    load_single_line,
    load_single_line_free,
)
from model_runtime.evaluation.mbpp import load_mbpp, load_mbpp_chat
from model_runtime.evaluation.multilingual import load_mbxp, load_multilingual_humaneval
from model_runtime.evaluation.repair import load_repair, load_repair_all


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A named set of cases. `load` takes the data path and raises EvaluationError."""

    name: str
    about: str
    load: Callable[[Path | None], list[Case]]


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("humaneval", "164 Python functions, plain continuation", load_humaneval),
        Benchmark("humaneval-chat", "the same, asked through the chat layout", load_humaneval_chat),
        Benchmark("infilling-single", "HumanEval-Infilling single-line, one line asked for", load_single_line),
        Benchmark("infilling-single-free", "the same, length unknown to the decoder", load_single_line_free),
        Benchmark("infilling-multi", "HumanEval-Infilling multi-line, length unknown", load_multi_line),
        Benchmark("infilling-span", "HumanEval-Infilling random-span, length unknown", load_random_span),
        Benchmark("mbpp", "MBPP sanitized, 427 Python functions, zero-shot continuation", load_mbpp),
        Benchmark("mbpp-chat", "the same, asked through the chat layout", load_mbpp_chat),
        Benchmark("mbxp", "MBPP in Python, JavaScript, TypeScript, Go", load_mbxp),
        Benchmark("humaneval-multilingual", "HumanEval in JavaScript, TypeScript, Go", load_multilingual_humaneval),
        Benchmark("repair", "HumanEvalFix, one-token bugs, Python and JavaScript", load_repair),
        Benchmark("repair-all", "HumanEvalFix, all bugs", load_repair_all),
        Benchmark("edits", "instruction, text before, tests", load_edits),
        Benchmark("corpus", "infilling cut from --data FOLDER: exact match and edit similarity", load_corpus),
    )
}


def benchmark_named(name: str) -> Benchmark:
    """Raises EvaluationError listing the known names."""
    if name not in BENCHMARKS:
        raise EvaluationError(f"unknown benchmark {name!r} (known: {', '.join(BENCHMARKS)})")
    return BENCHMARKS[name]
