"""Writes the settings section of package.json from seedls/settings.py. Owns the settings that only the extension reads.

python editors/vscode/scripts/write_settings.py            rewrite package.json
python editors/vscode/scripts/write_settings.py --check    exit with 1 when it is not current
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent
PACKAGE = FOLDER / "package.json"
CLIENT_PROPERTIES: dict[str, dict[str, Any]] = {
    "seedls.server.path": {
        "type": "string",
        "default": "",
        "scope": "machine-overridable",
        "markdownDescription": "Absolute path of the `seedls` program. Empty: the one on the PATH, else the one that "
        "*Install the Server* made, else the one in a `.venv` of the workspace.",
    },
    "seedls.server.package": {
        "type": "string",
        "default": "",
        "scope": "machine",
        "markdownDescription": "What *Install the Server* installs with pip: a wheel or the folder of a clone. Empty: "
        "the server that came with the extension.",
    },
    "seedls.server.pipArguments": {
        "type": "array",
        "default": [],
        "items": {"type": "string"},
        "scope": "machine",
        "markdownDescription": "Further arguments of pip there, for example an index with smaller PyTorch builds for "
        "machines without a GPU.",
    },
    "seedls.server.python": {
        "type": "string",
        "default": "",
        "scope": "machine",
        "markdownDescription": "Python (3.11 or newer) of the private environment. Empty: the first one on the PATH "
        "that is new enough.",
    },
    "seedls.trace.server": {
        "type": "string",
        "default": "off",
        "enum": ["off", "messages", "verbose"],
        "scope": "window",
        "markdownDescription": "What passes between editor and server, in the log. `verbose` writes your code there.",
    },
}


def manifest_text() -> str:
    """package.json with current settings; everything else in it stays."""
    from seedls.settings import vscode_properties

    manifest = json.loads(PACKAGE.read_text(encoding="utf-8"))
    manifest["contributes"]["configuration"]["properties"] = {**CLIENT_PROPERTIES, **vscode_properties()}
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write, or check with `--check`."""
    text = manifest_text()
    if arguments == ["--check"]:
        is_current = PACKAGE.read_text(encoding="utf-8") == text
        if not is_current:
            print(f"{PACKAGE} is not current: run python editors/vscode/scripts/write_settings.py", file=sys.stderr)
        return 0 if is_current else 1
    PACKAGE.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parent.parent))
    sys.exit(main(sys.argv[1:]))
