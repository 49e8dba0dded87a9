"""HumanEval (OpenAI, MIT): complete a Python function from its signature and docstring; unit tests decide."""

from __future__ import annotations

from pathlib import Path

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.languages import PYTHON_BODY_STOPS
from model_runtime.evaluation.locations import find_data
from model_runtime.evaluation.readers import Row, read_rows

FILES = ("humaneval/HumanEval.jsonl.gz", "humaneval/HumanEval.jsonl")
CHAT_PROMPT = (
    "Complete this Python function. Answer with the whole function in one code block.\n\n```python\n{code}\n```"
)


def load_humaneval(data: Path | None) -> list[Case]:
    """Plain continuation of the prompt; the final newline is cut so that the model chooses how the line ends."""
    return [_case(row, chat=False) for row in read_rows(find_data(data, FILES))]


def load_humaneval_chat(data: Path | None) -> list[Case]:
    """The same problems asked through the chat layout."""
    return [_case(row, chat=True) for row in read_rows(find_data(data, FILES))]


def _case(row: Row, *, chat: bool) -> Case:
    prompt, entry_point = row.text("prompt"), row.text("entry_point")
    tail = f"\n\n{row.text('test')}\ncheck({entry_point})\n"
    expected = row.text("canonical_solution")
    if chat:
        # What stands before the function (imports, helpers) stays; the answer brings the function itself.
        preamble = prompt[: max(0, prompt.rfind(f"def {entry_point}"))]
        return Case(
            case_id=row.text("task_id"),
            kind="generate",
            language="python",
            prefix=CHAT_PROMPT.format(code=prompt.rstrip()),
            chat=True,
            expected=prompt[len(preamble) :] + expected,
            head=preamble,
            tail=tail,
            max_tokens=512,
        )
    start = prompt.rstrip("\n")
    return Case(
        case_id=row.text("task_id"),
        kind="generate",
        language="python",
        prefix=start,
        expected=prompt[len(start) :] + expected,
        head=start,
        tail=tail,
        stop_strings=PYTHON_BODY_STOPS,
        max_tokens=384,
    )
