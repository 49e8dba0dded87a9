"""`seedls serve`: addresses, the log, and a real process over standard streams."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from seedls.cli import main
from seedls.commands.serve import tcp_address
from tests.architecture.source_tree import ROOT


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:80", ("localhost", 80)),
        (":0", ("127.0.0.1", 0)),
        ("[::1]:9257", ("::1", 9257)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert tcp_address(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "host:65536", "host:-1"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="HOST:PORT"):
        tcp_address(text)


_MESSAGES: tuple[dict[str, object], ...] = (
    {"id": 1, "method": "initialize", "params": {"processId": None, "rootUri": None, "capabilities": {}}},
    {"id": 2, "method": "shutdown"},
    {"method": "exit"},
)


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--log", str(tmp_path / "no" / "a.log")]) == 1
    assert f"cannot write the log {tmp_path / 'no' / 'a.log'}" in capsys.readouterr().err


@pytest.mark.e2e
def test_tcp_serves_one_client_and_ends() -> None:
    command = [sys.executable, "-m", "seedls", "serve", "--tcp", "127.0.0.1:0"]
    sent = b"".join(_framed({"jsonrpc": "2.0", **message}) for message in _MESSAGES)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = int(next(line for line in process.stderr if "listening on port" in line).rsplit(" ", 1)[1])
            with socket.create_connection(("127.0.0.1", port), 30) as client:
                first = _framed({"jsonrpc": "2.0", **_MESSAGES[0]})
                client.sendall(first)
                received = client.recv(65536)
                with pytest.raises(OSError, match="refused"):  # a second client never gets in
                    socket.create_connection(("127.0.0.1", port), 5).close()
                client.sendall(sent.removeprefix(first))
                received += b"".join(iter(lambda: client.recv(65536), b""))
                answers = [json.loads(body) for body in _bodies(received)]
                assert {1, 2} <= {answer.get("id") for answer in answers}
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.mark.e2e
def test_a_server_answers_initialize_and_exits(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "seedls", "serve", "--stdio", "--log", str(log)]
    sent = b"".join(_framed({"jsonrpc": "2.0", **message}) for message in _MESSAGES)
    done = subprocess.run(command, cwd=ROOT, input=sent, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(part[part.index(b"{") :]) for part in _bodies(done.stdout)]
    ids = {answer.get("id") for answer in answers}
    assert {1, 2} <= ids
    assert log.exists()


def _framed(message: dict[str, object]) -> bytes:
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def _bodies(stream: bytes) -> list[bytes]:
    bodies = []
    while stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        bodies.append(rest[:length])
        stream = rest[length:]
    return bodies
