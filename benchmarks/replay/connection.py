"""A small language client: JSON-RPC over the streams of a server process, with the arrival time of every answer.

Blocking, two threads (this one and a reader). Answers the requests a server makes of its client with null.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


class ServerLost(RuntimeError):
    """The server ended, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and when it came (time.perf_counter seconds)."""

    result: Any
    error: dict[str, Any] | None
    at: float


class Connection:
    """One running server."""

    def __init__(self, command: Sequence[str], folder: Path, log: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=folder)
        self.notifications: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._replies: dict[int, queue.Queue[Reply]] = {}
        self._lock = threading.Lock()
        self._next_id = 0
        threading.Thread(target=self._read, daemon=True).start()

    def send_request(self, method: str, params: Any) -> int:
        """Send and return the id; collect the answer with `wait`."""
        self._next_id += 1
        self._replies[self._next_id] = queue.Queue()
        self._send({"id": self._next_id, "method": method, "params": params})
        return self._next_id

    def wait(self, request: int, seconds: float = 60.0) -> Reply:
        """The answer; raises ServerLost."""
        try:
            reply = self._replies[request].get(timeout=seconds)
        except queue.Empty:
            raise ServerLost(f"no answer to request {request} in {seconds:.0f} s") from None
        del self._replies[request]
        if reply.result is None and reply.error == {"code": 0, "message": "closed"}:
            raise ServerLost(f"the server ended with status {self.process.poll()}")
        return reply

    def request(self, method: str, params: Any, seconds: float = 60.0) -> Any:
        """Send, wait, return the result; raises ServerLost also for an error answer."""
        reply = self.wait(self.send_request(method, params), seconds)
        if reply.error is not None:
            raise ServerLost(f"{method}: {reply.error.get('message')}")
        return reply.result

    def notify(self, method: str, params: Any) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def close(self) -> None:
        """Shut down in order, by force after ten seconds."""
        with contextlib.suppress(ServerLost, OSError):
            self.request("shutdown", None, seconds=10)
            self.notify("exit", None)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False).encode("utf-8")
        assert self.process.stdin is not None
        try:
            with self._lock:
                self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
                self.process.stdin.flush()
        except OSError as error:
            raise ServerLost(f"the server does not read: {error}") from None

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        with contextlib.suppress(ValueError, OSError):
            while (message := _read_message(stream)) is not None:
                self._dispatch(message, time.perf_counter())
        for waiting in list(self._replies.values()):
            waiting.put(Reply(None, {"code": 0, "message": "closed"}, time.perf_counter()))

    def _dispatch(self, message: dict[str, Any], at: float) -> None:
        if "method" not in message:
            if (waiting := self._replies.get(message["id"])) is not None:
                waiting.put(Reply(message.get("result"), message.get("error"), at))
        elif "id" in message:
            is_configuration = message["method"] == "workspace/configuration"
            result = [None] * len(message["params"]["items"]) if is_configuration else None
            with contextlib.suppress(ServerLost):
                self._send({"id": message["id"], "result": result})
        else:
            self.notifications.put((message["method"], message.get("params")))


def _read_message(stream: IO[bytes]) -> dict[str, Any] | None:
    length = 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if not length:
        return None
    body = stream.read(length)
    return json.loads(body) if len(body) == length else None
