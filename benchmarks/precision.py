"""What pruning the vocabulary and 8-bit linears cost: held-out loss and infilling exact match against the source.

    python benchmarks/precision.py --gguf SOURCE.gguf --held-out held_out-000.jsonl.xz [--cases 120] [--out FILE.json]

Forms compared on the same text and cases: `source` (the GGUF itself, whole vocabulary, float32), `pruned` (our
checkpoint, float32, loss only) and `int8` (our checkpoint as the CPU runs it). The loss is nats a character, since
the two vocabularies cut the same text into different tokens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from model_runtime import CompletionRequest, Runtime, RuntimeConfig, SamplingParams, StopRules

LOSS_CHARACTERS = 1600
LINES_BEFORE, LINES_AFTER = 16, 8


@dataclass(frozen=True, slots=True)
class Case:
    """One line cut out of a real file."""

    prefix: str
    suffix: str
    line: str


def main() -> int:
    """Measure every form and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--model", default="coder-0.5b")
    parser.add_argument("--cases", type=int, default=120)
    parser.add_argument("--texts", type=int, default=40, help="files whose beginning the loss is taken on")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with lzma.open(arguments.held_out, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    cases = cut_cases(texts, arguments.cases)
    texts = texts[:: max(1, len(texts) // arguments.texts)][: arguments.texts]
    report: dict[str, dict[str, float]] = {}
    for form, model, precision in (
        ("int8", arguments.model, "int8"),
        ("source", arguments.gguf, "float32"),
        ("pruned", arguments.model, "float32"),
    ):
        runtime = Runtime.load(
            RuntimeConfig(model=model, device="cpu", precision=precision, threads=arguments.threads, use_adapters=False)
        )
        report[form] = {"loss_per_character": loss(runtime, texts)}
        if form != "pruned":
            report[form]["exact_match"] = exact_match(runtime, cases)
        runtime.close()
        print(json.dumps({form: report[form]}), flush=True)
    base = report["source"]
    for form in ("pruned", "int8"):
        report[form]["loss_over_source"] = report[form]["loss_per_character"] / base["loss_per_character"] - 1
    report["cases"] = {"loss_texts": len(texts), "infills": len(cases)}
    print(json.dumps(report, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def cut_cases(texts: list[str], num_cases: int) -> list[Case]:
    """Holes of one line, spread over the files by a hash, so that the choice is fixed and no one's favourite."""

    def order(place: tuple[int, int]) -> str:
        return hashlib.sha256(f"{place[0]}:{place[1]}".encode()).hexdigest()

    lines = [text.splitlines(keepends=True) for text in texts]
    places = [(i, j) for i, file in enumerate(lines) for j in range(4, len(file) - 2) if len(file[j].strip()) >= 8]
    return [_cut(lines[i], j) for i, j in sorted(places, key=order)[:num_cases]]


def loss(runtime: Runtime, texts: list[str]) -> float:
    """Mean negative log likelihood a character of the beginning of every text."""
    total, num_characters = 0.0, 0
    network, cache, tokenizer = runtime._model.network, runtime._model.cache, runtime._model.tokenizer
    for text in _progress(texts, "loss"):
        ids = torch.tensor(tokenizer.encode(text[:LOSS_CHARACTERS]))
        cache.truncate(0)
        log_probs = torch.log_softmax(network.logits(network.forward(ids, cache)), dim=-1)
        total -= float(log_probs[:-1].gather(1, ids[1:, None]).sum())
        num_characters += len(text[:LOSS_CHARACTERS])
    cache.truncate(0)
    return total / num_characters


def exact_match(runtime: Runtime, cases: list[Case]) -> float:
    """Share of holes filled with the author's line, white space at its ends aside."""
    num_right = 0
    for case in _progress(cases, "infill"):
        params = SamplingParams(policy="ar", max_tokens=40)
        result = runtime.complete(
            CompletionRequest(case.prefix, case.suffix, stop=StopRules(max_lines=1), params=params)
        )
        num_right += result.text.strip() == case.line.strip()
    return num_right / len(cases)


def _cut(lines: list[str], index: int) -> Case:
    indent = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
    before = "".join(lines[max(0, index - LINES_BEFORE) : index])
    return Case(before + indent, "\n" + "".join(lines[index + 1 : index + 1 + LINES_AFTER]), lines[index])


def _progress(items: list, name: str) -> Iterator:
    for i, item in enumerate(items):
        if sys.stderr.isatty():
            print(f"\r{name} {i + 1}/{len(items)}", end="", file=sys.stderr)
        yield item


if __name__ == "__main__":
    raise SystemExit(main())
