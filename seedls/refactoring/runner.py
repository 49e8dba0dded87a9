"""Carries a run from where it is to its end: read, model, store, replace, check, keep or put back, journal.

Every step may be the last one before a crash; `run_state` says how far a file has come, and the file's own digest
decides between "before" and "after" the replacement. One thread, the caller's, hands files to the rewriter. It prints
nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from seedls.commands.failure import CommandFailed
from seedls.commands.languages import language_of, path_for_model
from seedls.commands.source_file import SourceFile, read_source
from seedls.refactoring.check_command import CheckCommand, CheckStopped
from seedls.refactoring.rewriters import Rewriter
from seedls.refactoring.rewriting import EditTask, Rewritten, encoding_problem
from seedls.refactoring.run_state import FileState, Run, Status, Work
from seedls.refactoring.storage import FileChanged, current_digest, digest_of, replace_file, temporary_for

Progress = Callable[[str, float], None]
"""(what is being done, fraction of the run)."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is carried out; none of it changes what the model is asked."""

    is_writing: bool = False
    check: CheckCommand | None = None
    jobs: int = 1
    """1: one thing at a time. More: files are read ahead, and checks run while the model works on the next file."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a file is refused unread."""

    reason: str


def needs_model(run: Run) -> bool:
    """True when some file has not been through the model."""
    return any(state.status is None and state.proposed is None for state in run.states.values())


def carry_out(run: Run, options: RunOptions, task: EditTask, rewriter: Rewriter | None, progress: Progress) -> None:
    """Bring every file to its end, or to its proposal in a dry run.

    `rewriter` may be None when `needs_model` says no. On any exception, Ctrl-C included, the running check is ended and
    the journal is left so that the same call continues.
    """
    open_states = [state for state in run.states.values() if state.status is None]
    if options.is_writing:
        for state in open_states:
            with suppress(OSError):
                temporary_for(state.path, run.run_id).unlink()  # of a run that was killed
    finisher = _Finisher(run, options)
    begun: deque[tuple[FileState, _Begun | None]] = deque()
    num_done = len(run.states) - len(open_states)
    width = max(1, rewriter.num_parallel if rewriter is not None else 1)
    try:
        for state, source in _read_ahead(open_states, options.jobs):
            report = _unit_progress(progress, state.path, num_done / len(run.states), 1 / len(run.states))
            begun.append((state, _begin(run, task, rewriter, state, source, report)))
            num_done += 1
            if len(begun) >= width:
                _finish_first(run, options, finisher, begun)
        while begun:
            _finish_first(run, options, finisher, begun)
        finisher.wait()
    except BaseException:
        finisher.abandon()
        raise


@dataclass(frozen=True, slots=True)
class _Begun:
    """A file that the model works on."""

    source: SourceFile
    rewritten: Future[Rewritten]


def _finish_first(
    run: Run, options: RunOptions, finisher: _Finisher, begun: deque[tuple[FileState, _Begun | None]]
) -> None:
    state, rewriting = begun.popleft()
    if rewriting is not None:
        _record(run, state, rewriting.source, rewriting.rewritten.result())
    if options.is_writing and state.status is None:
        finisher.take(state)


def _read_ahead(states: list[FileState], jobs: int) -> Iterator[tuple[FileState, SourceFile | Unreadable | None]]:
    """Each state with its file's content, None where the model has already seen it."""
    if jobs == 1:
        for state in states:
            yield state, _read(state)
        return
    with ThreadPoolExecutor(jobs, thread_name_prefix="reader") as readers:
        waiting: deque[tuple[FileState, Future[SourceFile | Unreadable | None]]] = deque()
        for state in states:
            waiting.append((state, readers.submit(_read, state)))
            if len(waiting) > jobs:
                first, future = waiting.popleft()
                yield first, future.result()
        for state, future in waiting:
            yield state, future.result()


def _read(state: FileState) -> SourceFile | Unreadable | None:
    if state.proposed is not None:
        return None
    try:
        return read_source(state.path)
    except CommandFailed as error:
        return Unreadable(str(error).removeprefix(f"{state.path} ").replace(f" {state.path}:", ":"))


