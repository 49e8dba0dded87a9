"""`seedls demo`: real holes in real files, filled by the installed model, and one function refactored.

Owns the demonstration and its verdict. What to cut is read from `demo.toml` beside the files; nothing is written.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedls.commands.edit import unified_diff
from seedls.commands.failure import CommandFailed
from seedls.commands.languages import language_of
from seedls.commands.loaded_runtime import final_step, loaded_runtime
from seedls.commands.options import (
    Commands,
    add_command,
    add_decoding_options,
    add_runtime_options,
    sampling_params,
)
from seedls.commands.progress import progress_bar
from seedls.commands.source_file import read_source
from seedls.engine import runtime_api

_LINES_SHOWN = 3
"""Lines of the file printed before a hole."""


@dataclass(frozen=True, slots=True)
class CutOut:
    """A file with a hole: `original` is what the author wrote there."""

    file: Path
    prefix: str
    original: str
    suffix: str


@dataclass(frozen=True, slots=True)
class FunctionEdit:
    """One function of a file, `text[start:end]`, and what to do to it."""

    file: Path
    text: str
    start: int
    end: int
    function: str
    instruction: str


def register(commands: Commands) -> None:
    """Add the parser."""
    parser = add_command(
        commands,
        "demo",
        "complete and refactor real files with the installed model, and say how fast",
        "seedls demo\nseedls demo --policy ar",
        run,
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "demo",
        metavar="DIR",
        help="folder with demo.toml and the files it names (default: demo/ of the clone)",
    )
    add_decoding_options(parser, max_tokens=64)
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print every completion and edit with its cost; fail if one is empty or breaks the file."""
    plan = _read_plan(args.folder)
    cut_outs = [_cut(args.folder, entry) for entry in plan.get("completion", ())]
    edits = [_find_function(args.folder, entry) for entry in plan.get("edit", ())]
    api = runtime_api()
    problems: list[str] = []
    with loaded_runtime(api, args) as runtime:
        info = runtime.info
        print(f"model {info.name}: {info.parameters / 1e6:.0f}M parameters, {info.precision} on {info.device}")
        with progress_bar("warming up"):
            runtime.warm_up()
        for cut_out in cut_outs:
            problems += _complete(api, runtime, args, cut_out)
        for edit in edits:
            problems += _edit(api, runtime, args, edit)
    if problems:
        raise CommandFailed("; ".join(problems))
    print(f"\n{len(cut_outs)} completions and {len(edits)} edits, none empty")
    return 0


def _complete(api: Any, runtime: Any, args: argparse.Namespace, cut_out: CutOut) -> list[str]:
    result = runtime.complete(
        api.CompletionRequest(
            prefix=cut_out.prefix,
            suffix=cut_out.suffix,
            path=cut_out.file.name,
            language=language_of(cut_out.file),
            stop=api.StopRules(max_lines=1),
            params=sampling_params(api, args),
        )
    )
    line = cut_out.prefix.count("\n") + 1
    print(f"\n== complete {cut_out.file.name}, line {line} ({_cost(result)})")
    shown = cut_out.prefix.split("\n")[-_LINES_SHOWN:]
    print("\n".join(f"   | {text}" for text in [*shown[:-1], f"{shown[-1]}«{result.text}»"]))
    same = result.text.strip() == cut_out.original.strip()
    print("   the author wrote the same" if same else f"   the author wrote  {cut_out.original}")
    return [] if result.text.strip() else [f"the completion at {cut_out.file.name}:{line} is empty"]


def _edit(api: Any, runtime: Any, args: argparse.Namespace, edit: FunctionEdit) -> list[str]:
    request = api.EditRequest(
        text=edit.text,
        instruction=edit.instruction,
        start=edit.start,
        end=edit.end,
        path=edit.file.name,
        language=language_of(edit.file),
        # A whole function may need more than a completion is given.
        params=dataclasses.replace(sampling_params(api, args), max_tokens=max(args.max_tokens, 1024)),
    )
    last = final_step(runtime.edit(request))
    where = f"{edit.function} in {edit.file.name}"
    if last is None or last.text == edit.text:
        return [f"the edit of {where} is empty"]
    print(f"\n== edit {where}: {edit.instruction} ({_cost(last)})")
    print(_indented(unified_diff(edit.file.name, edit.text, last.text)))
    return _damage(edit, last.text, where)


def _damage(edit: FunctionEdit, after: str, where: str) -> list[str]:
    """What an edit must never do, said in words."""
    problems = []
    if not (after.startswith(edit.text[: edit.start]) and after.endswith(edit.text[edit.end :])):
        problems.append(f"the edit of {where} reached outside the function")
    try:
        ast.parse(after)
    except SyntaxError as error:
        problems.append(f"the edit of {where} broke the syntax ({error})")
    return problems


def _cost(result: Any) -> str:
    ms = result.timings.total_ms
    speed = f", {result.tokens / ms * 1000:.1f} tokens/s" if ms > 0 else ""
    return f"{result.tokens} tokens, {result.forwards} forwards, {ms:.0f} ms{speed}"


def _read_plan(folder: Path) -> dict[str, Any]:
    path = folder / "demo.toml"
    if not path.is_file():
        raise CommandFailed(f"there is no {path}: run this in a clone of the repository, or name one with --folder")
    try:
        return tomllib.loads(read_source(path).text)
    except tomllib.TOMLDecodeError as error:
        raise CommandFailed(f"{path}: {error}") from None


def _cut(folder: Path, entry: dict[str, Any]) -> CutOut:
    file = folder / str(entry.get("file"))
    text, hole = read_source(file).unix_text, str(entry.get("hole"))
    if text.count(hole) != 1:
        raise CommandFailed(f"{file} has {text.count(hole)} places that read {hole!r}; exactly one is needed")
    prefix, _, suffix = text.partition(hole)
    return CutOut(file=file, prefix=prefix, original=hole, suffix=suffix)


def _find_function(folder: Path, entry: dict[str, Any]) -> FunctionEdit:
    file, name = folder / str(entry.get("file")), str(entry.get("function"))
    text = read_source(file).unix_text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == name and node.end_lineno:
            lines = text.split("\n")
            start = sum(len(line) + 1 for line in lines[: node.lineno - 1])
            end = sum(len(line) + 1 for line in lines[: node.end_lineno]) - 1
            return FunctionEdit(file, text, start, end, name, str(entry.get("instruction")))
    raise CommandFailed(f"{file} has no function {name!r}")


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.rstrip("\n").split("\n"))
