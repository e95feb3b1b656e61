"""Pixels to probabilities with ONNX Runtime.

In: an ONNX file that carries its own preprocessing and labels, and pixels uint8 [N, height, width, 3] RGB.
Out: probabilities float32 [N, classes], and from files that tell it, which images are probably of none of the classes.
All that is known about the model is read from its file; torch is not needed.
"""

import hashlib
import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # since 1.29 it would report to Microsoft from the moment of its import

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from alexnet.errors import UserError
from alexnet.inference.cpus import usable_cpus
from alexnet.inference.metadata import ModelMetadata

_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_PACKAGES: Final = ("onnxruntime", "onnxruntime-gpu")
_UNKNOWN_SCORE: Final = "unknown_score"
_SMALL_BYTES: Final = 64_000_000  # of a file that may be in memory twice


@dataclass(frozen=True)
class Answers:
    """What is said about N images.

    `probabilities` float32 [N, classes], each row adding up to one. `unknown_score` float32 [N], the higher, the less
    like any class; `unknown` bool [N], whether that is over the model's threshold. Both are None where the file does
    not tell.
    """

    probabilities: npt.NDArray[np.float32]
    unknown_score: npt.NDArray[np.float32] | None = None
    unknown: npt.NDArray[np.bool_] | None = None


class Classifier:
    """An ONNX Runtime session with its labels. Safe to share between threads.

    `threads` is the number of intra-op threads; None takes one for each usable CPU. `gpu` says whether CUDA is asked
    for, and what happens when it cannot be used: `require` refuses, `prefer` computes on the CPU and is `degraded`.
    Raises `UserError` when the file is missing, damaged, or not exported by `alexnet export`, or the GPU is required
    and missing. With `beside`, a small model is held twice, so that `runs` runs at once have a thread each: two such
    runs do more than one run with two threads, which wait for each other after every operator.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        gpu: Literal["never", "prefer", "require"] = "never",
        beside: bool = False,
    ) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; make a model with `alexnet export RUN`") from error
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only: what is wrong with the file is said below, in one line
        self.threads: int = threads or usable_cpus()
        options.intra_op_num_threads = self.threads
        # Within a run threads that spin are there at once; after it they would take the time of those that answer.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        providers = [_CPU] if gpu == "never" else [_CUDA, _CPU]
        try:
            if gpu != "never" and _CUDA not in ort.get_available_providers():
                providers = [_CPU]
            elif gpu != "never":
                ort.preload_dlls()  # CUDA and cuDNN may be pip's, in folders where nothing else looks
            with _muted(gpu == "require"):
                self._session = self._beside = ort.InferenceSession(content, options, providers=providers)
            self.runs: int = 1
            if beside and self.threads > 1 and providers == [_CPU] and len(content) <= _SMALL_BYTES:
                options.intra_op_num_threads = 1
                self._beside = ort.InferenceSession(content, options, providers=providers)
                self.runs = self.threads
        except Exception as error:  # ONNX Runtime has a class of its own for each way to be damaged
            raise UserError(
                f"{path}: not a whole ONNX file ({type(error).__name__}); fetch or export it again"
            ) from error
        self.provider: str = self._session.get_providers()[0]
        self.degraded: bool = gpu != "never" and self.provider != _CUDA
        if self.degraded and gpu == "require":
            raise UserError(f"a GPU is required and cannot be used: {_why_no_gpu()}")
        self.sha256: str = hashlib.sha256(content).hexdigest()
        try:
            self.metadata: ModelMetadata = ModelMetadata.from_props(self._session.get_modelmeta().custom_metadata_map)
        except ValueError as error:
            raise UserError(
                f"{path}: its metadata are missing or damaged ({error}); export it with `alexnet export RUN`"
            ) from error
        self.name: str = self.metadata.name
        self.classes: tuple[str, ...] = self.metadata.classes
        self.unknown_threshold: float | None = self.metadata.ood_threshold
        self.image_shape: tuple[int, int, int] = self._check_signature(path)
        self.tells_unknown: bool = self.unknown_threshold is not None

    def predict(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities float32 [N, classes] of pixels uint8 [N, height, width, 3] RGB; each row adds up to one."""
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == self.image_shape
        (probabilities,) = self._session.run(["probabilities"], {"pixels": pixels})
        result: npt.NDArray[np.float32] = probabilities
        return result

    def answer(self, pixels: npt.NDArray[np.uint8], *, alone: bool = True) -> Answers:
        """As `predict`, and which images are probably of no class, where the file tells.

        `alone` says whether no other run is under way: then this one gets all threads.
        """
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == self.image_shape
        session = self._session if alone else self._beside
        if not self.tells_unknown:
            return Answers(*session.run(["probabilities"], {"pixels": pixels}))
        probabilities, scores = session.run(["probabilities", _UNKNOWN_SCORE], {"pixels": pixels})
        return Answers(probabilities, scores, scores > self.unknown_threshold)

    def describe(self) -> dict[str, Any]:
        """What is known about the model and where it runs, ready for JSON."""
        height, width, _ = self.image_shape
        found = self.metadata
        return {
            "name": self.name,
            "version": self._version(),
            "sha256": self.sha256,
            "classes": list(self.classes),
            "image_size": [height, width],
            "run": found.run,
            "input_size": found.input_size,
            "metrics": None if found.validation is None else found.validation.model_dump(),
            "temperature": found.temperature,
            "unknown_threshold": found.ood_threshold,
            "runtime": {
                "provider": self.provider,
                "degraded": self.degraded,
                "threads": self.threads,
                "onnxruntime": ort.__version__,
            },
        }

    def _version(self) -> str | None:
        """The run and the beginning of the SHA-256 of the checkpoint that the file was exported from."""
        run, checkpoint = self.metadata.run, self.metadata.checkpoint_sha256
        return f"{run}-{checkpoint[:12]}" if run and checkpoint else None

    def _check_signature(self, path: Path) -> tuple[int, int, int]:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape
        whole = (
            [(i.name, i.type) for i in inputs] == [("pixels", "tensor(uint8)")]
            and outputs[0].name == "probabilities"
            and outputs[0].shape[1:] == [len(self.classes)]
            and (self.unknown_threshold is None or (_UNKNOWN_SCORE, 1) in [(o.name, len(o.shape)) for o in outputs])
            and len(shape) == 4
            and not isinstance(shape[0], int)
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


def installed_runtimes() -> list[str]:
    """Which of the two packages of ONNX Runtime are installed. With both, the CPU one silently hides the other."""
    found = []
    for package in _PACKAGES:
        try:
            importlib.metadata.version(package)
            found.append(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@contextmanager
def _muted(wanted: bool) -> Iterator[None]:
    """Without ONNX Runtime's own lines on a GPU that it cannot use, where our one line is about to say so."""
    try:
        if wanted:
            ort.set_default_logger_severity(4)  # fatal
        yield
    finally:
        if wanted:
            ort.set_default_logger_severity(2)  # warnings, as it begins with; what it is set to cannot be asked


def _why_no_gpu() -> str:
    found = installed_runtimes()
    if len(found) == len(_PACKAGES):
        return (
            "onnxruntime and onnxruntime-gpu are both installed and hide each other; uninstall both, install the latter"
        )
    if "onnxruntime-gpu" not in found:
        return "onnxruntime-gpu is not installed"
    return (
        "CUDA, cuDNN or the driver is missing or too old; `nvidia-smi` tells more, and the log with ALEXNET_GPU=prefer"
    )
