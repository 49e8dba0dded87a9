"""MBPP, sanitized (Austin et al. 2021, Google, CC-BY-4.0): a Python function from one sentence; asserts decide.

Zero-shot: the sentence and its asserts stand in a docstring and the model continues after it. All 427 problems of the
sanitized file are used: none of them is shown as an example.
"""

from __future__ import annotations

from pathlib import Path

from model_runtime.evaluation.cases import Case
from model_runtime.evaluation.languages import PYTHON_MODULE_STOPS
from model_runtime.evaluation.locations import find_data
from model_runtime.evaluation.readers import Row, read_rows

FILES = ("mbpp/sanitized-mbpp.json",)
CHAT_PROMPT = (
    "{task}\n\nYour code must pass these tests:\n\n```python\n{tests}\n```\n\nAnswer with one Python code block."
)


def load_mbpp(data: Path | None) -> list[Case]:
    """Plain continuation after the docstring."""
    return [_case(row, chat=False) for row in read_rows(find_data(data, FILES))]


def load_mbpp_chat(data: Path | None) -> list[Case]:
    """The same problems asked through the chat layout."""
    return [_case(row, chat=True) for row in read_rows(find_data(data, FILES))]


def _case(row: Row, *, chat: bool) -> Case:
    task, tests = row.text("prompt").strip(), "\n".join(row.texts("test_list"))
    prompt = CHAT_PROMPT.format(task=task, tests=tests) if chat else f'"""\n{task}\n{tests}\n"""'
    imports = "\n".join(row.texts("test_imports"))
    return Case(
        case_id=f"mbpp/{row.identifier('task_id')}",
        kind="generate",
        language="python",
        prefix=prompt,
        chat=chat,
        expected="\n" + row.text("code"),
        tail=f"\n\n{imports}\n{tests}\n",
        stop_strings=() if chat else PYTHON_MODULE_STOPS,
        max_tokens=384,
    )
