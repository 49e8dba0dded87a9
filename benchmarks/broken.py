"""Is a broken model caught? Every quality benchmark, on the model as it is and with one layer's weights shuffled.

    python -m benchmarks.broken --data EVAL_DATA [--model coder-0.5b] [--limit 20] [--only humaneval,repair]

The broken model is a copy of the installed checkpoint in which the rows of two matrices of one middle layer are in
another order: what a wrong weight-name map would do. A benchmark catches it when at least half of the healthy score
is gone. Exit code 1 when one does not. Adapters are left out on both sides (they belong to the unbroken weights).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from model_runtime import RuntimeConfig
from model_runtime.evaluation.cases import sample
from model_runtime.evaluation.registry import BENCHMARKS, benchmark_named
from model_runtime.evaluation.results import RunFolder
from model_runtime.evaluation.runner import run_cases, runnable
from model_runtime.evaluation.solvers import DecodeOptions, RuntimeSolver
from model_runtime.install import find_checkpoint
from model_runtime.runtime import Runtime

SHUFFLED = ("self_attn.o_proj.weight", "mlp.down_proj.weight")


def shuffle_layer(state: dict[str, torch.Tensor], layer: int, seed: int = 0) -> None:
    """Reorder the output rows of two matrices of one layer, in place; KeyError when the layer is not there."""
    generator = torch.Generator().manual_seed(seed)
    for part in SHUFFLED:
        name = f"model.layers.{layer}.{part}"
        weight = state[name]
        state[name] = weight[torch.randperm(weight.shape[0], generator=generator)].contiguous()


def write_broken_copy(checkpoint: Path, folder: Path, layer: int | None) -> Path:
    """A copy of a checkpoint folder, with one layer shuffled; None copies it as it is."""
    from safetensors.torch import load_file, save_file

    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(checkpoint / name, folder / name)
    state = load_file(checkpoint / "model.safetensors")
    if layer is not None:
        shuffle_layer(state, layer)
    save_file(state, folder / "model.safetensors")
    return folder


def is_caught(healthy: dict[str, Any], broken: dict[str, Any]) -> bool:
    """At least half of the score is gone."""
    passed: bool = healthy["passed"] > 0 and broken["passed"] <= healthy["passed"] / 2
    return passed


def main() -> int:
    """Measure and print a table."""
    arguments = _parser().parse_args()
    names = arguments.only.split(",") if arguments.only else [n for n in BENCHMARKS if n != "corpus"]
    summaries: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    checkpoint = find_checkpoint(arguments.model)
    with tempfile.TemporaryDirectory() as temporary:
        for form, layer in (("healthy", None), ("broken", arguments.layer)):
            folder = write_broken_copy(checkpoint, Path(temporary) / form, layer)
            runtime = Runtime.load(
                RuntimeConfig(model=str(folder), device="cpu", threads=arguments.threads, use_adapters=False)
            )
            solver = RuntimeSolver(runtime, DecodeOptions("lossless"))
            for name in names:
                cases = runnable(sample(benchmark_named(name).load(arguments.data), arguments.limit, 0)).cases
                run = RunFolder(Path(temporary) / f"{form}-{name}")
                run.begin({}, resume=False)
                summaries[name][form] = run_cases(cases, solver, run)
            runtime.close()
            shutil.rmtree(folder)
    print("| benchmark | cases | healthy | one layer shuffled | caught |\n|---|---|---|---|---|")
    for name, forms in summaries.items():
        healthy, broken = forms["healthy"], forms["broken"]
        caught = "yes" if is_caught(healthy, broken) else "NO"
        print(f"| {name} | {healthy['cases']} | {healthy['passed']} | {broken['passed']} | {caught} |")
    return 0 if all(is_caught(forms["healthy"], forms["broken"]) for forms in summaries.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation sets")
    parser.add_argument("--model", default="coder-0.5b", help="an installed model's name, or a checkpoint folder")
    parser.add_argument("--layer", type=int, default=12, help="which layer is shuffled")
    parser.add_argument("--limit", type=int, default=20, help="cases of each benchmark")
    parser.add_argument("--only", help="benchmark names separated by commas")
    parser.add_argument("--threads", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
