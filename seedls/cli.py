"""The command line: builds the parser from the command families, runs one command, turns errors into one line.

Exit codes: 0 done, 1 failed (one line on stderr says what and why), 2 usage. Knows no command's flags.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

import seedls
from seedls.commands import cases, complete, demo, doctor, edit, model, refactor, serve
from seedls.commands.failure import CommandFailed
from seedls.engine import runtime_api

_FAMILIES = (serve, complete, cases, edit, refactor, model, doctor, demo)

_PROGRAMS = {
    "train": "train adapters for an installed model",
    "eval": "measure quality on a benchmark",
    "bench": "measure speed",
}
"""Commands with their own command line, listed only where they are part of the installation."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Never raises what a user can cause."""
    words = list(sys.argv[1:] if argv is None else argv)
    _use_utf8_streams()
    try:
        return _run(words)
    except CommandFailed as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted")
    except BrokenPipeError:
        # The reader of our output has gone (`| head`). Point stdout elsewhere, or the interpreter complains at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, runtime_api().RuntimeFailure):
            return _fail(str(error))
        raise  # a mistake of ours: the traceback is wanted


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="seedls",
        description="A language server backed by a local diffusion language model for code.",
        epilog="'seedls COMMAND --help' shows the flags of a command, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"seedls {seedls.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for family in _FAMILIES:
        family.register(commands)
    for name, summary in _PROGRAMS.items():
        if runtime_api().find_program(name) is not None:
            commands.add_parser(name, help=summary)
    return parser


def _run(words: Sequence[str]) -> int:
    if words and words[0] in _PROGRAMS:
        program = runtime_api().find_program(words[0])
        if program is not None:
            return int(program(words[1:]))
    try:
        args = build_parser().parse_args(words)
    except SystemExit as stop:  # --help, --version, usage errors: already printed
        return stop.code if isinstance(stop.code, int) else 2
    return int(args.run(args))


def _fail(message: str) -> int:
    print(f"seedls: {' '.join(message.split())}", file=sys.stderr)
    return 1


def _use_utf8_streams() -> None:
    """Code is UTF-8 whatever the locale says, and its line endings are not the platform's business."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
