"""JSON Lines in and out for the batch commands: strict reading, one appended line per finished case, resuming.

Knows the format and nothing about what is computed. A line is appended whole and flushed; the torn last line of a run
that was killed is cut off before the next one continues.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from seedls.commands.failure import CommandFailed

Case = dict[str, Any]


def read_cases(path: Path, text_keys: Sequence[str]) -> list[Case]:
    """The cases of a file, each with a unique `id` and text under every one of `text_keys`.

    Raises CommandFailed naming file and line for anything else.
    """
    cases: list[Case] = []
    seen: set[str] = set()
    for number, case in _read_objects(path):
        where = f"{path}:{number}"
        case_id = _case_id(case, where)
        if case_id in seen:
            raise CommandFailed(f"{where}: id {case['id']!r} appears twice")
        seen.add(case_id)
        for key in text_keys:
            if not isinstance(case.get(key), str):
                raise CommandFailed(f"{where}: {key!r} is {_kind(case, key)}, text is needed")
        if not isinstance(case.get("language", ""), str | None):
            raise CommandFailed(f"{where}: 'language' is {_kind(case, 'language')}, text is needed")
        cases.append(case)
    return cases


def unfinished(cases: Sequence[Case], out: Path) -> list[Case]:
    """The cases whose id is not yet in `out`; cuts a torn last line off `out` first."""
    if not out.exists():
        return list(cases)
    try:
        _cut_torn_line(out)
    except OSError as error:
        raise CommandFailed(f"cannot write {out}: {error.strerror or error}") from None
    done = {_case_id(result, f"{out}:{number}") for number, result in _read_objects(out)}
    return [case for case in cases if _case_id(case, "") not in done]


@contextmanager
def appended(out: Path) -> Iterator[IO[bytes]]:
    """`out` opened for appending, its folder made if need be."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stream = out.open("ab", buffering=0)
    except OSError as error:
        raise CommandFailed(f"cannot write {out}: {error.strerror or error}") from None
    with stream:
        yield stream


def append_result(stream: IO[bytes], result: dict[str, Any]) -> None:
    """One line, one write."""
    stream.write(json.dumps(result).encode("ascii") + b"\n")


def _read_objects(path: Path) -> Iterator[tuple[int, Case]]:
    """(line number from 1, object) for every line that is not blank."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror or error}") from None
    for number, line in enumerate(raw.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CommandFailed(f"{path}:{number}: not JSON ({error})") from None
        if not isinstance(value, dict):
            raise CommandFailed(f"{path}:{number}: not a JSON object")
        yield number, value


def _case_id(case: Case, where: str) -> str:
    """The id as JSON text, so that 1 and "1" differ; only text and integers are ids."""
    value = case.get("id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CommandFailed(f"{where}: 'id' is {_kind(case, 'id')}, text or an integer is needed")
    return json.dumps(value)


def _kind(case: Case, key: str) -> str:
    return f"a {type(case[key]).__name__}" if key in case else "missing"


def _cut_torn_line(out: Path) -> None:
    raw = out.read_bytes()
    whole = raw.rfind(b"\n") + 1
    if whole == len(raw):
        return
    with out.open("r+b") as stream:
        stream.truncate(whole)
