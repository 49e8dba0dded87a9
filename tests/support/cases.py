"""Text cases: a file of sections, the last one expected; `pytest --update-cases` rewrites it.

    == option: value
    == buffer
    def f():
        |
    == model
    return 1
    == result
    ...

`|` marks the cursor. Lines keep their newline; a section's last newline belongs to the next header.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CASES = Path(__file__).parent.parent / "cases"


@dataclass(frozen=True)
class Case:
    """One parsed file."""

    name: str
    path: Path
    options: dict[str, str]
    sections: dict[str, str]


def parse_case(path: Path) -> Case:
    """Read one case; bytes are taken as they are, so that CRLF cases stay CRLF."""
    options: dict[str, str] = {}
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in path.read_bytes().decode("utf-8").split("\n"):
        if line.startswith("== "):
            name, separator, value = line[3:].partition(":")
            if separator:
                options[name.strip()] = value.strip()
            else:
                current = sections.setdefault(name.strip(), [])
        elif current is not None:
            current.append(line)
    return Case(path.stem, path, options, {name: "\n".join(lines) for name, lines in sections.items()})


def case_files(folder: str) -> list[Case]:
    """All cases of a folder, by name."""
    cases = [parse_case(path) for path in sorted((CASES / folder).glob("*.txt"))]
    assert cases, f"no cases in tests/cases/{folder}"
    return cases


def check_case(case: Case, result: str, *, update: bool) -> None:
    """Compare with the `result` section, or rewrite it."""
    if update:
        head = case.path.read_bytes().decode("utf-8").split("== result\n")[0]
        case.path.write_bytes(f"{head}== result\n{result}".encode())
        return
    assert result == case.sections["result"], f"{case.path.name}: run pytest --update-cases if this is intended"
