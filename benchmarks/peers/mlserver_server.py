"""MLServer with ONNX Runtime, after https://mlserver.readthedocs.io/en/latest/user-guide/custom.html and its page on
adaptive batching. It speaks the Open Inference Protocol: images are base64 in JSON.
"""

import io
import os

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from PIL import Image


class Classifier(MLModel):
    """load and predict; MLServer gathers requests into one."""

    async def load(self) -> bool:
        """Once in each worker."""
        self.session = ort.InferenceSession(os.environ["MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """`image` BYTES [N] to `probabilities` FP32 [N, classes]."""
        images = self.decode(payload.inputs[0], default_codec=Base64Codec)
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in images])
        (probabilities,) = self.session.run(["probabilities"], {"pixels": pixels})
        output = NumpyCodec.encode_output("probabilities", probabilities)
        return InferenceResponse(model_name=self.name, outputs=[output])
