"""Our run against the published one, in numbers.

In: the values that `training.reproduction.runs` reads. Out: the printed validation accuracy without its training part,
candidates for the published F1, the best epochs, and checks against limits that were set before the run. numpy only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from alexnet.errors import UserError
from alexnet.evaluation.metrics import Metrics, Split
from alexnet.evaluation.predictions import Predictions
from alexnet.markdown import Floats
from training.reproduction import f1
from training.reproduction.checks import DECIMALS, Check, Status, check_curves, check_test
from training.reproduction.runs import Curves, Published, Run

# How near a candidate's excess over the accuracy must come to the published one: the rounding of that (0.0005 in each
# class accuracy), and as much again, since ours is another model.
F1_TOLERANCE: Final = 0.001

_ROUNDING: Final = 0.0005  # of the published values, which have three decimals


@dataclass(frozen=True)
class Best:
    """The best epochs by one criterion; more than one where they tie."""

    criterion: str
    published: list[int]
    ours: list[int]


@dataclass(frozen=True)
class Candidate:
    """A method of computing F1, and its value on our test and validation predictions.

    The excesses are over our mean class accuracy: of the test F1 and of the validation F1 each over that of the same
    images, and of the validation F1 over that of the test images.
    """

    name: str
    test: float
    validation: float
    excesses: tuple[float, float, float]


@dataclass(frozen=True)
class Comparison:
    """Both runs and what follows from them; images are those of training and of validation."""

    run: Run
    published: Published
    our_images: tuple[int, int]
    their_images: tuple[int, int]
    pooled: Floats  # float64 [epochs], ours computed their way
    unpooled: Floats  # float64 [epochs], theirs of the validation images alone
    unpooled_error: float  # of `unpooled` at most, since the printed values are rounded
    best: list[Best]
    class_accuracy: dict[str, tuple[float, float]]  # published, ours
    published_f1_excess: float
    candidates: list[Candidate]
    checks: list[Check]
    others: tuple[Run, ...] = ()  # of the same settings, with other seeds

    def count(self, status: Status) -> int:
        """How many checks have this status."""
        return sum(check.status == status for check in self.checks)


def compare(
    run: Run, published: Published, predictions: Mapping[Split, Predictions], others: Sequence[Run] = ()
) -> Comparison:
    """Compare `run`, which made `predictions` by split, with `published`.

    Raises `UserError` where their classes differ, and where one of `others` differs in more than its seed.
    """
    classes = run.test.classes
    if classes.keys() != published.facts.class_accuracy.keys():
        raise UserError(
            f"run {run.config.run} learned {', '.join(classes)}, which the published run did not: nothing can be "
            "compared; what `alexnet evaluate` wrote is the report of this run"
        )
    for other in others:
        _check_same_settings(run, other)
    data = run.validation.data
    assert data.training_images is not None
    ours, theirs = (
        (data.training_images, data.images),
        (published.facts.images["training"], published.facts.images["validation"]),
    )
    pooled = pool(run.curves.training_accuracy, run.curves.validation_accuracy, ours)
    unpooled = unpool(published.curves.validation_accuracy, published.curves.training_accuracy, theirs)
    class_accuracy = {name: (value, classes[name].accuracy) for name, value in published.facts.class_accuracy.items()}
    return Comparison(
        run=run,
        published=published,
        our_images=ours,
        their_images=theirs,
        pooled=pooled,
        unpooled=unpooled,
        unpooled_error=_ROUNDING * (sum(theirs) + theirs[0]) / theirs[1],
        best=_best(run.curves, pooled, published.curves, unpooled),
        class_accuracy=class_accuracy,
        published_f1_excess=published.facts.f1 - published.mean_class_accuracy,
        candidates=_candidates(run, predictions),
        checks=[*check_curves(run, pooled, published), *check_test(run, published, class_accuracy)],
        others=tuple(others),
    )


def _check_same_settings(run: Run, other: Run) -> None:
    ours, theirs = run.config.settings, other.config.settings
    unlike = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if unlike != ["seed"]:
        raise UserError(
            f"run {other.config.run} differs from {run.config.run} in {', '.join(unlike) or 'nothing'}, not in "
            "its seed alone: move its folder away, or train it again"
        )


def pool(training: Floats, validation: Floats, images: tuple[int, int]) -> Floats:
    """The accuracy [epochs] that counters show which run on from training into validation without a reset.

    `images` are those of training and of validation.
    """
    return (images[0] * training + images[1] * validation) / sum(images)


def unpool(pooled: Floats, training: Floats, images: tuple[int, int]) -> Floats:
    """The inverse of `pool`: the accuracy [epochs] on the validation images alone."""
    return (sum(images) * pooled - images[0] * training) / images[1]


def _best(ours: Curves, pooled: Floats, theirs: Curves, unpooled: Floats) -> list[Best]:
    criteria = {
        "lowest training loss": (-theirs.training_loss, -ours.training_loss),
        "highest training accuracy": (theirs.training_accuracy, ours.training_accuracy),
        "lowest validation loss": (-theirs.validation_loss, -ours.validation_loss),
        "highest printed validation accuracy (ours pooled)": (theirs.validation_accuracy, pooled),
        "highest accuracy on the validation images alone (theirs solved)": (unpooled, ours.validation_accuracy),
    }
    return [Best(name, _highest(first), _highest(second)) for name, (first, second) in criteria.items()]


def _highest(values: Floats) -> list[int]:
    rounded = values.round(DECIMALS)
    return [int(row) + 1 for row in np.flatnonzero(rounded == rounded.max())]


def _candidates(run: Run, predictions: Mapping[Split, Predictions]) -> list[Candidate]:
    classes = len(run.test.classes)
    test, validation = (f1.candidates(predictions[split], classes) for split in ("test", "validation"))
    on_test, on_validation = _mean_class_accuracy(run.test), _mean_class_accuracy(run.validation)
    return [
        Candidate(
            name,
            value,
            validation[name],
            (value - on_test, validation[name] - on_validation, validation[name] - on_test),
        )
        for name, value in test.items()
    ]


def _mean_class_accuracy(metrics: Metrics) -> float:
    return float(np.mean([scores.accuracy for scores in metrics.classes.values()]))
