"""Compile every kernel variant for every supported architecture and report what each one uses.

    python -m benchmarks.gpu.compile_report                      print the table
    python -m benchmarks.gpu.compile_report --write docs/kernels.md   replace the table between its markers

Needs nvcc (any CUDA 12 or 13 toolkit) and no GPU. Exits with 1 when a variant does not compile.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.gpu.variants import Variant, variants
from model_runtime.kernels.launch import SOURCE_FOLDER
from model_runtime.kernels.loader import source_digest

ARCHITECTURES = (80, 86, 89, 90, 100, 120)
START, END = "<!-- compile report: generated, do not edit -->", "<!-- end of compile report -->"


@dataclass(frozen=True, slots=True)
class Usage:
    """What ptxas reports of one kernel on one architecture."""

    kernel: str
    architecture: int
    registers: int
    spill_bytes: int
    shared_bytes: int
    """Static only; dynamic shared memory is chosen at launch."""


def compile_variant(variant: Variant, architectures: tuple[int, ...] = ARCHITECTURES) -> list[Usage]:
    """Usage on each architecture; raises RuntimeError with nvcc's message."""
    targets = [f"-gencode=arch=compute_{sm},code=sm_{sm}" for sm in architectures]
    defines = [f"-D{name}={value}" for name, value in variant.defines]
    with tempfile.TemporaryDirectory() as work:
        command = ["nvcc", "-fatbin", "-std=c++17", *targets, *defines, "--ptxas-options=-v", "-Werror=all-warnings"]
        source = str(SOURCE_FOLDER / f"{variant.source}.cu")
        result = subprocess.run(
            [*command, f"-I{SOURCE_FOLDER}", source, "-o", f"{work}/out.fatbin"],
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        raise RuntimeError(f"{variant.source} ({variant.label}) does not compile:\n{result.stderr}")
    return parse_usage(result.stderr + result.stdout)


def parse_usage(report: str) -> list[Usage]:
    """Read `--ptxas-options=-v` output."""
    found = []
    entries = re.split(r"Compiling entry function ", report)[1:]
    for entry in entries:
        name = re.match(r"'(\w+)' for 'sm_(\d+)", entry)
        registers = re.search(r"Used (\d+) registers", entry)
        if name is None or registers is None:
            continue
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", entry)
        shared = re.search(r"(\d+) bytes smem", entry)
        found.append(
            Usage(
                kernel=name[1],
                architecture=int(name[2]),
                registers=int(registers[1]),
                spill_bytes=int(spills[1]) + int(spills[2]) if spills else 0,
                shared_bytes=int(shared[1]) if shared else 0,
            )
        )
    return sorted(found, key=lambda usage: (usage.kernel, usage.architecture))


class Kept:
    """Results in a file, so that a report that was cut off goes on; they are dropped when any source changes."""

    def __init__(self, path: Path | None) -> None:
        """None: nothing is kept."""
        self._path, self._lock = path, Lock()
        self._found: dict[str, list[dict[str, Any]]] = {}
        if path is not None and path.is_file():
            self._found = json.loads(path.read_text(encoding="utf-8"))

    def compiled(self, variant: Variant) -> list[Usage]:
        """From the file, else by the compiler."""
        key = f"{source_digest():08x} {variant.source} {variant.defines} {ARCHITECTURES}"
        if key not in self._found:
            usages = compile_variant(variant)
            with self._lock:
                self._found[key] = [asdict(usage) for usage in usages]
                if self._path is not None:
                    self._path.write_text(json.dumps(self._found), encoding="utf-8")
        return [Usage(**usage) for usage in self._found[key]]


def table(jobs: int, bf16: bool, kept: Kept) -> str:
    """The Markdown table of all variants of one activation type."""
    listed = variants(bf16)
    with ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(kept.compiled, listed))
    columns = " | ".join(f"sm_{sm}" for sm in ARCHITECTURES)
    lines = [
        f"| kernel | parameters | static shared bytes | {columns} |",
        "|---|---|---|" + "---|" * len(ARCHITECTURES),
    ]
    for variant, usages in zip(listed, results, strict=True):
        for kernel in dict.fromkeys(usage.kernel for usage in usages):
            own = [usage for usage in usages if usage.kernel == kernel]
            cells = [f"{u.registers}" + (f" ({u.spill_bytes} B spilled)" if u.spill_bytes else "") for u in own]
            lines.append(f"| `{kernel}` | {variant.label} | {own[-1].shared_bytes} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compiler_version() -> str:
    """nvcc's own release line."""
    text = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release [\d.]+, V[\d.]+", text)
    return found[0] if found else "unknown release"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="compilers at once")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the table between the markers of this file")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="results so far; a second run goes on from there")
    parser.add_argument("--fp16", action="store_true", help="float16 instead of bfloat16 variants")
    options = parser.parse_args()
    try:
        body = table(options.jobs, not options.fp16, Kept(options.keep))
    except (RuntimeError, FileNotFoundError) as failure:
        print(f"compile report: {failure}", file=sys.stderr)
        return 1
    dtype = "float16" if options.fp16 else "bfloat16"
    report = f"{START}\nnvcc {compiler_version()}; registers a thread; {dtype}.\n\n{body}\n{END}"
    if options.write is None:
        print(report)
        return 0
    text = options.write.read_text()
    if START not in text or END not in text:
        print(f"compile report: {options.write} has no markers", file=sys.stderr)
        return 1
    options.write.write_text(text.split(START)[0] + report + text.split(END)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
