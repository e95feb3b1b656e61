"""A model file and the test images to numbers: accuracy and F1, per class and overall, and how far to trust them.

In: an ONNX file, through serving's own classifier, and the test split; or the validation images of the run that the
file comes from. Out: `metrics.json` (with the SHA-256 of the model and the versions used), `confusion.png`,
`reliability.png` and, when asked for, `predictions.parquet`. Torch is not needed; without matplotlib the plots are left
out.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from alexnet import datasets, environment, files
from alexnet.datasets import Fingerprint, Images, is_imbalanced
from alexnet.errors import UserError
from alexnet.evaluation import calibration, robustness, service_parity, trust
from alexnet.evaluation import predictions as predictions_file
from alexnet.evaluation.scores import Scores, score
from alexnet.inference.classifier import Classifier, Outputs

Ask = Callable[[Classifier, npt.NDArray[np.uint8], int], service_parity.Found]  # the last is a batch size
Split = Literal["test", "validation"]

METRICS: Final = "metrics.json"
CONFUSION: Final = "confusion.png"
RELIABILITY: Final = "reliability.png"


def evaluate(
    model: Path,
    data_root: Path,
    output: Path,
    *,
    split: Split = "test",
    predictions: bool = False,
    unknowns: Path | None = None,
    corruption_images: int | None = None,
    url: str | None = None,
    ask_torch: Ask | None = None,
    batch_size: int = 256,
) -> Scores:
    """Measure `model` on the images of `split`, print the table, write `metrics.json` and two pictures to `output`.

    With `predictions` also `predictions.parquet`. `unknowns` are images of no known class, see `unknowns.read`;
    `corruption_images` are how many are corrupted, see `robustness.measure`; `url` is a running service, and
    `ask_torch` gives torch's answers to the same pixels, see `training.export.torch_parity`. What an earlier
    `metrics.json` says of these and is not measured this time is kept, see `trust.keep`. Raises `UserError` on an
    unusable model, damaged data, a batch size below 1, or where one of these cannot be measured.
    """
    if batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}; give 1 or more")
    if corruption_images is not None:
        robustness.check(corruption_images)
    classifier = Classifier(model)
    images, facts = read(classifier, model, data_root, split)
    answers = answer_all(classifier, images.pixels, batch_size)
    predicted = answers.probabilities.argmax(1)
    scores = score(images.labels, predicted, len(classifier.classes))
    trusted: dict[str, Any] = {
        "calibration": trust.calibrate(answers, images.labels, trust.temperature_of(classifier)),
        "unknown": trust.examine_unknowns(lambda x: answer_all(classifier, x, batch_size), answers, unknowns),
    }
    if compared := _compare(classifier, images.pixels, answers, url, ask_torch, batch_size):
        trusted["parity"] = compared
    if corruption_images is not None:
        ask = partial(answer_all, classifier, batch_size=batch_size, shown=False)
        trusted["corruptions"] = robustness.measure(ask, images, corruption_images)
    _print(classifier, scores, split)
    _print_trust(trusted)
    output.mkdir(parents=True, exist_ok=True)
    report = _report(model, classifier, facts, scores, trusted)
    files.write_json(output / METRICS, trust.keep(output / METRICS, report))
    _plot(output, scores, classifier.classes, trust.curves(answers, images.labels, trust.temperature_of(classifier)))
    if predictions:
        found = predictions_file.Predictions(images.labels, predicted)
        predictions_file.write(output / predictions_file.FILE_NAME, found, classifier.classes)
    return scores


def answer_all(
    classifier: Classifier, pixels: npt.NDArray[np.uint8], batch_size: int, *, shown: bool = True
) -> Outputs:
    """The answers to pixels uint8 [N, 32, 32, 3], N of 1 or more; if `shown`, with a progress bar on standard error."""
    parts = []
    with Progress(console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task("images", total=len(pixels))
        for first in range(0, len(pixels), batch_size):
            batch = pixels[first : first + batch_size]
            parts.append(classifier.run(batch))
            progress.advance(task, len(batch))
    probabilities = np.concatenate([part.probabilities for part in parts])
    if not classifier.detects_ood:
        return Outputs(probabilities)
    unknown_scores = np.concatenate([part.ood_score for part in parts if part.ood_score is not None])
    return Outputs(probabilities, unknown_scores, unknown_scores > classifier.metadata.ood_threshold)


def read(classifier: Classifier, model: Path, root: Path, split: Split) -> tuple[Images, dict[str, Any]]:
    """The images of `split`, and what `metrics.json` says about them.

    Raises `UserError` on damaged data, other classes, or a file that does not say what its run held out.
    """
    data = datasets.open(root)
    trained = Fingerprint(classifier.classes, classifier.metadata.image_folder_sha256)
    if split == "test":
        test = data.test(trained, model)
        facts = {"also_trained_on": test.also_trained_on, "left_out": test.unreadable}
        told = {name: count for name, count in facts.items() if count is not None}
        return test.images, {"split": split, "images": len(test.images), **told, "sha256": test.sha256}
    settings, row = classifier.metadata.settings, classifier.metadata.validation
    if settings is None or row is None:
        raise UserError(f"{model} does not say which images its run validated on; export it with `alexnet export RUN`")
    parts = data.split_again(trained, settings.validation_images, settings.seed, model)
    sha256 = data.training_sha256
    run = {
        "seed": settings.seed,
        "training_images": len(parts.training),
        "row_of_the_trainer": row.model_dump(),
    }
    return parts.validation, {"split": split, "images": len(parts.validation), **run, "sha256": sha256}


def _compare(
    classifier: Classifier,
    pixels: npt.NDArray[np.uint8],
    answers: Outputs,
    url: str | None,
    ask_torch: Ask | None,
    batch_size: int,
) -> dict[str, Any]:
    """How the answers of a service and of torch differ from the file's `answers`, of those that are asked for."""
    found = {}
    if url is not None:
        with service_parity.Service(url, classifier) as service:
            found["http"] = service_parity.differences(answers, service.ask(pixels, batch_size))
    if ask_torch is not None:
        found["torch"] = service_parity.differences(answers, ask_torch(classifier, pixels, batch_size))
    return found


