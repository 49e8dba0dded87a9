"""A picture of Neovim's screen: the drawn cells with their colours as a page, which a headless browser photographs."""

from __future__ import annotations

import html
import subprocess
from pathlib import Path
from typing import Any

from tests.editors.neovim.screen import Screen

_CELL = (9, 19)
"""Width and height of a cell in pixels."""


def photograph(screen: Screen, browser: str, out: Path) -> None:
    """Write the screen as a PNG."""
    page = out.with_suffix(".html")
    page.write_text(as_page(screen), encoding="utf-8")
    size = f"{screen.width * _CELL[0] + 16},{screen.height * _CELL[1] + 16}"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size}"]
    subprocess.run([*command, f"--screenshot={out}", page.as_uri()], check=True, capture_output=True, timeout=120)
    page.unlink()


def as_page(screen: Screen) -> str:
    """HTML in which every cell stands at its place."""
    spans = []
    for row, cells in enumerate(screen.cells):
        for column, (text, highlight) in enumerate(cells):
            style = _style(screen, screen.highlights.get(highlight, {}))
            if text.strip() or style:
                place = f"left:{8 + column * _CELL[0]}px;top:{8 + row * _CELL[1]}px"
                spans.append(f'<i style="{place};{style}">{html.escape(text) or "&nbsp;"}</i>')
    row, column = screen.cursor
    cursor = f"left:{8 + column * _CELL[0]}px;top:{8 + row * _CELL[1]}px"
    return (
        f'<!doctype html><meta charset="utf-8"><style>body{{margin:0;background:#{screen.background:06x}}}'
        f"i{{position:absolute;width:{_CELL[0]}px;height:{_CELL[1]}px;font:15px/{_CELL[1]}px monospace;"
        f"white-space:pre;color:#{screen.foreground:06x}}}u{{position:absolute;width:2px;height:{_CELL[1]}px;"
        f'background:#{screen.foreground:06x}}}</style>{"".join(spans)}<u style="{cursor}"></u>\n'
    )


def _style(screen: Screen, colours: dict[str, Any]) -> str:
    foreground, background = colours.get("foreground"), colours.get("background")
    if colours.get("reverse"):
        foreground, background = (
            background if background is not None else screen.background,
            foreground if foreground is not None else screen.foreground,
        )
    parts = [f"color:#{foreground:06x}" if foreground is not None else ""]
    parts.append(f"background:#{background:06x}" if background is not None else "")
    parts.append("font-weight:bold" if colours.get("bold") else "")
    parts.append("font-style:italic" if colours.get("italic") else "font-style:normal")
    return ";".join(part for part in parts if part)
