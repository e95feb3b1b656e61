"""Two published numbers that cannot be what they are called, and what explains them: two sections of the page.

In: a `Comparison`. Out: blocks of Markdown.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from alexnet.markdown import Floats, curve_table, difference, enumerate_words, number, table
from training.reproduction.compare import F1_TOLERANCE, Comparison

VALIDATION_ACCURACY: Final = "reproduction/validation-accuracy.png"

_LEADS: Final = ("test F1, lead over test", "validation F1, lead over validation", "validation F1, lead over test")


def validation_accuracy(c: Comparison) -> Iterator[str]:
    """The printed validation accuracy: what it would be of the validation images alone, and how ours compares."""
    theirs, ours = c.published.curves, c.run.curves
    training, validation = c.their_images
    both, lowest = training + validation, int(theirs.validation_loss.argmin())
    printed, mean = theirs.validation_accuracy, c.published.mean_class_accuracy
    yield "## The riddle of the validation accuracy"
    yield f"![Validation accuracy of both runs, pooled and alone]({VALIDATION_ACCURACY})"
    yield (
        f"The printed validation accuracy climbs from {printed[0]:.3f} to {printed[-1]:.3f}. On the validation images "
        f"alone it hardly can: their loss is lowest after epoch {lowest + 1} ({theirs.validation_loss[lowest]:.3f}) "
        f"and ends at {theirs.validation_loss[-1]:.3f}, and the mean of the published class accuracies is {mean:.4f}."
    )
    yield (
        "If the counters of images and hits ran on from training into validation, the printed value is "
        f"p = ({training:,} t + {validation:,} v) / {both:,}, with t the accuracy in training and v that on the "
        f"validation images. Then v = ({both:,} p - {training:,} t) / {validation:,}; the rounding of p and t leaves "
        f"it open by {c.solved_error:.4f} at most."
    )
    gap = abs(float(c.solved[-1]) - mean)
    fit = "within the rounding, so this explanation fits" if gap <= c.solved_error else "more than the rounding allows"
    text = (
        f"Solved in this way, v goes from {c.solved[0]:.3f} to {c.solved[-1]:.3f}. The end lies {gap:.4f} from the "
        f"mean class accuracy: {fit}."
    )
    least = training * float(theirs.training_loss[0]) / both
    if theirs.validation_loss[0] < least:
        text += (
            f" The loss was not pooled: after epoch 1 that would give {least:.3f} or more, and "
            f"{theirs.validation_loss[0]:.3f} is printed."
        )
    yield text
    common = min(len(theirs), len(ours))
    true, pooled = ours.validation_accuracy[:common], c.pooled[:common]
    yield (
        f"Our own run, in mean distances over the {common} epochs that both runs have: our true validation accuracy "
        f"lies {_distance(true, printed[:common])} from theirs as printed and {_distance(true, c.solved[:common])} "
        f"from theirs solved for v; ours pooled lies {_distance(pooled, printed[:common])} from theirs as printed."
    )
    yield curve_table(
        ("theirs as printed", printed, 3),
        ("ours pooled", c.pooled, 4),
        ("theirs solved for v", c.solved, 3),
        ("ours true", ours.validation_accuracy, 4),
    )


def f1(c: Comparison) -> Iterator[str]:
    """The published F1, beside every way to compute one of our predictions."""
    stated, needed, test = c.published.facts["f1"], c.published_f1_lead, c.run.test.metrics
    yield "## The riddle of the F1"
    yield (
        f"Published F1: {stated:.4f}. Ours on the test images: macro {test['macro_f1']:.4f}, weighted "
        f"{test['weighted_f1']:.4f}."
    )
    yield (
        f"The published F1 lies {needed:.4f} above the mean of the published class accuracies. On test images of which "
        "every class has as many, a macro F1 hardly differs from that mean. The table lists the ways that people use, "
        "on the predictions of our model. A lead is the distance above our own mean class accuracy on the images named."
    )
    header = ("way", "test F1", _LEADS[0], "validation F1", *_LEADS[1:])
    rows = [
        [item.name, number(item.test), _signed(item.leads[0]), number(item.validation), *map(_signed, item.leads[1:])]
        for item in c.candidates
    ]
    yield table(header, rows)
    yield (
        'Absent from a batch is a class that is neither among its labels nor among its predictions; "though predicted" '
        "leaves out also a class that is predicted but not among the labels. The mean over batches gives each the same "
        "weight."
    )
    near = [item.name for item in c.candidates if any(abs(lead - needed) <= F1_TOLERANCE for lead in item.leads)]
    if near:
        yield (
            f"Within {F1_TOLERANCE} of the published lead: {enumerate_words(near)}. This would explain the published "
            "value, but does not show that it was computed so."
        )
        return
    lead, name, where = max(
        (lead, item.name, where) for item in c.candidates for lead, where in zip(item.leads, _LEADS, strict=True)
    )
    text = (
        f"None explains the published value. The greatest lead is {lead:.4f} ({name}; {where}); {needed:.4f} is "
        f"needed, give or take {F1_TOLERANCE}. It remains unexplained of which predictions the published F1 was "
        "computed, and how."
    )
    top = int(c.solved.argmax())
    bound = float(c.solved[top]) + c.solved_error
    if bound < stated:
        text += (
            " Another epoch's weights would not do: the highest validation accuracy that the published log allows is "
            f"{bound:.4f} (epoch {top + 1}, rounding included)."
        )
    yield text


def _distance(first: Floats, second: Floats) -> str:
    return f"{np.abs(first - second).mean():.4f}"


def _signed(value: float) -> str:
    return difference(value, 0)
