"""`python -m seedls`: the same command line as the `seedls` program."""

from __future__ import annotations

import sys

from seedls.cli import main

if __name__ == "__main__":
    sys.exit(main())
