"""What can go wrong in an evaluation because of its input: always one clear line naming the file, line or value."""

from __future__ import annotations

from model_runtime.errors import RuntimeFailure


class EvaluationError(RuntimeFailure):
    """A benchmark cannot run as asked: missing data, unknown name, mismatched results."""


class DataError(EvaluationError):
    """A data file is not what its benchmark expects; the message names file and line."""
