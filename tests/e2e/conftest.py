"""One server for the tests of a file that need nothing special: a process for each would take minutes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.fake_engine import Script
from tests.support.lsp_client import Editor, running_server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Editor]:
    """A VS Code client on a server whose model is ready; use `editor`."""
    async with running_server(tmp_path_factory.mktemp("server"), Script(), configuration={}) as editor:
        yield editor


@pytest_asyncio.fixture(loop_scope="module")
async def editor(shared_server: Editor) -> Editor:
    """The shared server without documents, settings, plans and messages of the test before."""
    await shared_server.start_over()
    return shared_server
