"""What refactorings cost, and whether they come out right.

    python -m benchmarks.edits forwards [--limit N]              no model: forwards if the reference were written
    python -m benchmarks.edits run --out ROWS.jsonl [--limit N] [--policies ar,lossless,fast] [--part 1/2]
    python -m benchmarks.edits report ROWS.jsonl...

`run` appends a row for every case and policy that the file lacks, so it can be stopped and started again. The edited
part is a function or class inside a text with lines before and after it, which must stay. The executable set is run by
`seedls eval edits --policy ...`.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.edits.corpus import RefactorCase, framed, refactor_cases
from benchmarks.edits.offered import is_offered
from benchmarks.edits.report import quality_table, speed_table
from benchmarks.edits.rows import POLICIES, Row, append_row, read_rows
from model_runtime.api import EditRequest, Policy, SamplingParams
from model_runtime.diffusion.drafts import NgramDrafter
from model_runtime.diffusion.edit_drafts import EditDrafter
from model_runtime.diffusion.substitutions import Substitutions, announced
from model_runtime.evaluation.solvers import Decoder
from model_runtime.prompts import FENCE, edit_ids
from model_runtime.tokenizer import Tokenizer

DEFAULT_CASES = 120
MAX_BLOCK = 48
"""The decoder's own largest block."""

