"""BentoML with ONNX Runtime, after https://docs.bentoml.com/en/latest/get-started/hello-world.html and its pages on
image inputs (build-with-bentoml/iotypes.html) and adaptive batching (get-started/adaptive-batching.html).
"""

import json
import os

import bentoml
import numpy as np
import onnxruntime as ort
from PIL.Image import Image


class Model:
    """The session and its labels."""

    def __init__(self) -> None:
        self.session = ort.InferenceSession(os.environ["MODEL"])
        self.labels = json.loads(self.session.get_modelmeta().custom_metadata_map["classes"])

    def classify(self, images: list[Image]) -> list[dict[str, float]]:
        """Run, name."""
        pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
        (probabilities,) = self.session.run(["probabilities"], {"pixels": pixels})
        return [dict(zip(self.labels, row, strict=True)) for row in probabilities.tolist()]


@bentoml.service
class Typed:
    """A typed parameter for each image."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api
    def classify(self, image: Image) -> dict[str, float]:
        """One image."""
        return self.model.classify([image])[0]

    @bentoml.api
    def classify_batch(self, images: list[Image]) -> list[dict[str, float]]:
        """Many images."""
        return self.model.classify(images)


@bentoml.service
class Batchable:
    """BentoML gathers the images of several requests."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True)
    def classify(self, images: list[Image]) -> list[dict[str, float]]:
        """Images of one or more requests."""
        return self.model.classify(images)
