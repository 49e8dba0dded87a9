"""`seedls complete`: what the model would type at one place of one file. Owns the printed shapes."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from seedls.commands.languages import language_of, path_for_model
from seedls.commands.loaded_runtime import loaded_runtime
from seedls.commands.options import (
    Commands,
    add_command,
    add_decoding_options,
    add_runtime_options,
    natural_int,
    positive_int,
    sampling_params,
)
from seedls.commands.progress import note
from seedls.commands.source_file import offset_at, read_source
from seedls.context import Window, completion_window
from seedls.engine import runtime_api
from seedls.settings import Settings
from seedls.syntax import parse

_DEADLINE_MS = 2 * Settings().completion_deadline_ms
"""Twice the editor's while typing: who runs a command waits a little longer, but not for the widest window."""


def register(commands: Commands) -> None:
    """Add the parser."""
    parser = add_command(
        commands,
        "complete",
        "print what fits at a place of a file",
        "seedls complete app.py --line 11 --column 4\n"
        "seedls complete app.py --line 11 --column 4 --max-lines 1 --json | jq -r .text",
        run,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a UTF-8 text file; it is only read")
    parser.add_argument("--line", type=natural_int, required=True, metavar="L", help="0-based")
    parser.add_argument("--column", type=natural_int, required=True, metavar="C", help="0-based, in characters")
    parser.add_argument("--max-lines", type=positive_int, metavar="N", help="stop after N lines (1: single-line)")
    parser.add_argument(
        "--deadline",
        type=natural_int,
        default=_DEADLINE_MS,
        metavar="MS",
        help="milliseconds for reading around the place and writing, once the model is loaded; what is ready then is "
        "printed. 0: none, and the widest window is read, which takes a CPU many seconds in a long file "
        "(default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object: text, finish_reason, tokens, ...")
    add_decoding_options(parser, max_tokens=64)
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the completion to standard output, exactly; line endings are LF whatever the file has."""
    source = read_source(args.file)
    offset = offset_at(source, args.line, args.column)
    text = source.unix_text
    language = language_of(args.file)
    api = runtime_api()
    window = _window(text, offset, language)
    request = api.CompletionRequest(
        prefix=window.prefix,
        suffix=window.suffix,
        path=path_for_model(args.file),
        language=language,
        stop=api.StopRules(max_lines=args.max_lines),
        params=dataclasses.replace(sampling_params(api, args), deadline_ms=args.deadline or None),
    )
    with loaded_runtime(api, args) as runtime:
        result = runtime.complete(request)
    if args.json:
        fields = {
            "text": result.text,
            "finish_reason": result.finish_reason,
            "tokens": result.tokens,
            "forwards": result.forwards,
            "confidence": round(result.confidence, 6),
            "ms": round(result.timings.total_ms, 3),
        }
        print(json.dumps(fields))
    elif result.text:
        sys.stdout.write(result.text if result.text.endswith("\n") else result.text + "\n")
    else:
        note(f"nothing worth showing here ({result.finish_reason})")
    return 0


def _window(text: str, offset: int, language: str | None) -> Window:
    """What the editor would show the model there, with the default budgets; a long file is not shown whole."""
    budgets = Settings()
    tree = parse(language, text) if language else None
    return completion_window(text, offset, budgets.context_prefix_characters, budgets.context_suffix_characters, tree)
