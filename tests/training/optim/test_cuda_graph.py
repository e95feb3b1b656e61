"""A step as a CUDA graph: on a GPU against plain steps, and everywhere which steps are done, and how."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from training import checkpoint, loop, trainer
from training.optim.cuda_graph import CapturedStep
from training.settings import Settings

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")


class _Graph:
    """What CUDA does with a step: while it is recorded nothing happens, a replay does it on the same tensors."""

    recorded: "_Graph | None" = None  # the one that is being recorded

    def __init__(self) -> None:
        self.replay: Callable[[], None] = lambda: None


class _Stream:
    def __init__(self, *_: object) -> None:
        pass

    def wait_stream(self, _: object) -> None:
        pass


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's streams and graphs, on the CPU."""

    @contextmanager
    def graph(of: _Graph, stream: object) -> Iterator[None]:
        _Graph.recorded = of
        yield
        _Graph.recorded = None

    @contextmanager
    def stream(_: object) -> Iterator[None]:
        yield

    for name, value in {
        "CUDAGraph": _Graph,
        "graph": graph,
        "Stream": _Stream,
        "stream": stream,
        "current_stream": _Stream,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


@pytest.mark.usefixtures("pretended")
def test_every_batch_is_done_once_in_order_and_one_of_another_size_as_it_is() -> None:
    done: list[list[int]] = []
    ways: list[str] = []

    def step(indices: Tensor) -> None:
        def work(way: str) -> None:
            ways.append(way)
            done.append(indices.tolist())

        if _Graph.recorded:
            ways.append("record")
            _Graph.recorded.replay = lambda: work("replay")
        else:
            work("step")

    run = CapturedStep(step, 2, torch.device("cpu"))
    batches = [[0, 1], [2, 3], [4], [5, 6], [7, 8], [9, 10], [11], [12, 13]]
    for batch in batches:
        run(torch.tensor(batch))
    assert done == batches
    assert ways == ["step", "step", "step", "step", "record", "replay", "replay", "step", "replay"]


@needs_gpu
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"horizontal_flip": True, "random_crop": 4, "cutout": 8, "lr_schedule": "cosine", "warmup_epochs": 0.1},
        {"input_size": 128, "batch_norm": True, "resized_crop": 0.6, "degraded": 0.5, "fractals": 0.3},
    ],
)
def test_a_recorded_step_learns_what_a_plain_one_learns(
    tmp_path: Path,
    data_root: Path,
    small_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    settings = small_settings.replace(epochs=2, batch_size=7, device="cuda", precision="fp32", **changes)
    trainer.start(settings, data_root, tmp_path / "recorded")
    monkeypatch.setattr(loop, "CapturedStep", lambda step, size, device: step)
    trainer.start(settings, data_root, tmp_path / "plain")
    for recorded, plain in zip(_rows(tmp_path / "recorded"), _rows(tmp_path / "plain"), strict=True):
        for name in ("training_loss", "validation_loss"):
            assert np.isclose(recorded[name], plain[name], rtol=1e-3), name


def _rows(run: Path) -> list[dict[str, Any]]:
    return [dataclasses.asdict(epoch) for epoch in checkpoint.load(run / "last.pt").epochs]
