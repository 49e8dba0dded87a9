"""Flags that several commands share, and their translation into runtime values. Owns no command and loads nothing."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any, Protocol

from seedls.commands.failure import CommandFailed

MAX_BLOCK = 128
_HELP_WIDTH = 78
DEFAULT_MODEL = "coder-0.5b"


class Commands(Protocol):
    """What `ArgumentParser.add_subparsers()` returns, as far as the families use it."""

    def add_parser(self, name: str, **kwargs: Any) -> argparse.ArgumentParser: ...


def add_command(
    commands: Commands,
    name: str,
    summary: str,
    examples: str,
    run: Callable[[argparse.Namespace], int],
    details: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """Add the parser of one command: summary, more paragraphs, examples shown verbatim, what runs it."""
    parser = commands.add_parser(
        name,
        help=summary,
        description="\n\n".join(fill(text, _HELP_WIDTH) for text in (f"{summary[0].upper()}{summary[1:]}.", *details)),
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples.strip().splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """--model --device --precision --threads."""
    group = parser.add_argument_group("model and machine")
    group.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|PATH",
        help="installed model or checkpoint (default: %(default)s)",
    )
    group.add_argument("--device", metavar="D", help="auto, cpu, cuda or cuda:N (default: SEEDLS_DEVICE, else auto)")
    group.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16", "int8", "int4"),
        help="weights while running (default: auto, bfloat16 on CUDA and int8 on CPU)",
    )
    group.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads (default: SEEDLS_THREADS)")


def add_decoding_options(parser: argparse.ArgumentParser, max_tokens: int) -> None:
    """--policy --max-tokens --block --steps --temperature --seed."""
    group = parser.add_argument_group("decoding")
    group.add_argument(
        "--policy",
        choices=("lossless", "fast", "ar"),
        default="lossless",
        help="lossless: drafts verified in parallel; fast: drafts also kept when nearly as good; "
        "ar: one token a forward (default: %(default)s)",
    )
    group.add_argument(
        "--max-tokens", type=positive_int, default=max_tokens, metavar="N", help="tokens at most (default: %(default)s)"
    )
    group.add_argument(
        "--block", type=block_size, metavar="B", help=f"positions denoised together, 1-{MAX_BLOCK} (default: measured)"
    )
    group.add_argument("--steps", type=positive_int, metavar="S", help="denoising steps a block at most")
    group.add_argument(
        "--temperature", type=non_negative_float, default=0.0, metavar="T", help="0 is greedy (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="for temperatures above 0")


def runtime_config(api: Any, args: argparse.Namespace) -> Any:
    """RuntimeConfig from the environment, with the command's flags over it."""
    flags = {name: getattr(args, name) for name in ("model", "device", "precision", "threads")}
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        environment = api.runtime_config_from_environment()
    except ValueError as error:
        raise CommandFailed(f"an environment variable of seedls has a wrong value: {error}") from None
    return dataclasses.replace(environment, **given)


def sampling_params(api: Any, args: argparse.Namespace) -> Any:
    """SamplingParams from the decoding flags."""
    return api.SamplingParams(
        policy=args.policy,
        max_tokens=args.max_tokens,
        block_size=args.block,
        max_steps=args.steps,
        temperature=args.temperature,
        seed=args.seed,
    )


def positive_int(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    value = _parsed(int, text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return int(value)


def natural_int(text: str) -> int:
    """An argparse type: an integer of at least 0."""
    value = _parsed(int, text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not 0 or more")
    return int(value)


def block_size(text: str) -> int:
    """An argparse type: an integer from 1 to MAX_BLOCK."""
    value = positive_int(text)
    if value > MAX_BLOCK:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1 and {MAX_BLOCK}")
    return value


def non_negative_float(text: str) -> float:
    """An argparse type: a finite number of at least 0."""
    value = float(_parsed(float, text))
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return value


def line_range(text: str) -> tuple[int, int]:
    """An argparse type: L1:L2, both 0-based and included, L1 <= L2."""
    first, separator, last = text.partition(":")
    if not separator or not first.strip().isdecimal() or not last.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form L1:L2")
    if int(first) > int(last):
        raise argparse.ArgumentTypeError(f"{text!r} ends before it starts")
    return int(first), int(last)


def _parsed(kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
