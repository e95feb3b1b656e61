"""Training on several processes: the numbers of one, one that writes, and a lost one that costs an epoch at most."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from alexnet.paths import ROOT
from training import checkpoint, trainer
from training.distributed import Processes
from training.settings import Settings


def _torchrun(processes: int, data_root: Path, *arguments: str) -> subprocess.Popen[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*launch, "-m", "alexnet", "train", f"--data={data_root}", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _flags(settings: Settings) -> list[str]:
    values = settings.model_dump().items()
    return [
        f"--{name.replace('_', '-')}={value}" for name, value in values if not isinstance(value, bool | tuple | None)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_the_shares_of_a_batch_are_the_batch_and_their_weights_make_its_mean(count: int) -> None:
    batch = torch.arange(32)
    parts = [Processes(rank, count).share(batch) for rank in range(count)]
    counted = torch.cat([part for part, weight in parts if weight])
    assert counted.sort().values.tolist() == batch.tolist()
    values = torch.rand(32)
    mean = sum(values[part].mean() * weight for part, weight in parts) / count
    assert float(mean) == pytest.approx(values.mean().item(), rel=1e-5)


def test_two_processes_give_the_losses_of_one(tmp_path: Path, data_root: Path, small_settings: Settings) -> None:
    # Without dropout, of which each process draws its own; 24 steps, whose last ones have an odd number of images.
    settings = small_settings.replace(epochs=4, batch_size=23, dropout=0.0, random_crop=2, cutout=4)
    one = checkpoint.load(trainer.start(settings, data_root, tmp_path / "one") / "last.pt")
    process = _torchrun(2, data_root, f"--output={tmp_path / 'two'}", *_flags(settings))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.count("done: ") == 1, "one process speaks"
    assert output.count("epoch 4/4") == 1
    two = checkpoint.load(tmp_path / "two" / "last.pt")
    for ours, theirs in zip(two.epochs, one.epochs, strict=True):
        assert ours.training_loss == pytest.approx(theirs.training_loss, rel=1e-3)
        assert ours.training_accuracy == pytest.approx(theirs.training_accuracy, abs=0.02)
        assert ours.validation_loss == pytest.approx(theirs.validation_loss, rel=1e-3)
    for name, value in one.model.items():
        assert torch.allclose(two.model[name], value, atol=1e-3), name


def test_a_lost_process_ends_the_run_with_the_remedy_and_a_checkpoint_that_one_process_continues(
    tmp_path: Path, data_root: Path, small_settings: Settings
) -> None:
    folder, settings = tmp_path / "run", small_settings.replace(epochs=50)
    process = _torchrun(2, data_root, f"--output={folder}", *_flags(settings))
    try:
        deadline = time.monotonic() + 240
        while _epochs(folder) < 1:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "no epoch in four minutes"
            time.sleep(0.02)
        (victim,) = (pid for pid in _children(process.pid) if _environment(pid).get("RANK") == "1")
        os.kill(victim, signal.SIGKILL)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode != 0
    assert re.search(rf"alexnet: one of the 2 processes is gone \(.+\); .*--resume {folder}", errors), errors
    done = len(checkpoint.load(folder / "last.pt").epochs)
    assert done >= 1
    trainer.resume(folder, data_root, epochs=done + 1)
    assert _epochs(folder) == done + 1


def _epochs(folder: Path) -> int:
    path = folder / "metrics.csv"
    if not path.exists():
        return 0
    with path.open(newline="") as file:
        return len(list(csv.DictReader(file)))


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _environment(pid: int) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().partition("=")[::2] for entry in entries)
