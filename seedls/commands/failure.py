"""The error a command raises when the user can do something about it. Knows nothing about any command."""

from __future__ import annotations


class CommandFailed(Exception):
    """Printed as one line; the program then exits with 1. The message names the bad value."""
