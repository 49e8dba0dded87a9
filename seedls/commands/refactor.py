"""`seedls refactor`: one instruction carried through the files of a project. Owns the flags, and what is printed.

The work is `seedls.refactoring`; this file finds or opens the run, loads the model when it is needed, and reports.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from seedls.commands.failure import CommandFailed
from seedls.commands.loaded_runtime import loaded_runtime
from seedls.commands.options import (
    Commands,
    add_command,
    add_decoding_options,
    add_runtime_options,
    positive_int,
    runtime_config,
    sampling_params,
)
from seedls.commands.progress import note, progress_bar
from seedls.edit_checks import scope_of
from seedls.engine import runtime_api
from seedls.refactoring.check_command import CheckCommand
from seedls.refactoring.files import Found, find_files
from seedls.refactoring.job_lock import job_lock
from seedls.refactoring.report import Report
from seedls.refactoring.rewriters import LocalRewriter, RayRewriter, Rewriter, load_runtime, worker_failure
from seedls.refactoring.rewriting import EditTask
from seedls.refactoring.run_state import Job, Run, latest_run, start_run
from seedls.refactoring.runner import RunOptions, carry_out, needs_model
from seedls.refactoring.storage import FileChanged, digest_of

DEFAULT_MAX_LINES = 80
DEFAULT_CHECK_SECONDS = 600

_DETAILS = (
    "Functions and classes are edited one by one, and an edit is kept only if the file still parses, nothing outside "
    "changed, no unknown name appears and no definition is lost. Without --write it only prints a diff.",
    "With --write each file is replaced in one step; the original and a journal are kept. --check runs after each "
    "file, and a file that fails it is put back byte for byte. After Ctrl-C or a crash, the same command with --resume "
    "continues. After a dry run, adding --write --resume applies the very diff that was shown.",
    "With --ray the model runs on a Ray cluster; seedls and the model must be installed on every machine of it. Files "
    "are read, checked and written here.",
    "Exit codes: 0 done; 1 a file was rolled back, changed by others or not finished, or the run failed; 2 usage.",
)


def register(commands: Commands) -> None:
    """Add the parser."""
    parser = add_command(
        commands,
        "refactor",
        "carry one instruction through many files",
        'seedls refactor src --instruction "add type hints"\n'
        'seedls refactor src --instruction "add type hints" --write --check "pytest -q"\n'
        'seedls refactor src --instruction "add type hints" --write --check "pytest -q" --resume',
        run,
        _DETAILS,
    )
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="files, or folders with source files")
    parser.add_argument("--instruction", required=True, metavar="TEXT", help="what to do, in a sentence")
    parser.add_argument(
        "--only", action="append", default=[], metavar="GLOB", help="only files that match, e.g. '*.py' or 'core/**'"
    )
    parser.add_argument(
        "--max-lines",
        type=positive_int,
        default=DEFAULT_MAX_LINES,
        metavar="N",
        help="longest function or class that is edited in one piece (default: %(default)s)",
    )
    parser.add_argument(
        "--may-change",
        choices=("all", "annotations", "comments"),
        help="refuse edits of anything else (default: what the instruction speaks of)",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--diff", action="store_true", help="touch nothing, print a unified diff (default)")
    output.add_argument("--write", action="store_true", help="replace the files")
    parser.add_argument("--json", action="store_true", help="print the report, with diffs, as one JSON object")
    parser.add_argument("--check", metavar="CMD", help="run after each file, in this folder, without a shell")
    parser.add_argument(
        "--check-timeout",
        type=positive_int,
        default=DEFAULT_CHECK_SECONDS,
        metavar="S",
        help="a check that runs longer has failed (default: %(default)s seconds)",
    )
    parser.add_argument("--resume", action="store_true", help="continue the last run of this same job")
    parser.add_argument(
        "--jobs",
        type=positive_int,
        default=1,
        metavar="N",
        help="above 1: read N files ahead, and check a file while the model works on the next (default: 1)",
    )
    parser.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="work on a Ray cluster, one worker a GPU (without GPUs: --jobs workers); 'local' starts one here",
    )
    add_decoding_options(parser, max_tokens=2048)
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    """Find, edit, check, report."""
    started = time.monotonic()
    problem = _usage_problem(args)
    if problem is not None:
        note(f"seedls refactor: error: {problem}")
        return 2
    api = runtime_api()
    home = Path(api.default_home()) / "refactor"
    found = find_files(args.paths, args.only)
    job = _job(args)
    try:
        with job_lock(home, job.key), closing(_open_run(args, home, job, found)) as opened:
            report = Report(opened, found.skipped, args.write, 0.0)
            if opened.states:
                _carry_out(args, api, opened)
            report = Report(opened, found.skipped, args.write, time.monotonic() - started)
            _show(args, report)
    except FileChanged as error:
        raise CommandFailed(str(error)) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"cannot write {error.filename or home}: {error.strerror or error}") from None
    return report.exit_code


def _usage_problem(args: argparse.Namespace) -> str | None:
    if not args.instruction.strip():
        return f"--instruction is empty: {args.instruction!r}"
    if args.check is None:
        return None
    if not args.write:
        return "--check needs --write: a dry run changes nothing that could be checked"
    try:
        words = shlex.split(args.check)
    except ValueError as error:
        return f"--check {args.check!r} cannot be split into words ({error})"
    return None if words else "--check is empty"


def _job(args: argparse.Namespace) -> Job:
    return Job(
        instruction=args.instruction,
        roots=tuple(sorted({str(path.resolve()) for path in args.paths})),
        only=tuple(sorted(args.only)),
        max_lines=args.max_lines,
        scope=args.may_change or scope_of(args.instruction),
        model=args.model,
        policy=args.policy,
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        seed=args.seed,
    )


def _open_run(args: argparse.Namespace, home: Path, job: Job, found: Found) -> Run:
    """The run to continue, else a new one; a new one is not begun over a file that waits for its check."""
    if args.resume:
        earlier = latest_run(home, job)
        if earlier is not None:
            num_done = sum(state.status is not None for state in earlier.states.values())
            note(f"continuing: {num_done} of {len(earlier.states)} files are done")
            return earlier
        note("there is no earlier run of this job: starting one")
    else:
        _refuse_over_unchecked(home, job)
    return start_run(home, job, list(zip(found.files, _digests(found.files, args.jobs), strict=True)))


def _refuse_over_unchecked(home: Path, job: Job) -> None:
    try:
        earlier = latest_run(home, job)
    except CommandFailed:
        return  # not readable: nothing can be said about it, and its originals stay where they are
    if earlier is None:
        return
    with closing(earlier):
        waiting = [state.path for state in earlier.states.values() if state.is_written and state.status is None]
        if waiting:
            raise CommandFailed(
                f"the last run of this job was stopped before {waiting[0]} was checked: finish it with --resume, or "
                f"delete {earlier.folder} to forget it"
            )


def _digests(files: Sequence[Path], jobs: int) -> list[str]:
    with ThreadPoolExecutor(jobs) as readers:
        return list(readers.map(_digest, files))


def _digest(path: Path) -> str:
    try:
        return digest_of(path.read_bytes())
    except OSError:
        return ""


def _carry_out(args: argparse.Namespace, api: Any, opened: Run) -> None:
    check = None
    if args.check is not None and not opened.is_complete:
        check = CheckCommand(shlex.split(args.check), args.check_timeout, opened.folder / "checks")
        _pass_baseline(args.check, check, opened)
    job = _job(args)
    task = EditTask(args.instruction, args.max_lines, job.scope, sampling_params(api, args))
    options = RunOptions(args.write, check, args.jobs)
    try:
        with ExitStack() as stack:
            rewriter = stack.enter_context(_rewriter(args, api)) if needs_model(opened) else None
            report = stack.enter_context(progress_bar("refactoring"))
            carry_out(opened, options, task, rewriter, report)
    except KeyboardInterrupt:
        num_done = sum(state.status is not None or state.proposed is not None for state in opened.states.values())
        raise CommandFailed(
            f"interrupted after {num_done} of {len(opened.states)} files; the same command with --resume continues"
        ) from None


@contextmanager
def _rewriter(args: argparse.Namespace, api: Any) -> Iterator[Rewriter]:
    """The model of this process, or the cluster's."""
    if args.ray is None:
        with loaded_runtime(api, args) as runtime:
            yield LocalRewriter(runtime)
        return
    cluster = RayRewriter(args.ray, args.jobs, partial(load_runtime, runtime_config(api, args)))
    note(f"Ray: {cluster.num_parallel} worker{'' if cluster.num_parallel == 1 else 's'}")
    try:
        yield cluster
    except cluster.failures as error:
        raise CommandFailed(worker_failure(error)) from None
    finally:
        cluster.close()


def _pass_baseline(command: str, check: CheckCommand, opened: Run) -> None:
    """A check that fails by itself would blame every file."""
    is_touched = any(state.is_written and state.status is None for state in opened.states.values())
    if command in opened.passed_checks or is_touched:
        return
    note(f"running the check before anything is changed: {command}")
    failure = check.failure("before")
    if failure is not None:
        raise CommandFailed(f"nothing was changed: before any edit, {failure}")
    opened.record_baseline(command)


def _show(args: argparse.Namespace, report: Report) -> None:
    if args.json:
        print(json.dumps(report.as_json()))
        return
    if not args.write:
        for diff in report.diffs():
            sys.stdout.write(diff)
        sys.stdout.flush()
    note(report.as_text())
