"""What continuing a function means in each language: where an unattended continuation has to stop."""

from __future__ import annotations

PYTHON_BODY_STOPS = (
    "\ndef ",
    "\nclass ",
    "\nimport ",
    "\nfrom ",
    "\nassert ",
    "\nif __name__",
    "\nprint(",
    "\n#",
    "\n@",
)
"""After the body of a Python function the next line at column 0 belongs to something else."""

PYTHON_MODULE_STOPS = ('\n"""', "\nassert", "\nif __name__", "\nprint(", "\n# Test", "\n# test", "\n```")
"""For a whole solution, which may hold imports and several functions."""

BRACE_STOPS = ("\n}",)
"""A body in a brace language ends at the brace in column 0, which the stop rule swallows: see `Case.closing`."""


def body_stops(language: str) -> tuple[tuple[str, ...], str]:
    """Stop strings for completing a function body, and the text to append when one was hit."""
    if language == "python":
        return PYTHON_BODY_STOPS, ""
    return BRACE_STOPS, "\n}\n"
