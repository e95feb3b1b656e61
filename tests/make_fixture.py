"""Write the test images: `python tests/make_fixture.py DATA [--skip INDEX ...]`.

In: a folder with `cifar-10-batches-bin/`. Out: `tests/data/cifar10/<class>/<nnnnn>.png`, the first twenty images of
each class of the test split, lossless; a file's name is its image's index in that split. `--skip` leaves images out:
those of a copy of the data set that are not exact.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet import datasets
from alexnet.datasets import Fingerprint, cifar10

FIXTURE = Path(__file__).parent / "data" / "cifar10"
PER_CLASS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the test images from CIFAR-10's test split.")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with cifar-10-batches-bin/")
    parser.add_argument("--skip", type=int, nargs="*", default=[], metavar="INDEX", help="test images to leave out")
    options = parser.parse_args()
    images = datasets.open(options.data).test(Fingerprint(cifar10.CLASSES), options.data).images
    for label, name in enumerate(cifar10.CLASSES):
        folder = FIXTURE / name
        folder.mkdir(parents=True, exist_ok=True)
        indices = np.setdiff1d(np.flatnonzero(images.labels == label), options.skip)
        for index in indices[:PER_CLASS]:
            Image.fromarray(images.pixels[index]).save(folder / f"{index:05}.png", optimize=True)


if __name__ == "__main__":
    main()