def _begin(
    run: Run,
    task: EditTask,
    rewriter: Rewriter | None,
    state: FileState,
    source: SourceFile | Unreadable | None,
    report: Progress,
) -> _Begun | None:
    """Start one file on its way through the model; None where there is no need, or its end is in the journal."""
    if source is None:
        return None
    if isinstance(source, Unreadable):
        run.record_done(state, "conflict" if state.digest == "" else "refused", source.reason)
        return None
    if digest_of(source.raw) != state.digest:
        original = run.store.path_of(state.digest)
        kept = f"; its original is kept in {original}" if original.exists() else ""
        run.record_done(state, "conflict", f"it changed after the run began{kept}")
        return None
    language = language_of(state.path)
    assert language is not None, "files in no known language are left out when files are found"
    if problem := encoding_problem(source, language):
        run.record_done(state, "refused", problem)
        return None
    assert rewriter is not None, "a file needs the model"
    return _Begun(source, rewriter.submit(task, source, path_for_model(state.path), language, report))


def _record(run: Run, state: FileState, source: SourceFile, rewritten: Rewritten) -> None:
    """The journal then has the file's proposal or its end."""
    if rewritten.text == source.text:
        run.record_done(state, *_verdict(rewritten.work), rewritten.work)
        return
    mark = source.raw[: len(source.raw) - len(source.text.encode("utf-8"))]  # the byte order mark, if there was one
    run.store.put(source.raw)
    digest = run.store.put(mark + rewritten.text.encode("utf-8"))
    run.record_proposed(state, digest, rewritten.work)


def _verdict(work: Work) -> tuple[Status, str]:
    """What to call a file that stays as it is."""
    if not work.refused:
        return "unchanged", ""
    count = len(work.refused)
    return "refused", f"{count} edit{'' if count == 1 else 's'} not kept"


class _Finisher:
    """Replaces and checks files one after the other, beside the model when there is more than one job."""

    def __init__(self, run: Run, options: RunOptions) -> None:
        self._run = run
        self._check = options.check
        self._max_waiting = options.jobs
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="finisher") if options.jobs > 1 else None
        self._waiting: deque[Future[None]] = deque()

    def take(self, state: FileState) -> None:
        """Finish the file now, or soon; raises what finishing an earlier one raised."""
        if self._thread is None:
            self._finish(state)
            return
        while len(self._waiting) >= self._max_waiting:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._finish, state))

    def wait(self) -> None:
        """Until every file is finished."""
        while self._waiting:
            self._waiting.popleft().result()
        if self._thread is not None:
            self._thread.shutdown()

    def abandon(self) -> None:
        """Stop the running check; files not begun stay proposed."""
        if self._check is not None:
            self._check.stop()
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def _finish(self, state: FileState) -> None:
        run = self._run
        try:
            now = current_digest(state.path)
            if state.check_failure is not None:
                self._put_back(state, state.check_failure, now)
                return
            if now == state.digest and not state.is_written:
                self._replace(state)
            elif now != state.proposed:
                # A file we wrote that is the original again was put back by its owner: that is a change as well.
                kept = f"; its original is kept in {run.store.path_of(state.digest)}" if state.is_written else ""
                run.record_done(state, "conflict", f"it changed while the run was stopped{kept}")
                return
            if not state.is_written:
                run.record_written(state)
            failure = self._check.failure(str(state.proposed)[:16]) if self._check is not None else None
            if failure is not None:
                run.record_check_failed(state, failure)
                self._put_back(state, failure, current_digest(state.path))
                return
            run.record_done(state, "changed")
        except FileChanged as changed:
            run.record_done(state, "conflict", str(changed))
        except CheckStopped:
            return  # stays written: the next run checks it again

    def _replace(self, state: FileState) -> None:
        assert state.proposed is not None
        try:
            replace_file(state.path, self._run.store.get(state.proposed), state.digest, self._run.run_id)
        except OSError as error:
            raise FileChanged(f"it cannot be replaced ({error.strerror or error})") from None

    def _put_back(self, state: FileState, failure: str, now: str) -> None:
        """The original bytes again; what a third party made of the file meanwhile is kept aside."""
        run = self._run
        original = run.store.get(state.digest)
        if now != state.digest:
            aside = "" if now == state.proposed else f"; what it held is kept in {self._keep(state)}"
            try:
                replace_file(state.path, original, now, run.run_id)
            except OSError as error:
                kept = run.store.path_of(state.digest)
                reason = f"it cannot be put back ({error.strerror or error}); its original is kept in {kept}"
                run.record_done(state, "conflict", reason)
                return
            failure += aside
        run.record_done(state, "rolled_back", failure)

    def _keep(self, state: FileState) -> Path:
        store = self._run.store
        return store.path_of(store.put(state.path.read_bytes()))


def _unit_progress(progress: Progress, path: Path, base: float, share: float) -> Progress:
    return lambda unit, fraction: progress(f"{path.name}: {unit}", base + share * fraction)
