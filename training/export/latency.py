"""The latency of model files, side by side.

In: paths of model files, and pixels uint8 [N, 32, 32, 3]. Out: milliseconds a batch. The files alternate in one
process, so that other load on the machine slows all of them down alike. No torch.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from alexnet.inference.classifier import Classifier

BATCH_SIZES: Final = (1, 32)

_ROUNDS: Final = 15
_SECONDS: Final = 0.02  # of a measurement at least, to outweigh the clock and the scheduler


def measure_latencies(
    paths: Mapping[str, Path], pixels: npt.NDArray[np.uint8], threads: int | None, progress: Progress
) -> dict[str, dict[int, float]]:
    """For each name and batch size, the median latency of a batch in milliseconds.

    `threads` as in `Classifier`.
    """
    runners = {name: Classifier(path, threads=threads) for name, path in paths.items()}
    found: dict[str, dict[int, float]] = {name: {} for name in runners}
    task = progress.add_task("latency", total=len(BATCH_SIZES) * _ROUNDS * len(runners))
    for size in BATCH_SIZES:
        batch = pixels[:size]
        repeats = {name: _repeats(runner, batch) for name, runner in runners.items()}
        measured: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(_ROUNDS):
            for name, runner in runners.items():
                measured[name].append(_measure(runner, batch, repeats[name]))
                progress.advance(task)
        for name, seconds in measured.items():
            found[name][size] = 1000 * statistics.median(seconds)
    progress.remove_task(task)
    return found


def _repeats(runner: Classifier, batch: npt.NDArray[np.uint8]) -> int:
    """The runs of a measurement, after one to warm up."""
    runner.run(batch)
    return max(1, round(_SECONDS / _measure(runner, batch, 1)))


def _measure(runner: Classifier, batch: npt.NDArray[np.uint8], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        runner.run(batch)
    return (time.perf_counter() - begin) / repeats
