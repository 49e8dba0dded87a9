"""Is a broken model caught? Every quality benchmark, on the model as it is and with one layer's weights shuffled.

    python -m benchmarks.broken --data EVAL_DATA [--model coder-0.5b] [--limit 20] [--only humaneval,repair]

The broken model is a copy of the installed checkpoint in which the rows of two matrices of one layer are in
another order: what a wrong weight-name map would do. It is asked what the healthy one answers right; a benchmark
catches it when at least half of that is gone. Exit code 1 when one does not. The healing adapter is merged into both
copies before that: the base alone ends few holes by itself, and what it never gets right catches nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from model_runtime import RuntimeConfig
from model_runtime.adapters import merge_into, read_adapter
from model_runtime.evaluation.cases import Case, sample
from model_runtime.evaluation.errors import EvaluationError
from model_runtime.evaluation.registry import BENCHMARKS, benchmark_named
from model_runtime.evaluation.results import RunFolder
from model_runtime.evaluation.runner import run_cases, runnable
from model_runtime.evaluation.solvers import DecodeOptions, RuntimeSolver
from model_runtime.install import find_checkpoint
from model_runtime.runtime import Runtime

ROOT = Path(__file__).resolve().parent.parent
SHUFFLED = ("self_attn.o_proj.weight", "mlp.down_proj.weight")


def shuffle_layer(state: dict[str, torch.Tensor], layer: int, seed: int = 0) -> None:
    """Reorder the output rows of two matrices of one layer, in place; KeyError when the layer is not there."""
    generator = torch.Generator().manual_seed(seed)
    for part in SHUFFLED:
        name = f"model.layers.{layer}.{part}"
        weight = state[name]
        state[name] = weight[torch.randperm(weight.shape[0], generator=generator)].contiguous()


def write_broken_copy(checkpoint: Path, folder: Path, layer: int | None, healing: Path | None = None) -> Path:
    """A copy of a checkpoint folder, that adapter merged in, with one layer shuffled; None leaves the layers alone."""
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(checkpoint / name, folder / name)
    state = load_file(checkpoint / "model.safetensors")
    if healing is not None:
        merge_into(state, read_adapter(healing))
    if layer is not None:
        shuffle_layer(state, layer)
    save_file(state, folder / "model.safetensors")
    return folder


def is_caught(healthy: int, broken: int) -> bool:
    """At least half of the right answers are gone."""
    return healthy > 0 and broken <= healthy / 2


def main() -> int:
    """Measure and print a table."""
    arguments = _parser().parse_args()
    names = arguments.only.split(",") if arguments.only else list(BENCHMARKS)
    scores: dict[str, tuple[int, int, int]] = {}
    checkpoint = find_checkpoint(arguments.model)
    shipped = ROOT / "models" / Path(arguments.model).name / "healing.safetensors"
    healing = arguments.healing or (shipped if shipped.is_file() else None)
    with tempfile.TemporaryDirectory() as temporary:
        asked = _asked(names, arguments)
        folders = {
            form: write_broken_copy(checkpoint, Path(temporary) / form, layer, healing)
            for form, layer in (("healthy", None), ("broken", arguments.layer))
        }
        right = _right_answers(folders["healthy"], asked, arguments.threads)
        passed = {name: [case for case in cases if case.case_id in right[name]] for name, cases in asked.items()}
        still = _right_answers(folders["broken"], passed, arguments.threads)
        for name in asked:
            scores[name] = (len(asked[name]), len(right[name]), len(still[name]))
    print("| benchmark | cases | healthy | of those, one layer shuffled | caught |\n|---|---|---|---|---|")
    for name, (cases, healthy, broken) in scores.items():
        print(f"| {name} | {cases} | {healthy} | {broken} | {'yes' if is_caught(healthy, broken) else 'NO'} |")
    return 0 if all(is_caught(healthy, broken) for _, healthy, broken in scores.values()) else 1


def _asked(names: Sequence[str], arguments: argparse.Namespace) -> dict[str, list[Case]]:
    """Cases by benchmark; one without data is left out with a word, unless it was asked for by name."""
    asked = {}
    for name in names:
        try:
            asked[name] = _cases(name, arguments)
        except EvaluationError as error:
            if arguments.only:
                raise
            print(f"{name}: left out, {error}", file=sys.stderr)
    return asked


def _cases(name: str, arguments: argparse.Namespace) -> list[Case]:
    data = arguments.corpus if name == "corpus" else arguments.data
    cases = runnable(sample(benchmark_named(name).load(data), arguments.limit, 0)).cases
    return [replace(case, max_tokens=min(case.max_tokens, arguments.max_tokens)) for case in cases]


def _right_answers(model: Path, asked: dict[str, list[Case]], threads: int | None) -> dict[str, set[str]]:
    """Ids of the cases that the checkpoint answers right."""
    runtime = Runtime.load(RuntimeConfig(model=str(model), device="cpu", threads=threads, use_adapters=False))
    solver = RuntimeSolver(runtime, DecodeOptions("lossless"))
    right: dict[str, set[str]] = {name: set() for name in asked}
    for name, cases in asked.items():
        if cases:
            run = RunFolder(model.with_name(f"{model.name}-{name}"))
            run.begin({}, resume=False)
            run_cases(cases, solver, run)
            right[name] = {answered.case_id for answered in run.samples() if answered.passed}
    runtime.close()
    return right


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation sets")
    parser.add_argument("--model", default="coder-0.5b", help="an installed model's name, or a checkpoint folder")
    parser.add_argument("--healing", type=Path, help="adapter merged into both (default: the one shipped for --model)")
    parser.add_argument("--layer", type=int, default=0, help="shuffled (default: 0; a middle one is half survived)")
    parser.add_argument("--limit", type=int, default=20, help="cases of each benchmark")
    parser.add_argument("--max-tokens", type=int, default=160, help="of an answer: a broken model knows no end")
    parser.add_argument("--corpus", type=Path, default=ROOT / "seedls", help="source files for the corpus benchmark")
    parser.add_argument("--only", help="benchmark names separated by commas")
    parser.add_argument("--threads", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
