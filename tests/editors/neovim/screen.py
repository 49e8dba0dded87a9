"""What Neovim would have drawn: a grid of cells kept up to date from its redraw events. Knows nothing of processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Screen:
    """Text and highlight of every cell, and the colours behind the highlights."""

    width: int = 0
    height: int = 0
    cells: list[list[tuple[str, int]]] = field(default_factory=list)
    """Rows of (text of the cell, id of its highlight); the right half of a wide character is ""."""
    highlights: dict[int, dict[str, Any]] = field(default_factory=dict)
    foreground: int = 0
    background: int = 0xFFFFFF
    cursor: tuple[int, int] = (0, 0)

    def handle(self, events: list[Any]) -> None:
        """Take the events of one redraw notification."""
        for name, *calls in events:
            act = getattr(self, f"_{name}", None)
            if act is not None:
                for arguments in calls:
                    act(*arguments)

    def lines(self) -> list[str]:
        """The text of each row without blanks at its end."""
        return ["".join(text for text, _ in row).rstrip() for row in self.cells]

    def _grid_resize(self, _: int, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.cells = [[(" ", 0)] * width for _ in range(height)]

    def _grid_clear(self, _: int) -> None:
        self._grid_resize(1, self.width, self.height)

    def _grid_line(self, _: int, row: int, column: int, cells: list[list[Any]], *__: Any) -> None:
        highlight = 0
        for text, *more in cells:
            highlight = more[0] if more else highlight
            for _repeat in range(more[1] if len(more) > 1 else 1):
                self.cells[row][column] = (text, highlight)
                column += 1

    def _grid_scroll(self, _: int, top: int, bottom: int, left: int, right: int, rows: int, __: int) -> None:
        source = [list(row) for row in self.cells]
        for row in range(top, bottom):
            if top <= row + rows < bottom:
                self.cells[row][left:right] = source[row + rows][left:right]

    def _grid_cursor_goto(self, _: int, row: int, column: int) -> None:
        self.cursor = (row, column)

    def _hl_attr_define(self, number: int, colours: dict[str, Any], *_: Any) -> None:
        self.highlights[number] = colours

    def _default_colors_set(self, foreground: int, background: int, *_: Any) -> None:
        self.foreground, self.background = foreground, background
