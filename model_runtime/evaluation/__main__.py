"""`python -m model_runtime.evaluation`: see `cli.py`."""

from __future__ import annotations

import sys

from model_runtime.evaluation.cli import main

if __name__ == "__main__":
    sys.exit(main())
