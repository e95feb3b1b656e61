"""The same run with other seeds, beside it: how much of a difference is chance.

In: a `Comparison` with runs of the same settings but for their seed. Out: Markdown; nothing where there are none.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from alexnet.markdown import difference, enumerate_words, number, short_number, table
from training.reproduction.compare import CLASS_LIMIT, Comparison
from training.reproduction.runs import Run


def section(c: Comparison) -> Iterator[str]:
    """What each run reached, mean and spread, and the same for each class."""
    if not c.others:
        return
    runs = (c.run, *c.others)
    yield "## Other seeds"
    yield (
        f"The same settings with {len(runs)} seeds, which choose the split, the fresh layers, the order and the "
        "dropout. The spread is the standard deviation of a single run (n - 1). Seconds are those of training and "
        "validation, by epoch, without starting up and saving."
    )
    columns = [_numbers(run) for run in runs]
    rows = [[_seed(run), str(run.best_epoch), *_cells(found)] for run, found in zip(runs, columns, strict=True)]
    rows.append(["mean", "", *_cells(np.mean(columns, 0))])
    rows.append(["spread", "", *_cells(np.std(columns, 0, ddof=1))])
    header = ("seed", "best epoch", "validation accuracy", "test accuracy", "macro F1", "last training loss", "seconds")
    yield table(header, rows)
    by_class = _by_class(c)
    yield table(
        (
            "class",
            "published",
            *(f"seed {_seed(run)}" for run in runs),
            "mean",
            "mean less published",
            "lowest to highest",
        ),
        [
            [
                name,
                short_number(theirs),
                *map(number, ours),
                number(mean),
                difference(mean, theirs),
                f"{np.ptp(ours):.4f}",
            ]
            for name, (theirs, ours) in by_class.items()
            for mean in [float(np.mean(ours))]
        ],
    )
    yield _how_far(c)


def chance(c: Comparison) -> str:
    """What seeds alone do to the accuracy of a class; where there is one run, that there is one."""
    if not c.others:
        return "And ours is one run with one seed."
    by_class = _by_class(c)
    name = max(by_class, key=lambda name: float(np.ptp(by_class[name][1])))
    ours = by_class[name][1]
    return (
        f"How much of it is chance, {len(ours)} seeds tell: with everything else the same, our accuracy on {name} lies "
        f"between {min(ours):.3f} and {max(ours):.3f}. {_how_far(c)} See [other seeds](#other-seeds)."
    )


def _how_far(c: Comparison) -> str:
    """Which classes are unlike the published run on the mean, too."""
    means = {name: (theirs, float(np.mean(ours))) for name, (theirs, ours) in _by_class(c).items()}
    far = [name for name, (theirs, ours) in means.items() if round(abs(ours - theirs), 9) > CLASS_LIMIT]
    names = enumerate_words(far or ["no class"])
    return (
        f"Of the means over seeds, {names} {'lie' if len(far) > 1 else 'lies'} more than {CLASS_LIMIT} from the "
        "published value."
    )


def _by_class(c: Comparison) -> dict[str, tuple[float, list[float]]]:
    """The published accuracy of each class, and those of our runs."""
    runs = (c.run, *c.others)
    return {
        name: (theirs, [float(run.test.metrics["classes"][name]["accuracy"]) for run in runs])
        for name, (theirs, _) in c.class_accuracy.items()
    }


def _seed(run: Run) -> str:
    return str(run.config["settings"]["seed"])


def _numbers(run: Run) -> list[float]:
    curves, test = run.curves, run.test.metrics
    best = curves.validation_accuracy[run.best_epoch - 1]
    return [best, test["accuracy"], test["macro_f1"], curves.training_loss[-1], curves.seconds.sum()]


def _cells(found: npt.ArrayLike) -> list[str]:
    *shares, seconds = np.asarray(found, float)
    return [*(f"{value:.4f}" for value in shares), f"{seconds:.1f}"]
