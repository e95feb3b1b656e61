"""The comparison of our run with the published one as a page for people.

In: a `Comparison`. Out: Markdown, by the template `page.md.j2`. Every number is computed from the files of the runs.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np

from alexnet.markdown import Floats, curve_table, difference, enumerate_words, items, number, short_number, table
from training.reproduction import seeds
from training.reproduction.checks import Check
from training.reproduction.compare import F1_TOLERANCE, Comparison

# Relative to the page.
PLOTS: Final = {
    "loss": "reproduction/loss.png",
    "class_accuracy": "reproduction/class-accuracy.png",
    "validation_accuracy": "reproduction/validation-accuracy.png",
}

_OPTIMIZER: Final = "SGD"  # the trainer has no other, so config.json does not name it
_UNSTATED: Final = "not stated"
_EXCESSES: Final = (
    "test F1, excess over test",
    "validation F1, excess over validation",
    "validation F1, excess over test",
)


def render(c: Comparison) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - Markdown, of our own values
    )
    environment.filters |= {"number": number, "words": enumerate_words}
    rows, run, near = _hyperparameters(c), c.run, [name for name, values in _excesses(c) if _is_near(c, values)]
    value, method, where = max(
        (value, name, where) for name, values in _excesses(c) for value, where in zip(values, _EXCESSES, strict=True)
    )
    return environment.get_template("page.md.j2").render(
        c=c,
        run=run,
        ours=run.curves,
        theirs=c.published.curves,
        test=run.test,
        validation=run.validation,
        plots=PLOTS,
        table=table,
        curve_table=curve_table,
        items=items,
        check_rows=[_check_row(check) for check in c.checks],
        failures=[_failure(check) for check in c.checks if check.status == "FAIL"],
        stated=[name for name, theirs, _ in rows if theirs != _UNSTATED],
        unstated=[f"{name} ({ours})" for name, theirs, ours in rows if theirs == _UNSTATED],
        seeds=seeds.summarize(c),
        seed_headings=[f"seed {item.seed}" for item in (run, *c.others)],
        duration=_duration(float(run.curves.seconds.sum())),
        median_seconds=np.median(run.curves.seconds),
        machine=_machine(run.config.environment),
        best_accuracy=float(run.curves.validation_accuracy[run.best_epoch - 1]),
        data=_data(c),
        hyperparameters=rows,
        class_rows=list(_class_rows(c)),
        best_rows=[[best.criterion, _epochs(best.published), _epochs(best.ours)] for best in c.best],
        stated_epoch=c.published.facts.best_epoch_as_stated,
        best_if_counted_from=lambda first: _best_if_counted_from(c, first),
        mean_class_accuracy=c.published.mean_class_accuracy,
        mean_distance=_mean_distance,
        excess_over=_EXCESSES,
        candidate_rows=list(_candidate_rows(c)),
        near=near,
        tolerance=F1_TOLERANCE,
        largest={"value": value, "method": method, "where": where},
    )


def _check_row(check: Check) -> list[str]:
    apart = "" if check.ours is None or isinstance(check.ours, int) else difference(check.ours, check.published)
    status = f"**{check.status}**" if check.status == "FAIL" else check.status
    return [check.name, short_number(check.published), number(check.ours), apart, check.required, status]


def _failure(check: Check) -> str:
    assert check.ours is not None
    side = "above" if check.ours > check.published else "below"
    text = f"{check.name}: ours is {abs(check.ours - check.published):.4f} {side} the published value"
    if check.nearest is not None:
        text += f" and is nearest to that of epoch {check.nearest}"
    return f"{text} (required: {check.required})."


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds:.0f} seconds"


def _machine(environment: dict[str, Any]) -> str:
    cpus = f"a machine with {environment['cpus']} CPUs, {environment['cpu']}"
    return f"one {environment['gpu']} (CUDA {environment['cuda']}) in {cpus}" if "gpu" in environment else cpus


def _data(c: Comparison) -> str:
    """What is known of the images, if the files that were read are those that data.json describes."""
    known = c.published.data.files
    test = c.run.test.data.sha256
    if c.run.validation.data.sha256 | test != {name: item.sha256 for name, item in known.items()}:
        return "The CIFAR-10 files that were read are not those that `data.json` describes."
    of_test = sum(known[name].approximate for name in test)
    total = sum(item.approximate for item in known.values())
    kinds = [f"{count} of class {name}" for name, count in c.published.data.approximate_classes.items()]
    fraction = of_test / sum(known[name].images for name in test)
    return (
        f"The copy of CIFAR-10 used here is not entirely the original: {total} of its "
        f"{sum(item.images for item in known.values()):,} images ({total - of_test} training, {of_test} test; "
        f"{enumerate_words(kinds)}) were decoded from a JPEG copy. They can change the test accuracy by at most "
        f"{fraction:.4f}."
    )


def _hyperparameters(c: Comparison) -> list[list[str]]:
    """Name, published value, our value; first those that the author states."""
    facts, config = c.published.facts, c.run.config
    ours = {"optimizer": _OPTIMIZER, **config.settings, "device": config.device, "precision": config.precision}
    theirs = dict(facts.hyperparameters)
    sizes = ours["batch_size"], ours["validation_batch_size"]
    for part, images, size in zip(("training", "validation"), c.our_images, sizes, strict=True):
        ours |= {f"{part}_images": images, f"{part}_batches": -(-images // size)}
        theirs |= {f"{part}_images": facts.images[part], f"{part}_batches": facts.batches[part]}
    names = [*theirs, *(name for name in ours if name not in theirs)]
    return [[name.replace("_", " "), str(theirs.get(name, _UNSTATED)), _text(ours[name])] for name in names]


def _text(value: Any) -> str:
    return enumerate_words([str(item) for item in value]) or "none" if isinstance(value, list) else str(value)


def _class_rows(c: Comparison) -> Iterator[list[str]]:
    theirs, ours = (float(np.mean(column)) for column in zip(*c.class_accuracy.values(), strict=True))
    for name, values in (*c.class_accuracy.items(), ("mean", (theirs, ours))):
        yield [name, short_number(values[0]), number(values[1]), difference(values[1], values[0])]


def _best_if_counted_from(c: Comparison, first: int) -> str:
    epoch = c.published.facts.best_epoch_as_stated + 1 - first
    text = f"Counted from {first}, that is epoch {epoch}"
    if epoch > len(c.published.curves):
        return f"{text}, which does not exist."
    criteria = [
        f"{best.criterion} ({'alone' if len(best.published) == 1 else f'a tie of {len(best.published)}'})"
        for best in c.best
        if epoch in best.published
    ]
    return f"{text}, the best by {enumerate_words(criteria) or 'none of these criteria'}."


def _epochs(epochs: list[int]) -> str:
    return enumerate_words([str(epoch) for epoch in epochs])


def _mean_distance(first: Floats, second: Floats) -> str:
    epochs = min(len(first), len(second))
    return f"{np.abs(first[:epochs] - second[:epochs]).mean():.4f}"


def _candidate_rows(c: Comparison) -> Iterator[list[str]]:
    for item in c.candidates:
        first, *rest = (difference(value, 0) for value in item.excesses)
        yield [item.name, number(item.test), first, number(item.validation), *rest]


def _excesses(c: Comparison) -> Iterator[tuple[str, tuple[float, float, float]]]:
    return ((item.name, item.excesses) for item in c.candidates)


def _is_near(c: Comparison, excesses: tuple[float, float, float]) -> bool:
    return any(abs(value - c.published_f1_excess) <= F1_TOLERANCE for value in excesses)