Encode = Callable[[str], list[int]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    forwards = commands.add_parser("forwards", help="what the canvas saves if the model wrote the reference")
    run = commands.add_parser("run", help="ask the model")
    run.add_argument("--out", type=Path, required=True)
    run.add_argument("--policies", default=",".join(POLICIES))
    run.add_argument("--device", default="auto")
    run.add_argument("--threads", type=int)
    run.add_argument("--part", type=part, default=(1, 1), metavar="K/N", help="every N-th case from the K-th")
    for command in (forwards, run):
        command.add_argument("--limit", type=int, default=DEFAULT_CASES, help="cases (default: %(default)s)")
        command.add_argument("--max-lines", type=int, default=400, help="leave longer cases out")
        command.add_argument("--model", default="coder-0.5b")
    report = commands.add_parser("report", help="tables of the rows of a file")
    report.add_argument("rows", type=Path, nargs="+", help="of one run, or of its parts")
    args = parser.parse_args(arguments)
    if args.command == "report":
        _print_tables([row for path in args.rows for row in read_rows(path).values()])
        return 0
    cases = [case for case in refactor_cases(DEFAULT_CASES) if case.before.count("\n") <= args.max_lines]
    return _forwards(args, cases[: args.limit]) if args.command == "forwards" else _run(args, cases[: args.limit])


def _forwards(args: argparse.Namespace, cases: Sequence[RefactorCase]) -> int:
    from model_runtime.config import default_home
    from model_runtime.install import find_checkpoint

    tokenizer = Tokenizer.load(find_checkpoint(args.model, default_home()))
    rows = [reference_row(tokenizer, case) for case in cases]
    print(speed_table(rows))
    return 0


def reference_row(tokenizer: Tokenizer, case: RefactorCase) -> Row:
    """What the lossless policy needs if the model writes the reference: its drafts are right where they agree."""
    before, after = case.before.rstrip("\n"), case.after.rstrip("\n")
    believed = Substitutions()
    if (seen := announced(case.instruction, before)) is not None:
        believed.learn(seen)
    prompt = edit_ids(tokenizer, before, case.instruction, language="python")
    drafter = EditDrafter(f"{before}\n{FENCE}", tokenizer, NgramDrafter(prompt), believed)
    ids = tokenizer.encode(f"{after}\n{FENCE}")
    place = forwards = 0
    while place < len(ids):
        right = 0
        for guess in drafter.draft(MAX_BLOCK):
            if place + right >= len(ids) or guess != ids[place + right]:
                break
            right += 1
        drafter.commit(ids[place : place + right + 1])
        place += right + 1
        forwards += 1
    share = share_changed(tokenizer.encode, case.before, case.after)
    return Row(
        case.case_id, "lossless", case.kind, case.before.count("\n"), share, len(ids), forwards, 0.0, 0.0, "end", True,
        False, False, case.after,
    )  # fmt: skip


def part(text: str) -> tuple[int, int]:
    """`K/N`: the K-th of N parts, from 1. Raises ValueError for anything else."""
    number, _, total = text.partition("/")
    if not 1 <= int(number) <= int(total):
        raise ValueError(f"{text!r} is no part: 1/2 or 2/2, say")
    return int(number), int(total)


def _run(args: argparse.Namespace, cases: Sequence[RefactorCase]) -> int:
    from model_runtime import Runtime, RuntimeConfig

    number, total = args.part
    cases = cases[number - 1 :: total]
    policies = [policy for policy in POLICIES if policy in args.policies.split(",")]
    done = read_rows(args.out)
    left = [(case, policy) for case in cases for policy in policies if (case.case_id, policy) not in done]
    print(f"{len(left)} of {len(cases) * len(policies)} rows to go", file=sys.stderr)
    if left:
        runtime = Runtime.load(RuntimeConfig(model=args.model, device=args.device, threads=args.threads))
        tokenizer = Tokenizer.load(Path(runtime.info.checkpoint))
        runtime.warm_up()
        for number, (case, policy) in enumerate(left, 1):
            append_row(args.out, model_row(runtime, tokenizer.encode, case, policy))
            print(f"\r{number}/{len(left)} {case.case_id} {policy}      ", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        runtime.close()
    wanted = {case.case_id for case in cases}
    _print_tables([row for row in read_rows(args.out).values() if row.case_id in wanted])
    return 0


def _print_tables(rows: Sequence[Row]) -> None:
    cases = {case.case_id: case for case in refactor_cases(DEFAULT_CASES)}
    offered = {(row.case_id, row.policy) for row in rows if is_offered(row, cases[row.case_id])}
    print(speed_table(rows), quality_table(rows, offered), sep="\n\n")


def model_row(runtime: Decoder, encode: Encode, case: RefactorCase, policy: Policy) -> Row:
    """Ask the runtime for one case."""
    text, start = framed(case.before)
    above, below = text[:start], text[start + len(case.before) :]
    request = EditRequest(
        text,
        case.instruction,
        start,
        start + len(case.before),
        language="python",
        params=SamplingParams(policy=policy, max_tokens=2048),
    )
    *_, last = runtime.edit(request)
    inside = last.text.startswith(above) and last.text.endswith(below)
    answer = last.text[start : len(last.text) - len(below)]
    return Row(
        case_id=case.case_id,
        policy=policy,
        kind=case.kind,
        lines=case.before.count("\n"),
        share=share_changed(encode, case.before, answer),
        tokens=last.tokens,
        forwards=last.forwards,
        denoise_ms=last.timings.denoise_ms,
        prefill_ms=last.timings.prefill_ms,
        finish_reason=last.finish_reason,
        is_reference=is_reference(answer, case),
        adds_syntax_error=not _tree(answer),
        changes_outside=not inside,
        text=answer,
    )


def share_changed(encode: Encode, before: str, after: str) -> float:
    """Tokens replaced, inserted or removed, as a share of the old text's."""
    old, new = encode(before), encode(after)
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = sum(max(last - first, end - start) for kind, first, last, start, end in codes if kind != "equal")
    return changed / max(1, len(old))


def is_reference(answer: str, case: RefactorCase) -> bool:
    """Formatting aside, unless formatting is what was asked for."""
    if _tree(case.before) == _tree(case.after):
        return answer.strip("\n") == case.after.strip("\n")
    return _tree(answer) == _tree(case.after)


def _tree(text: str) -> str:
    """The syntax tree, "" for what does not compile: formatting and comments aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.dump(ast.parse(text))
        except (SyntaxError, ValueError):
            return ""


if __name__ == "__main__":
    sys.exit(main())
