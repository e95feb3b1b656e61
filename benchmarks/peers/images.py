"""For the peers that are written without a web framework: from the body of a form to pixels, and the model.

MODEL names the ONNX file, THREADS the threads of a run; with DECODER=ours our decoder is used, else plain Pillow.
"""

import io
import json
import os

import numpy as np
import onnxruntime as ort
from PIL import Image

options = ort.SessionOptions()
options.intra_op_num_threads = int(os.environ.get("THREADS", "0"))
session = ort.InferenceSession(os.environ["MODEL"], options)
labels = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
HEIGHT, WIDTH = session.get_inputs()[0].shape[1:3]

if os.environ.get("DECODER") == "ours":
    from alexnet.inference.decode import decode as ours

    def decode(content: bytes) -> np.ndarray:
        """Pixels uint8 [height, width, 3]."""
        return ours(content, HEIGHT, WIDTH)
else:

    def decode(content: bytes) -> np.ndarray:
        """Pixels uint8 [height, width, 3]."""
        image = Image.open(io.BytesIO(content)).convert("RGB")
        return np.asarray(image if image.size == (WIDTH, HEIGHT) else image.resize((WIDTH, HEIGHT)))


def files_of(body: bytes) -> list[bytes]:
    """The files of a multipart form, cut at its boundary, which is the first line."""
    boundary = body.partition(b"\r\n")[0]
    return [part.partition(b"\r\n\r\n")[2][:-2] for part in body.split(boundary)[1:-1]]


def classify(pixels: list[np.ndarray]) -> list[dict[str, float]]:
    """Probabilities by label for each image."""
    (probabilities,) = session.run(["probabilities"], {"pixels": np.stack(pixels)})
    return [dict(zip(labels, row, strict=True)) for row in probabilities.tolist()]
