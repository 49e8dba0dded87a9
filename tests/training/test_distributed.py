"""Two processes over gloo: sharded training gives the weights that one process would have reached."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model_runtime.training.denoiser_config import DenoiserConfig
from model_runtime.training.distributed import process_group, shard
from model_runtime.training.export import read_checkpoint
from model_runtime.training.mask import train_mask
from model_runtime.training.masked_blocks import BlockShape
from model_runtime.training.objective import Sample
from model_runtime.training.runs import RunLimits
from tests.support.tiny_model import write_tiny_checkpoint
from tests.training.denoising import CONFIG, Repeating, make_denoiser

LONG = tuple(range(20, 90))
# Blocks of one size, so that every process has equally many rows and a mean of means is the mean.
SHARED = replace(CONFIG, steps=3, sequences_per_step=2, shape=BlockShape(4, 4, 1.0), warmup_steps=10)


class _Long(Repeating):
    def __init__(self) -> None:
        super().__init__(Sample(LONG, 4, "a"))


def train(base: Path, folder: Path, config: DenoiserConfig) -> None:
    """One process's part."""
    with process_group("cpu") as ranks:
        denoiser, sequences = make_denoiser(base, config), _Long()
        shard(denoiser, ranks, "cpu")
        sequences.share(ranks.rank, ranks.count)
        train_mask(denoiser, sequences, [], config, folder, RunLimits(), lambda m: None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_reach_what_one_reaches(tiny_base: Path, tmp_path: Path) -> None:
    train(tiny_base, tmp_path / "one", replace(SHARED, sequences_per_step=4))
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    arguments = ["-m", "tests.training.test_distributed", str(tiny_base), str(tmp_path / "two")]
    for _ in range(2):  # the second start finds the run half done and resumes it
        result = subprocess.run(
            [*program, *arguments], env=environment, capture_output=True, text=True, timeout=400, check=False
        )
        assert result.returncode == 0, result.stderr[-3000:]
    (_, alone), (document, together) = read_checkpoint(tmp_path / "one"), read_checkpoint(tmp_path / "two")
    assert document["progress"]["step"] == 3
    assert set(alone) == set(together)
    fresh = make_denoiser(tiny_base, SHARED).trainable()
    # AdamW turns a gradient of rounding errors into a whole step: single entries may differ, the movement may not.
    for name, parameter in alone.items():
        moved = (parameter - fresh[name]).norm().detach()
        assert moved > 0, name
        assert (parameter - together[name]).norm() < 0.1 * moved, name


def test_a_lone_process_is_left_alone(tmp_path: Path) -> None:
    denoiser = make_denoiser(write_tiny_checkpoint(tmp_path / "tiny"), SHARED)
    names = set(denoiser.trainable())
    with process_group("cpu") as ranks:
        shard(denoiser, ranks, "cpu")
    assert (ranks.rank, ranks.count) == (0, 1)
    assert set(denoiser.trainable()) == names == {name for name, _ in denoiser.trainable().items()}
    assert list(_Long().numbers(3, 2)) == [6, 7]
    shared = _Long()
    shared.share(1, 2)
    assert list(shared.numbers(3, 2)) == [14, 15]


if __name__ == "__main__":
    target = Path(sys.argv[2])
    done = (target / "progress.json").is_file()
    train(Path(sys.argv[1]), target, SHARED if done else replace(SHARED, steps=2))
