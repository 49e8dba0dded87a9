"""`python -m model_runtime.training.remote`: both sides of training on a bare machine. Standard library only."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from model_runtime.errors import RuntimeFailure
from model_runtime.training.remote import carrier, job

_EXAMPLES = """here, in this order (each may be repeated after a failure):
  ... pack     --staging S --base CHECKPOINT --data SHARDS --plan PLAN.json
  ... upload   --staging S --carrier "./carry.sh" --root /tmp/seedls-job
  ... launch   --carrier "./carry.sh" --root /tmp/seedls-job
  ... watch    --carrier "./carry.sh" --root /tmp/seedls-job --wait 500
  ... download --carrier "./carry.sh" --root /tmp/seedls-job --results R
on the machine (called by these): receive, start, work, status, hand-out
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="python -m model_runtime.training.remote",
        description="Train on a machine that has torch and takes commands and small folders.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    pack = verbs.add_parser("pack", help="collect code, base, data, adapters and plan")
    pack.add_argument("--staging", type=Path, required=True)
    pack.add_argument("--repository", type=Path, default=Path(__file__).resolve().parents[3])
    pack.add_argument("--base", type=Path, required=True, help="checkpoint folder, or a GGUF file")
    pack.add_argument("--data", type=Path, required=True, help="shard folder")
    pack.add_argument("--adapter", type=Path, action="append", default=[], help="goes to ROOT/files/adapters/")
    pack.add_argument("--plan", type=Path, required=True)
    for name in ("upload", "launch", "watch", "download"):
        verb = verbs.add_parser(name, help=f"{name} through a carrier")
        verb.add_argument("--carrier", required=True, help="program called as CARRIER FOLDER_IN COMMAND FOLDER_OUT")
        verb.add_argument("--root", required=True, help="the job's folder on the machine")
        verb.add_argument("--python", default="python3", help="Python on the machine")
        verb.add_argument("--staging" if name == "upload" else "--results", type=Path, default=Path("remote-job"))
        verb.add_argument("--trip-mib", type=int, default=60, help="bytes one trip can carry")
        verb.add_argument("--part-mib", type=int, default=15, help="bytes of the largest file in a trip")
        verb.add_argument("--wait", type=float, default=0.0, help="seconds to wait for the end (watch)")
    for name in ("receive", "start", "work", "status", "hand-out"):
        verb = verbs.add_parser(name, help="on the machine")
        verb.add_argument("--root", type=Path, required=True)
        verb.add_argument("--arrived", type=Path)
        verb.add_argument("--wait", type=float, default=0.0)
        verb.add_argument("--out", type=Path)
        verb.add_argument("--max-bytes", type=int, default=60 * carrier.MIB)
        verb.add_argument("--part-bytes", type=int, default=15 * carrier.MIB)
        verb.add_argument("--have", nargs="*", default=[])
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb: 0 done, 1 failed with one line on stderr, 2 usage."""
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2
    try:
        _run_here(args) if args.verb in ("pack", "upload", "launch", "watch", "download") else _run_there(args)
    except RuntimeFailure as error:
        print(f"remote: {error}", file=sys.stderr)
        return 1
    return 0


def _run_here(args: argparse.Namespace) -> None:
    if args.verb == "pack":
        job.read_plan(args.plan)
        files = carrier.pack(args.staging, args.repository, args.base, args.data, args.adapter, args.plan)
        total = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
        print(f"{total:,} bytes in {files}")
        return
    machine = carrier.Machine(tuple(shlex.split(args.carrier)), args.root, args.python)
    limits = carrier.Limits(args.trip_mib * carrier.MIB, args.part_mib * carrier.MIB)
    if args.verb == "upload":
        carrier.upload(machine, args.staging, limits, _note)
    elif args.verb == "launch":
        carrier.start(machine, _note)
    elif args.verb == "watch":
        print(json.dumps(carrier.status(machine, args.wait), indent=1))
    else:
        for path in carrier.download(machine, args.results, limits, _note):
            print(path)


def _run_there(args: argparse.Namespace) -> None:
    root: Path = args.root.absolute()
    if args.verb == "receive":
        print(job.receive(root, args.arrived))
    elif args.verb == "start":
        print(f"running as {job.start(root)}")
    elif args.verb == "work":
        job.work(root)
    elif args.verb == "status":
        print(json.dumps(job.wait(root, args.wait)))
    else:
        print(job.hand_out(root, args.out, args.have, args.max_bytes, args.part_bytes))


def _note(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
