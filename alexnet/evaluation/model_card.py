"""The card of a model: what its file and its `metrics.json` say, as a page for people.

In: a folder with `model.onnx` and `metrics.json`, and the images measured on. Out: `README.md`, with the front matter
that model hubs read (https://huggingface.co/docs/hub/model-cards), `config.json` with the labels, and `hardest.png`.
The page follows from the two files alone (its text is card.md.j2); the images are for the plot. Needs Jinja2 and
matplotlib.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from alexnet import files
from alexnet.errors import UserError
from alexnet.evaluation.intervals import Interval, wilson
from alexnet.evaluation.metrics import Metrics
from alexnet.evaluation.predictions import read_split
from alexnet.evaluation.scores import Pair, confused_samples, hardest_pairs, macro_f1_interval
from alexnet.inference import batches, shrink
from alexnet.inference.classifier import Classifier
from alexnet.markdown import enumerate_words

MODEL: Final = "model.onnx"
PAGE: Final = "README.md"
HARDEST: Final = "hardest.png"
CONFIG: Final = "config.json"

_TEMPLATE: Final = "card.md.j2"
_BATCH: Final = 256
_MEGA: Final = 1e6

# What the decoder does to an image with neither transparency nor a rare colour mode.
_SNIPPET: Final = """\
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

image = Image.open("cat.jpg")
image.draft(None, ({width} * 4, {height} * 4))  # of large JPEG files, decode no more than needed
image = ImageOps.exif_transpose(image).convert("RGB")
image = image.resize(({width}, {height}), Image.Resampling.{filter}, reducing_gap={gap})

session = onnxruntime.InferenceSession("{model}")
metadata = session.get_modelmeta().custom_metadata_map
outputs = session.run(None, {{"pixels": np.asarray(image)[None]}})
for name, probability in zip(json.loads(metadata["classes"]), outputs[0][0]):
    print(f"{{name:12}} {{probability:.3f}}")"""
_OOD_SNIPPET: Final = """
print("none of these" if outputs[1][0] > float(metadata["unknown_threshold"]) else "")"""


def card(folder: Path, data_root: Path) -> Path:
    """Write the page and the plot of the model in `folder`; returns the page.

    Raises `UserError` where a file is missing or `metrics.json` is of another model, `ImportError` without matplotlib
    or Jinja2.
    """
    from alexnet.evaluation import plots

    classifier, metrics = read(folder)
    page = render(folder)
    images = read_split(classifier, folder / MODEL, data_root, metrics.data.split).images
    probabilities = batches.predict(classifier, images.pixels, _BATCH).probabilities
    samples = confused_samples(images, probabilities, classifier.classes, _pairs(metrics))
    plots.plot_samples(folder / HARDEST, samples)
    with files.replacing(folder / PAGE) as partial:
        partial.write_text(page, encoding="utf-8")
    write_config(folder, classifier)
    return folder / PAGE


def write_config(folder: Path, classifier: Classifier) -> None:
    """Write `config.json`, in which model hubs look for labels and image size; a run's own file of that name stays."""
    path = folder / CONFIG
    if path.exists() and "id2label" not in path.read_text(encoding="utf-8"):
        return
    config = {
        "model_type": "alexnet",
        "image_size": classifier.image_shape[0],
        "num_channels": 3,
        "id2label": {str(place): name for place, name in enumerate(classifier.classes)},
        "label2id": {name: place for place, name in enumerate(classifier.classes)},
    }
    files.write_json(path, config)


def render(folder: Path) -> str:
    """The page of the model in `folder`. Raises `UserError` as `card`."""
    import jinja2

    classifier, metrics = read(folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701  # Markdown, of our own numbers
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(_FILTERS)
    metadata = classifier.metadata
    height, width, _ = classifier.image_shape
    versions = {
        "exported with": metadata.exported_with,
        "compressed with": metadata.compressed_with,
        "measured with": metrics.environment,
    }
    return environment.get_template(_TEMPLATE).render(
        metadata=metadata,
        metrics=metrics,
        own=metadata.image_folder_sha256 is not None,
        height=height,
        width=width,
        snippet=snippet(classifier),
        macro_f1_interval=macro_f1_interval(np.array(metrics.confusion)),
        class_intervals={
            name: wilson(round(row.accuracy * row.support), row.support)
            for name, row in metrics.classes.items()
            if row.support
        },
        pairs=_pairs(metrics),
        weakest=min(metrics.classes, key=lambda name: metrics.classes[name].accuracy),
        environments={about: found for about, found in versions.items() if found is not None},
    )


def snippet(classifier: Classifier) -> str:
    """Python that classifies `cat.jpg` by `model.onnx`, as the decoder and the classifier do, without this package."""
    height, width, _ = classifier.image_shape
    text = _SNIPPET.format(height=height, width=width, model=MODEL, filter=shrink.FILTER.name, gap=shrink.REDUCING_GAP)
    return text + (_OOD_SNIPPET if classifier.detects_ood else "")


def read(folder: Path) -> tuple[Classifier, Metrics]:
    """The model in `folder`, and its metrics. Raises `UserError` where they are missing or do not belong together."""
    classifier = Classifier(folder / MODEL)
    remedy = f"run: alexnet evaluate {folder / MODEL}"
    metrics = Metrics.read(folder, remedy)
    if metrics.model.sha256 != classifier.sha256:
        raise UserError(f"{folder / 'metrics.json'} is of another model than {folder / MODEL}; {remedy}")
    return classifier, metrics


def _pairs(metrics: Metrics) -> list[Pair]:
    return hardest_pairs(np.array(metrics.confusion), tuple(metrics.classes))


def _interval(bounds: Interval, digits: int = 3) -> str:
    return f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"


def _setting(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


_FILTERS: Final[dict[str, Callable[..., str]]] = {
    "three": lambda value: f"{value:.3f}",
    "four": lambda value: "" if value is None else f"{value:.4f}",
    "percent": lambda value, digits=1: f"{100 * value:.{digits}f}",
    "thousands": lambda value: f"{value:,}",
    "megabytes": lambda value: f"{value / _MEGA:.2f}",
    "interval": _interval,
    "setting": _setting,
    "words": enumerate_words,
}
