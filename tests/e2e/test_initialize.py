"""Before, during and after loading; capabilities of three editors; broken and missing models."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.support.fake_engine import PlannedCompletion, PlannedEdit, Script
from tests.support.lsp_client import running_server, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]
URI = "file:///w/a.py"
CODE = "def add(a, b):\n    \n"
ANSWER = Script(completions=(PlannedCompletion("return a + b"),))
ALL = types.Range(types.Position(0, 0), types.Position(2, 0))


@pytest.mark.parametrize(
    ("client", "encoding", "has_completion"),
    [
        ("vscode", "utf-16", False),
        ("neovim", "utf-8", False),
        ("neovim-0.11", "utf-8", True),
        ("emacs", "utf-32", True),
    ],
)
async def test_what_is_announced(tmp_path: Path, client: str, encoding: str, has_completion: bool) -> None:
    async with running_server(tmp_path, ANSWER, client) as editor:
        abilities = editor.capabilities
        assert abilities.position_encoding == encoding
        assert abilities.inline_completion_provider is not None  # pygls announces it only with options
        assert (abilities.completion_provider is not None) is has_completion
        actions = abilities.code_action_provider
        assert isinstance(actions, types.CodeActionOptions)
        assert actions.resolve_provider is True  # pygls does not infer it
        assert abilities.execute_command_provider is not None
        assert set(abilities.execute_command_provider.commands) == {
            "seedls.status",
            "seedls.explainLast",
            "seedls.restart",
            "seedls.accepted",
            "seedls.applyAction",
            "seedls.refactor",
            "seedls.deleteKeptRate",
        }


async def test_everything_is_answered_and_quiet_while_the_model_loads(tmp_path: Path) -> None:
    script = Script(completions=ANSWER.completions, load_delay_s=1.0)
    async with running_server(tmp_path, script, wait_for=None) as editor:
        while await editor.state() == "unloaded":  # it is announced before the worker has begun with it
            await asyncio.sleep(0.01)
        uri = editor.open(URI, CODE)
        assert await editor.inline(uri, 1, 4) is None
        assert "loading" in (await editor.explain())["reason"]
        actions = await editor.actions(uri, ALL)
        assert {action.disabled.reason for action in actions if action.disabled} == {
            "the model is not ready: loading model 'fake'"
        }
        assert all(action.disabled for action in actions)
        await editor.wait_for_state("ready")
        assert await editor.inline_texts(uri, 1, 4) == ["return a + b"]
        assert not any(action.disabled for action in await editor.actions(uri, ALL))


async def test_loading_shows_progress(tmp_path: Path) -> None:
    script = Script(load_delay_s=0.3)
    async with running_server(tmp_path, script) as editor:
        (reports,) = editor.client.progress_reports.values()
        await wait_until(lambda: len(reports) >= 2 and reports[-1].kind == "end")
        assert reports[0].kind == "begin"
        assert reports[0].title == "Loading model"


async def test_clients_without_progress_or_disabled_get_neither(tmp_path: Path) -> None:
    def plain(abilities: types.ClientCapabilities) -> None:
        abilities.window = None
        assert abilities.text_document is not None
        assert abilities.text_document.code_action is not None
        abilities.text_document.code_action.disabled_support = None

    script = Script(load_delay_s=0.5)
    async with running_server(tmp_path, script, wait_for=None, change_capabilities=plain) as editor:
        await editor.wait_for_state("loading")
        assert await editor.actions(editor.open(URI, CODE), ALL) == []
        await editor.wait_for_state("ready")
        assert editor.client.progress_reports == {}


async def test_a_missing_model_is_said_once_and_restart_helps(tmp_path: Path) -> None:
    problem = "model 'coder-0.5b' is not installed: run `seedls model install coder-0.5b`"
    script = Script(completions=ANSWER.completions, load_errors=(problem,))
    async with running_server(tmp_path, script, wait_for="failed") as editor:
        uri = editor.open(URI, CODE)
        assert await editor.inline(uri, 1, 4) is None
        assert await editor.inline(uri, 1, 4, invoked=True) is None
        assert editor.messages == [f"seedls: {problem}"]
        assert problem in (await editor.explain())["reason"]
        assert await editor.command("seedls.restart") is True
        assert await editor.inline_texts(uri, 1, 4) == ["return a + b"]


async def test_a_model_that_is_installed_later_is_loaded_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEDLS_HOME", str(tmp_path / "home"))
    script = Script(completions=ANSWER.completions, load_errors=("model 'coder-0.5b' is not installed",))
    async with running_server(tmp_path, script, wait_for="failed") as editor:
        uri = editor.open(URI, CODE)
        assert await editor.inline(uri, 1, 4) is None
        (tmp_path / "home" / "models" / "coder-0.5b").mkdir(parents=True)
        await editor.wait_for_state("ready")
        assert await editor.inline_texts(uri, 1, 4) == ["return a + b"]
        assert len(editor.messages) == 1


async def test_a_model_that_breaks_is_loaded_again_once_and_then_said(tmp_path: Path) -> None:
    script = Script(completions=(PlannedCompletion("", error="broken"),))
    async with running_server(tmp_path, script) as editor:
        uri = editor.open(URI, CODE)
        assert await editor.inline(uri, 1, 4) is None
        await wait_until(lambda: [state["state"] for state in editor.states][-2:] == ["loading", "ready"])
        assert len(editor.calls("load")) == 2
        assert await editor.inline(uri, 1, 4) is None
        await wait_until(lambda: any("seedls.restart" in message for message in editor.messages))
        assert len(editor.calls("load")) == 2
        assert await editor.state() == "failed"
        assert await editor.actions(uri, ALL)  # disabled, but answered


async def test_a_model_that_breaks_while_it_reads_ahead_is_loaded_again(tmp_path: Path) -> None:
    script = Script(completions=(PlannedCompletion("", error="broken"),))
    async with running_server(tmp_path, script, options={"completion": {"readAhead": True}}) as editor:
        uri = editor.open(URI, CODE)
        caret = types.Range(types.Position(1, 4), types.Position(1, 4))
        editor.replace_range(uri, caret, "x")
        await editor.actions(uri, caret)
        await wait_until(lambda: [state["state"] for state in editor.states][-3:] == ["failed", "loading", "ready"])
        (read,) = editor.calls("read_ahead")
        assert read["prefix"] == "def add(a, b):\n    " and read["suffix"] == "x\n"


@pytest.mark.parametrize("way", ["initialize", "pull"])
async def test_wrong_settings_are_named_in_one_message(tmp_path: Path, way: str) -> None:
    wrong: dict[str, Any] = {"completion": {"mode": "loud", "maxTokens": 0}, "colour": 1}
    given = {"options": wrong, "client": "emacs"} if way == "initialize" else {"configuration": wrong}

    def no_pull(abilities: types.ClientCapabilities) -> None:
        assert abilities.workspace is not None
        if way == "initialize":
            abilities.workspace.configuration = False

    async with running_server(tmp_path, ANSWER, change_capabilities=no_pull, **given) as editor:  # type: ignore[arg-type]
        (message,) = editor.messages
        assert "completion.mode: 'loud'" in message
        assert "completion.maxTokens: 0" in message
        assert "unknown setting 'colour'" in message
        assert await editor.inline_texts(editor.open(URI, CODE), 1, 4) == ["return a + b"]


async def test_settings_change_while_running(tmp_path: Path) -> None:
    async with running_server(tmp_path, ANSWER, configuration={}) as editor:
        uri = editor.open(URI, CODE)
        assert await editor.inline_texts(uri, 1, 4) == ["return a + b"]
        await editor.configure({"completion": {"enabled": False}})
        assert await editor.inline(uri, 1, 4) is None
        assert (await editor.explain())["reason"] == "completion.enabled is false"
        await editor.configure({"model": "other"})
        await wait_until(lambda: len(editor.calls("load")) == 2)
        await editor.wait_until_ready_now()


async def test_another_model_is_loaded_under_load(tmp_path: Path) -> None:
    """Completions keep coming while the model is exchanged: all are answered, the last model is there, no other is."""
    slow = Script(completions=(PlannedCompletion("return a + b", delay_s=0.3),))
    async with running_server(tmp_path, slow, configuration={}) as editor:
        uris = [editor.open(f"file:///w/{number}.py", CODE) for number in range(4)]
        asked = [editor.inline(uri, 1, 4, invoked=True) for uri in uris]
        for number in range(3):  # the later ones come before the worker has begun with the earlier ones
            await editor.configure({"model": f"other-{number}"})
            asked += [editor.inline(uri, 1, 4) for uri in uris]
        answers = await asyncio.wait_for(asyncio.gather(*asked), 30)
        assert all(answer is None or answer.items[0].insert_text == "return a + b" for answer in answers)
        # One at the start, one for each change, each of which leaves an engine behind.
        await wait_until(lambda: len(editor.calls("close")) == 4)
        while await editor.state() != "ready":
            await asyncio.sleep(0.01)
        assert await editor.inline_texts(uris[0], 1, 4, invoked=True) == ["return a + b"]
        assert "ERROR" not in editor.log.read_text(encoding="utf-8")


async def test_the_process_ends_promptly_while_the_model_works(tmp_path: Path) -> None:
    script = Script(completions=(PlannedCompletion("late", delay_s=30),), edits=(PlannedEdit(delay_s=30),))
    async with running_server(tmp_path, script) as editor:
        uri = editor.open(URI, CODE)
        request = editor.inline(uri, 1, 4, invoked=True)
        await asyncio.sleep(0.3)
        started = time.monotonic()
        await editor.client.shutdown_session()
        assert time.monotonic() - started < 2
        assert editor.client._server is not None
        assert editor.client._server.returncode == 0
        editor.client.error = RuntimeError("already shut down")  # keeps the context manager from doing it again
        assert isinstance((await asyncio.gather(request, return_exceptions=True))[0], Exception)


async def test_the_process_ends_when_the_model_is_still_loading(tmp_path: Path) -> None:
    async with running_server(tmp_path, Script(load_delay_s=30), wait_for="loading") as editor:
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await editor.client.shutdown_session()
        assert time.monotonic() - started < 6
        assert editor.client._server is not None
        assert editor.client._server.returncode == 0
        editor.client.error = RuntimeError("already shut down")


async def test_no_text_of_the_user_reaches_the_log(tmp_path: Path) -> None:
    secret = "hunter2_password"
    script = Script(completions=(PlannedCompletion("", error=f"about {secret}"),))
    async with running_server(tmp_path, script) as editor:
        uri = editor.open(URI, f"x = '{secret}'\n")
        assert await editor.inline(uri, 0, 0, invoked=True) is None
        assert (await editor.explain())["outcome"] == "failed"
        broken = {"method": types.TEXT_DOCUMENT_DID_CHANGE, "params": {"textDocument": {"uri": secret}}}
        editor.client.protocol._send_data({"jsonrpc": "2.0", **broken})
        editor.client.protocol.notify("custom/unknown", {"text": secret})
        with pytest.raises(Exception, match=r"(?i)method not found"):
            await editor.client.protocol.send_request_async("custom/unknown", {"text": secret})
        log = editor.log.read_text(encoding="utf-8")
        assert "inline_completion failed: ValueError" in log
        assert "textDocument/didChange" in log
        assert secret not in log
