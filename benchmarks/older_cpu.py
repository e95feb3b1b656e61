"""Whether a model file gives the same answers on CPUs without VNNI: `python -m benchmarks.older_cpu MODEL`.

In: a model file and test images of tests/data. Out: for each CPU that qemu pretends to be, how many classes differ from
those on this machine's own CPU, and the largest difference of a probability; a non-zero exit code where classes differ.
Without qemu-user (apt install qemu-user) it says so and skips. An image takes about 1 s there.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode
from alexnet.paths import MODEL
from benchmarks.images import fixture_files

CPUS: Final = ("Haswell", "Skylake-Client")  # AVX2; the multiplications of 8-bit integers that VNNI came to replace
EMULATOR: Final = "qemu-x86_64"

_THERE: Final = (
    "import sys, numpy; from pathlib import Path; from alexnet.inference.classifier import Classifier; "
    "model, pixels, output = sys.argv[1:]; "
    "numpy.save(output, Classifier(Path(model), threads=1).run(numpy.load(pixels)).probabilities)"
)


def read_images(count: int) -> npt.NDArray[np.uint8]:
    """Test images uint8 [count, 32, 32, 3], of all classes in turn."""
    found = sorted(fixture_files(), key=lambda path: path.name)[:count]
    return np.stack([decode(path.read_bytes(), 32, 32) for path in found])


def answers_on(cpu: str, model: Path, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The probabilities that the file at `model` gives on a `cpu` of qemu's."""
    with tempfile.TemporaryDirectory() as folder:
        given, output = Path(folder, "pixels.npy"), Path(folder, "probabilities.npy")
        np.save(given, pixels)
        command = [EMULATOR, "-cpu", cpu, sys.executable, "-c", _THERE, str(model), str(given), str(output)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{cpu}: {done.stderr.strip().splitlines()[-1]}")
        probabilities: npt.NDArray[np.float32] = np.load(output)
        return probabilities


def main() -> int:
    """Compare and tell; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=MODEL)
    parser.add_argument("--images", type=int, default=200, help="at most 200 (default: %(default)s)")
    options = parser.parse_args()
    if shutil.which(EMULATOR) is None:
        print(f"skipped: {EMULATOR} is not installed (apt install qemu-user)")
        return 0
    pixels = read_images(options.images)
    ours = Classifier(options.model, threads=1).run(pixels).probabilities
    code = 0
    for cpu in CPUS:
        theirs = answers_on(cpu, options.model, pixels)
        differing = int((theirs.argmax(1) != ours.argmax(1)).sum())
        largest = float(np.abs(theirs - ours).max())
        print(f"{cpu}: {differing} of {len(pixels)} classes differ, largest difference {largest:.1e}", flush=True)
        code = code or int(differing > 0)
    return code


if __name__ == "__main__":
    sys.exit(main())
