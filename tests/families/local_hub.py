"""A hub on this machine that speaks the protocol of huggingface.co over HTTP, for its official client.

Serves one folder as one repository: the file list with sizes and digests of large files, and the files with ranges.
What a test wants to go wrong is said in the fields of `LocalHub`; what was asked stands in `requests`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class LocalHub:
    """What is served, and what happened."""

    folder: Path
    repository: str
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)
    """`METHOD path range`, in order."""
    cut_at: dict[str, int] = field(default_factory=dict)
    """File -> bytes after which its transfer breaks off; asked again, the hub is down until `is_up`."""
    is_up: bool = True
    wrong: set[str] = field(default_factory=set)
    """Files whose bytes are not what the list says."""

    def asked_for(self, name: str) -> list[str]:
        """Requests for the bytes of one file."""
        return [each for each in self.requests if each.startswith("GET") and f"/{name} " in each]


@contextmanager
def local_hub(folder: Path, repository: str) -> Iterator[LocalHub]:
    """Serve `folder` until the block ends."""
    hub = LocalHub(folder, repository)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Not on the test's stderr."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path, hub = unquote(urlsplit(self.path).path), self.hub
        self.hub.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}")
        if path in (f"/api/models/{hub.repository}", f"/api/models/{hub.repository}/revision/v1"):
            return self._send(
                200, json.dumps(self._listing()).encode(), {"Content-Type": "application/json"}, with_body
            )
        start = f"/{hub.repository}/resolve/{'main' if '/resolve/main/' in path else COMMIT}/"
        file = hub.folder / path.removeprefix(start)
        if not path.startswith(start) or not file.is_file():
            code = "RevisionNotFound" if path.startswith(f"/api/models/{hub.repository}/revision/") else "RepoNotFound"
            return self._send(404, b"{}", {"X-Error-Code": code}, with_body)
        return self._send_file(file, with_body)

    def _listing(self) -> dict[str, object]:
        siblings: list[dict[str, object]] = []
        for file in sorted(self.hub.folder.iterdir()):
            entry: dict[str, object] = {"rfilename": file.name, "size": file.stat().st_size, "blobId": "b" * 40}
            if file.suffix in (".safetensors", ".bin"):
                entry["lfs"] = {"sha256": _digest(file), "size": file.stat().st_size, "pointerSize": 130}
            siblings.append(entry)
        return {"id": self.hub.repository, "modelId": self.hub.repository, "sha": COMMIT, "siblings": siblings}

    def _send_file(self, file: Path, with_body: bool) -> None:
        hub, content = self.hub, file.read_bytes()
        if with_body and not hub.is_up:
            return self._send(503, b"", {}, True)
        if file.name in hub.wrong:
            content = bytes(len(content))
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_digest(file)}"', "Accept-Ranges": "bytes"}
        wanted = self.headers.get("Range")
        if wanted is None:
            return self._send(200, content, headers, with_body, cut_at=hub.cut_at.pop(file.name, None))
        begin = int(wanted.removeprefix("bytes=").partition("-")[0])
        headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        return self._send(206, content[begin:], headers, with_body)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], with_body: bool, cut_at: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body and cut_at is None:
            self.wfile.write(body)
        elif with_body:
            self.wfile.write(body[:cut_at])
            self.wfile.flush()
            self.hub.is_up = False
            self.close_connection = True


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
