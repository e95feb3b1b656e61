"""Pixels to probabilities with ONNX Runtime.

In: an ONNX file that carries its own preprocessing and labels, and pixels uint8 [N, height, width, 3] RGB. Out:
probabilities float32 [N, classes] and, from files that have it, the OOD score of each image. All that is known about
the model is read from its file; torch is not needed.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.errors import UserError
from alexnet.inference import decode
from alexnet.inference.cpus import usable_cpus
from alexnet.inference.metadata import ModelMetadata
from alexnet.inference.prediction import DEFAULT_TOP_K, Prediction, rank
from alexnet.inference.session import CPU, CUDA, Gpu, open_session, run, why_no_gpu
from alexnet.paths import MODEL

if TYPE_CHECKING:
    from alexnet.inference.embedding import Embed

ImageLike = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]
_OneImage = TypeVar("_OneImage", bound=ImageLike)

_OOD_SCORE: Final = "unknown_score"
_SMALL_BYTES: Final = 64_000_000  # of a file that may be in memory twice
_BATCH: Final = 64


@dataclass(frozen=True)
class Outputs:
    """What the model computes for N images.

    `probabilities` float32 [N, classes], each row adding up to one. `ood_score` float32 [N], the higher, the less like
    any class; `is_ood` bool [N], whether that is over the model's threshold. Both are None where the file has no
    OOD output.
    """

    probabilities: npt.NDArray[np.float32]
    ood_score: npt.NDArray[np.float32] | None = None
    is_ood: npt.NDArray[np.bool_] | None = None


class Classifier:
    """A model file that is ready to run. Safe to share between threads.

        classifier = Classifier.load()
        classifier.predict("cat.jpg").label
        classifier.embed(["cat.jpg", "dog.jpg"])  # float32 [2, D]

    `threads` is the number of intra-op threads; None takes one for each usable CPU. `gpu` says whether CUDA is asked
    for, and what happens when it cannot be used: `require` refuses, `prefer` computes on the CPU and is `degraded`.
    Raises `UserError` when the file is missing, damaged, not exported by `alexnet export` or computes NaN, and when
    the GPU is required and missing. With `concurrent`, a small model is held twice, so that `concurrency` runs at once
    have a thread each: two such runs do more than one with two threads, which wait for each other after every operator.
    With `spin` the threads of a run that has all of them stay awake for a moment, for the next one.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        gpu: Gpu = "never",
        concurrent: bool = False,
        spin: bool = False,
    ) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}", "make a model with `alexnet export RUN`") from error
        self.threads: int = threads or usable_cpus()
        self.concurrency: int = 1
        try:
            self._session = self._single = open_session(content, self.threads, gpu, spin=spin)
            self.provider: str = self._session.get_providers()[0]
            if concurrent and self.threads > 1 and self.provider == CPU and len(content) <= _SMALL_BYTES:
                self._single = open_session(content, threads=1)
                self.concurrency = self.threads
        except Exception as error:
            raise UserError(
                f"{path}: not a whole ONNX file ({type(error).__name__})", "fetch or export it again"
            ) from error
        self.degraded: bool = gpu != "never" and self.provider != CUDA
        if self.degraded and gpu == "require":
            raise UserError(f"a GPU is required and cannot be used: {why_no_gpu()}")
        self.sha256: str = hashlib.sha256(content).hexdigest()
        self._path, self._gpu = path, gpu
        try:
            self.metadata: ModelMetadata = ModelMetadata.from_props(self._session.get_modelmeta().custom_metadata_map)
        except ValueError as error:
            raise UserError(
                f"{path}: its metadata are missing or damaged ({error})", "export it with `alexnet export RUN`"
            ) from error
        self.name: str = self.metadata.name
        self.classes: tuple[str, ...] = self.metadata.classes
        self.detects_ood: bool = self.metadata.ood_threshold is not None
        problem = self._wrong_signature()
        if problem is None:
            _, height, width, _ = self._session.get_inputs()[0].shape
            self.image_shape: tuple[int, int, int] = (height, width, 3)
            problem = self._wrong_outputs()
        if problem is not None:
            raise UserError(f"{path}: {problem}", "export it with `alexnet export RUN`")

    @classmethod
    def load(
        cls, path: str | os.PathLike[str] | None = None, *, threads: int | None = None, gpu: Gpu = "never"
    ) -> Self:
        """The model file at `path`; without one, the model that this package ships. Raises `UserError` as above."""
        return cls(MODEL if path is None else Path(path), threads=threads, gpu=gpu)

    def run(self, pixels: npt.NDArray[np.uint8], *, alone: bool = True) -> Outputs:
        """The outputs for pixels uint8 [N, height, width, 3] RGB of the size in `image_shape`.

        `alone` says whether no other run is under way: then this one gets all threads. Raises `MemoryError` when there
        is none left.
        """
        assert pixels.dtype == np.uint8
        assert pixels.shape[1:] == self.image_shape
        session = self._session if alone else self._single
        threshold = self.metadata.ood_threshold
        if threshold is None:
            (probabilities,) = run(session, ["probabilities"], pixels)
            return Outputs(probabilities)
        probabilities, scores = run(session, ["probabilities", _OOD_SCORE], pixels)
        return Outputs(probabilities, scores, scores > threshold)

    @overload
    def predict(self, images: ImageLike, top_k: int = DEFAULT_TOP_K) -> Prediction: ...

    @overload
    def predict(
        self, images: list[_OneImage] | tuple[_OneImage, ...], top_k: int = DEFAULT_TOP_K
    ) -> list[Prediction]: ...

    def predict(self, images: Any, top_k: int = DEFAULT_TOP_K) -> Prediction | list[Prediction]:
        """The `top_k` best classes of an image, or of each of a list of images, and whether it is none of them.

        An image is a path, the bytes of a file, a PIL image, or an array uint8 [height, width, 3] RGB, of any size.
        Raises `ImageError` on one that cannot be decoded, `OSError` on a file that cannot be read.
        """
        if not isinstance(images, list | tuple):
            return self.predict([images], top_k)[0]
        return [found for pixels in self._batches(images) for found in self.to_predictions(self.run(pixels), top_k)]

    def embed(self, images: ImageLike | list[_OneImage] | tuple[_OneImage, ...]) -> npt.NDArray[np.float32]:
        """The features of an image, or of each of a list of images, float32 [N, D]: what the model computes before its
        last layers, to search, to cluster, or to fit something else on.

        Images are those of `predict`. D is 256 for the shipped model, 2,304 for one of `alexnet fit`. Vectors of two
        images compare by their cosine. The first call opens the file once more. Raises `UserError` where the file has
        no embedding, as those of `alexnet export`, or has changed; and what `predict` raises.
        """
        several = images if isinstance(images, list | tuple) else [images]
        found = [self._embed(pixels) for pixels in self._batches(several)]
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    def to_predictions(self, outputs: Outputs, top_k: int) -> list[Prediction]:
        """What `outputs` say about each image, in words."""
        count = len(outputs.probabilities)
        is_ood = [None] * count if outputs.is_ood is None else outputs.is_ood.tolist()
        scores = [None] * count if outputs.ood_score is None else outputs.ood_score.tolist()
        return [
            Prediction(rank(probabilities, self.classes, top_k), verdict, score)
            for probabilities, verdict, score in zip(outputs.probabilities, is_ood, scores, strict=True)
        ]

    @cached_property
    def _embed(self) -> "Embed":
        from alexnet.inference.embedding import open_embedding  # it needs onnx, which a service does not have

        content = self._path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise UserError(f"{self._path} has changed since it was loaded", "load it again")
        embed = open_embedding(content, self.threads, self._gpu)
        if embed is None:
            raise UserError(f"{self._path} has no embedding", "take a file of `alexnet fit` or `alexnet compress`")
        return embed

    def _batches(self, images: list[Any] | tuple[Any, ...]) -> Iterator[npt.NDArray[np.uint8]]:
        for first in range(0, len(images), _BATCH):
            yield np.stack([self._to_pixels(image) for image in images[first : first + _BATCH]])

    def _to_pixels(self, image: ImageLike) -> npt.NDArray[np.uint8]:
        height, width, _ = self.image_shape
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise TypeError(f"an array of {image.dtype} {list(image.shape)}, not uint8 [height, width, 3]")
            image = Image.fromarray(image)
        if isinstance(image, Image.Image):
            return decode.from_image(image, height, width)
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
        return decode.decode(content, height, width)

    def _wrong_signature(self) -> str | None:
        """What is wrong with the names, types and shapes of inputs and outputs, None where nothing is."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = list(inputs[0].shape)
        described = [(item.name, item.type) for item in inputs]
        fits = len(shape) == 4 and [isinstance(side, int) for side in shape] == [False, True, True, True]
        if described != [("pixels", "tensor(uint8)")] or not fits or shape[3] != 3:
            found = [(item.name, item.type, item.shape) for item in inputs]
            return f"wants {found}, not pixels uint8 [N, height, width, 3]"
        if outputs[0].name != "probabilities" or len(outputs[0].shape) != 2:
            return f"gives {outputs[0].name} {outputs[0].shape} first, not probabilities [N, classes]"
        if outputs[0].shape[1] != len(self.classes):
            return f"gives {outputs[0].shape[1]} probabilities, but names {len(self.classes)} classes"
        if self.detects_ood and (_OOD_SCORE, 1) not in [(item.name, len(item.shape)) for item in outputs]:
            return f"has a threshold for {_OOD_SCORE}, but no such output"
        return None

    def _wrong_outputs(self) -> str | None:
        """What is wrong with the outputs for a black and a white image, None where nothing is."""
        outputs = self.run(np.stack([np.zeros(self.image_shape, np.uint8), np.full(self.image_shape, 255, np.uint8)]))
        values = [outputs.probabilities] if outputs.ood_score is None else [outputs.probabilities, outputs.ood_score]
        finite = all(bool(np.isfinite(value).all()) for value in values)
        return None if finite else "computes NaN or infinity, for a black or a white image"
