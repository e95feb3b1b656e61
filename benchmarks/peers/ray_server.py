"""Ray Serve with ONNX Runtime, after https://docs.ray.io/en/latest/serve/develop-and-deploy.html and its page on
FastAPI (serve/http-guide.html).
"""

import json
import os
import signal
import tempfile

import numpy as np
import onnxruntime as ort
import ray
from fastapi import FastAPI, UploadFile
from PIL import Image
from ray import serve

app = FastAPI()


@serve.deployment(
    ray_actor_options={"runtime_env": {"env_vars": {"MODEL": os.environ["MODEL"]}}},
    max_ongoing_requests=64,  # with its default of 5, 32 clients keep each other waiting
)
@serve.ingress(app)
class Classifier:
    """One replica."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1  # Ray sets OMP_NUM_THREADS to 1 for an actor
        self.session = ort.InferenceSession(os.environ["MODEL"], options)
        self.labels = json.loads(self.session.get_modelmeta().custom_metadata_map["classes"])

    @app.post("/classify")
    def classify(self, image: UploadFile) -> dict[str, float]:
        """One image."""
        pixels = np.asarray(Image.open(image.file).convert("RGB"))[None]
        (probabilities,) = self.session.run(["probabilities"], {"pixels": pixels})
        return dict(zip(self.labels, probabilities[0].tolist(), strict=True))


if __name__ == "__main__":
    ray.init(include_dashboard=False, _temp_dir=tempfile.mkdtemp(prefix="ray-"))
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Classifier.bind())
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
