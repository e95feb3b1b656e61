"""mosec with ONNX Runtime, after https://mosecorg.github.io/mosec/: a front in Rust, one worker, dynamic batching."""

import json

import numpy as np
from images import classify, decode, files_of
from mosec import Runtime, Server, Worker


class Classifier(Worker):
    """deserialize, forward, serialize."""

    def deserialize(self, data: bytes) -> np.ndarray:
        """The pixels of a form with one file."""
        return decode(files_of(data)[0])

    def forward(self, data: list[np.ndarray]) -> list[dict[str, float]]:
        """A batch."""
        return classify(data)

    def serialize(self, data: dict[str, float]) -> bytes:
        """To JSON."""
        return json.dumps(data).encode()


if __name__ == "__main__":
    server = Server()
    server.register_runtime({"/classify": [Runtime(Classifier, num=1, max_batch_size=32, max_wait_time=1)]})
    server.run()
