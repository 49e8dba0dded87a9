"""`python -m model_runtime.training` and `seedls train`: the command line of data, runs, measurement and export."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from model_runtime.errors import RuntimeFailure
from model_runtime.training import commands, stage_commands

_EXAMPLES = """examples:
  seedls train data --eval-data EVAL_FOLDER          build shards, free of anything in EVAL_FOLDER
  seedls train heal --run runs/heal --steps 400       train; the same command resumes after a stop
  seedls train mask --run runs/mask --healing HEALING --minutes 60    stage 1; then edit, order, onpolicy with --start
  seedls train evaluate --run runs/heal               held-out figures of the run, and of the base without it
  seedls train export --run runs/heal --out models/coder-0.5b/healing.safetensors
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="seedls train",
        description="Train adapters for an installed model.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.register(subparsers)
    stage_commands.register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line: 0 done, 1 failed with one line on stderr, 2 usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        args = build_parser().parse_args(words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    args.argv = words
    try:
        return int(args.run_command(args))
    except RuntimeFailure as error:
        print(f"seedls train: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
