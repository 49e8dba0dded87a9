"""Where the syntax nodes of a file begin and end, in characters: Python by `ast`, other languages by brackets."""

from __future__ import annotations

import ast
import re
import warnings


def python_node_spans(text: str, max_chars: int, max_lines: int) -> list[tuple[int, int]]:
    """Character spans of statements and larger expressions, of at most `max_chars` and `max_lines`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return []
    offsets = LineOffsets(text)
    spans = set()
    for node in ast.walk(tree):
        if isinstance(
            node, ast.stmt | ast.Call | ast.BinOp | ast.Compare | ast.BoolOp | ast.List | ast.Dict | ast.IfExp
        ):
            span = offsets.span(node)
            if 4 <= span[1] - span[0] <= max_chars and text.count("\n", *span) < max_lines:
                spans.add(span)
    return sorted(spans)


def bracket_spans(text: str, max_chars: int, max_lines: int) -> list[tuple[int, int]]:
    """Spans between matching brackets of brace languages, within the same bounds; strings are not told apart."""
    spans, stack = [], []
    closing = {")": "(", "]": "[", "}": "{"}
    for offset, char in enumerate(text):
        if char in "([{":
            stack.append((char, offset))
        elif char in closing and stack and stack[-1][0] == closing[char]:
            start = stack.pop()[1] + 1
            if 4 <= offset - start <= max_chars and text.count("\n", start, offset) < max_lines:
                spans.append((start, offset))
    return spans


class LineOffsets:
    """Turns an ast node's lines and UTF-8 columns into character offsets of the text."""

    def __init__(self, text: str) -> None:
        self._lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)  # as Python's parser counts them
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def offset(self, line: int, column: int) -> int:
        """Character offset of 1-based line and 0-based UTF-8 column."""
        text = self._lines[line - 1]
        return self._starts[line - 1] + (
            column if text.isascii() else len(text.encode()[:column].decode("utf-8", "ignore"))
        )

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Start and end of any node with a position."""
        where = node  # every caller passes statements, expressions or arguments, which have positions
        return (
            self.offset(where.lineno, where.col_offset),  # type: ignore[attr-defined]
            self.offset(where.end_lineno, where.end_col_offset),  # type: ignore[attr-defined]
        )
