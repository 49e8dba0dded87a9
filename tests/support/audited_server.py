"""Entry script: the server with every connection, every change on the disk and every started program noted.

python -m tests.support.audited_server AUDIT.jsonl SCRIPT.json|real
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

_NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_OTHER_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
_PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main(arguments: list[str]) -> int:
    """Serve until the client leaves."""
    sys.dont_write_bytecode = True
    audit = os.open(arguments[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(event: str, details: tuple[Any, ...]) -> None:
        if event in _NETWORK:
            os.write(audit, (json.dumps([event, repr(details)]) + "\n").encode())
        elif event == "socket.__new__" and details[1] in (socket.AF_INET, socket.AF_INET6):
            os.write(audit, (json.dumps([event, repr(details[1:])]) + "\n").encode())
        elif event in _OTHER_CHANGES:
            os.write(audit, (json.dumps(["write", str(details[0])]) + "\n").encode())
        elif event in _PROGRAMS:
            os.write(audit, (json.dumps(["program", repr(details[:2])]) + "\n").encode())
        elif event == "open" and not isinstance(details[0], int) and (details[2] or 0) & _WRITING:
            os.write(audit, (json.dumps(["write", str(details[0])]) + "\n").encode())

    sys.addaudithook(note)
    from seedls.server import run_stdio
    from tests.support.fake_engine import FakeEngine

    if arguments[1] == "real":
        return run_stdio()
    return run_stdio(lambda settings: FakeEngine(Path(arguments[1])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
