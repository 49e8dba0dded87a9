"""Set-up, health, help and the pure parts of the Neovim plugin, in a real Neovim."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.editors.neovim.conftest import Start
from tests.editors.neovim.process import PLUGIN, neovim, neovim_program, quoted, server_command, with_plugin
from tests.support.fake_engine import PlannedCompletion, Script

pytestmark = pytest.mark.e2e
HELP = (PLUGIN / "doc" / "seedls.txt").read_text(encoding="utf-8")


def run_lua(tmp_path: Path, code: str) -> str:
    """Run Lua with the plugin on the path; what it printed. Errors fail."""
    script = tmp_path / "run.lua"
    script.write_text(f"vim.opt.runtimepath:prepend({quoted(PLUGIN)})\n{code}", encoding="utf-8")
    command = [neovim_program(), "--headless", "--clean", "-l", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def test_pure_parts(tmp_path: Path) -> None:
    run_lua(tmp_path, (Path(__file__).parent / "pure_parts.lua").read_text(encoding="utf-8"))


def test_pure_parts_can_fail(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="first_word"):
        run_lua(tmp_path, "assert(require('seedls.suggestion').first_word('a b') == 'b', 'first_word')")


def test_neovims_own_ghost_text_is_used_where_there_is_one(tmp_path: Path) -> None:
    """0.12's interface, recorded: this Neovim may have none."""
    printed = run_lua(
        tmp_path,
        """
        local calls = {}
        vim.lsp.inline_completion = {
          enable = function(on) table.insert(calls, 'enable ' .. tostring(on)) end,
          get = function() table.insert(calls, 'get') return calls.has end,
          select = function(how) table.insert(calls, 'select ' .. how.count) end,
        }
        local seedls = require('seedls')
        seedls.setup({ enable = false })
        assert(seedls.ghost_text() == 'native')
        assert(#vim.api.nvim_get_autocmds({ group = 'seedls', event = 'TextChangedI' }) == 1)  -- the preview's alone
        local tab = vim.fn.maparg('<Tab>', 'i', false, true).callback
        calls.has = true
        assert(tab() == '')
        calls.has = false
        assert(tab() ~= '')
        vim.fn.maparg('<M-]>', 'i', false, true).callback()
        print(table.concat(calls, ','))
        """,
    )
    assert "enable true,get,get,select 1" in printed


def test_wrong_options_are_named_and_defaults_used(tmp_path: Path) -> None:
    with neovim(
        tmp_path,
        with_plugin("require('seedls').setup({ enable = false, ghost_txt = 1, keymaps = { accept = 3 } })"),
        [],
    ) as editor:
        editor.until_lua("#require('seedls').problems == 2")
        assert editor.lua("return require('seedls').options.keymaps.accept") == "<Tab>"
        editor.until_shown("2 wrong options; :checkhealth seedls names them")
        editor.keys(":checkhealth seedls<CR>")
        editor.until(lambda: any("ghost_txt is no option" in line for line in editor.lines()))


def test_health_says_what_runs(start: Start) -> None:
    with start(Script(completions=(PlannedCompletion("x", after="    "),)), "def f():\n    \n") as editor:
        editor.keys(":checkhealth seedls<CR>")
        editor.until(lambda: any("is ready: fake" in line for line in editor.lines()))
        report = "\n".join(editor.lines())
        assert "drawn by this plugin" in report or "drawn by Neovim itself" in report
        assert "ERROR" not in report
        assert "utf-8" in report


def test_health_says_what_is_missing(tmp_path: Path) -> None:
    with neovim(tmp_path, with_plugin("require('seedls').setup({ cmd = { 'no-such-seedls' } })"), []) as editor:
        editor.keys(":checkhealth seedls<CR>")
        editor.until(lambda: any("no-such-seedls is not a program" in line for line in editor.lines()))
        assert any("pip install" in line for line in editor.lines())


def test_the_statusline_follows_the_server(start: Start, tmp_path: Path) -> None:
    bar = "vim.o.laststatus = 2 vim.o.statusline = \"%{v:lua.require'seedls'.statusline()}\""
    with start(Script(load_delay_s=0.5), "x\n", before=bar) as editor:
        editor.until(lambda: "seedls" in editor.screen.lines()[-2])
        editor.keys(":Seedls restart<CR>")
        editor.until(lambda: re.search(r"seedls: (off|unloaded|loading)", editor.screen.lines()[-2]))
        editor.until(lambda: editor.screen.lines()[-2].strip() == "seedls")


def test_a_server_that_cannot_load_is_said(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(Script(load_errors=("no such model",)).to_json(), encoding="utf-8")
    (tmp_path / "a.py").write_text("x\n", encoding="utf-8")
    command = server_command("tests.support.fake_server", str(tmp_path / "script.json"))
    with neovim(tmp_path, with_plugin(f"require('seedls').setup({{ cmd = {command} }})"), [tmp_path / "a.py"]) as it:
        it.until_lua("require('seedls').statusline() == 'seedls: failed'")
        assert it.lua("return require('seedls').known().message") == "no such model"


def test_commands_complete_and_unknown_ones_are_named(tmp_path: Path) -> None:
    with neovim(tmp_path, with_plugin("require('seedls').setup({ enable = false })"), []) as editor:
        names = editor.lua("return vim.fn.getcompletion('Seedls re', 'cmdline')")
        assert names == ["refactor", "reject", "repair", "restart", "rewrite"]
        editor.keys(":Seedls refactr<CR>")
        editor.until_shown("refactr is none of accept, complete")
        editor.keys("<CR>:Seedls refactor x<CR>")
        editor.until_shown("no server is running for this buffer")


def test_the_help_file_has_every_name(tmp_path: Path) -> None:
    listed = run_lua(
        tmp_path,
        "print(table.concat(require('seedls.commands').names(), ' '))\n"
        "print(table.concat(vim.tbl_keys(require('seedls.config').defaults), ' '))\n"
        "local keys = require('seedls.config').defaults\n"
        "print(table.concat(vim.tbl_keys(keys.keymaps), ' '))\n"
        "print(table.concat(vim.tbl_keys(keys.preview_keymaps), ' '))",
    ).split("\n")
    commands, options, keys, preview_keys = (line.split() for line in listed[:4])
    assert [name for name in commands if f"*:Seedls-{name}*" not in HELP] == []
    assert [name for name in [*options, "cmd"] if f"*seedls-{name}*" not in HELP] == []
    assert [name for name in [*keys, *preview_keys] if f"`{name}`" not in HELP] == []
    highlights = set(re.findall(r"Seedls[A-Z]\w+", "".join(map(Path.read_text, PLUGIN.rglob("*.lua")))))
    assert [name for name in highlights if f"*hl-{name}*" not in HELP] == []


def test_help_tags_build(tmp_path: Path) -> None:
    (tmp_path / "doc").mkdir()
    (tmp_path / "doc" / "seedls.txt").write_text(HELP, encoding="utf-8")
    run_lua(tmp_path, f"vim.cmd.helptags({quoted(tmp_path / 'doc')})")
    tags = (tmp_path / "doc" / "tags").read_text(encoding="utf-8")
    assert tags.startswith(":Seedls\t")
    assert max(map(len, HELP.splitlines())) <= 79
