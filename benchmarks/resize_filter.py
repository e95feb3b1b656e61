"""Which filter shrinks a photo so that the model still sees what it saw.

    python -m benchmarks.resize_filter [--data data] [--images 150] [--model models/alexnet/model.onnx]

Images of the validation part are scaled up by several factors and filters, saved as PNG, as JPEG, and as JPEG with the
grain that photos have, and decoded by `alexnet.inference.decode` with each filter. Counted is how often the model's
top class is that of the image itself, and how far its probabilities move. Writes
`benchmarks/results/resize_filter.csv`, and ends with the order of the filters.
"""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from unittest import mock

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.Image import Resampling

from alexnet import files
from alexnet.datasets import cifar10
from alexnet.inference import decode as images
from alexnet.inference.classifier import Classifier
from benchmarks.harness import ROOT
from training.settings import Settings

RESULT: Final = ROOT / "benchmarks" / "results" / "resize_filter.csv"
HEADER: Final = (
    "model", "down_filter", "reducing_gap", "up_filter", "factor", "kind", "images", "same_class", "right_class",
    "mean_shift",
)  # fmt: skip
FACTORS: Final = (2.5, 8.0, 30.0)
UP_FILTERS: Final = (Resampling.BILINEAR, Resampling.BICUBIC, Resampling.LANCZOS)
KINDS: Final = ("PNG", "JPEG", "grainy JPEG")
GAPS: Final = (None, 3.0)
_GRAIN: Final = 12.0  # standard deviation, of 255: without it taking every nth pixel would seem to do no harm
_BATCH: Final = 50

Pixels = npt.NDArray[np.uint8]


def scaled_up(pixels: Pixels) -> Iterator[tuple[Resampling, float, str, bytes]]:
    """Files of the picture `pixels` uint8 [height, width, 3], scaled up: filter, factor, kind and content of each."""
    for filter_ in UP_FILTERS:
        for factor in FACTORS:
            side = round(len(pixels) * factor)
            large = Image.fromarray(pixels).resize((side, side), filter_)
            grain = np.random.default_rng(side).normal(0, _GRAIN, (side, side, 3))
            grainy = Image.fromarray((np.asarray(large) + grain).clip(0, 255).astype(np.uint8))
            yield filter_, factor, KINDS[0], _encode(large, "PNG")
            yield filter_, factor, KINDS[1], _encode(large, "JPEG")
            yield filter_, factor, KINDS[2], _encode(grainy, "JPEG")


def _encode(image: Image.Image, name: str) -> bytes:
    file = io.BytesIO()
    image.save(file, name, quality=85)  # PNG takes no notice of it
    return file.getvalue()


def decode(content: bytes, side: int, filter_: Resampling, gap: float | None) -> Pixels:
    """What the service makes of the file, were this its filter."""
    with mock.patch.object(images, "FILTER", filter_), mock.patch.object(images, "REDUCING_GAP", gap):
        return images.decode(content, side, side)


def measure(model: Classifier, chosen: cifar10.Images) -> list[tuple[object, ...]]:
    """The rows of the result."""
    side = model.image_shape[0]
    own = predict(model, chosen.pixels)
    ways = [(filter_, gap) for filter_ in Resampling for gap in GAPS if gap is None or filter_ != Resampling.NEAREST]
    found: dict[tuple[object, ...], list[Pixels]] = {}
    for pixels in chosen.pixels:
        for up_filter, factor, kind, content in scaled_up(pixels):
            for filter_, gap in ways:
                place = (filter_.name, gap, up_filter.name, factor, kind)
                found.setdefault(place, []).append(decode(content, side, filter_, gap))
    rows: list[tuple[object, ...]] = []
    for key, stack in found.items():
        probabilities = predict(model, np.stack(stack))
        same = int((probabilities.argmax(1) == own.argmax(1)).sum())
        right = int((probabilities.argmax(1) == chosen.labels).sum())
        shift = float(np.abs(probabilities - own).sum(1).mean() / 2)
        rows.append((model.sha256[:12], *key, len(chosen), same, right, round(shift, 5)))
        print(f"{len(rows)} of {len(found)}", *rows[-1][1:], file=sys.stderr, flush=True)
    return rows


def predict(model: Classifier, pixels: Pixels) -> npt.NDArray[np.float32]:
    """Probabilities float32 [N, classes]."""
    parts = [model.predict(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)]
    return np.concatenate(parts)


def ranking(rows: Sequence[Sequence[object]]) -> list[tuple[float, float, str, str]]:
    """Mean shift, share of images that keep their class, filter and gap: the least shift first."""
    totals: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        same, images_, shift = float(str(row[7])), float(str(row[6])), float(str(row[9]))
        totals.setdefault((str(row[1]), str(row[2])), []).append((same / images_, shift))
    return sorted(
        (float(np.mean([shift for _, shift in values])), float(np.mean([kept for kept, _ in values])), *key)
        for key, values in totals.items()
    )


def main() -> None:
    """Measure, write the table, and print the order of the filters."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "alexnet" / "model.onnx")
    options = parser.parse_args()
    settings = Settings()
    _, validation = cifar10.split(cifar10.read_training(options.data), settings.validation_images, settings.seed)
    chosen = validation.take(np.arange(options.images))
    rows = measure(Classifier(options.model), chosen)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    files.write_csv(RESULT, HEADER, rows)
    for shift, kept, filter_, gap in ranking(rows):
        print(f"{filter_:8} gap {gap:4} keeps {100 * kept:.2f} % of the classes, mean shift {shift:.4f}")


if __name__ == "__main__":
    main()
