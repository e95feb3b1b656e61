"""Checks of our run against the published one, by limits that were set before the run. numpy only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from alexnet.markdown import Floats
from training.reproduction.runs import Published, Run

CHECKED_EPOCHS: Final = (5, 10, 20, 30)
ACCURACY_LIMIT: Final = 0.01
LOSS_LIMIT: Final = 0.05
TEST_ACCURACY: Final = 0.893
CLASS_LIMIT: Final = 0.04

DECIMALS: Final = 9  # to which values are rounded before they are compared: 0.93 - 0.89 is not more than 0.04

Status = Literal["PASS", "FAIL", "not reached yet"]


@dataclass(frozen=True)
class Check:
    """A check of the verdict; `ours` is None where the run has not come so far."""

    name: str
    published: float
    ours: float | None
    required: str
    status: Status
    nearest: int | None = None  # the published epoch that ours is nearest to


def check_curves(run: Run, pooled: Floats, published: Published) -> Iterator[Check]:
    """The number of epochs; the accuracy, `pooled` [epochs] as the author's, and the training loss at some epochs."""
    wanted, found = len(published.curves), len(run.curves)
    # The reader has checked that each row has its seconds.
    yield Check(
        "epochs, each with its seconds", wanted, found, str(wanted), "PASS" if found >= wanted else "not reached yet"
    )
    for what, ours, theirs, limit in (
        ("accuracy, pooled", pooled, published.curves.validation_accuracy, ACCURACY_LIMIT),
        ("training loss", run.curves.training_loss, published.curves.training_loss, LOSS_LIMIT),
    ):
        for epoch in CHECKED_EPOCHS:
            name, target = f"{what}, epoch {epoch}", float(theirs[epoch - 1])
            if epoch > found:
                yield Check(name, target, None, f"within {limit}", "not reached yet")
            else:
                value = float(ours[epoch - 1])
                nearest = int(np.abs(theirs - value).argmin()) + 1
                yield Check(name, target, value, f"within {limit}", _within(value, target, limit), nearest)


def check_test(run: Run, published: Published, class_accuracy: Mapping[str, tuple[float, float]]) -> Iterator[Check]:
    """The test accuracy, of all images and of each class; `class_accuracy` is the published one and ours."""
    accuracy = run.test.accuracy
    status: Status = "PASS" if accuracy >= TEST_ACCURACY else "FAIL"
    yield Check("test accuracy", published.mean_class_accuracy, accuracy, f"at least {TEST_ACCURACY}", status)
    for name, (theirs, ours) in class_accuracy.items():
        yield Check(f"test accuracy, {name}", theirs, ours, f"within {CLASS_LIMIT}", _within(ours, theirs, CLASS_LIMIT))


def _within(ours: float, theirs: float, limit: float) -> Status:
    return "PASS" if round(abs(ours - theirs), DECIMALS) <= limit else "FAIL"
