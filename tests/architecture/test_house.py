"""The house style that can be counted: file sizes, names, annotations, words that do not belong in the repository."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.source_tree import PACKAGES, ROOT, python_files, tracked_files

MAX_LINES = 600
MAX_TREE_BYTES = 40 * 2**20
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

# Spelled in pieces, so that this file does not contain them.
_HOSTS = ("py" + "pi.org", "pythonhosted" + ".org", "npmjs" + ".org", "npmjs" + ".com", "deb.debian" + ".org")
_MACHINE_PATHS = (
    "/wo" + "rk/",
    "/opt/" + "wheels",
    "/opt/" + "pypi",
    "/tmp/" + "brief",
    "/tmp/" + "parts",
    "/ro" + "ot/",
)
UNWANTED_WORDS = (*_HOSTS, *_MACHINE_PATHS)

TEXT_SUFFIXES = {
    "", ".c", ".cfg", ".css", ".cu", ".cuh", ".h", ".html", ".ini", ".js", ".json", ".jsonl", ".lua", ".md", ".mjs",
    ".py", ".sh", ".svg", ".toml", ".trace", ".ts", ".txt", ".vim", ".yaml", ".yml",
}  # fmt: skip


def source_files() -> list[Path]:
    folders = (*PACKAGES, "tests", "benchmarks")
    return [path for folder in folders for path in python_files(folder)]


def unwanted_words(text: str) -> list[str]:
    return [word for word in UNWANTED_WORDS if word in text]


def test_no_file_is_longer_than_the_limit() -> None:
    suffixes = {".py", ".cu", ".cuh", ".h", ".ts", ".lua"}
    files = [path for path in tracked_files() if path.suffix in suffixes]
    lengths = {str(path.relative_to(ROOT)): len(path.read_bytes().split(b"\n")) for path in files}
    too_long = {name: length for name, length in lengths.items() if length > MAX_LINES}
    assert not too_long, f"rule: no source file is longer than {MAX_LINES} lines: {too_long}"
    assert "seedls/cli.py" in lengths


def test_no_file_is_a_drawer() -> None:
    found = [str(path.relative_to(ROOT)) for path in source_files() if path.stem in FORBIDDEN_NAMES]
    assert not found, f"rule: a file is named after what it owns, never {sorted(FORBIDDEN_NAMES)}: {found}"


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(path.relative_to(ROOT)) for package in PACKAGES for path in python_files(package) if not documented(path)
    ]
    assert not silent, f"rule: every module starts with a docstring: {silent}"


def documented(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return not text.strip() or bool(ast.get_docstring(ast.parse(text)))


def test_nothing_can_unpickle() -> None:
    pattern = re.compile(r"\b(pickle\.loads?|torch\.load|numpy\.load|np\.load|joblib\.load|dill\.)\b")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for package in PACKAGES
        for path in python_files(package)
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found, f"rule: weights are read from safetensors or GGUF, nothing is unpickled: {found}"


def test_no_shell_is_started() -> None:
    pattern = re.compile(r"shell\s*=\s*True|os\.system\(|os\.popen\(")
    found = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in python_files(package)
        if pattern.search(path.read_text(encoding="utf-8"))
    ]
    assert not found, f"rule: subprocesses run without a shell: {found}"


def test_no_machine_of_ours_is_named() -> None:
    found = {}
    for path in tracked_files():
        if path.suffix in TEXT_SUFFIXES and (
            words := unwanted_words(path.read_text(encoding="utf-8", errors="replace"))
        ):
            found[str(path.relative_to(ROOT))] = words
    assert not found, f"rule: no registry host and no path of one machine in the repository: {found}"


@pytest.mark.parametrize("word", UNWANTED_WORDS)
def test_an_unwanted_word_is_noticed(word: str) -> None:
    assert unwanted_words(f"see {word} for more") == [word]


def test_the_tree_stays_light() -> None:
    total = sum(path.stat().st_size for path in tracked_files())
    assert total <= MAX_TREE_BYTES, f"rule: the tracked tree stays under 40 MiB; it has {total / 2**20:.1f} MiB"
