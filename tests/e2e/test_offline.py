"""The server opens no connection, starts no program, and writes nothing outside its cache folder and its log."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from lsprotocol import types

from tests.support.fake_engine import PlannedCompletion, PlannedEdit, Script
from tests.support.lsp_client import running_server

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]
CODE = "def add(a, b):\n    \n"


async def _use(tmp_path: Path, engine: str, seconds: float) -> list[list[str]]:
    """A completion, a rewrite and a status; what the audit noted, without the test's own record of calls."""
    audit = tmp_path / "audit.jsonl"
    script = Script(
        completions=(PlannedCompletion("return a + b"),), edits=(PlannedEdit("(a, b)", "(a: int, b: int)"),)
    )
    command = [sys.executable, "-m", "tests.support.audited_server", str(audit), engine]
    async with running_server(tmp_path, script, command=command, wait_for=None) as editor:
        await editor.wait_for_state("ready", seconds)
        uri = editor.open("file:///w/a.py", CODE)
        assert await editor.inline_texts(uri, 1, 4, invoked=True)
        span = types.Range(types.Position(0, 0), types.Position(1, 4))
        await editor.client.code_action_resolve_async((await editor.actions(uri, span))[0])
        await editor.command("seedls.status")
    noted = [json.loads(line) for line in audit.read_text(encoding="utf-8").splitlines()]
    return [entry for entry in noted if Path(entry[1]) not in (tmp_path / "calls.jsonl", Path("/dev/null"))]


async def test_no_connection_and_no_file(tmp_path: Path) -> None:
    assert await _use(tmp_path, str(tmp_path / "script.json"), 20) == []


async def test_with_everything_on_it_writes_in_its_cache_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other files read and watched, settings files, next edits, a rewrite, a completion accepted and deleted again."""
    home, root, audit = tmp_path / "home", tmp_path / "project", tmp_path / "audit.jsonl"
    root.mkdir()
    (root / "shop.py").write_text("def add(a, b):\n    return a + b\n")
    (root / "seedls.toml").write_text("[context]\nrepositoryCharacters = 1000\n")
    monkeypatch.setenv("SEEDLS_HOME", str(home))
    script = Script(completions=(PlannedCompletion("return a + b"),))
    command = [sys.executable, "-m", "tests.support.audited_server", str(audit), str(tmp_path / "script.json")]
    async with running_server(tmp_path, script, command=command, wait_for="ready", root=root) as editor:
        uri = editor.open((root / "main.py").as_uri(), CODE)
        (item,) = (await editor.inline(uri, 1, 4)).items
        await editor.command(item.command.command, *item.command.arguments)
        place = types.Range(types.Position(0, 4), types.Position(0, 7))
        editor.replace_range(uri, place, "plus")
        await editor.raw_request(
            "seedls/nextEdit", {"textDocument": {"uri": uri}, "position": {"line": 1, "character": 0}}
        )
        (root / "shop.py").write_text("x = 1\n")
        editor.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))
        await editor.state()
        assert (home / "kept_rate.jsonl").exists()
        assert await editor.command("seedls.deleteKeptRate") is True
        assert await editor.command("seedls.deleteKeptRate") is False
    noted = [json.loads(line) for line in audit.read_text(encoding="utf-8").splitlines()]
    own = [entry for entry in noted if Path(entry[1]) not in (tmp_path / "calls.jsonl", Path("/dev/null"))]
    assert own
    assert {entry[0] for entry in own} == {"write"}
    assert {Path(entry[1]) for entry in own} <= {home, home / "kept_rate.jsonl"}
    assert not (home / "kept_rate.jsonl").exists()


async def test_the_audit_notices_what_it_is_for(tmp_path: Path) -> None:
    program = (
        "import sys; from tests.support import audited_server as a; import seedls.server as s\n"
        "def misbehave(factory):\n"
        "    import socket, subprocess, pathlib\n"
        "    socket.socket().close()\n"
        f"    pathlib.Path({str(tmp_path / 'new')!r}).mkdir()\n"
        "    subprocess.run([sys.executable, '-c', ''])\n"
        "    return 0\n"
        "s.run_stdio = misbehave\n"
        f"a.main([{str(tmp_path / 'audit')!r}, 'none'])\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == 0
    noted = {json.loads(line)[0] for line in (tmp_path / "audit").read_text("utf-8").splitlines()}
    assert {"socket.__new__", "write", "program"} <= noted


@pytest.mark.model
@pytest.mark.timeout(300)
async def test_no_connection_with_the_default_model(tmp_path: Path) -> None:
    noted = await _use(tmp_path, "real", 200)
    assert [entry for entry in noted if entry[0] != "write"] == []
