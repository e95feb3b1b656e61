"""ONNX Runtime alone, no server: throughput at each batch size, the limit of what any server can reach.

    MODEL=model.onnx python runtime.py SECONDS BATCH [BATCH ...]

Prints JSON: batch size to runs/s and percentiles in ms.
"""

import json
import os
import sys
import time

import numpy as np
import onnxruntime as ort


def measure(session: ort.InferenceSession, batch: int, seconds: float) -> dict[str, float]:
    """Run random pixels again and again."""
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 32, 32, 3), np.uint8)
    for _ in range(5):
        session.run(["probabilities"], {"pixels": pixels})
    times, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < 3:
        started = time.perf_counter()
        session.run(["probabilities"], {"pixels": pixels})
        times.append(time.perf_counter() - started)
    p50, p95, p99 = np.percentile(times, (50, 95, 99)) * 1e3
    return {"per_second": len(times) / sum(times), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


if __name__ == "__main__":
    session = ort.InferenceSession(os.environ["MODEL"])
    print(json.dumps({batch: measure(session, batch, float(sys.argv[1])) for batch in map(int, sys.argv[2:])}))
