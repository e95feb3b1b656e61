"""The same run with several seeds: how much of a difference is chance.

In: a `Comparison` with runs of the same settings but for their seed. Out: the rows of two tables, and the extremes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alexnet.markdown import difference, enumerate_words, number, short_number
from training.reproduction.checks import CLASS_LIMIT
from training.reproduction.compare import Comparison
from training.reproduction.runs import Run


@dataclass(frozen=True)
class Seeds:
    """Our run and those with other seeds, as rows of tables.

    `widest` is the class whose accuracy varies most, from `lowest` to `highest`; `far` says which classes differ from
    the published run on average, too.
    """

    runs: tuple[Run, ...]
    run_rows: list[list[str]]
    class_rows: list[list[str]]
    widest: str
    lowest: float
    highest: float
    far: str


def summarize(c: Comparison) -> Seeds | None:
    """What each run reached, mean and spread, and the same for each class; None where there is one seed."""
    if not c.others:
        return None
    runs = (c.run, *c.others)
    names, published = list(c.class_accuracy), [theirs for theirs, _ in c.class_accuracy.values()]
    accuracies = np.array([[run.test.classes[name].accuracy for run in runs] for name in names])
    far = np.abs(accuracies.mean(1) - published).round(9) > CLASS_LIMIT
    far_names = [name for name, is_far in zip(names, far, strict=True) if is_far]
    widest = int(np.ptp(accuracies, axis=1).argmax())
    return Seeds(
        runs=runs,
        run_rows=_run_rows(runs),
        class_rows=[_class_row(*row) for row in zip(names, published, accuracies, strict=True)],
        widest=names[widest],
        lowest=float(accuracies[widest].min()),
        highest=float(accuracies[widest].max()),
        far=f"Averaged over seeds, {enumerate_words(far_names or ['no class'])} "
        f"{'are' if len(far_names) > 1 else 'is'} more than {CLASS_LIMIT} from the published value.",
    )


def _run_rows(runs: tuple[Run, ...]) -> list[list[str]]:
    numbers = np.array([_numbers(run) for run in runs])
    rows = [[str(run.seed), str(run.best_epoch), *_cells(found)] for run, found in zip(runs, numbers, strict=True)]
    return [*rows, ["mean", "", *_cells(numbers.mean(0))], ["spread", "", *_cells(numbers.std(0, ddof=1))]]


def _numbers(run: Run) -> list[float]:
    curves, test = run.curves, run.test
    best = float(curves.validation_accuracy[run.best_epoch - 1])
    return [best, test.accuracy, test.macro_f1, float(curves.training_loss[-1]), float(curves.seconds.sum())]


def _cells(values: npt.NDArray[np.float64]) -> list[str]:
    *fractions, seconds = values
    return [*(f"{value:.4f}" for value in fractions), f"{seconds:.1f}"]


def _class_row(name: str, theirs: float, ours: npt.NDArray[np.float64]) -> list[str]:
    mean = float(ours.mean())
    cells = [short_number(theirs), *map(number, ours.tolist()), number(mean), difference(mean, theirs)]
    return [name, *cells, f"{np.ptp(ours):.4f}"]
