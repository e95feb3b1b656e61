"""The parts of README.md that are not written by hand: the service's answer to the example, and the numbers.

    python -m tools.readme

In: models/alexnet (model and metrics), the example image. Out: README.md with the text between its markers replaced.
"""

import asyncio
import json
from typing import Final

from alexnet import files
from alexnet.evaluation import metrics
from alexnet.inference.classifier import Classifier
from alexnet.markdown import megabytes, replace_section
from alexnet.paths import ROOT
from serving.app import Api
from serving.errors import RequestError
from serving.inference.pipeline import Capacity, ClassifyRequest
from serving.metrics import Metrics
from serving.settings import Settings

README: Final = ROOT / "README.md"
EXAMPLE: Final = ROOT / "tests" / "data" / "cifar10" / "cat" / "00000.png"
TOP_K: Final = 3  # as in the example
MODEL_FOLDER: Final = ROOT / "models" / "alexnet"


def render(text: str) -> str:
    """`text` with the generated parts brought up to date."""
    for name, content in (("answer", _answer()), ("numbers", _numbers())):
        text = replace_section(text, name, content)
    return text


def _answer() -> str:
    classifier = _classifier()
    api = Api(classifier, Settings(), Metrics(), Capacity(1))
    (answer,) = asyncio.run(api.pipeline.classify(ClassifyRequest([EXAMPLE.read_bytes()], TOP_K)))
    assert not isinstance(answer, RequestError)
    described = answer.describe()
    lines = ",\n".join("    " + json.dumps(prediction) for prediction in described["predictions"])
    unknown = f'  "unknown": {json.dumps(described["unknown"])},\n' if "unknown" in described else ""
    model = json.dumps({"name": classifier.name, "sha256": classifier.sha256})
    return f'```json\n{{\n  "predictions": [\n{lines}\n  ],\n{unknown}  "model": {model}\n}}\n```\n'


def _classifier() -> Classifier:
    return Classifier(MODEL_FOLDER / "model.onnx")


def _numbers() -> str:
    measured = metrics.Metrics.read(MODEL_FOLDER, "run: make evaluate")
    low, high = measured.accuracy_interval_95
    names = " | ".join(measured.classes)
    values = " | ".join(f"{row.accuracy:.3f}" for row in measured.classes.values())
    return (
        f"On the {measured.data.images:,} test images of CIFAR-10 (`make evaluate`):\n\n"
        f"| accuracy (95 % interval) | macro F1 | weighted F1 | size |\n|---|---|---|---|\n"
        f"| {measured.accuracy:.4f} ({low:.4f} to {high:.4f}) | {measured.macro_f1:.4f} | "
        f"{measured.weighted_f1:.4f} | {megabytes(measured.model.bytes)} |\n\n"
        f"| {names} |\n|{'---|' * len(measured.classes)}\n| {values} |\n" + _elsewhere(measured)
    )


def _elsewhere(measured: metrics.Metrics) -> str:
    """A sentence about images that are not CIFAR-10's, where they were measured."""
    found, corruptions = measured.photos, measured.corruptions
    if found is None or found.ood is None or corruptions is None:
        return ""
    low, high = found.accuracy.interval_95
    return (
        f"\nOn {found.accuracy.images:,} photos of {len(found.classes)} of the classes the accuracy is "
        f"{found.accuracy.value:.3f} ({low:.3f} to {high:.3f}), on corrupted test images\n{corruptions.mean:.3f}; "
        f"{found.ood.images:,} photos of other things are told from those of the classes with an AUROC of "
        f"{found.ood.auroc:.3f}.\n"
    )


if __name__ == "__main__":
    with files.replacing(README) as partial:
        partial.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
