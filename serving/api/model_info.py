"""What is known about the model that is served.

In: the classifier, and `metrics.json` beside its file where that was measured on this very file. Out: `ModelInfo`.
"""

from pathlib import Path

from alexnet.evaluation.metrics import Metrics
from alexnet.inference.classifier import Classifier
from alexnet.inference.session import VERSION
from serving.api import pages
from serving.api.schemas import ModelInfo, PhotoTest, Runtime, TestResult, ValidationResult

_CIFAR10 = "CIFAR-10"
_IMAGE_FOLDER = "image folder"


def describe(classifier: Classifier, path: Path, samples: tuple[str, ...] = ()) -> ModelInfo:
    """The description of the model at `path`, for whose classes there are `samples` on the page."""
    known = classifier.metadata
    dataset = _CIFAR10 if known.image_folder_sha256 is None else _IMAGE_FOLDER
    measured = Metrics.find(path.parent, classifier.sha256)
    height, width, _ = classifier.image_shape
    version = f"{known.run}-{known.checkpoint_sha256[:12]}" if known.run and known.checkpoint_sha256 else None
    return ModelInfo(
        name=classifier.name,
        version=version,
        sha256=classifier.sha256,
        license=known.license,
        classes=list(classifier.classes),
        image_size=[height, width],
        run=known.run,
        test=None if measured is None else _test_result(measured, dataset),
        photos=None if measured is None else _photo_test(measured),
        validation=None
        if known.validation is None
        else ValidationResult(accuracy=known.validation.validation_accuracy),
        temperature=known.temperature,
        unknown_threshold=known.ood_threshold,
        samples=list(samples),
        card=pages.card(path).is_file(),
        runtime=Runtime(
            provider=classifier.provider,
            degraded=classifier.degraded,
            threads=classifier.threads,
            onnxruntime=VERSION,
        ),
    )


def _test_result(measured: Metrics, dataset: str) -> TestResult | None:
    if measured.data.split != "test":
        return None
    return TestResult(
        dataset=dataset,
        images=measured.data.images,
        accuracy=measured.accuracy,
        accuracy_interval_95=list(measured.accuracy_interval_95),
        macro_f1=measured.macro_f1,
        expected_calibration_error=measured.calibration.expected_calibration_error,
    )


def _photo_test(measured: Metrics) -> PhotoTest | None:
    photos = measured.photos
    if photos is None:
        return None
    return PhotoTest(
        images=photos.accuracy.images,
        accuracy=photos.accuracy.value,
        unknown=None if photos.refused is None else photos.refused.value,
        others=None if photos.ood is None else photos.ood.images,
        others_unknown=None if photos.ood is None else photos.ood.refused,
    )