def _report(
    model: Path, classifier: Classifier, facts: dict[str, Any], scores: Scores, trusted: dict[str, Any]
) -> dict[str, Any]:
    columns = zip(
        classifier.classes, scores.recall, scores.precision, scores.f1, scores.support, strict=True
    )  # the accuracy of a class is its recall
    return {
        "model": {
            "name": classifier.name,
            "sha256": classifier.sha256,
            "bytes": model.stat().st_size,
            "run": classifier.metadata.run,
        },
        "data": facts,
        "accuracy": scores.accuracy,
        "accuracy_interval_95": list(scores.interval),
        "macro_f1": scores.macro_f1,
        "weighted_f1": scores.weighted_f1,
        "classes": {
            name: {"accuracy": float(r), "precision": float(p), "f1": float(f), "support": int(n)}
            for name, r, p, f, n in columns
        },
        "confusion": scores.confusion.tolist(),
        **trusted,
        "environment": environment.describe(_runtime_package(), "numpy"),
    }


def _runtime_package() -> str:
    installed = environment.describe("onnxruntime-gpu", "onnxruntime")
    return "onnxruntime-gpu" if "onnxruntime-gpu" in installed else "onnxruntime"


def _print(classifier: Classifier, scores: Scores, split: Split) -> None:
    low, high = scores.interval
    table = Table(title=f"{classifier.name}, sha256 {classifier.sha256[:12]}, {scores.support.sum()} {split} images")
    table.add_column("class")
    for heading in ("accuracy", "precision", "F1", "images"):
        table.add_column(heading, justify="right")
    rows = zip(classifier.classes, scores.recall, scores.precision, scores.f1, scores.support, strict=True)
    for name, recall, precision, f1, support in rows:
        table.add_row(Text(name), f"{recall:.4f}", f"{precision:.4f}", f"{f1:.4f}", str(support))
    console = Console()
    console.print(table)
    console.print(
        f"accuracy {scores.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), "
        f"macro F1 {scores.macro_f1:.4f}, weighted F1 {scores.weighted_f1:.4f}",
        highlight=False,
    )
    if is_imbalanced(scores.support):
        fewest, most = scores.support.min(), scores.support.max()
        console.print(
            f"a class has {fewest} to {most} images: watch macro F1, in which each class counts the same",
            highlight=False,
        )


def _print_trust(trusted: dict[str, Any]) -> None:
    found, console = trusted["calibration"], Console()

    def show(errors: dict[str, float]) -> str:
        error, likelihood = errors["expected_calibration_error"], errors["negative_log_likelihood"]
        return f"calibration error {error:.4f}, negative log likelihood {likelihood:.4f}"

    before = f" (before its temperature: {show(found['before'])})" if "before" in found else ""
    console.print(show(found) + before, highlight=False)
    if trusted["unknown"]:
        share = trusted["unknown"]["share_of_these_images"]
        console.print(f"called unknown: {share:.4f} of these images", highlight=False)
    for name, row in trusted["unknown"].get("against", {}).items():
        console.print(
            f"{name}: AUROC {row['auroc']:.4f}, false-positive rate at 95 % {row['false_positive_rate_at_95']:.4f}, "
            f"called unknown {row['called_unknown']:.4f} of {row['images']}",
            highlight=False,
        )
    if "corruptions" in trusted:
        robustness.show(trusted["corruptions"])
    service_parity.show(trusted.get("parity", {}))


def _plot(output: Path, scores: Scores, classes: Sequence[str], curves: Mapping[str, calibration.Reliability]) -> None:
    try:
        from alexnet.evaluation import plots
    except ImportError:
        Console(stderr=True).print(f"{output / CONFUSION} is left out: it needs matplotlib (the train extra)")
        return
    plots.plot_confusion(output / CONFUSION, scores.confusion, classes)
    plots.plot_reliability(output / RELIABILITY, curves)
