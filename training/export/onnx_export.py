"""A checkpoint to one ONNX file, proven to answer as the checkpoint does.

In: a run's folder or a `.pt` file of the trainer's. Out: a self-contained ONNX file with input `pixels` uint8
[N, 32, 32, 3] RGB and output `probabilities` float32 [N, classes], only N dynamic. Preprocessing and softmax are part
of the graph; class names and provenance are its metadata.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from alexnet import datasets, environment, files
from alexnet.datasets import Cifar10, Dataset, Fingerprint, cifar10
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import ModelMetadata, TrainingSettings, ValidationMetrics
from alexnet.markdown import megabytes
from training import trainer
from training.networks.alexnet import AlexNet
from training.settings import Settings

NAME: Final = "alexnet-cifar10"
NAME_OF_OTHERS: Final = "alexnet"  # of models that know other classes

_TOLERANCE: Final = 1e-4
_PARITY_IMAGES: Final = 256
_PARITY_BATCHES: Final = (1, 7)


class Probabilities(nn.Module):
    """The network with softmax: what the ONNX file computes. `pixels` uint8 [N, 32, 32, 3] to float32 [N, classes]."""

    def __init__(self, model: AlexNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.softmax(self.model(pixels), dim=1)


def export(checkpoint: Path, data_root: Path, output: Path) -> Path:
    """Write `checkpoint` as the ONNX file `output`; returns `output`.

    Nothing is written unless torch and ONNX Runtime agree on real images. Raises `UserError` on a bad checkpoint, and
    when they differ.
    """
    path = checkpoint / "best.pt" if checkpoint.is_dir() else checkpoint
    saved = trainer.load_checkpoint(path)
    model = restore(saved)
    data = datasets.open(data_root)
    data.check(Fingerprint.of(saved), path)
    network = Probabilities(model).eval()
    images = parity_images(data)
    output.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(output) as partial:
        onnx.save(to_onnx(network, metadata(path, saved)), partial)
        difference = check_parity(network, Classifier(partial), images)
    print(f"{output}: {megabytes(output.stat().st_size)}, sha256 {files.sha256(output)}")
    print(f"torch and ONNX Runtime agree on {len(images)} images: largest difference {difference:.1e}")
    return output


def restore(saved: dict[str, Any]) -> AlexNet:
    """The network of what `trainer.load_checkpoint` read, ready to answer."""
    settings = Settings.from_dict(saved["settings"])
    if settings.network == "teacher":
        raise UserError("a teacher is not exported: it is there to train AlexNet with, by --teacher")
    model = AlexNet(len(saved["classes"]), settings.input_size, settings.dropout, settings.width)
    model.load_state_dict(saved["model"])
    return model.eval()


def to_onnx(
    network: nn.Module, metadata: ModelMetadata, outputs: Sequence[str] = ("probabilities",)
) -> onnx.ModelProto:
    """The graph of `network`, whose `forward` takes `pixels` uint8 [N, 32, 32, 3] and gives `outputs`; N is dynamic."""
    example = torch.zeros(2, cifar10.SIDE, cifar10.SIDE, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["pixels"],
            output_names=list(outputs),
            dynamic_shapes={"pixels": {0: torch.export.Dim("N")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    exported: onnx.ModelProto = program.model_proto
    for node in exported.graph.node:  # the exporter leaves stack traces, with the paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    for item in (*exported.graph.input, *exported.graph.output, *exported.graph.value_info):
        del item.metadata_props[:]
    onnx.helper.set_model_props(exported, metadata.to_props())
    onnx.checker.check_model(exported, full_check=True)
    return exported


def metadata(path: Path, saved: dict[str, Any]) -> ModelMetadata:
    """What the file says about itself: classes, where its weights are from, and the versions that made it."""
    last = saved["rows"][-1] if saved["rows"] else None  # of the weights in this file, in best.pt and last.pt alike
    settings, trained = saved["settings"], Fingerprint.of(saved)
    return ModelMetadata(
        name=NAME if trained.classes == cifar10.CLASSES else NAME_OF_OTHERS,
        classes=trained.classes,
        input_size=settings["input_size"],
        run=path.resolve().parent.name,
        checkpoint_sha256=files.sha256(path),
        settings=TrainingSettings(**settings),
        validation=None if last is None else ValidationMetrics(**last),
        exported_with=environment.describe("torch", "onnx", "onnxscript"),
        image_folder_sha256=trained.sha256,
    )


def parity_images(data: Dataset) -> npt.NDArray[np.uint8]:
    """Real training images, and the two extremes: uint8 [256 + 2, 32, 32, 3]; fewer where one's own are fewer."""
    real = data.sample(_PARITY_IMAGES)
    if len(real) < _PARITY_IMAGES and isinstance(data, Cifar10):
        raise UserError(f"{data.root} has {len(real)} training images; the check of the export needs {_PARITY_IMAGES}")
    return np.concatenate([real, np.zeros_like(real[:1]), np.full_like(real[:1], 255)])


def check_parity(network: nn.Module, classifier: Classifier, images: npt.NDArray[np.uint8]) -> float:
    """The largest difference between torch and ONNX Runtime. Raises `UserError` when it is too large."""
    largest = 0.0
    for size in _PARITY_BATCHES:
        for first in range(0, len(images), size):
            batch = images[first : first + size]
            with torch.inference_mode():
                expected = network(torch.from_numpy(batch)).numpy()
            found = classifier.run(batch).probabilities
            difference = float(np.abs(expected - found).max())
            largest = max(largest, difference)
            close = difference <= _TOLERANCE  # not a number is not close
            if not close or not np.array_equal(expected.argmax(1), found.argmax(1)):
                raise UserError(
                    f"not written: ONNX Runtime and torch differ by {difference:.1e} (at most {_TOLERANCE:.0e} is "
                    f"allowed) or in the best class, at batch size {size} from image {first} on"
                )
    return largest
