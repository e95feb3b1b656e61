"""OpenVINO alone, no server (https://docs.openvino.ai/2025/openvino-workflow/running-inference.html).

    MODEL=model.onnx THREADS=2 python openvino_runtime.py SECONDS IMAGES.npy BATCH [BATCH ...]

IMAGES.npy holds pixels uint8 [N, 32, 32, 3]. Prints JSON: by batch size the milliseconds of each run, and the
probabilities of those images.
"""

import json
import os
import sys
import time

import numpy as np
import openvino


def measure(model: openvino.CompiledModel, pixels: np.ndarray, seconds: float) -> list[float]:
    """Run the same pixels again and again."""
    request = model.create_infer_request()
    for _ in range(3):
        request.infer([pixels])
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 3:
        started = time.perf_counter()
        request.infer([pixels])
        times.append(1000 * (time.perf_counter() - started))
    return times


if __name__ == "__main__":
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": int(os.environ["THREADS"])}
    model = openvino.compile_model(os.environ["MODEL"], "CPU", options)
    seconds, images, rng = float(sys.argv[1]), np.load(sys.argv[2]), np.random.default_rng(0)
    times = {
        batch: measure(model, rng.integers(0, 256, (batch, 32, 32, 3), np.uint8), seconds)
        for batch in map(int, sys.argv[3:])
    }
    probabilities = [model([images[place : place + 1]])["probabilities"][0].tolist() for place in range(len(images))]
    print(json.dumps({"milliseconds": times, "probabilities": probabilities}))
