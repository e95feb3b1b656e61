"""How long the test images take: `alexnet evaluate` against a plain torchvision loop.

    python -m benchmarks.evaluate [--quick] [--data data]

`alexnet evaluate` is run as it stands: its start and its plots included. The loop is benchmarks/peers/
torchvision_evaluation.py, timed without its start. Needs the 10,000 test images; downloads them where it may, and says
so and measures nothing where it cannot. Writes benchmarks/results/evaluate-<hardware>-<date>.csv.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from alexnet import datasets, files
from alexnet.datasets import Fingerprint, cifar10
from alexnet.errors import UserError
from alexnet.markdown import table
from alexnet.paths import ROOT
from benchmarks import models, records
from benchmarks.records import Row, value
from benchmarks.verdict import Verdict, ratio

KIND: Final = "evaluate"
OURS: Final = "alexnet evaluate"
PEER: Final = "torchvision's loop"
_PEER_IMAGES: Final = 3_000
_QUICK_IMAGES: Final = 1_000


def measure(root: Path, model: Path, peer_images: int) -> list[dict[str, Any]]:
    """A row for each of the two; the loop gets the first `peer_images` alone, its rate is the same all along."""
    images = datasets.open(root).test(Fingerprint(cifar10.CLASSES), model).images
    with tempfile.TemporaryDirectory() as folder:
        command = ["-m", "alexnet", "evaluate", str(model), "--data", str(root), "--output", folder]
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        ours = _row(OURS, files.sha256(model)[:12], len(images), time.perf_counter() - started)
        paths = [Path(folder, name) for name in ("pixels.npy", "labels.npy")]
        np.save(paths[0], images.pixels[:peer_images])
        np.save(paths[1], images.labels[:peer_images])
        loop = [sys.executable, "benchmarks/peers/torchvision_evaluation.py", *map(str, paths)]
        done = subprocess.run(loop, cwd=ROOT, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return [ours, _row(PEER, "", found["images"], found["seconds"])]


def _row(system: str, sha256: str, images: int, seconds: float) -> dict[str, Any]:
    rate = images / seconds
    return {"system": system, "sha256": sha256, "images": images, "seconds": seconds, "images_per_second": rate}


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """The target of evaluation."""
    rates = [value(rows, "images_per_second", system=name) for name in (OURS, PEER)]
    return [Verdict(f"{OURS}, images/s", ratio(*rates), "a plain torchvision loop", 7)]


def tables(rows: Sequence[Row]) -> str:
    """A line for each."""
    sha256 = next(row["sha256"] for row in rows if row["system"] == OURS)
    return f"{OURS}, {records.describe_model(sha256)}:\n\n" + table(
        ("system", "images", "seconds", "images/s"),
        [
            [
                r["system"],
                f"{int(r['images']):,}",
                f"{float(r['seconds']):.1f}",
                f"{float(r['images_per_second']):,.0f}",
            ]
            for r in rows
        ],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, judge; returns the exit code, 0 also where there are no images or a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="where CIFAR-10 is (default: data)")
    parser.add_argument("--quick", action="store_true", help=f"the loop gets {_QUICK_IMAGES:,} images")
    parser.add_argument("--model", type=Path, default=models.SHIPPED, help="our model (default: the shipped one)")
    options = parser.parse_args(arguments)
    try:
        datasets.open(options.data, download=True)
    except UserError as error:
        print(f"benchmarks.evaluate: skipped, {error}", file=sys.stderr)
        return 0
    try:
        rows = measure(options.data, options.model, _QUICK_IMAGES if options.quick else _PEER_IMAGES)
    except UserError as error:
        print(f"benchmarks.evaluate: {error}", file=sys.stderr)
        return 1
    records.publish(KIND, rows, {}, tables, verdicts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
