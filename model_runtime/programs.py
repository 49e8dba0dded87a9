"""The command-line programs of this package that stand above the runtime: training, evaluation, benchmarks.

Owns the table name -> module. The runtime imports none of them: a program is looked up and imported by name only when
a user asks for it, so an installation may leave them out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

Program = Callable[[Sequence[str]], int]
"""Takes the arguments after the program's name, returns the exit code (0 done, 1 failed, 2 usage)."""

_MODULE_OF_PROGRAM = {
    "train": "model_runtime.training.__main__",
    "eval": "model_runtime.evaluation.__main__",
    "bench": "model_runtime.evaluation.bench",
}


def find_program(name: str) -> Program | None:
    """The program called `name`, or None where it is not part of this installation. Imports nothing heavy by itself."""
    module = _MODULE_OF_PROGRAM.get(name)
    if module is None or not _is_shipped(module):
        return None

    def run(argv: Sequence[str]) -> int:
        main: Program = import_module(module).main
        return main(argv)

    return run


def _is_shipped(module: str) -> bool:
    """True when the module's file exists; the package around it is not imported to find out."""
    package, _, stem = module.rpartition(".")
    spec = find_spec(package)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return any((Path(folder) / f"{stem}.py").is_file() for folder in folders)
