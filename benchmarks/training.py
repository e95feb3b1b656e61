"""How fast training is: our loop against the shape of torchvision's reference, at the same network and image size.

    python -m benchmarks.training [--quick] [--images 256]

Both fine-tune AlexNet at 224 pixels on made-up images, 32 and 128 images a step, in float32 and, where the hardware
computes it, bf16, on the GPU where there is one; ours also the network of 128 pixels, whose first convolution sees the
image itself. Each setting is a process of its own; of ours the second of two epochs counts, of the other one after a
few steps. Writes benchmarks/results/training-<hardware>-<date>.csv.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from alexnet import environment
from alexnet.datasets import cifar10
from alexnet.markdown import table
from alexnet.paths import ROOT
from benchmarks import records
from benchmarks.records import Row, choose
from benchmarks.verdict import Verdict, ratio

KIND: Final = "training"
OURS: Final = "alexnet train"
SMALL: Final = "alexnet train, 128 pixels"
PEER: Final = "torchvision's reference"
BATCHES: Final = (32, 128)
_VALIDATION: Final = 1
_INPUT_SIZES: Final = {OURS: 224, SMALL: 128}


def measure(images: int, batches: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each loop, precision and batch size."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, cifar10.SIDE, cifar10.SIDE, 3), np.uint8)
    labels = rng.integers(0, len(cifar10.CLASSES), images)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "pixels.npy", pixels)
        np.save(folder / "labels.npy", labels)
        _write_data(folder, pixels, labels)
        for batch in batches:
            for precision in precisions():
                for system in (OURS, SMALL, PEER):
                    print(f"{system}: {precision}, batch {batch}", file=sys.stderr, flush=True)
                    if system == PEER:
                        found = _run_peer(folder, images, precision, batch)
                    else:
                        found = _run_ours(folder, images, precision, batch, _INPUT_SIZES[system])
                    rows.append({"system": system, "precision": precision, "batch": batch, "images": images, **found})
    return rows


def precisions() -> tuple[str, ...]:
    """Those that this machine computes; a CPU that has to emulate bf16 takes minutes for an epoch."""
    import torch  # `benchmarks.report` imports this module where only the service is installed

    bf16 = torch.cuda.is_available() or "bf16" in environment.cpu_kind()
    return ("fp32", "bf16") if bf16 else ("fp32",)


def _write_data(root: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    """The images, and one more to validate on, as files of CIFAR-10."""
    records_ = np.column_stack([labels, pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)]).astype(np.uint8)
    parts = np.array_split(np.concatenate([records_, records_[:_VALIDATION]]), len(cifar10.TRAIN_FILES))
    (root / cifar10.FOLDER).mkdir()
    for name, part in zip(cifar10.TRAIN_FILES, parts, strict=True):
        part.tofile(root / cifar10.FOLDER / name)


def _run_ours(root: Path, images: int, precision: str, batch: int, input_size: int) -> dict[str, Any]:
    output = root / f"{input_size}-{precision}-{batch}"
    settings = {
        "--input-size": input_size,
        "--epochs": 2,
        "--batch-size": batch,
        "--precision": precision,
        "--init": "none",
        "--validation-images": _VALIDATION,
        "--data": root,
        "--output": output,
    }
    flags = [str(part) for pair in settings.items() for part in pair]
    command = [sys.executable, "-m", "alexnet", "train", *flags]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with (output / "metrics.csv").open(newline="") as file:
        seconds = float(list(csv.DictReader(file))[-1]["seconds"])
    device = json.loads((output / "config.json").read_text())["device"]
    for checkpoint in output.glob("*.pt"):
        checkpoint.unlink()  # half a gigabyte each
    return {"images_per_second": images / seconds, "device": device}


def _run_peer(root: Path, images: int, precision: str, batch: int) -> dict[str, Any]:
    files_ = [str(root / name) for name in ("pixels.npy", "labels.npy")]
    command = [sys.executable, "benchmarks/peers/torchvision_training.py", *files_, precision, str(batch)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """The targets of training: our loop with the published batch size, in the faster precision as by default, and at
    its best with the network of 128 pixels, both against the other at its best.
    """
    best, ours, small = (
        max((float(row["images_per_second"]) for row in choose(rows, **wanted)), default=None)
        for wanted in ({"system": PEER}, {"system": OURS, "batch": 32}, {"system": SMALL})
    )
    against = f"the best setting of {PEER}"
    return [
        Verdict("training, batch 32, images/s", ratio(ours, best), against, 2.5),
        Verdict("training at 128 pixels, images/s", ratio(small, best), f"{against}, at 224 pixels", 2.5),
    ]


def tables(rows: Sequence[Row]) -> str:
    """A line for each setting."""
    return table(
        ("loop", "precision", "batch", "device", "images/s"),
        [[r["system"], r["precision"], r["batch"], r["device"], f"{float(r['images_per_second']):,.0f}"] for r in rows],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, judge; returns the exit code, 0 also where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256, help="in an epoch (default: 256)")
    parser.add_argument("--quick", action="store_true", help="128 images, and steps of 32 alone")
    options = parser.parse_args(arguments)
    try:
        rows = measure(128 if options.quick else options.images, BATCHES[:1] if options.quick else BATCHES)
    except subprocess.CalledProcessError as error:
        print(f"benchmarks.training: {error}\n{error.stderr}", file=sys.stderr)
        return 1
    records.publish(KIND, rows, {}, tables, verdicts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
