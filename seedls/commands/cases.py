"""`seedls infill`, `generate` and `edits`: many cases from a JSON Lines file, resumable. Owns the result shapes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from seedls.commands.case_files import Case, append_result, appended, read_cases, unfinished
from seedls.commands.failure import CommandFailed
from seedls.commands.loaded_runtime import final_step, loaded_runtime
from seedls.commands.options import (
    Commands,
    add_command,
    add_decoding_options,
    add_runtime_options,
    positive_int,
    sampling_params,
)
from seedls.commands.progress import note, progress_bar
from seedls.commands.source_file import with_own_line_endings
from seedls.engine import runtime_api
from seedls.line_endings import NormalisedText

RunCase = Callable[[Any, Any, Case, argparse.Namespace], dict[str, Any]]

_RESUMING = (
    "Each finished case is appended to OUT at once. Run the same command again to continue where it stopped: cases "
    "whose id is already in OUT are skipped, so delete OUT to start over. A case the model cannot take is written "
    "with an 'error' and the program ends with 1 after the others."
)


def register(commands: Commands) -> None:
    """Add the three parsers."""
    infill = add_command(
        commands,
        "infill",
        "fill the hole of every case in a JSON Lines file",
        "seedls infill --cases holes.jsonl --out filled.jsonl\n"
        "seedls infill --cases holes.jsonl --out ar.jsonl --policy ar --max-lines 1",
        lambda args: run_cases(args, ("prefix", "suffix"), _infill),
        (
            'IN:  {"id","prefix","suffix"[,"language"]}',
            'OUT: {"id","middle","tokens","forwards","ms"}',
            _RESUMING,
        ),
    )
    _add_case_options(infill)
    infill.add_argument("--max-lines", type=positive_int, metavar="N", help="stop after N lines (1: single-line)")
    add_decoding_options(infill, max_tokens=256)
    add_runtime_options(infill)

    generate = add_command(
        commands,
        "generate",
        "answer every prompt in a JSON Lines file",
        "seedls generate --cases prompts.jsonl --out answers.jsonl --max-tokens 512\n"
        "seedls generate --cases questions.jsonl --out answers.jsonl --chat",
        lambda args: run_cases(args, ("prompt",), _generate),
        ('IN:  {"id","prompt"}', 'OUT: {"id","text","tokens","forwards","ms"}', _RESUMING),
    )
    _add_case_options(generate)
    generate.add_argument("--chat", action="store_true", help="use the model's chat layout, not plain continuation")
    generate.add_argument("--system", metavar="TEXT", help="system message, with --chat")
    generate.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text (may be repeated)"
    )
    add_decoding_options(generate, max_tokens=512)
    add_runtime_options(generate)

    edits = add_command(
        commands,
        "edits",
        "rewrite the text of every case in a JSON Lines file as its instruction says",
        "seedls edits --cases tasks.jsonl --out edited.jsonl",
        lambda args: run_cases(args, ("instruction", "before"), _edit),
        (
            'IN:  {"id","instruction","before"[,"language"]}',
            'OUT: {"id","after","tokens","forwards","ms"}',
            _RESUMING,
        ),
    )
    _add_case_options(edits)
    add_decoding_options(edits, max_tokens=2048)
    add_runtime_options(edits)


def run_cases(args: argparse.Namespace, text_keys: tuple[str, ...], run_case: RunCase) -> int:
    """Run what is left of IN, appending to OUT; 1 if any case could not be served."""
    if args.cases.resolve() == args.out.resolve():
        raise CommandFailed(f"--cases and --out are the same file: {args.out}")
    cases = read_cases(args.cases, text_keys)
    left = unfinished(cases, args.out)
    if len(left) < len(cases):
        note(f"{len(cases) - len(left)} of {len(cases)} cases are already in {args.out}")
    with appended(args.out) as stream:  # also proves that OUT can be written before the model loads
        if not left:
            return 0
        num_failed = _run_left(args, run_case, left, stream)
    if num_failed:
        raise CommandFailed(f"{num_failed} of {len(left)} cases failed; see 'error' in {args.out}")
    return 0


def _run_left(args: argparse.Namespace, run_case: RunCase, left: list[Case], stream: IO[bytes]) -> int:
    api = runtime_api()
    num_failed = 0
    with loaded_runtime(api, args) as runtime, progress_bar(args.command) as report:
        for idx, case in enumerate(left):
            report(f"{args.command} {idx + 1}/{len(left)}", idx / len(left))
            try:
                result = run_case(api, runtime, case, args)
            except (api.RequestError, api.OutOfMemory) as error:
                num_failed += 1
                result = {"error": str(error), "tokens": 0, "forwards": 0, "ms": 0.0}
            except KeyboardInterrupt:
                raise CommandFailed(
                    f"interrupted; {idx} of {len(left)} cases were added to {args.out}, run it again to continue"
                ) from None
            append_result(stream, {"id": case["id"], **result})
    return num_failed


def _infill(api: Any, runtime: Any, case: Case, args: argparse.Namespace) -> dict[str, Any]:
    around = NormalisedText(case["prefix"] + case["suffix"])  # decides which line ending the middle gets
    result = runtime.complete(
        api.CompletionRequest(
            prefix=NormalisedText(case["prefix"]).text,
            suffix=NormalisedText(case["suffix"]).text,
            language=case.get("language"),
            stop=api.StopRules(max_lines=args.max_lines),
            params=sampling_params(api, args),
        )
    )
    return {"middle": around.restored(result.text), **_cost(result)}


def _generate(api: Any, runtime: Any, case: Case, args: argparse.Namespace) -> dict[str, Any]:
    result = runtime.generate(
        api.GenerateRequest(
            prompt=case["prompt"],
            chat=args.chat,
            system=args.system,
            stop_strings=tuple(args.stop),
            params=sampling_params(api, args),
        )
    )
    return {"text": result.text, **_cost(result)}


def _edit(api: Any, runtime: Any, case: Case, args: argparse.Namespace) -> dict[str, Any]:
    step = final_step(
        runtime.edit(
            api.EditRequest(
                text=NormalisedText(case["before"]).text,
                instruction=case["instruction"],
                language=case.get("language"),
                params=sampling_params(api, args),
            )
        )
    )
    if step is None:
        raise api.RequestError("the edit gave no answer")
    return {"after": with_own_line_endings(case["before"], step.text), **_cost(step)}


def _cost(result: Any) -> dict[str, Any]:
    return {"tokens": result.tokens, "forwards": result.forwards, "ms": round(result.timings.total_ms, 3)}


def _add_case_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", type=Path, required=True, metavar="IN.jsonl", help="one JSON object a line")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.jsonl", help="results are appended here")
