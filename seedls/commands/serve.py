"""`seedls serve`: the language server over standard streams or TCP. Owns the transport flags and where the log goes."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from seedls.commands.failure import CommandFailed
from seedls.commands.options import Commands, add_command

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def register(commands: Commands) -> None:
    """Add the parser."""
    parser = add_command(
        commands,
        "serve",
        "run the language server",
        "seedls serve\nseedls serve --tcp 127.0.0.1:9257 --log seedls.log",
        run,
    )
    transport = parser.add_mutually_exclusive_group()
    transport.add_argument("--stdio", action="store_true", help="speak LSP over standard input and output (default)")
    transport.add_argument("--tcp", type=tcp_address, metavar="HOST:PORT", help="listen for one client here")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append the log to FILE (default: standard error)")


def run(args: argparse.Namespace) -> int:
    """Serve until the client says exit or closes the stream."""
    _log_to(args.log)
    from seedls.server import run_stdio, run_tcp

    if args.tcp is None:
        return run_stdio()
    host, port = args.tcp
    try:
        return run_tcp(host, port)
    except OSError as error:
        raise CommandFailed(f"cannot listen on {host}:{port}: {error.strerror or error}") from None


def tcp_address(text: str) -> tuple[str, int]:
    """An argparse type: HOST:PORT, an IPv6 host in brackets."""
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form HOST:PORT")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def _log_to(path: Path | None) -> None:
    """Standard output belongs to the protocol, so the log goes to a file or to standard error."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8") if path else logging.StreamHandler(sys.stderr)
    except OSError as error:
        raise CommandFailed(f"cannot write the log {path}: {error.strerror or error}") from None
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT, handlers=[handler])
