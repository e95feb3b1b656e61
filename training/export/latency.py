"""How fast model files are, side by side.

In: paths of model files, and images uint8 [N, 32, 32, 3]. Out: milliseconds. All files take turns in one process, so
that whatever else the machine does slows all of them down alike. No torch.
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
_SECONDS: Final = 0.02  # of each turn at least: below, a clock and a scheduler weigh too much


def race(
    paths: Mapping[str, Path], pixels: npt.NDArray[np.uint8], threads: int | None, progress: Progress
) -> dict[str, dict[int, float]]:
    """For each name and batch size the median milliseconds that a batch takes, over turns in alternation.

    `threads` as in `Classifier`.
    """
    runners = {name: Classifier(path, threads=threads) for name, path in paths.items()}
    found: dict[str, dict[int, float]] = {name: {} for name in runners}
    task = progress.add_task("speed", total=len(BATCH_SIZES) * _ROUNDS * len(runners))
    for size in BATCH_SIZES:
        batch = pixels[:size]
        repeats = {name: _repeats(runner, batch) for name, runner in runners.items()}
        turns: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(_ROUNDS):
            for name, runner in runners.items():
                turns[name].append(_turn(runner, batch, repeats[name]))
                progress.advance(task)
        for name, seconds in turns.items():
            found[name][size] = 1000 * statistics.median(seconds)
    progress.remove_task(task)
    return found


def _repeats(runner: Classifier, batch: npt.NDArray[np.uint8]) -> int:
    """How often a turn runs the batch, after one run to warm up."""
    runner.run(batch)
    return max(1, round(_SECONDS / _turn(runner, batch, 1)))


def _turn(runner: Classifier, batch: npt.NDArray[np.uint8], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        runner.run(batch)
    return (time.perf_counter() - begin) / repeats
