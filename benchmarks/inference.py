"""What the models cost by themselves: images/s by batch size and threads, and the time of each operator.

    python -m benchmarks.inference [--quick] [--no-peers] [--also NAME=FILE ...]

Measured are the float32 model of 224 pixels, the shipped one, and any steps between them that are given; the shipped
one with OpenVINO, too, and how far its probabilities of ten test images are from ONNX Runtime's. ONNX Runtime's own
profiler says where the time goes. Writes benchmarks/results/inference-<hardware>-<date>.csv.
"""

import argparse
import collections
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from alexnet import files
from alexnet.datasets.cifar10 import SIDE
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from alexnet.inference.cpus import usable_cpus
from alexnet.inference.decode import decode
from alexnet.markdown import table
from benchmarks import environments, models, records, systems
from benchmarks.images import small_jpegs
from benchmarks.records import Row, choose, value
from benchmarks.verdict import Verdict, ratio

KIND: Final = "inference"
FLOAT32: Final = "float32, 224 pixels"
SHIPPED: Final = "shipped"
OPENVINO: Final = "shipped, OpenVINO"
BATCHES: Final = (1, 8, 32)
_PROFILED_RUNS: Final = 20
_WARM_UP_RUNS: Final = 3
_WHOLE: Final = "(all)"


def measure(found: dict[str, Path], seconds: float) -> list[dict[str, Any]]:
    """A row for each model, number of threads and batch size, and for each operator of the model."""
    rows: list[dict[str, Any]] = []
    for name, path in found.items():
        for threads in sorted({1, usable_cpus()}):
            for batch in BATCHES:
                print(f"{name}: {threads} threads, batch {batch}", file=sys.stderr, flush=True)
                common = {"model": name, "sha256": files.sha256(path)[:12], "threads": threads, "batch": batch}
                rows.append({**common, "operator": _WHOLE, **_time(path, threads, batch, seconds)})
                if threads == 1:
                    rows += [{**common, **row} for row in profile(path, threads, batch)]
    return rows


def measure_openvino(path: Path, seconds: float) -> list[dict[str, Any]]:
    """A row for each number of threads and batch size, in the environment of the peers."""
    pixels = np.stack([decode(image, SIDE, SIDE) for image in small_jpegs()])
    expected = Classifier(path, threads=1).run(pixels).probabilities
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images.npy")
        np.save(images, pixels)
        for threads in sorted({1, usable_cpus()}):
            print(f"{OPENVINO}: {threads} threads", file=sys.stderr, flush=True)
            found = systems.run_openvino(path, seconds, images, threads, BATCHES)
            difference = float(np.abs(np.array(found["probabilities"]) - expected).max())
            rows += [
                {
                    "model": OPENVINO,
                    "sha256": files.sha256(path)[:12],
                    "threads": threads,
                    "batch": batch,
                    "operator": _WHOLE,
                    **_summary(found["milliseconds"][str(batch)], batch),
                    "difference": difference,
                }
                for batch in BATCHES
            ]
    return rows


def profile(path: Path, threads: int, batch: int) -> list[dict[str, Any]]:
    """Milliseconds of each kind of operator for an image, and their share, largest first."""
    with tempfile.TemporaryDirectory() as folder:
        options = _options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        pixels = _pixels(batch)
        for _ in range(_PROFILED_RUNS):
            session.run(["probabilities"], {"pixels": pixels})
        events = json.loads(Path(session.end_profiling()).read_text())
    micros: collections.Counter[str] = collections.Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            micros[event["args"]["op_name"]] += event["dur"]
    whole = sum(micros.values())
    return [
        {
            "operator": operator,
            "images_per_second": "",
            "p50_ms": "",
            "p99_ms": "",
            "ms_per_image": total / 1000 / _PROFILED_RUNS / batch,
            "share": total / whole,
            "difference": "",
        }
        for operator, total in micros.most_common()
    ]


