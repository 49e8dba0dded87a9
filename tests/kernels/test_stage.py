"""Files in parts: every byte comes back in any order of arrival, and nothing wrong is kept or joined."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.gpu import stage
from model_runtime.errors import CheckpointCorrupt, CheckpointMissing, RequestError
from model_runtime.training.remote.parts import MANIFEST, join

REPOSITORY = Path(__file__).resolve().parents[2]


def carry(parts: list[Path], folder: Path) -> Path:
    """What one transfer brings."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in parts:
        shutil.copytree(part, folder / part.name)
    return folder


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4), st.integers(1, 20), st.integers(0, 9))
def test_every_byte_comes_back(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], part_bytes: int, seed: int
) -> None:
    """Empty files too; parts in any order, several at once, some twice."""
    root, rng = tmp_path_factory.mktemp("stage"), random.Random(seed)
    files = [root / f"file é{i}.bin" for i in range(len(contents))]
    for path, content in zip(files, contents, strict=True):
        path.write_bytes(content)
    number = stage.cut(files, root / "out", part_bytes)
    parts = sorted((root / "out").iterdir())
    assert len(parts) == number
    order = [*parts, rng.choice(parts)]
    rng.shuffle(order)
    while order:
        taken = {order.pop() for _ in range(min(len(order), rng.randrange(1, 4)))}
        stage.receive(carry(sorted(taken), root / "carried"), root / "hold")
    assert not stage.missing(root / "hold")
    joined = join(root / "hold", root / "target")
    assert [path.read_bytes() for path in joined] == contents
    assert [path.name for path in joined] == [path.name for path in files]


@pytest.fixture
def cut(tmp_path: Path) -> list[Path]:
    """Three parts of one file."""
    path = tmp_path / "base.bin"
    path.write_bytes(bytes(range(25)))
    stage.cut([path], tmp_path / "out", 10)
    return sorted((tmp_path / "out").iterdir())


def part_of(folder: Path) -> Path:
    (part,) = folder.glob("*.bin")
    return part


def test_missing_parts_are_numbered_and_nothing_is_joined(tmp_path: Path, cut: list[Path]) -> None:
    stage.receive(carry([cut[1]], tmp_path / "carried"), tmp_path / "hold")
    assert stage.missing(tmp_path / "hold") == [0, 2]
    with pytest.raises(CheckpointCorrupt, match="is missing"):
        join(tmp_path / "hold", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_part_that_came_damaged_is_refused_and_can_be_sent_again(tmp_path: Path, cut: list[Path]) -> None:
    damaged = carry(cut, tmp_path / "carried")
    part_of(damaged / "001").write_bytes(bytes(10))
    with pytest.raises(CheckpointCorrupt, match="is not the part it should be"):
        stage.receive(damaged, tmp_path / "hold")
    stage.receive(carry(cut, tmp_path / "carried"), tmp_path / "hold")
    assert not stage.missing(tmp_path / "hold")


def test_a_held_part_that_was_damaged_later_does_not_become_a_file(tmp_path: Path, cut: list[Path]) -> None:
    stage.receive(carry(cut, tmp_path / "carried"), tmp_path / "hold")
    damaged = tmp_path / "hold" / part_of(cut[1]).name
    damaged.write_bytes(bytes(damaged.stat().st_size))
    assert stage.missing(tmp_path / "hold") == [1]
    with pytest.raises(CheckpointCorrupt, match=damaged.name):
        join(tmp_path / "hold", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_parts_of_two_things_are_not_mixed(tmp_path: Path, cut: list[Path]) -> None:
    stage.receive(carry(cut[:1], tmp_path / "carried"), tmp_path / "hold")
    other = tmp_path / "other.bin"
    other.write_bytes(bytes(25))
    stage.cut([other], tmp_path / "out2", 10)
    with pytest.raises(CheckpointCorrupt, match="parts of something else"):
        stage.receive(tmp_path / "out2", tmp_path / "hold")


def test_what_cannot_be_cut_is_said(tmp_path: Path, cut: list[Path]) -> None:
    with pytest.raises(RequestError, match="one folder"):
        stage.cut([tmp_path / "base.bin", cut[0] / MANIFEST], tmp_path / "no", 10)
    with pytest.raises(RequestError, match="0 bytes"):
        stage.cut([tmp_path / "base.bin"], tmp_path / "no", 0)
    with pytest.raises(CheckpointMissing, match=MANIFEST):
        stage.receive(tmp_path / "nothing", tmp_path / "hold")
    assert not (tmp_path / "no").exists() and not (tmp_path / "hold").exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=40), st.recursive(st.integers() | st.text() | st.none(), st.lists).map(json.dumps)))
def test_a_manifest_of_anything_else_is_said(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    (folder / MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointCorrupt, match="no manifest of parts"):
        stage.receive(folder, folder / "hold")


def test_the_command_needs_nothing_but_python(tmp_path: Path, cut: list[Path]) -> None:
    """As on a bare machine: this tree, none of the packages it is installed with."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = (
            "import sys; sys.path.insert(0, sys.argv.pop(1)); from benchmarks.gpu.stage import main; sys.exit(main())"
        )
        command = [sys.executable, "-I", "-S", "-c", program, str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert call("receive", "out", "hold").stdout == "missing: none\n"
    assert call("join", "hold", "target").returncode == 0
    assert (tmp_path / "target" / "base.bin").read_bytes() == bytes(range(25))
    failed = call("join", "nowhere", "target")
    assert (failed.returncode, failed.stderr) == (1, f"stage: no {MANIFEST} in nowhere\n")
