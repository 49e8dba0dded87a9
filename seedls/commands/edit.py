"""`seedls edit`: one instruction applied to one file or to some of its lines, or without one, a repair.

Owns the diff, JSON and write outputs.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seedls.commands.failure import CommandFailed
from seedls.commands.languages import language_of, path_for_model
from seedls.commands.loaded_runtime import loaded_runtime
from seedls.commands.options import (
    Commands,
    add_command,
    add_decoding_options,
    add_runtime_options,
    line_range,
    sampling_params,
)
from seedls.commands.progress import note, progress_bar
from seedls.commands.source_file import SourceFile, range_at, read_source, replace_source, with_own_line_endings
from seedls.edit_checks import Edit, reason_not_to_offer, scope_of, with_missing_imports
from seedls.engine import runtime_api
from seedls.syntax import adds_errors, parse

_UNFINISHED = ("length", "deadline", "cancelled")


@dataclass(frozen=True, slots=True)
class EditOutcome:
    """The edited text with the file's own line endings, and what it cost."""

    text: str
    finish_reason: str
    tokens: int
    forwards: int
    ms: float


def register(commands: Commands) -> None:
    """Add the parser."""
    parser = add_command(
        commands,
        "edit",
        "rewrite a file, or some of its lines, as an instruction says",
        'seedls edit app.py --instruction "add type hints"\n'
        'seedls edit app.py --instruction "handle an empty list" --range 10:24 --keep 10:10 --write\n'
        "seedls edit app.py --problem 12:'x may be None'",
        run,
        (
            "Without --instruction the file is repaired: one pass over it finds what is probably wrong, and only those "
            "lines, and those of --problem, are written again.",
        ),
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a UTF-8 text file")
    parser.add_argument("--instruction", metavar="TEXT", help="what to do, in a sentence (default: repair)")
    parser.add_argument(
        "--range", type=line_range, metavar="L1:L2", help="lines that may change, 0-based, both included (default: all)"
    )
    parser.add_argument(
        "--keep",
        type=line_range,
        action="append",
        default=[],
        metavar="L1:L2",
        help="lines inside the range that stay byte for byte (may be repeated)",
    )
    parser.add_argument(
        "--problem",
        type=_problem,
        action="append",
        default=[],
        metavar="L:TEXT",
        help="a problem reported for line L, 0-based (may be repeated)",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--diff", action="store_true", help="print a unified diff (default)")
    output.add_argument("--json", action="store_true", help="print one JSON object: text, changed, tokens, ...")
    output.add_argument("--write", action="store_true", help="replace the file in one step, line endings kept")
    add_decoding_options(parser, max_tokens=2048)
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    """Edit, check, then print or write."""
    if args.instruction is not None and not args.instruction.strip():
        raise CommandFailed(f"--instruction is empty: {args.instruction!r}")
    source = read_source(args.file)
    start, end = range_at(source, *args.range) if args.range else (0, len(source.unix_text))
    outcome = _edit(args, source, start, end)
    _show(args, source, outcome)
    return 0


def _edit(args: argparse.Namespace, source: SourceFile, start: int, end: int) -> EditOutcome:
    api = runtime_api()
    last: Any = None
    with loaded_runtime(api, args) as runtime, progress_bar("editing") as report:
        for last in _steps(args, api, runtime, source, (start, end)):
            report("editing", (last.done_offset - start) / max(len(last.text) - start, 1))
    _refuse_unfinished(args, last)
    _refuse_change_outside(source, last.text, start, end)
    _refuse_deletion(source, last.text, start, end)
    return EditOutcome(
        text=with_own_line_endings(source.text, _checked(args, source, last.text, (start, end))),
        finish_reason=last.finish_reason,
        tokens=last.tokens,
        forwards=last.forwards,
        ms=round(last.timings.total_ms, 3),
    )


def _steps(
    args: argparse.Namespace, api: Any, runtime: Any, source: SourceFile, span: tuple[int, int]
) -> Iterator[Any]:
    """What the model makes of the request, step by step."""
    request: dict[str, Any] = {
        "text": source.unix_text,
        "start": span[0],
        "end": span[1],
        "path": path_for_model(args.file),
        "language": language_of(args.file),
        "pinned": tuple(range_at(source, *lines) for lines in args.keep),
        "params": sampling_params(api, args),
    }
    if args.instruction is None:
        problems = tuple((*range_at(source, line, line), message) for line, message in args.problem)
        return iter(runtime.repair(api.RepairRequest(**request, problems=problems)))
    diagnostics = tuple(f"line {line}: {message}" for line, message in args.problem)
    return iter(runtime.edit(api.EditRequest(**request, instruction=args.instruction, diagnostics=diagnostics)))


def _checked(args: argparse.Namespace, source: SourceFile, edited: str, span: tuple[int, int]) -> str:
    """The edited text, with the imports it needs where all of the file may change; CommandFailed when it is no good."""
    language = language_of(source.path)
    tree = parse(language, source.unix_text) if language else None
    if tree is None or edited == source.unix_text:
        return edited
    _refuse_new_syntax_errors(source, edited)
    instruction = args.instruction or ""
    edit = Edit(tree, edited, *span, instruction, scope_of(instruction))
    if args.range is None:
        edit = replace(edit, new=with_missing_imports(edit))
    if (reason := reason_not_to_offer(edit)) is not None:
        raise CommandFailed(f"the edit of {source.path} was refused: {reason}; nothing was written")
    return edit.new


def _problem(text: str) -> tuple[int, str]:
    """An argparse type: L:TEXT."""
    line, _, message = text.partition(":")
    if not line.strip().isdecimal() or not message.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form L:TEXT")
    return int(line), message.strip()


def _show(args: argparse.Namespace, source: SourceFile, outcome: EditOutcome) -> None:
    changed = outcome.text != source.text
    if args.json:
        fields = {
            "file": str(args.file),
            "text": outcome.text,
            "changed": changed,
            "finish_reason": outcome.finish_reason,
            "tokens": outcome.tokens,
            "forwards": outcome.forwards,
            "ms": outcome.ms,
        }
        print(json.dumps(fields))
    elif not changed:
        note(f"{args.file}: the model changed nothing ({outcome.finish_reason})")
    elif args.write:
        replace_source(source, outcome.text)
        note(f"{args.file}: written ({outcome.tokens} tokens, {outcome.forwards} forwards, {outcome.ms:.0f} ms)")
    else:
        sys.stdout.write(unified_diff(str(args.file), source.text, outcome.text))


def unified_diff(name: str, before: str, after: str) -> str:
    """A diff that `patch` takes, with the marker for a missing last newline."""
    old, new = before.split("\n"), after.split("\n")
    lines: list[str] = []
    for line in difflib.unified_diff(_terminated(old), _terminated(new), f"a/{name}", f"b/{name}"):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines)


def _terminated(lines: list[str]) -> list[str]:
    """Lines split at LF only, each with its LF except an unterminated last one."""
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _refuse_unfinished(args: argparse.Namespace, last: Any) -> None:
    """A rewrite that was cut short has lost the rest of the code."""
    reason = last.finish_reason if last is not None else "no answer"
    if last is None or not last.is_final or reason in _UNFINISHED:
        raise CommandFailed(f"the edit of {args.file} did not finish ({reason}, --max-tokens {args.max_tokens})")


def _refuse_deletion(source: SourceFile, edited: str, start: int, end: int) -> None:
    before = source.unix_text
    after = edited[start : len(edited) - (len(before) - end)]
    if before[start:end].strip() and not after.strip():
        raise CommandFailed(f"the edit would delete the chosen lines of {source.path}; nothing was written")


def _refuse_change_outside(source: SourceFile, edited: str, start: int, end: int) -> None:
    before = source.unix_text
    tail = before[end:]
    fits = len(edited) >= start + len(tail)
    if not (fits and edited.startswith(before[:start]) and edited.endswith(tail)):
        raise CommandFailed(f"the edit reached outside the chosen lines of {source.path}; nothing was written")


def _refuse_new_syntax_errors(source: SourceFile, edited: str) -> None:
    language = language_of(source.path)
    before = parse(language, source.text) if language else None
    if before is not None and adds_errors(before, edited):
        raise CommandFailed(f"the edit would break the syntax of {source.path}; nothing was written")
