"""The comparison of our run with the published one as a page for people.

In: a `Comparison`. Out: Markdown. Every number in it is computed from the files of the two runs.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from alexnet.markdown import curve_table, difference, enumerate_words, items, number, short_number, table
from training.reproduction import other_seeds, riddles
from training.reproduction.compare import Check, Comparison

# The pictures, relative to the page.
LOSS: Final = "reproduction/loss.png"
CLASS_ACCURACY: Final = "reproduction/class-accuracy.png"

_OPTIMIZER: Final = "SGD"  # the trainer knows no other, so config.json does not name it
_UNSTATED: Final = "not stated"


def render(comparison: Comparison) -> str:
    """The whole page."""
    sections = (
        _verdict,
        _conditions,
        _epochs,
        _class_accuracy,
        other_seeds.section,
        _best_epoch,
        riddles.validation_accuracy,
        riddles.f1,
    )
    intro = "`alexnet report` writes this page and its pictures from the files of both runs. Nothing is typed by hand."
    blocks = ["# The published run, reproduced", intro, *(block for part in sections for block in part(comparison))]
    return "\n\n".join(blocks) + "\n"


def _verdict(c: Comparison) -> Iterator[str]:
    found, wanted = len(c.run.curves), len(c.published.curves)
    yield "## Verdict"
    if found < wanted:
        yield (
            f"**This is a partial report: {found} of {wanted} epochs are there.** The test accuracies are those of the "
            f"best epoch so far, epoch {c.run.best_epoch}."
        )
    passed, failed = ([check for check in c.checks if check.status == status] for status in ("PASS", "FAIL"))
    yield (
        f"Of {len(c.checks)} lines {len(passed)} pass, {len(failed)} fail and "
        f"{len(c.checks) - len(passed) - len(failed)} are not reached yet."
    )
    header = ("what", "published", "ours", "difference", "wanted", "verdict")
    yield table(header, [_check_row(check) for check in c.checks])
    if failed:
        yield "What fails:"
        yield items([_failure(check) for check in failed])
        rows = _hyperparameters(c)
        stated = [name for name, theirs, _ in rows if theirs != _UNSTATED]
        unstated = [f"{name} ({ours})" for name, theirs, ours in rows if theirs == _UNSTATED]
        yield (
            f"Why, the files can say only in part. The published run gives {enumerate_words(stated)}. It does not "
            f"give these, so they are this project's choice and may differ: {enumerate_words(unstated)}. "
            f"{other_seeds.chance(c)}"
        )


def _check_row(check: Check) -> list[str]:
    apart = "" if check.ours is None or isinstance(check.ours, int) else difference(check.ours, check.published)
    status = f"**{check.status}**" if check.status == "FAIL" else check.status
    return [check.what, short_number(check.published), number(check.ours), apart, check.wanted, status]


def _failure(check: Check) -> str:
    assert check.ours is not None
    side = "above" if check.ours > check.published else "below"
    text = f"{check.what}: ours lies {abs(check.ours - check.published):.4f} {side} the published value"
    if check.nearest is not None:
        text += f" and is nearest to that of epoch {check.nearest}"
    return f"{text} (wanted: {check.wanted})."


def _conditions(c: Comparison) -> Iterator[str]:
    config, test, validation = c.run.config, c.run.test.metrics, c.run.validation.metrics
    seconds, environment = c.run.curves.seconds, c.run.config["environment"]
    best = float(c.run.curves.validation_accuracy[c.run.best_epoch - 1])
    yield "## What was run"
    yield (
        f"Our run `{config['run']}` took {_duration(float(seconds.sum()))} for {len(seconds)} epochs (the median epoch "
        f"{np.median(seconds):.3g} s) on {_machine(environment)}; device {config['device']}, precision "
        f"{config['precision']}, torch {environment['torch']}."
    )
    yield (
        f"The checkpoint of epoch {c.run.best_epoch}, the one with the highest validation accuracy, was exported to "
        f"ONNX (SHA-256 `{test['model']['sha256']}`) and measured on {test['data']['images']:,} test images. As a "
        f"check, that file reaches {validation['accuracy']:.4f} on the {validation['data']['images']:,} validation "
        f"images, where the trainer saw {best:.4f}."
    )
    yield _data(c)
    yield "### Hyperparameters"
    yield table(("name", "published", "ours"), _hyperparameters(c))


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds:.0f} seconds"


def _machine(environment: dict[str, Any]) -> str:
    cpus = f"a machine with {environment['cpus']} CPUs, {environment['cpu']}"
    return f"one {environment['gpu']} (CUDA {environment['cuda']}) in {cpus}" if "gpu" in environment else cpus


def _data(c: Comparison) -> str:
    """What is known of the images, when the files that were read are those that data.json describes."""
    known = c.published.data["files"]
    test = c.run.test.metrics["data"]["sha256"]
    used = c.run.validation.metrics["data"]["sha256"] | test
    if used != {name: item["sha256"] for name, item in known.items()}:
        return "The CIFAR-10 files that were read are not those that `data.json` describes."
    of_test = sum(known[name]["approximate"] for name in test)
    total = sum(item["approximate"] for item in known.values())
    kinds = [f"{count} of class {name}" for name, count in c.published.data["approximate_classes"].items()]
    share = of_test / sum(known[name]["images"] for name in test)
    return (
        f"The copy of CIFAR-10 used here is not wholly the original: {total} of its "
        f"{sum(item['images'] for item in known.values()):,} images ({total - of_test} training, {of_test} test; "
        f"{enumerate_words(kinds)}) were decoded from a JPEG copy. They can move the test accuracy by {share:.4f} at "
        "most."
    )


def _hyperparameters(c: Comparison) -> list[list[str]]:
    """Name, published value, our value; first those that the author states."""
    facts, config = c.published.facts, c.run.config
    ours = {"optimizer": _OPTIMIZER, **config["settings"], "device": config["device"], "precision": config["precision"]}
    theirs = dict(facts["hyperparameters"])
    sizes = ours["batch_size"], ours["validation_batch_size"]
    for part, images, size in zip(("training", "validation"), c.our_images, sizes, strict=True):
        ours |= {f"{part}_images": images, f"{part}_batches": -(-images // size)}
        theirs |= {f"{part}_images": facts["images"][part], f"{part}_batches": facts["batches"][part]}
    names = [*theirs, *(name for name in ours if name not in theirs)]
    return [[name.replace("_", " "), str(theirs.get(name, _UNSTATED)), str(ours[name])] for name in names]


def _epochs(c: Comparison) -> Iterator[str]:
    yield "## Losses and accuracies"
    yield f"![Training and validation loss of both runs]({LOSS})"
    yield (
        "Losses are in nats per image. Our training values are means over the epoch, while the weights move and "
        "dropout is on. The last pair is the accuracy that the author printed as that of validation, and ours counted "
        "in the same way (see below)."
    )
    theirs, ours = c.published.curves, c.run.curves
    yield curve_table(
        ("training loss: published", theirs.training_loss, 3),
        ("ours", ours.training_loss, 4),
        ("training accuracy: published", theirs.training_accuracy, 3),
        ("ours", ours.training_accuracy, 4),
        ("validation loss: published", theirs.validation_loss, 3),
        ("ours", ours.validation_loss, 4),
        ("validation accuracy as printed: published", theirs.validation_accuracy, 3),
        ("ours, pooled", c.pooled, 4),
        ("our seconds", ours.seconds, 0 if ours.seconds.max() >= 100 else 2),
    )


def _class_accuracy(c: Comparison) -> Iterator[str]:
    test = c.run.test.metrics
    low, high = test["accuracy_interval_95"]
    yield "## Accuracy per class"
    yield f"![Test accuracy per class of both runs]({CLASS_ACCURACY})"
    theirs, ours = (float(np.mean(column)) for column in zip(*c.class_accuracy.values(), strict=True))
    rows = c.class_accuracy | {"mean": (theirs, ours)}
    yield table(
        ("class", "published", "ours", "difference"),
        [[name, short_number(theirs), number(ours), difference(ours, theirs)] for name, (theirs, ours) in rows.items()],
    )
    yield f"Our test accuracy is {test['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})."


def _best_epoch(c: Comparison) -> Iterator[str]:
    stated = c.published.facts["best_epoch_as_stated"]
    yield "## Best epoch"
    yield table(
        ("criterion", "published: best row", "ours: best row"),
        [[best.criterion, _rows(best.published), _rows(best.ours)] for best in c.best],
    )
    yield (
        f"Rows are counted from 1. The author states {stated} as the best epoch. {_meaning(c, stated, 1)} "
        f"{_meaning(c, stated + 1, 0)}"
    )
    yield (
        f"Ours is row {c.run.best_epoch}, chosen by the accuracy on the validation images alone. The test images had "
        "no part in it."
    )


def _meaning(c: Comparison, row: int, first: int) -> str:
    text = f"Counted from {first} that is row {row}"
    if row > len(c.published.curves):
        return f"{text}, and there is no such row."
    criteria = [
        f"{best.criterion} ({'alone' if len(best.published) == 1 else f'a tie of {len(best.published)}'})"
        for best in c.best
        if row in best.published
    ]
    return f"{text}, the best by {enumerate_words(criteria) or 'none of these criteria'}."


def _rows(rows: list[int]) -> str:
    return enumerate_words([str(row) for row in rows])
