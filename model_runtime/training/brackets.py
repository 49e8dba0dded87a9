"""A syntax check that needs no grammar: does a piece of code close brackets it never opened?

Works on text that starts anywhere, in any of the languages trained on. Strings and comments are skipped as far as one
line shows them; what it cannot know it lets pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from model_runtime.tokenizer import Tokenizer

_PAIRS = {")": "(", "]": "[", "}": "{"}
_SKIPPED = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`(?:\\.|[^`\\\n])*`|(?:#|//)[^\n]*')


class BracketCheck:
    """Compares a context with the same context and a block behind it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, context: Sequence[int], block: Sequence[int]) -> bool:
        """True when the block adds a closing bracket that does not fit."""
        before = self._text(context)
        return bracket_errors(before + self._text(block)) > bracket_errors(before)

    def _text(self, ids: Sequence[int]) -> str:
        is_special = self._tokenizer.is_special
        return self._tokenizer.decode([token for token in ids if not is_special(token)])


def bracket_errors(text: str) -> int:
    """Closing brackets whose partner is not the innermost open one; those before anything was opened count as well."""
    open_ones: list[str] = []
    errors = 0
    for character in _SKIPPED.sub("", text):
        if character in "([{":
            open_ones.append(character)
        elif character in _PAIRS:
            if open_ones and open_ones[-1] == _PAIRS[character]:
                open_ones.pop()
            else:
                errors += 1
    return errors
