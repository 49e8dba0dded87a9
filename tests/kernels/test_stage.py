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
from benchmarks.gpu.stage import StageError


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
    index = stage.cut(files, root / "out", part_bytes)
    parts = sorted((root / "out").iterdir())
    assert len(parts) == len(index["parts"])
    order = [*parts, rng.choice(parts)]
    rng.shuffle(order)
    while order:
        taken = {order.pop() for _ in range(min(len(order), rng.randrange(1, 4)))}
        held, total = stage.receive(carry(sorted(taken), root / "carried"), root / "hold")
    assert (held, total) == (len(parts), len(parts))
    joined = stage.join(root / "hold", root / "target")
    assert [path.read_bytes() for path in joined] == contents
    assert [path.name for path in joined] == [path.name for path in files]


@pytest.fixture
def cut(tmp_path: Path) -> list[Path]:
    """Three parts of one file."""
    path = tmp_path / "base.bin"
    path.write_bytes(bytes(range(25)))
    stage.cut([path], tmp_path / "out", 10)
    return sorted((tmp_path / "out").iterdir())


def test_missing_parts_are_named_and_nothing_is_joined(tmp_path: Path, cut: list[Path]) -> None:
    assert stage.receive(carry([cut[1]], tmp_path / "carried"), tmp_path / "hold") == (1, 3)
    with pytest.raises(StageError, match="still missing: 0, 2"):
        stage.join(tmp_path / "hold", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_part_that_came_damaged_is_refused_and_can_be_sent_again(tmp_path: Path, cut: list[Path]) -> None:
    damaged = carry(cut, tmp_path / "carried")
    (damaged / "001" / "part-001").write_bytes(bytes(10))
    with pytest.raises(StageError, match="part-001 is not the part it should be"):
        stage.receive(damaged, tmp_path / "hold")
    assert stage.receive(carry(cut, tmp_path / "carried"), tmp_path / "hold") == (3, 3)


def test_a_held_part_that_was_damaged_later_does_not_become_a_file(tmp_path: Path, cut: list[Path]) -> None:
    stage.receive(carry(cut, tmp_path / "carried"), tmp_path / "hold")
    (tmp_path / "hold" / "part-001").write_bytes(bytes(10))
    with pytest.raises(StageError, match=r"base\.bin came out wrong"):
        stage.join(tmp_path / "hold", tmp_path / "target")
    assert not list((tmp_path / "target").iterdir())


def test_parts_of_two_things_are_not_mixed(tmp_path: Path, cut: list[Path]) -> None:
    stage.receive(carry(cut[:1], tmp_path / "carried"), tmp_path / "hold")
    other = tmp_path / "other.bin"
    other.write_bytes(bytes(25))
    stage.cut([other], tmp_path / "out2", 10)
    with pytest.raises(StageError, match="parts of something else"):
        stage.receive(tmp_path / "out2", tmp_path / "hold")


@pytest.mark.parametrize("name", ["../evil", "/evil", "", "..", "a/b"])
def test_no_file_is_written_outside_the_target(tmp_path: Path, cut: list[Path], name: str) -> None:
    stage.receive(carry(cut, tmp_path / "carried"), tmp_path / "hold")
    index = json.loads((tmp_path / "hold" / "index.json").read_text())
    index["files"][0]["name"] = name
    (tmp_path / "hold" / "index.json").write_text(json.dumps(index))
    with pytest.raises(StageError, match="outside the target"):
        stage.join(tmp_path / "hold", tmp_path / "target")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=40), st.recursive(st.integers() | st.text() | st.none(), st.lists).map(json.dumps)))
def test_an_index_of_anything_else_is_said(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    folder = tmp_path_factory.mktemp("index")
    (folder / "index.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StageError, match="is not an index"):
        stage.receive(folder, folder / "hold")


def test_the_command_runs_alone_without_this_repository(tmp_path: Path, cut: list[Path]) -> None:
    """As a single file on a bare machine."""
    script = tmp_path / "alone" / "stage.py"
    script.parent.mkdir()
    shutil.copyfile(stage.__file__, script)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert call("receive", "out", "hold").stdout == "3 of 3 parts; missing: none\n"
    assert call("join", "hold", "target").returncode == 0
    assert (tmp_path / "target" / "base.bin").read_bytes() == bytes(range(25))
    failed = call("join", "nowhere", "target")
    assert (failed.returncode, failed.stderr) == (1, "stage: nowhere/index.json is not an index: FileNotFoundError\n")
