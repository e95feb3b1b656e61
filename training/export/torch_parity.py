"""Whether ONNX Runtime and torch give the same probabilities.

In: a checkpoint or a network, the classifier of a file, and pixels uint8 [N, 32, 32, 3] RGB. Out: the largest
difference; or torch's own probabilities, for `alexnet evaluate` to compare.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from alexnet.errors import UserError
from alexnet.evaluation import calibration
from alexnet.evaluation.scores import OtherOutputs
from alexnet.inference.batches import map_batches
from alexnet.inference.classifier import Classifier
from training.export.folding import FoldedAlexNet
from training.export.source import Probabilities, read
from training.networks.alexnet import AlexNet

TOLERANCE: Final = 1e-4  # of probabilities

_FOLDING_IMAGES: Final = 32
_BATCHES: Final = ((1, 16), (7, 35), (64, None))  # images at once, and of how many


def check_parity(network: nn.Module, classifier: Classifier, images: npt.NDArray[np.uint8]) -> float:
    """The largest difference between torch and ONNX Runtime. Raises `UserError` when it is too large."""
    largest = 0.0
    for size, count in _BATCHES:
        for first in range(0, len(images[:count]), size):
            batch = images[first : first + size]
            with torch.inference_mode():
                expected = network(torch.from_numpy(batch)).numpy()
            found = classifier.run(batch).probabilities
            difference = float(np.abs(expected - found).max())
            largest = max(largest, difference)
            close = difference <= TOLERANCE  # not a number is not close
            if not close or not np.array_equal(expected.argmax(1), found.argmax(1)):
                raise UserError(
                    f"not written: ONNX Runtime and torch differ by {difference:.1e} (at most {TOLERANCE:.0e} is "
                    f"allowed) or in the best class, at batch size {size} from image {first} on"
                )
    return largest


def check_folding(model: AlexNet, folded: FoldedAlexNet, images: npt.NDArray[np.uint8]) -> None:
    """Raise `UserError` unless both give the same probabilities."""
    pixels = torch.from_numpy(images[-_FOLDING_IMAGES:])
    with torch.inference_mode():
        difference = float((folded(pixels)[0].softmax(1) - model(pixels).softmax(1)).abs().max())
    if not difference <= TOLERANCE:  # NaN is not
        raise UserError(f"not written: constant folding changes probabilities by {difference:.1e}")


def ask_torch(checkpoint: Path, classifier: Classifier, pixels: npt.NDArray[np.uint8], batch_size: int) -> OtherOutputs:
    """Torch's outputs, calibrated by the file's own temperature; `checkpoint` is a run's folder or a `.pt` file.

    Raises `UserError` on a bad checkpoint, or one that the file of `classifier` was not exported from.
    """
    source = read(checkpoint)
    network = Probabilities(source.model).eval()
    if source.metadata.checkpoint_sha256 != classifier.metadata.checkpoint_sha256:
        raise UserError(f"the model was not exported from {source.path}; give the checkpoint that it was exported from")

    @torch.inference_mode()
    def run(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        probabilities: npt.NDArray[np.float64] = network(torch.from_numpy(batch)).numpy().astype(np.float64)
        return probabilities

    probabilities = np.concatenate(map_batches(run, pixels, batch_size, description="images by torch"))
    if temperature := calibration.temperature_of(classifier.metadata):
        probabilities = calibration.apply_temperature(probabilities, temperature)
    return OtherOutputs(probabilities.argmax(1), probabilities)
