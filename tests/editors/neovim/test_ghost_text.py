"""Ghost text in a real Neovim 0.11: typed keys in, the drawn screen and the buffer out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.editors.neovim.conftest import Start
from tests.support.fake_engine import PlannedCompletion, Script

pytestmark = pytest.mark.e2e
CODE = '# 漢👋 café\ndef add(a, b):\n    \n\n\nprint("👋", add(1, 2))\n'
TOTAL = Script(completions=(PlannedCompletion("total = a + b  # 👋\n    return total", after="    "),))


def calls_of(record: Path, kind: str) -> list[dict[str, object]]:
    """What the engine was asked."""
    lines = record.read_text("utf-8").splitlines() if record.exists() else []
    return [call for call in map(json.loads, lines) if call["call"] == kind]


@pytest.mark.parametrize("line_ending", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_it_is_shown_and_tab_takes_it(start: Start, tmp_path: Path, line_ending: str) -> None:
    with start(TOTAL, CODE.replace("\n", line_ending)) as editor:
        editor.keys("3GA")
        editor.until_shown("total = a + b  # 👋")
        assert "    return total" in editor.shown()
        assert editor.lines()[2] == "    "  # shown, not inserted
        editor.keys("<Tab>")
        editor.until(lambda: editor.lines()[2:4] == ["    total = a + b  # 👋", "    return total"])
        editor.keys("<Esc>:w<CR>")
        expected = CODE.replace("    \n", "    total = a + b  # 👋\n    return total\n").replace("\n", line_ending)
        editor.until(lambda: (tmp_path / "a.py").read_bytes().decode() == expected)
        editor.keys("u")
        editor.until(lambda: editor.lines()[2] == "    ")  # one step back, and what was typed before stays


def test_what_is_typed_into_it_stays_and_asks_nothing(start: Start, tmp_path: Path) -> None:
    record = tmp_path / "calls.jsonl"
    with start(Script(TOTAL.completions, record=str(record)), CODE) as editor:
        editor.keys("3GA")
        editor.until_shown("total = a + b")
        asked = len(calls_of(record, "complete"))
        editor.keys("tot")
        editor.until(lambda: editor.lines()[2] == "    tot")
        editor.until_shown("    total = a + b")
        editor.keys("x")
        editor.until(lambda: "totx" in editor.shown() and "al = a + b" not in editor.shown())
        assert len(calls_of(record, "complete")) == asked
        editor.keys("<BS>")
        editor.until_shown("    total = a + b")  # the server remembers it
        editor.keys("<Tab>")
        editor.until(lambda: editor.lines()[2:4] == ["    total = a + b  # 👋", "    return total"])


def test_words_and_lines_can_be_taken(start: Start) -> None:
    with start(TOTAL, CODE, options="debounce_ms = 0") as editor:
        editor.keys("3GA")
        editor.until_shown("total = a + b")
        editor.keys("<M-Right>")
        editor.until(lambda: editor.lines()[2] == "    total")
        editor.keys("<M-Right>")
        editor.until(lambda: editor.lines()[2] == "    total =")
        editor.until_shown("    return total")
        editor.keys("<M-Down>")
        editor.until(lambda: editor.lines()[2] == "    total = a + b  # 👋")
        editor.keys("<M-Down>")
        editor.until(lambda: editor.lines()[3] == "    return total")
        assert editor.lines()[4:] == CODE.splitlines()[3:]  # nothing else moved
        editor.keys("<Esc>:Seedls status<CR>")
        editor.until_shown("1 accepted")


def test_tab_without_a_suggestion_is_what_it_was(start: Start) -> None:
    mapped = "vim.keymap.set('i', '<Tab>', function() return 'mine' end, { expr = true })"
    with start(Script(), "", before=mapped) as editor:
        editor.keys("i<Tab>")
        editor.until(lambda: editor.lines() == ["mine"])
        editor.keys("<M-Right>")  # unmapped before: moves as ever, inserts nothing
        editor.keys("!")
        editor.until(lambda: editor.lines() == ["mine!"])
        assert editor.lua("return vim.api.nvim_win_get_cursor(0)") == [1, 5]


def test_tab_without_a_suggestion_indents(start: Start) -> None:
    with start(Script(), "x") as editor:
        editor.keys(":set noexpandtab<CR>I<Tab>")
        editor.until(lambda: editor.lines() == ["\tx"])
        assert editor.lua("return vim.api.nvim_get_mode().mode") == "i"


def test_nothing_is_shown_where_the_server_is_quiet(start: Start) -> None:
    script = Script(completions=(PlannedCompletion("never", after="", confidence=0.01),))
    with start(script, CODE) as editor:
        editor.keys("3GA")
        editor.until_lua("require('seedls').statusline() == 'seedls: quiet'")
        assert "never" not in editor.shown()
        editor.keys("<M-Bslash>")
        editor.until_shown("no suggestion (:Seedls explain says why)")
        editor.keys("x")
        editor.until(lambda: "no suggestion" not in editor.shown())


def test_leaving_insert_mode_takes_it_away_and_stops_the_model(start: Start, tmp_path: Path) -> None:
    record = tmp_path / "calls.jsonl"
    script = Script((PlannedCompletion("slow", after="    ", delay_s=20.0),), record=str(record))
    with start(script, CODE) as editor:
        editor.keys("3GA")
        editor.until_lua("require('seedls').statusline() == 'seedls …'")
        editor.lua("vim.wait(200)")
        editor.keys("<Esc>")
        editor.until(lambda: any(call.get("was_stopped") for call in calls_of(record, "complete")))
        editor.until_lua("require('seedls').statusline() ~= 'seedls …'")
        assert "slow" not in editor.shown()


@pytest.mark.parametrize("is_one_shown", [False, True], ids=["asked at once", "one is shown already"])
def test_several_suggestions_can_be_walked_through(start: Start, tmp_path: Path, is_one_shown: bool) -> None:
    texts = ["return a + b", "return b + a  # 👋", "return sum((a, b))"]
    plan = (PlannedCompletion(texts[0], after="    ", others=tuple(texts[1:])),)
    record = tmp_path / "calls.jsonl"
    with start(Script(plan, record=str(record)), CODE) as editor:

        def until_alone(text: str) -> None:
            editor.until_shown(text)
            assert [other for other in texts if other in editor.shown()] == [text]

        editor.keys("3GA")
        if is_one_shown:
            until_alone(texts[0])
            assert calls_of(record, "candidates") == []  # while typing one is enough
        editor.keys("<M-Bslash>")
        editor.until(lambda: calls_of(record, "candidates"))
        editor.until_lua("require('seedls').statusline() == 'seedls' and require('seedls.ghost').is_visible()")
        until_alone(texts[0])
        for key, text in [("<M-]>", texts[1]), ("<M-]>", texts[2]), ("<M-]>", texts[0]), ("<M-[>", texts[2])]:
            editor.keys(key)
            until_alone(text)
        editor.keys("<M-[><Tab>")
        editor.until(lambda: editor.lines()[2] == f"    {texts[1]}")


def test_a_suggestion_can_be_taken_away(start: Start) -> None:
    with start(TOTAL, CODE) as editor:
        editor.keys("3GA")
        editor.until_shown("total = a + b")
        editor.keys("<C-]>")
        editor.until(lambda: "total = a + b" not in editor.shown())
        assert editor.lua("return vim.api.nvim_get_mode().mode") == "i"
        assert editor.lines()[2] == "    "


def test_two_windows_of_two_files(start: Start, tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("def b():\n    ", encoding="utf-8")
    with start(TOTAL, CODE) as editor:
        editor.keys(":vsplit b.py<CR>")
        editor.until(lambda: editor.lines() == ["def b():", "    "])
        editor.keys("GA")
        editor.until_shown("total = a + b")
        editor.keys("<Esc><C-w>w")
        editor.until(lambda: "total = a + b" not in editor.shown())
        editor.keys("3GA")
        editor.until_shown("total = a + b")
        editor.keys("<Tab><Esc>")
        editor.until(lambda: editor.lines()[3] == "    return total")
        editor.keys("<C-w>w")
        editor.until(lambda: editor.lines() == ["def b():", "    "])
        assert editor.lua("return vim.bo.modified") is False


def test_off_for_a_language_and_on_again(start: Start) -> None:
    with start(TOTAL, CODE) as editor:
        editor.keys(":Seedls toggle<CR>3GA")
        editor.until_lua("require('seedls').known().reason:find('off for language') ~= nil")
        assert "total = a + b" not in editor.shown()
        editor.keys("<Esc>:Seedls toggle<CR>3GA")
        editor.until_shown("total = a + b")


def test_an_empty_file_and_one_without_a_last_line_end(start: Start, tmp_path: Path) -> None:
    (tmp_path / "b.py").write_bytes("é = 1\n\tif é:\n\t\t".encode())
    script = Script((PlannedCompletion("pass  # 👋", after="\t\t"), PlannedCompletion("import os", after="")))
    with start(script, "") as editor:
        editor.keys("i<M-Bslash>")  # of its own accord it has nothing to go by
        editor.until_shown("import os")
        editor.keys("<Tab><Esc>")
        editor.until(lambda: editor.lines() == ["import os"])
        editor.keys(":e! b.py<CR>GA")
        editor.until_shown("pass  # 👋")
        editor.keys("<Tab><Esc>")
        editor.until(lambda: editor.lines()[2] == "\t\tpass  # 👋")
        assert editor.lines()[:2] == ["é = 1", "\tif é:"]