def _time(path: Path, threads: int, batch: int, seconds: float) -> dict[str, Any]:
    session = ort.InferenceSession(path, _options(threads), providers=["CPUExecutionProvider"])
    pixels = _pixels(batch)
    times: list[float] = []
    for _ in range(_WARM_UP_RUNS):
        session.run(["probabilities"], {"pixels": pixels})
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < _WARM_UP_RUNS:
        started = time.perf_counter()
        session.run(["probabilities"], {"pixels": pixels})
        times.append(1000 * (time.perf_counter() - started))
    return _summary(times, batch)


def _summary(milliseconds: Sequence[float], batch: int) -> dict[str, Any]:
    """Of runs with so many images each."""
    p50, p99 = np.percentile(milliseconds, (50, 99))
    image = sum(milliseconds) / len(milliseconds) / batch
    return {
        "images_per_second": 1000 / image,
        "p50_ms": p50,
        "p99_ms": p99,
        "ms_per_image": image,
        "share": 1.0,
        "difference": "",
    }


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return options


def _pixels(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE, 3), np.uint8)


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """The targets of the model's speed."""
    threads = max((int(row["threads"]) for row in rows), default=1)

    def speed_up(batch: int) -> float | None:
        ours, other = (
            value(rows, "images_per_second", model=name, threads=threads, batch=batch, operator=_WHOLE)
            for name in (SHIPPED, FLOAT32)
        )
        return ratio(ours, other)

    return [
        Verdict(f"ONNX Runtime alone, batch {batch}", speed_up(batch), f"the {FLOAT32} model", target)
        for batch, target in ((1, 18), (32, 13))
    ]


def tables(rows: Sequence[Row]) -> str:
    """Rates and latencies, then the operators."""
    whole = [
        [
            row["model"],
            row["threads"],
            row["batch"],
            f"{float(row['images_per_second']):,.0f}",
            f"{float(row['p50_ms']):.2f}",
            f"{float(row['p99_ms']):.2f}",
        ]
        for row in choose(rows, operator=_WHOLE)
    ]
    parts = [
        [row["model"], row["batch"], row["operator"], f"{float(row['ms_per_image']):.3f}", f"{float(row['share']):.0%}"]
        for row in rows
        if row["operator"] != _WHOLE and row["batch"] in ("1", "32") and float(row["share"]) >= 0.02
    ]
    sha256 = choose(rows, model=SHIPPED)[0]["sha256"]
    found = [
        f"The {SHIPPED} {records.describe_model(sha256)}:",
        table(("model", "threads", "batch", "images/s", "p50, ms", "p99, ms"), whole),
        table(("model, one thread", "batch", "operator", "ms an image", "share"), parts),
    ]
    differences = [float(row["difference"]) for row in rows if row.get("difference")]
    if differences:
        found.append(
            f"OpenVINO rounds elsewhere in the int8 graph: its probabilities of ten test images differ by up to "
            f"{max(differences):.3f} from ONNX Runtime's."
        )
    return "\n\n".join(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, judge; returns the exit code, 0 also where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2, help="for each number (default: 2)")
    parser.add_argument("--quick", action="store_true", help="a fifth of a second each")
    parser.add_argument("--also", nargs="+", default=[], metavar="NAME=FILE", help="more models")
    parser.add_argument("--no-peers", action="store_true", help="without OpenVINO, which would have to be installed")
    models.add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        found = {FLOAT32: models.float32(options.float32)}
        for text in options.also:
            name, equals, path = text.partition("=")
            if not equals:
                raise UserError(f"--also {text}: give NAME=FILE")
            found[name] = Path(path)
        seconds = 0.2 if options.quick else options.seconds
        rows, versions = measure({**found, SHIPPED: options.model}, seconds), {}
        if not options.no_peers:
            name = "peer openvino"
            versions = {name: environments.PEERS.ensure()[name]}
            rows += measure_openvino(options.model, seconds)
    except (UserError, subprocess.CalledProcessError) as error:
        print(f"benchmarks.inference: {error}", file=sys.stderr)
        return 1
    records.publish(KIND, rows, versions, tables, verdicts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
