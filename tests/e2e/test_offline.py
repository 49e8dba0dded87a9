"""The server opens no connection and writes nothing outside its log."""

from __future__ import annotations

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


@pytest.mark.model
@pytest.mark.timeout(300)
async def test_no_connection_with_the_default_model(tmp_path: Path) -> None:
    noted = await _use(tmp_path, "real", 200)
    assert [entry for entry in noted if entry[0] != "write"] == []
