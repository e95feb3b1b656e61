"""LitServe with ONNX Runtime, after https://lightning.ai/docs/litserve: one image a request, gathered up to BATCH.

With QUEUE=zmq, `fast_queue` is made to work: LitServe 0.2.19 ignores it, and swaps two addresses that it needs
(https://github.com/Lightning-AI/LitServe/issues/751 and /pull/752).
"""

import io
import json
import os

import litserve as ls
import numpy as np
import onnxruntime as ort
from litserve.transport import factory
from litserve.transport.zmq_transport import ZMQTransport
from PIL import Image

BATCH = int(os.environ.get("BATCH", "1"))


class Classifier(ls.LitAPI):
    """setup, decode_request, predict, encode_response."""

    def setup(self, device: str) -> None:
        """Once in each worker."""
        self.session = ort.InferenceSession(os.environ["MODEL"])
        self.labels = json.loads(self.session.get_modelmeta().custom_metadata_map["classes"])

    def decode_request(self, request) -> np.ndarray:  # without a type LitServe reads forms and JSON
        """The image of a form."""
        return np.asarray(Image.open(io.BytesIO(request["image"].file.read())).convert("RGB"))

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """With BATCH above 1 LitServe stacks the images."""
        if BATCH == 1:
            return self.session.run(["probabilities"], {"pixels": pixels[None]})[0][0]
        return self.session.run(["probabilities"], {"pixels": np.asarray(pixels)})[0]

    def encode_response(self, probabilities: np.ndarray) -> dict[str, float]:
        """To JSON."""
        return dict(zip(self.labels, probabilities.tolist(), strict=True))


def connect(config: factory.TransportConfig) -> ZMQTransport:
    """The transport of `fast_queue`, its addresses in their places."""
    broker = factory.Broker()
    broker.start()
    config.frontend_address, config.backend_address = broker.frontend_address, broker.backend_address
    return ZMQTransport(backend_address=broker.backend_address, frontend_address=broker.frontend_address)


if __name__ == "__main__":
    batching = {"max_batch_size": BATCH, "batch_timeout": 0.01} if BATCH > 1 else {}
    server = ls.LitServer(Classifier(api_path="/classify", **batching), accelerator="cpu")
    if os.environ.get("QUEUE") == "zmq":
        server.transport_config.transport_type = "zmq"
        factory._create_zmq_transport = connect
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
