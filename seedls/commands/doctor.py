"""`seedls doctor`: what this machine has, which model is installed, and how long a forward takes. Owns the report."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import seedls
from seedls.commands.loaded_runtime import loaded_runtime
from seedls.commands.options import Commands, add_command, add_runtime_options, positive_int, runtime_config
from seedls.engine import runtime_api

ROWS = (1, 8, 16, 32)
"""Block sizes of the latency curve."""

Report = dict[str, dict[str, Any]]
"""Section -> fact -> value, in the order printed."""

_PACKAGES = ("torch", "pygls", "tree-sitter", "tokenizers")
_OPTIONAL_PACKAGES = ("cupy-cuda13x", "cupy-cuda12x")
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "bf16", "i8mm")


def register(commands: Commands) -> None:
    """Add the parser."""
    parser = add_command(
        commands,
        "doctor",
        "say what this machine can do and whether the model works on it",
        "seedls doctor\nseedls doctor --json > machine.json\nseedls doctor --no-measure",
        run,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--no-measure", action="store_true", help="do not load the model or measure it")
    parser.add_argument(
        "--context", type=positive_int, default=512, metavar="N", help="tokens in the cache (default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=positive_int, default=5, metavar="N", help="forwards a point (default: %(default)s)"
    )
    add_runtime_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the report; 1 when the model is missing or does not run, with the reason in the report."""
    api = runtime_api()
    report: Report = {"software": _software(), "processor": _processor(), "device": _device()}
    problem: str | None = None
    try:
        report["model"] = _model(api, args)
        if not args.no_measure:
            _measure(api, args, report)
    except api.RuntimeFailure as error:
        problem = str(error)
        report.setdefault("model", {})["problem"] = problem
    print(json.dumps(report) if args.json else _as_text(report), flush=True)
    return 1 if problem else 0


def _software() -> dict[str, Any]:
    facts: dict[str, Any] = {"seedls": seedls.__version__, "python": platform.python_version()}
    facts["system"] = platform.platform(terse=True)
    for package in _PACKAGES:
        facts[package] = _version(package)
    for package in _OPTIONAL_PACKAGES:
        if (found := _version(package)) != "not installed":
            facts[package] = found
    return facts


def _processor() -> dict[str, Any]:
    name, flags = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            name = value.strip() if key.strip() == "model name" else name
            flags = value if key.strip() in ("flags", "Features") else flags
    found = [flag for flag in _CPU_FLAGS if flag in flags.split()]
    return {"name": name, "logical cores": os.cpu_count(), "instructions": " ".join(found) or "unknown"}


def _device() -> dict[str, Any]:
    """What torch sees. Found through the runtime, because this package does not import torch."""
    return dict(runtime_api().describe_devices())


def _model(api: Any, args: argparse.Namespace) -> dict[str, Any]:
    config = runtime_config(api, args)
    installed = [details.name for details in api.list_models() if details.is_installed]
    return {"asked for": config.model, "installed": ", ".join(installed) or "none", "home": str(api.default_home())}


def _measure(api: Any, args: argparse.Namespace, report: Report) -> None:
    with loaded_runtime(api, args) as runtime:
        info = {name.replace("_", " "): value for name, value in dataclasses.asdict(runtime.info).items()}
        report["model"].update(info)
        curve = runtime.latency_curve(ROWS, context=args.context, repeats=args.repeats)
    report["latency"] = {
        "unit": f"median ms of one forward over {args.context} cached tokens",
        **{str(rows): round(ms, 3) for rows, ms in curve.items()},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        name = package.replace("-", "_")
        return "version unknown" if importlib.util.find_spec(name) else "not installed"


def _as_text(report: Report) -> str:
    lines: list[str] = []
    for section, facts in report.items():
        lines.append(section)
        for name, value in facts.items():
            shown = _curve_point(name, value) if section == "latency" and name.isdecimal() else f"{name:<16} {value}"
            lines.append(f"  {shown}")
    return "\n".join(lines)


def _curve_point(rows: str, ms: float) -> str:
    label = f"{rows} row" + ("" if rows == "1" else "s")
    return f"{label:<16} {ms:8.2f} ms   {float(rows) / ms * 1000 if ms else 0:8.1f} rows/s"
