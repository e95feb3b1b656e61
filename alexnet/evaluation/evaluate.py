"""The work of `alexnet evaluate`: a model file and images to measured numbers.

In: an ONNX file, and the test images or the validation images of its run; other test sets where they are asked for.
Out: `metrics.json`, `confusion.png`, `reliability.png` and, if asked for, `predictions.parquet`. Needs no torch;
without matplotlib the plots are left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from alexnet import environment, files
from alexnet.datasets import Images, cifar10, loose_images, public_sets, synthetic_outliers
from alexnet.errors import UserError
from alexnet.evaluation import calibration, corruptions, ood, photos, predictions, summary
from alexnet.evaluation.corruptions import Protocol
from alexnet.evaluation.metrics import (
    ClassScores,
    Corruptions,
    LabelErrors,
    Metrics,
    ModelFile,
    Ood,
    OodSet,
    OtherTestSet,
    Parity,
    Proportion,
    Split,
)
from alexnet.evaluation.scores import OtherOutputs, Scores, differences, score
from alexnet.inference import batches
from alexnet.inference.classifier import Classifier, Outputs

Pixels = npt.NDArray[np.uint8]
Predict = Callable[[Pixels], Outputs]
AskTorch = Callable[[Classifier, Pixels, int], OtherOutputs]  # the last is a batch size

CONFUSION: Final = "confusion.png"
RELIABILITY: Final = "reliability.png"

_SYNTHETIC: Final = 5_000  # images of noise, and as many of flat colours
_SEED: Final = 1  # not that of the images on which the score was fitted


@dataclass(frozen=True)
class Request:
    """What is to be measured, and where the results go.

    `ood` are folders of images of none of the classes, `photos` one as `photos.measure` takes, `cifar10_1` that of
    CIFAR-10.1, `labels` a file of corrected labels as `public_sets.read_corrected_labels` takes. `url` is that of a
    running service, and `ask_torch` gives torch's outputs (`training.export.torch_parity`).
    """

    model: Path
    data: Path
    output: Path
    split: Split = "test"
    batch_size: int = 256
    predictions: bool = False
    ood: tuple[Path, ...] = ()
    photos: Path | None = None
    corruptions: Protocol | None = None
    cifar10_1: Path | None = None
    labels: Path | None = None
    url: str | None = None
    ask_torch: AskTorch | None = None

    def check(self) -> None:
        """Raise `UserError` on what cannot be measured, before anything is."""
        if self.batch_size < 1:
            raise UserError(f"--batch-size is {self.batch_size}; give 1 or more")
        if self.corruptions is not None:
            self.corruptions.check()
        names = [path.resolve().name for path in self.ood]
        if len({*names, "noise", "flat"}) < len(names) + 2:
            raise UserError(f"--ood {' '.join(names)}: give each folder another name; noise and flat are taken")
        if self.labels is not None and self.split != "test":
            raise UserError("--labels gives labels of the test images; leave out --split validation")


def evaluate(request: Request) -> Metrics:
    """Measure a model file, print a summary and write the results; returns what `metrics.json` says.

    Sections that an earlier `metrics.json` has of the same file and images, and that are not measured this time, are
    kept. Raises `UserError` on an unusable model, damaged data, or where something cannot be measured.
    """
    request.check()
    classifier = Classifier(request.model)
    read = predictions.read_split(classifier, request.model, request.data, request.split)
    images = read.images
    predict = partial(batches.predict, classifier, batch_size=request.batch_size)
    outputs = predict(images.pixels)
    predicted = outputs.probabilities.argmax(1)
    scores = score(images.labels, predicted, len(classifier.classes))
    measured = Metrics(
        model=ModelFile(
            name=classifier.name,
            sha256=classifier.sha256,
            bytes=request.model.stat().st_size,
            run=classifier.metadata.run,
        ),
        data=read.data,
        accuracy=scores.accuracy,
        accuracy_interval_95=scores.interval,
        macro_f1=scores.macro_f1,
        weighted_f1=scores.weighted_f1,
        classes=_class_scores(classifier, scores),
        confusion=tuple(tuple(row) for row in scores.confusion.tolist()),
        calibration=calibration.measure(outputs.probabilities, images.labels),
        ood=_measure_ood(classifier, predict, outputs, request.ood),
        corruptions=_measure_corruptions(classifier, images, request),
        photos=photos.measure(classifier, predict, request.photos) if request.photos else None,
        cifar10_1=_measure_cifar10_1(classifier, predict, request.cifar10_1) if request.cifar10_1 else None,
        label_errors=_measure_labels(predicted, images.labels, request.labels) if request.labels else None,
        parity=_measure_parity(classifier, images.pixels, outputs, request),
        environment=environment.describe(_runtime_package(), "numpy"),
    )
    summary.show(measured)
    request.output.mkdir(parents=True, exist_ok=True)
    measured = keep(Metrics.find(request.output, classifier.sha256), measured)
    measured.write(request.output)
    _plot(request.output, scores, classifier, calibration.reliability(outputs.probabilities, images.labels))
    if request.predictions:
        found = predictions.Predictions(images.labels, predicted, read.paths)
        predictions.write(request.output / predictions.FILE_NAME, found, classifier.classes)
    return measured


def keep(earlier: Metrics | None, now: Metrics) -> Metrics:
    """`now`, and what `earlier` has beyond it of the same model and the same images; sets and parities are merged."""
    if earlier is None or earlier.model.sha256 != now.model.sha256 or earlier.data != now.data:
        return now
    kept = {
        name: getattr(earlier, name)
        for name in ("corruptions", "photos", "cifar10_1", "label_errors")
        if getattr(now, name) is None
    }
    if now.ood and earlier.ood:
        kept["ood"] = now.ood.model_copy(update={"sets": {**earlier.ood.sets, **now.ood.sets}})
    return now.model_copy(update={**kept, "parity": {**earlier.parity, **now.parity}})


def _class_scores(classifier: Classifier, scores: Scores) -> dict[str, ClassScores]:
    columns = zip(classifier.classes, scores.recall, scores.precision, scores.f1, scores.support, strict=True)
    return {
        name: ClassScores(accuracy=float(recall), precision=float(precision), f1=float(f1), support=int(support))
        for name, recall, precision, f1, support in columns
    }


def _measure_ood(
    classifier: Classifier, predict: Predict, in_distribution: Outputs, folders: tuple[Path, ...]
) -> Ood | None:
    if in_distribution.is_ood is None:
        if folders:
            raise UserError("--ood: the model has no OOD score; make one that has with `alexnet compress RUN`")
        return None
    sets: dict[str, OodSet] = {}
    height, width, _ = classifier.image_shape
    for folder in folders:
        read = loose_images.read(folder, height, width)
        sets[folder.resolve().name] = ood.measure(in_distribution, predict(read.pixels), read.sha256)
    if folders:
        for make in (synthetic_outliers.noise, synthetic_outliers.flat):
            sets[make.__name__] = ood.measure(in_distribution, predict(make(_SYNTHETIC, _SEED, height)))
    return Ood(refused=float(in_distribution.is_ood.mean()), sets=sets)


def _measure_corruptions(classifier: Classifier, images: Images, request: Request) -> Corruptions | None:
    if request.corruptions is None:
        return None
    silent = partial(batches.predict, classifier, batch_size=request.batch_size, description=None)
    return corruptions.measure(silent, images, request.corruptions)


def _measure_cifar10_1(classifier: Classifier, predict: Predict, folder: Path) -> OtherTestSet:
    if classifier.classes != cifar10.CLASSES:
        raise UserError("--cifar10-1: the model has other classes than CIFAR-10; leave it out")
    images = public_sets.read_cifar10_1(folder)
    correct = predict(images.pixels).probabilities.argmax(1) == images.labels
    return OtherTestSet(sha256=files.sha256(folder / public_sets.CIFAR10_1_DATA), accuracy=Proportion.of(correct))


def _measure_labels(predicted: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], path: Path) -> LabelErrors:
    corrected = public_sets.read_corrected_labels(path, labels)
    agreed = corrected != public_sets.NO_LABEL
    return LabelErrors(
        source=path.name,
        sha256=files.sha256(path),
        changed=int((corrected != labels)[agreed].sum()),
        left_out=int((~agreed).sum()),
        accuracy=Proportion.of((predicted == corrected)[agreed]),
        unchanged=Proportion.of((predicted == labels)[agreed]),
    )


def _measure_parity(classifier: Classifier, pixels: Pixels, outputs: Outputs, request: Request) -> dict[str, Parity]:
    found = {}
    if request.url is not None:
        from alexnet.evaluation import service_parity

        with service_parity.Service(request.url, classifier) as service:
            found["http"] = differences(outputs, service.ask(pixels, request.batch_size))
    if request.ask_torch is not None:
        elsewhere = request.ask_torch(classifier, pixels, request.batch_size)
        found["torch"] = differences(outputs, elsewhere)
    return found


def _runtime_package() -> str:
    installed = environment.describe("onnxruntime-gpu", "onnxruntime")
    return "onnxruntime-gpu" if "onnxruntime-gpu" in installed else "onnxruntime"


def _plot(output: Path, scores: Scores, classifier: Classifier, reliability: calibration.Reliability) -> None:
    try:
        from alexnet.evaluation import plots
    except ImportError:
        Console(stderr=True).print(f"{output / CONFUSION} is left out: it needs matplotlib (the evaluate extra)")
        return
    plots.plot_confusion(output / CONFUSION, scores.confusion, classifier.classes)
    plots.plot_reliability(output / RELIABILITY, reliability)
