"""Does text of other files help? Exact match of the same holes with and without repository context, one run.

    python -m benchmarks.repository_context FOLDER --cases 200 --characters 0 1500 --out out/context.jsonl

Holes are cut from the project in FOLDER where a line uses a name that another file of it defines: half of them hide the
whole line, half what follows the name. The file with the hole never lends text to itself. An interrupted run goes on
where it stopped (--out). Prints one row for every budget and the cases that only one of two budgets got right.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from model_runtime import CompletionRequest, Runtime, SamplingParams, StopRules
from model_runtime.config import RuntimeConfig
from model_runtime.evaluation.progress import ProgressBar
from model_runtime.evaluation.scoring import wilson_interval
from seedls.context import completion_window
from seedls.repository_context import query_at, with_snippets
from seedls.settings import Settings
from seedls.snippet_index import SnippetIndex, index_file, names_in
from seedls.syntax import parse
from seedls.workspace_files import SourceFile, list_workspace

_MIN_EXPECTED = 4


@dataclass(frozen=True, slots=True)
class Case:
    """One hole: the text between `start` and `end` of a file."""

    id: str
    path: str
    language: str
    text: str
    start: int
    end: int

    @property
    def expected(self) -> str:
        return self.text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote into a hole with so many characters of context."""

    id: str
    characters: int
    expected: str
    written: str
    is_exact: bool
    num_snippets: int
    prompt_tokens: int
    has_needed: bool
    """Whether the snippets hold the definition of a name in the hole."""


def main(argv: Sequence[str] | None = None) -> int:
    """See the module docstring."""
    arguments = _parser().parse_args(argv)
    files, index = read_project(arguments.folder)
    cases = choose_cases(files, index, arguments.cases, arguments.seed)
    if not cases:
        print(f"no holes found in {arguments.folder}", file=sys.stderr)
        return 1
    done = _done(arguments.out)
    todo = [(case, size) for case in cases for size in arguments.characters if (case.id, size) not in done]
    if todo:
        runtime = Runtime.load(RuntimeConfig(model=arguments.model))
        bar = ProgressBar(len(todo), "context")
        for case, size in todo:
            answer = solve(runtime, index, case, size)
            done[case.id, size] = answer
            _keep(arguments.out, answer)
            bar.advance(case.path)
        bar.close()
        runtime.close()
    print("\n".join(table([done[case.id, size] for case in cases for size in arguments.characters])))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.repository_context", description=__doc__)
    parser.add_argument("folder", type=Path, help="a project: its files are the context and give the holes")
    parser.add_argument("--cases", type=int, default=100, help="number of holes (default 100)")
    parser.add_argument("--characters", type=int, nargs="+", default=[0, 1500], help="budgets (default 0 1500)")
    parser.add_argument("--model", default="coder-0.5b")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keep answers here as JSON lines, and go on from them")
    return parser


def read_project(folder: Path) -> tuple[list[tuple[SourceFile, str]], SnippetIndex]:
    """Texts of the files that the server would read, and their index."""
    files = []
    index = SnippetIndex()
    for file in list_workspace(folder, lambda path: False).files:
        try:
            text = file.path.read_text("utf-8").replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError):
            continue
        files.append((file, text))
        index.put(index_file(file.shown, file.language, text))
    return files, index


def choose_cases(files: Sequence[tuple[SourceFile, str]], index: SnippetIndex, count: int, seed: int) -> list[Case]:
    """Up to `count` holes, at most five a file, the same for the same project and seed."""
    defined: dict[str, set[str]] = {}
    for file, text in files:
        for definition in index_file(file.shown, file.language, text).definitions:
            defined.setdefault(definition.name, set()).add(file.shown)
    found: list[Case] = []
    for file, text in files:
        holes = list(_holes(file, text, defined))
        random.Random(f"{seed} {file.shown}").shuffle(holes)
        found += holes[:5]
    random.Random(seed).shuffle(found)
    return found[:count]


def _holes(file: SourceFile, text: str, defined: dict[str, set[str]]) -> Iterator[Case]:
    tree = parse(file.language, text)
    offset = 0
    for number, line in enumerate(text.split("\n")):
        start, offset = offset, offset + len(line) + 1
        body = line.strip()
        indent = len(line) - len(line.lstrip())
        if not indent or tree is None or body.startswith(("def ", "class ", "import ", "from ", "@", "#")):
            continue
        # Names of this file's own are no news; neither are names that half the project defines.
        names = [
            name
            for name in sorted(names_in(body))
            if 0 < len(defined.get(name, ())) <= 3 and file.shown not in defined[name]
        ]
        if not names or tree.is_in_comment(start + indent + 1) or tree.is_in_string(start + indent + 1):
            continue
        begin = start + indent
        if number % 2:
            begin = start + line.index(names[0]) + len(names[0])
        if len(line) - (begin - start) >= _MIN_EXPECTED:
            yield Case(f"{file.shown}:{number + 1}", file.shown, file.language, text, begin, start + len(line))


def solve(runtime: Runtime, index: SnippetIndex, case: Case, characters: int) -> Answer:
    """One hole as the server would ask for it."""
    settings = Settings()
    text = case.text[: case.start] + case.text[case.end :]
    window = completion_window(
        text,
        case.start,
        settings.context_prefix_characters,
        settings.context_suffix_characters,
        parse(case.language, text),
    )
    query = query_at(case.path, case.language, window.prefix, window.suffix)
    snippets = index.snippets(query, characters) if characters else ()
    result = runtime.complete(
        CompletionRequest(
            with_snippets(window.prefix, snippets, case.language),
            window.suffix,
            path=case.path,
            language=case.language,
            stop=StopRules(max_lines=1, stop_at_dedent=True),
            params=SamplingParams(max_tokens=settings.completion_max_tokens),
        )
    )
    needed = {line for name in names_in(case.expected) for line in (f"def {name}(", f"class {name}")}
    return Answer(
        case.id,
        characters,
        case.expected,
        result.text,
        result.text.strip() == case.expected.strip(),
        len(snippets),
        result.timings.prompt_tokens,
        any(line in snippet.text for line in needed for snippet in snippets),
    )


def table(answers: Sequence[Answer]) -> list[str]:
    """Markdown rows, and what each budget got right alone against the first one."""
    budgets = sorted({answer.characters for answer in answers})
    right = {size: {one.id for one in answers if one.characters == size and one.is_exact} for size in budgets}
    rows = [
        "| characters | exact | 95 % | definition in sight | prompt tokens | only here / only at the first |",
        "|---" * 6 + "|",
    ]
    for size in budgets:
        mine = [one for one in answers if one.characters == size]
        low, high = wilson_interval(len(right[size]), len(mine))
        won, lost = len(right[size] - right[budgets[0]]), len(right[budgets[0]] - right[size])
        tokens = sum(one.prompt_tokens for one in mine) / len(mine)
        rows.append(
            f"| {size} | {len(right[size])} of {len(mine)} | {100 * low:.0f}-{100 * high:.0f} | "
            f"{sum(one.has_needed for one in mine)} | {tokens:.0f} | {won} / {lost} |"
        )
    return rows


def _done(path: Path | None) -> dict[tuple[str, int], Answer]:
    if path is None or not path.exists():
        return {}
    rows = [Answer(**json.loads(line)) for line in path.read_text("utf-8").splitlines() if line.endswith("}")]
    return {(row.id, row.characters): row for row in rows}


def _keep(path: Path | None, answer: Answer) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(asdict(answer), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
