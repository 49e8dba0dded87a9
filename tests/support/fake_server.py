"""Entry script of e2e tests: the real server over standard streams with a scripted engine.

python -m tests.support.fake_server SCRIPT.json [LOG]
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from seedls.server import run_stdio
from seedls.settings import Settings
from tests.support.fake_engine import FakeEngine


def main(arguments: list[str]) -> int:
    """Serve until the client leaves. The cache folder is the test's own."""
    os.environ.setdefault("SEEDLS_HOME", str(Path(arguments[0]).parent / "home"))
    if len(arguments) > 1:
        logging.basicConfig(filename=arguments[1], level=logging.INFO)
    loads: list[float] = []  # shared, so that a script can fail the first load and not the second

    def factory(_: Settings) -> FakeEngine:
        return FakeEngine(Path(arguments[0]), loads=loads)

    return run_stdio(factory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
