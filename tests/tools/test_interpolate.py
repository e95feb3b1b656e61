"""A checkpoint between a run's initial weights and its best ones."""

import dataclasses
from pathlib import Path

import pytest
import torch

from tools import interpolate
from training import checkpoint
from training.export import source


def test_each_weight_lies_between(small_run: Path, tmp_path: Path) -> None:
    first = checkpoint.load(small_run)
    settings = first.settings.replace(init=str(small_run / "best.pt"))
    tripled = {name: 3 * value for name, value in first.model.items()}
    checkpoint.save(tmp_path / "best.pt", dataclasses.replace(first, model=tripled, settings=settings))
    assert interpolate.main([str(tmp_path), "0.25"]) == 0
    found = checkpoint.load(tmp_path / interpolate.FILE)
    assert found.epochs == first.epochs
    for name, value in found.model.items():
        torch.testing.assert_close(value, 2.5 * first.model[name])
    assert source.read(tmp_path / interpolate.FILE).metadata.init_share == 0.25


def test_weights_that_began_at_random_are_refused(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert interpolate.main([str(small_run), "0.25"]) == 1
    assert "classifier" in capsys.readouterr().err
    assert not (small_run / interpolate.FILE).exists()
    with pytest.raises(SystemExit):
        interpolate.main([str(small_run), "1.5"])
