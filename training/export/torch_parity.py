"""What torch answers with the checkpoint that an ONNX file was exported from.

In: a checkpoint, the classifier of the file, and pixels uint8 [N, 32, 32, 3] RGB. Out: predicted classes and
probabilities, for `alexnet.evaluation.scores.differences` to compare with the file's own.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from alexnet import files
from alexnet.errors import UserError
from alexnet.evaluation import calibration
from alexnet.evaluation.scores import OtherOutputs
from alexnet.inference.batches import map_batches
from alexnet.inference.classifier import Classifier
from training import trainer
from training.export import onnx_export


def ask_torch(checkpoint: Path, classifier: Classifier, pixels: npt.NDArray[np.uint8], batch_size: int) -> OtherOutputs:
    """Torch's answers, calibrated by the file's own temperature; `checkpoint` is a run's folder or a `.pt` file.

    Raises `UserError` on a bad checkpoint, or one that the file of `classifier` was not exported from.
    """
    path = checkpoint / "best.pt" if checkpoint.is_dir() else checkpoint
    network = onnx_export.Probabilities(onnx_export.restore(trainer.load_checkpoint(path))).eval()
    if files.sha256(path) != classifier.metadata.checkpoint_sha256:
        raise UserError(f"the model was not exported from {path}; give the checkpoint that it was exported from")

    @torch.inference_mode()
    def run(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        probabilities: npt.NDArray[np.float64] = network(torch.from_numpy(batch)).numpy().astype(np.float64)
        return probabilities

    probabilities = np.concatenate(map_batches(run, pixels, batch_size, description="images by torch"))
    if temperature := calibration.temperature_of(classifier.metadata):
        probabilities = calibration.apply_temperature(probabilities, temperature)
    return OtherOutputs(probabilities.argmax(1), probabilities)
