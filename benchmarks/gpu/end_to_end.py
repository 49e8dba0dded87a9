"""Whole requests on the device: tokens a second by policy, warm completion latency, and the ratios that count.

Everything that is compared runs in one process, interleaved, on the same weights: kernels on, kernels off, one token at
a time, and `transformers` where it is installed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from model_runtime import CompletionRequest, Runtime, RuntimeConfig, SamplingParams, StopRules
from model_runtime.cuda_path.network import FusedNetwork
from model_runtime.evaluation.solvers import DecodeOptions
from model_runtime.evaluation.speed.decode import Setting, measure_decoding
from model_runtime.evaluation.speed.workload import completion_cases

SETTINGS = [
    Setting(DecodeOptions("ar")),
    Setting(DecodeOptions("lossless")),
    Setting(DecodeOptions("fast")),
    Setting(DecodeOptions("fast", block=16)),
    Setting(DecodeOptions("fast", block=32)),
]


def load(model: str, device: str, precision: str, *, use_kernels: bool = True) -> Runtime:
    """The model on the device, warm."""
    config = RuntimeConfig(model=model, device=device, precision=precision, use_kernels=use_kernels)  # type: ignore[arg-type]
    runtime = Runtime.load(config)
    runtime.warm_up()
    return runtime


def decoding(runtime: Runtime, rounds: int, num_cases: int | None = None) -> dict[str, Any]:
    """Setting -> tokens, forwards, tokens a second, ratio to one token at a time, share of equal texts."""
    return measure_decoding(runtime, completion_cases()[:num_cases], SETTINGS, rounds)


def same_tokens(on: Runtime, off: Runtime, num_cases: int | None = None) -> dict[str, Any]:
    """Greedy texts with kernels on against off. They differ where two tokens are closer than bfloat16 can tell."""
    params = SamplingParams(max_tokens=64)
    same, first_difference = 0, []
    cases = completion_cases()[:num_cases]
    for case in cases:
        request = CompletionRequest(case.prefix, case.suffix, stop=StopRules(stop_at_suffix=False), params=params)
        ours, theirs = on.complete(request), off.complete(request)
        same += ours.text == theirs.text
        if ours.text != theirs.text:
            common = sum(1 for a, b in zip(ours.token_ends, theirs.token_ends, strict=False) if a == b)
            first_difference.append({"case": case.case_id, "equal_tokens": common})
    return {"cases": len(cases), "same": same, "differ": first_difference}


def keystrokes() -> Iterator[CompletionRequest]:
    """Completions as a user asks for them: the same file, a few characters longer each time."""
    params = SamplingParams(max_tokens=48)
    for case in completion_cases():
        cut = max(0, len(case.prefix) - 24)
        for end in range(cut, len(case.prefix) + 1, 3):
            yield CompletionRequest(
                case.prefix[:end], case.suffix, stop=StopRules(max_lines=case.max_lines), params=params
            )


def warm_latency(runtime: Runtime, limit: int) -> dict[str, Any]:
    """p50 and p95 in milliseconds of completions while typing; the first of all is not counted."""
    times = []
    for number, request in enumerate(keystrokes()):
        if number > limit:
            break
        started = time.perf_counter()
        runtime.complete(request)
        times.append((time.perf_counter() - started) * 1e3)
    ordered = sorted(times[1:])
    return {
        "requests": len(ordered),
        "p50_ms": statistics.median(ordered),
        "p95_ms": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
    }


def ahead_statistics(runtime: Runtime) -> dict[str, Any] | None:
    """How many steps had been started before they were asked for; None without the kernels."""
    network = runtime._network
    if not isinstance(network, FusedNetwork):
        return None
    counts = network.statistics
    return {
        "steps": counts.steps,
        "foreseen": counts.foreseen,
        "in_vain": counts.in_vain,
        "graphs": network.graphs.num_captured,
        "replays": network.graphs.num_replays,
        "operations": network.describe(),
    }


def transformers_rate(checkpoint: Path, device: str, num_tokens: int = 128) -> dict[str, Any]:
    """Tokens a second of greedy `generate` on the base's weights in bfloat16, cache on, prompt not counted twice."""
    try:
        import transformers
    except ImportError as error:
        return {"absent": str(error)}
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    model = model.to(device).eval()
    ids = torch.randint(100, 20000, (1, 512), generator=torch.Generator().manual_seed(1)) % model.config.vocab_size
    ids = ids.to(device)

    def generate(count: int) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - started

    generate(4)
    seconds = statistics.median(_difference(generate, num_tokens) for _ in range(3))
    return {"version": transformers.__version__, "tokens_per_second": num_tokens / seconds}


def _difference(generate: Callable[[int], float], num_tokens: int) -> float:
    """Seconds of `num_tokens` more tokens, so that the prompt does not count."""
    return generate(num_tokens + 4) - generate(4)
