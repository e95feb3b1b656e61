"""FastAPI with ONNX Runtime, after https://fastapi.tiangolo.com/tutorial/request-files/: `fastapi run` starts it.

Functions that compute are plain `def`, which FastAPI runs in its threads (https://fastapi.tiangolo.com/async/).
"""

import json
import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, UploadFile
from PIL import Image

session = ort.InferenceSession(os.environ["MODEL"])
labels = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
app = FastAPI()


def classify_all(images: list[UploadFile]) -> list[dict[str, float]]:
    """Decode, run, name."""
    pixels = np.stack([np.asarray(Image.open(image.file).convert("RGB")) for image in images])
    (probabilities,) = session.run(["probabilities"], {"pixels": pixels})
    return [dict(zip(labels, row, strict=True)) for row in probabilities.tolist()]


@app.post("/classify")
def classify(image: UploadFile) -> dict[str, float]:
    """One image."""
    return classify_all([image])[0]


@app.post("/classify_batch")
def classify_batch(images: list[UploadFile]) -> list[dict[str, float]]:
    """Many images."""
    return classify_all(images)
