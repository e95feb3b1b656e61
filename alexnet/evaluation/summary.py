"""What `alexnet evaluate` prints: the numbers of `metrics.json` that were measured this time."""

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alexnet.datasets import is_imbalanced
from alexnet.evaluation.metrics import Corruptions, Metrics, OodSet, Parity, Photos, Proportion


def show(metrics: Metrics) -> None:
    """Print the scores of each class, then a line for each thing that was measured."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(_class_table(metrics))
    low, high = metrics.accuracy_interval_95
    console.print(
        f"accuracy {metrics.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), macro F1 {metrics.macro_f1:.4f}, "
        f"weighted F1 {metrics.weighted_f1:.4f}"
    )
    support = np.array([row.support for row in metrics.classes.values()])
    if is_imbalanced(support):
        console.print(
            f"a class has {support.min()} to {support.max()} images: watch macro F1, in which each "
            "class counts the same"
        )
    errors = metrics.calibration
    console.print(
        f"expected calibration error {errors.expected_calibration_error:.4f}, "
        f"negative log-likelihood {errors.negative_log_likelihood:.4f}"
    )
    if metrics.ood:
        console.print(f"refused as out-of-distribution: {metrics.ood.refused:.4f} of these images")
        for name, found in metrics.ood.sets.items():
            _print_ood(console, name, found)
    if metrics.photos:
        _print_photos(console, metrics.photos)
    if metrics.cifar10_1:
        console.print(f"CIFAR-10.1: {_show(metrics.cifar10_1.accuracy)}")
    if labels := metrics.label_errors:
        console.print(
            f"labels of {labels.source} ({labels.changed} changed, {labels.left_out} left out): "
            f"{_show(labels.accuracy)}; with the original labels {labels.unchanged.value:.4f}"
        )
    if metrics.corruptions:
        _print_corruptions(console, metrics.corruptions)
    for where, parity in metrics.parity.items():
        _print_parity(console, where, parity)


def _class_table(metrics: Metrics) -> Table:
    model, data = metrics.model, metrics.data
    table = Table(title=f"{model.name}, sha256 {model.sha256[:12]}, {data.images} {data.split} images")
    table.add_column("class")
    for heading in ("accuracy", "precision", "F1", "images"):
        table.add_column(heading, justify="right")
    for name, row in metrics.classes.items():
        table.add_row(Text(name), f"{row.accuracy:.4f}", f"{row.precision:.4f}", f"{row.f1:.4f}", str(row.support))
    return table


def _show(found: Proportion) -> str:
    low, high = found.interval_95
    return f"accuracy {found.value:.4f} (95 % interval {low:.4f} to {high:.4f}) on {found.images:,} images"


def _print_ood(console: Console, name: str, found: OodSet) -> None:
    low, high = found.auroc_interval_95
    console.print(
        f"{name}: AUROC {found.auroc:.4f} (95 % interval {low:.4f} to {high:.4f}), FPR at 95 % TPR "
        f"{found.fpr_at_95_tpr:.4f}, refused {found.refused:.4f} of {found.images:,} images"
    )


def _print_photos(console: Console, photos: Photos) -> None:
    low, high = photos.expected_calibration_error_interval_95
    console.print(
        f"photos {photos.name}: {_show(photos.accuracy)}, mean class accuracy {photos.mean_class_accuracy:.4f}, "
        f"expected calibration error {photos.calibration.expected_calibration_error:.4f} ({low:.4f} to {high:.4f})"
    )
    if photos.refused:
        console.print(f"photos {photos.name}: refused {photos.refused.value:.4f} of the photos of the classes")
    if photos.ood:
        _print_ood(console, f"photos {photos.name}, none of the classes", photos.ood)


def _print_corruptions(console: Console, found: Corruptions) -> None:
    table = Table(title=f"accuracy under corruption, {found.images:,} images")
    table.add_column("corruption")
    for severity in found.mean_by_severity:
        table.add_column(f"severity {severity}", justify="right")
    for kind, row in found.kinds.items():
        table.add_row(kind.replace("_", " "), *(f"{cell.value:.4f}" for cell in row.values()))
    table.add_section()
    table.add_row("mean", *(f"{mean:.4f}" for mean in found.mean_by_severity.values()))
    console.print(table)
    console.print(f"mean accuracy under corruption {found.mean:.4f}; the same images without: {_show(found.clean)}")


def _print_parity(console: Console, where: str, parity: Parity) -> None:
    refused = "" if parity.different_ood is None else f", {parity.different_ood:,} in being refused"
    console.print(
        f"{where} against the file: {parity.different_classes:,} of {parity.images:,} images differ in the class"
        f"{refused}, largest difference of a probability {parity.largest_difference:.1e}"
    )
