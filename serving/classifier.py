"""Pixels to probabilities with ONNX Runtime.

In: an ONNX file that carries its own preprocessing and labels, and pixels uint8 [N, height, width, 3] RGB.
Out: probabilities float32 [N, classes]. All that is known about the model is read from its file; torch is not needed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from serving.errors import UserError


class Classifier:
    """An ONNX Runtime session with its labels. Safe to share between threads.

    `threads` is the number of intra-op threads; None leaves the choice to ONNX Runtime (one per core).
    Raises `UserError` when the file is missing, damaged, or not exported by `alexnet export`.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; make a model with `alexnet export RUN`") from error
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only: what is wrong with the file is said below, in one line
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a class of its own for each way to be damaged
            raise UserError(
                f"{path}: not a whole ONNX file ({type(error).__name__}); fetch or export it again"
            ) from error
        self.sha256: str = hashlib.sha256(content).hexdigest()
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        try:
            self.classes: tuple[str, ...] = tuple(json.loads(self.metadata["classes"]))
            self.name: str = self.metadata["name"]
        except (KeyError, ValueError) as error:
            raise UserError(f"{path}: no class names inside; export it with `alexnet export RUN`") from error
        self.image_shape: tuple[int, int, int] = self._check_signature(path)

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities float32 [N, classes] of pixels uint8 [N, height, width, 3] RGB; each row adds up to one."""
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == self.image_shape
        (probabilities,) = self._session.run(["probabilities"], {"pixels": pixels})
        result: npt.NDArray[np.float32] = probabilities
        return result

    def top(self, probabilities: npt.NDArray[np.float32], count: int) -> list[dict[str, Any]]:
        """The `count` best classes of one row of probabilities float32 [classes], best first."""
        best = np.argsort(-probabilities, kind="stable")[:count]
        return [{"label": self.classes[i], "score": float(probabilities[i])} for i in best]

    def _check_signature(self, path: Path) -> tuple[int, int, int]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape
        whole = (
            [(i.name, i.type) for i in inputs] == [("pixels", "tensor(uint8)")]
            and outputs[0].name == "probabilities"
            and outputs[0].shape[1:] == [len(self.classes)]
            and len(shape) == 4
            and isinstance(shape[1], int)
            and isinstance(shape[2], int)
            and shape[3] == 3
        )
        if not whole:
            raise UserError(
                f"{path}: wants {[(i.name, i.type, i.shape) for i in inputs]}, not pixels uint8 [N, height, width, 3]; "
                "export it with `alexnet export RUN`"
            )
        return shape[1], shape[2], 3
