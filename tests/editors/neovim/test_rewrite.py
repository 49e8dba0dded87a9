"""Rewrites in a real Neovim: asked for, previewed by marks, kept or dropped change by change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.editors.neovim.conftest import Start
from tests.editors.neovim.process import Neovim
from tests.support.fake_engine import PlannedEdit, Script

pytestmark = pytest.mark.e2e
CODE = '# 漢👋 café\ndef add(a, b):\n    total = a + b\n\n    # 👋\n    return total\n\n\nprint("👋", add(1, 2))\n'
NAMES = "call it sum_of"
OLD = "total = a + b\n\n    # 👋\n    return total"
NEW = "sum_of = a + b\n\n    # 👋\n    return sum_of"
PLAN = Script(edits=(PlannedEdit(OLD, NEW, NAMES), PlannedEdit("add(a, b):", "add(a: int, b: int) -> int:", "hints")))
RENAMED = CODE.replace(OLD, NEW)


def text_of(editor: Neovim) -> str:
    return "\n".join(editor.lines()) + "\n"


def until_previewed(editor: Neovim, count: int) -> None:
    editor.until_shown(f" 1/{count} ")  # with blanks: the path of a test may hold such numbers too


def test_it_is_shown_before_it_touches_the_buffer_and_all_is_kept_at_once(start: Start, tmp_path: Path) -> None:
    with start(PLAN, CODE.replace("\n", "\r\n")) as editor:
        editor.keys(f":2,6Seedls refactor {NAMES}<CR>")
        until_previewed(editor, 2)
        assert "    total = a + b" in editor.shown()
        assert "    sum_of = a + b" in editor.shown()
        assert text_of(editor) == CODE  # nothing is touched yet
        editor.keys("g<CR>")
        editor.until(lambda: text_of(editor) == RENAMED)
        editor.until(lambda: " 1/" not in editor.shown())
        editor.keys("u")
        editor.until(lambda: text_of(editor) == CODE)  # one step of undo
        editor.keys("<C-r>:w<CR>")
        editor.until(lambda: (tmp_path / "a.py").read_bytes().decode() == RENAMED.replace("\n", "\r\n"))


def test_changes_are_kept_and_dropped_one_by_one(start: Start) -> None:
    with start(PLAN, CODE) as editor:
        editor.keys(f":2,6Seedls refactor {NAMES}<CR>")
        until_previewed(editor, 2)
        editor.keys("2G]h")
        editor.until_lua("vim.api.nvim_win_get_cursor(0)[1] == 3")
        editor.keys("<CR>")
        until_previewed(editor, 1)
        assert "    sum_of = a + b" in editor.lines()
        assert "    return total" in editor.lines()
        editor.keys("]h<BS>")
        editor.until(lambda: " 1/1" not in editor.shown())
        assert text_of(editor) == CODE.replace("total = a", "sum_of = a")
        assert editor.lua("return vim.fn.maparg('<CR>', 'n')") == ""  # the preview's keys are gone


def test_everything_can_be_dropped(start: Start) -> None:
    with start(PLAN, CODE) as editor:
        editor.keys(f":2,6Seedls refactor {NAMES}<CR>")
        until_previewed(editor, 2)
        editor.keys(":Seedls reject!<CR>")
        editor.until(lambda: " 1/2" not in editor.shown())
        assert text_of(editor) == CODE
        assert editor.lua("return vim.bo.modified") is False
        editor.keys(":Seedls accept<CR>")
        editor.until_shown("nothing is previewed here")


def test_a_change_whose_lines_are_edited_is_dropped_and_the_others_move(start: Start) -> None:
    with start(PLAN, CODE) as editor:
        editor.keys(f":2,6Seedls refactor {NAMES}<CR>")
        until_previewed(editor, 2)
        editor.keys("ggOimport os<Esc>")
        editor.until(lambda: editor.lines()[0] == "import os")
        editor.keys(":4<CR>A  # mine<Esc>")
        until_previewed(editor, 1)
        editor.keys("g<CR>")
        editor.until(lambda: "    return sum_of" in editor.lines())
        assert editor.lines()[3] == "    total = a + b  # mine"


@pytest.mark.parametrize("text", ["x = 1", "x = 1\n"], ids=["no last line end", "last line end"])
def test_lines_that_come_above_the_first_and_below_the_last(start: Start, tmp_path: Path, text: str) -> None:
    plan = Script(edits=(PlannedEdit("x = 1", "import os\n\nx = 1\nif x:\n\ty = 2  # 👋", "more"),))
    with start(plan, text) as editor:
        editor.keys(":1Seedls refactor more<CR>")
        until_previewed(editor, 2)
        assert editor.shown().index("import os") < editor.shown().index("x = 1") < editor.shown().index("y = 2")
        editor.keys("g<CR>:w<CR>")
        expected = "import os\n\nx = 1\nif x:\n\ty = 2  # 👋\n"
        editor.until(lambda: (tmp_path / "a.py").read_text("utf-8") == expected)  # 'fixendofline'


def test_a_rewrite_can_be_chosen_and_previews_too(start: Start) -> None:
    with start(PLAN, CODE) as editor:
        editor.keys(":2,6Seedls rewrite type hints<CR>")
        until_previewed(editor, 1)
        editor.until_shown("def add(a: int, b: int) -> int:")
        editor.keys(":Seedls accept<CR>")
        editor.until(lambda: editor.lines()[1] == "def add(a: int, b: int) -> int:")
        editor.keys(":2,6Seedls rewrite nothing like it<CR>")
        editor.until_shown("no such rewrite here")


def test_words_are_asked_for_when_there_are_none(start: Start) -> None:
    with start(PLAN, CODE) as editor:
        editor.keys("3G:Seedls refactor<CR>")
        editor.until_shown("Refactor:")
        editor.keys(f"{NAMES}<CR>")
        until_previewed(editor, 2)
        editor.keys(":Seedls accept!<CR>")
        editor.until(lambda: text_of(editor) == RENAMED)


def test_a_diagnostic_is_fixed(start: Start, tmp_path: Path) -> None:
    record = tmp_path / "calls.jsonl"
    plan = Script(edits=(PlannedEdit("a + b", "b + a", "Fix"),), record=str(record))
    with start(plan, CODE) as editor:
        editor.keys("3G:Seedls fix<CR>")
        editor.until_shown("no diagnostic is reported")
        editor.lua(
            "vim.diagnostic.set(vim.api.nvim_create_namespace('t'), 0, "
            "{ { lnum = 2, col = 4, end_lnum = 2, end_col = 9, message = 'b is wrong' } })"
        )
        editor.keys("3G:Seedls fix<CR>")
        editor.until_shown("total = b + a")
        editor.keys("3G<CR>")
        editor.until(lambda: editor.lines()[2] == "    total = b + a")
        asked = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
        assert asked[-1]["diagnostics"] == ["b is wrong"]


def test_a_file_that_does_not_parse_is_repaired(start: Start) -> None:
    broken = CODE.replace("add(a, b):", "add(a, b:")
    plan = Script(edits=(PlannedEdit("add(a, b:", "add(a, b):", "Repair the syntax errors"),))
    with start(plan, broken) as editor:
        editor.keys(":Seedls repair<CR>")
        until_previewed(editor, 1)
        assert text_of(editor) == broken
        editor.keys("g<CR>")
        editor.until(lambda: text_of(editor) == CODE)
        editor.keys(":Seedls repair<CR>")
        editor.until_shown("nothing to repair")


def test_without_a_preview_it_is_applied_at_once(start: Start) -> None:
    with start(PLAN, CODE, options="preview = false") as editor:
        editor.keys(f":2,6Seedls refactor {NAMES}<CR>")
        editor.until(lambda: text_of(editor) == RENAMED)


def test_typing_while_the_model_works_loses_nothing(start: Start) -> None:
    slow = Script(edits=(PlannedEdit(OLD, NEW, NAMES, delay_s=1.0),))
    with start(slow, CODE) as editor:
        editor.keys(f":2,6Seedls refactor {NAMES}<CR>")
        editor.until_lua("require('seedls').statusline() == 'seedls …'")
        editor.keys("GoX = 1<Esc>")
        until_previewed(editor, 2)
        editor.keys("g<CR>")
        editor.until(lambda: text_of(editor) == RENAMED + "X = 1\n")


def test_nothing_to_change_is_said(start: Start) -> None:
    with start(Script(), CODE) as editor:
        editor.keys(":2,6Seedls refactor anything<CR>")
        editor.until_shown("found nothing to change")


def test_what_follows_from_an_edit_is_previewed(start: Start) -> None:
    text = "def price(x):\n    return x\n\n\na = price(1)\nb = price(2)\n"
    with start(Script(), text) as editor:
        editor.keys(":Seedls follow<CR>")
        editor.until_shown("nothing follows")
        editor.keys("ggwcecost<Esc>")
        editor.until(lambda: editor.lines()[0] == "def cost(x):")
        editor.keys(":Seedls follow<CR>")
        until_previewed(editor, 1)
        editor.keys("g<CR>")
        editor.until(lambda: text_of(editor) == text.replace("price", "cost"))


def test_it_forms_step_by_step_and_deciding_stops_the_model(start: Start) -> None:
    half = CODE.replace("total = a + b", "total = b + a")
    slow = PlannedEdit(OLD, NEW, NAMES, steps=(half,) * 400, step_s=0.05)  # 20 s if nobody stops it
    with start(Script(edits=(slow,)), CODE) as editor:
        editor.keys(f":2,6Seedls refactor {NAMES}<CR>")
        until_previewed(editor, 1)
        assert "total = b + a" in editor.shown()
        assert "sum_of" not in editor.shown().replace(NAMES, "")
        assert editor.lua("return require('seedls').statusline()") == "seedls …"
        editor.keys("3G<CR>")
        editor.until(lambda: text_of(editor) == half)
        editor.until_lua("require('seedls').statusline() == 'seedls'")
        assert text_of(editor) == half
