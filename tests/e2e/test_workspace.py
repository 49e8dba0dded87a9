"""Other files as context, and settings that live in the workspace, over a real pipe and a real folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_engine import PlannedCompletion, Script
from tests.support.lsp_client import Editor, running_server, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio]
ANSWER = Script(completions=(PlannedCompletion("order, 'late'"),))
SHOP = 'def cancel_order(order, reason):\n    """Cancel it."""\n    order.cancelled = reason\n'
MAIN = "from shop import cancel_order\n\n\ndef main(order):\n    cancel_order()\n"


async def _shown(editor: Editor, root: Path, line: int = 4, character: int = 17) -> str:
    """What the engine was shown of other files, by a new document each time."""
    uri = editor.open((root / f"main_{len(editor.calls('complete'))}.py").as_uri(), MAIN)
    assert await editor.inline_texts(uri, line, character) == ["order, 'late'"]
    before, found, _ = str(editor.calls("complete")[-1]["prefix"]).partition(MAIN[:40])
    assert found
    return before


async def _filled(editor: Editor) -> None:
    await wait_until(lambda: "files read" in editor.log.read_text(encoding="utf-8"))


async def test_definitions_in_other_files_reach_the_model_and_secrets_never(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "shop.py").write_text(SHOP)
    (root / "credentials.py").write_text("def cancel_order(password):\n    pass\n")
    (root / "ignored.py").write_text("def cancel_order(ignored):\n    pass\n")
    (root / ".gitignore").write_text("ignored.py\n")
    options = {"context": {"repositoryCharacters": 1000}}
    async with running_server(tmp_path, ANSWER, configuration=options, root=root) as editor:
        await _filled(editor)
        expected = "# shop.py\n" + "".join(f"# {line}\n" for line in SHOP.rstrip().split("\n")) + "\n"
        assert await _shown(editor, root) == expected
        (root / "shop.py").write_text(SHOP.replace("reason", "cause"))

        async def has_changed() -> bool:
            return "cause" in await _shown(editor, root)

        for _ in range(100):
            if await has_changed():
                break
        else:
            pytest.fail("the change on the disk was not seen")


async def test_the_switch_keeps_other_files_out(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "shop.py").write_text(SHOP)
    options = {"context": {"repositoryCharacters": 0}}
    async with running_server(tmp_path, ANSWER, configuration=options, root=root) as editor:
        assert await _shown(editor, root) == ""
        await editor.configure({"context": {"repositoryCharacters": 1000}})
        await _filled(editor)
        assert "cancel_order(order, reason)" in await _shown(editor, root)


async def test_a_settings_file_takes_effect_when_it_is_saved(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "seedls.toml").write_text('[completion]\nmode = "subtle"\n')
    async with running_server(tmp_path, ANSWER, configuration={"completion": {"mode": "eager"}}, root=root) as editor:
        uri = editor.open((root / "a.py").as_uri(), MAIN)
        assert await editor.inline(uri, 4, 17) is None
        assert (await editor.explain())["reason"] == "completion.mode is subtle and nobody asked"
        (root / "seedls.toml").write_text('model = "other"\n[completion]\nmode = "loud"\n')
        await wait_until(lambda: any("completion.mode: 'loud'" in message for message in editor.messages))
        await wait_until(lambda: len(editor.calls("load")) == 2)  # another model is loaded
        await editor.wait_until_ready_now()
        assert await editor.inline_texts(uri, 4, 17) == ["order, 'late'"]
