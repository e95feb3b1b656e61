"""A checkpoint of the network `pooled` to a model file like that of `alexnet fit`.

In: a run's folder or its `.pt` file, and the image folder that it was trained on. Out: an ONNX file with int8 weights,
calibrated on the images that the run held out, with an OOD score. Image and mirror image count as one.
"""

import dataclasses
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import torch

from alexnet import datasets, environment, files
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation.calibration import measure, softmax
from alexnet.evaluation.ood import threshold
from alexnet.inference import shrink
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import ModelMetadata, TrainingSettings, ValidationMetrics
from alexnet.markdown import megabytes
from alexnet.probe import embeddings, graph, ood
from alexnet.probe.fit import fit_temperature
from alexnet.probe.graph import Head
from training import checkpoint as checkpoints
from training import networks
from training.networks import probe_weights
from training.networks.alexnet import PooledAlexNet

NAME: Final = "alexnet-fine-tuned"

_FIT_IMAGES: Final = 5_000  # training images to whose features the OOD score is fitted


def is_pooled(checkpoint: Path) -> bool:
    """Whether the checkpoint is of the network `pooled`. Raises `UserError` where it cannot be read."""
    return checkpoints.load(checkpoint).settings.network == "pooled"


def export(checkpoint: Path, data_root: Path, output: Path, license_name: str | None = None) -> Path:
    """Write `checkpoint` as the ONNX file `output`; returns `output`. `license_name` is for the model's card.

    Raises `UserError` on a bad checkpoint, on data that is not that of its run, and where it held out no images.
    """
    path = checkpoints.resolve(checkpoint)
    saved = checkpoints.load(path)
    settings, trained = saved.settings, saved.trained
    model = networks.build(settings, len(trained.classes))
    assert isinstance(model, PooledAlexNet)
    model.load_state_dict(saved.weights)
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise UserError(f"{path}: the run diverged; train again at a lower --learning-rate")
    data = datasets.open(data_root, side=settings.image_size)
    parts = data.split_again(trained, settings.validation_images, settings.seed, path)
    if len(np.unique(parts.validation.labels)) < 2:
        raise UserError(f"{path} held out too few images to calibrate with: train with more --validation-images")
    weights, layer = probe_weights.extract(model)
    training = parts.training.take(np.arange(min(_FIT_IMAGES, len(parts.training))))
    found, held_out = (_embed(images, weights) for images in (training, parts.validation))
    logits = layer(held_out)
    temperature = fit_temperature(logits, parts.validation.labels)
    score = ood.fit(found, training.labels, len(trained.classes), ood.components(len(found), found.shape[1]))
    last = saved.epochs[-1]
    metadata = ModelMetadata(
        name=NAME,
        classes=trained.classes,
        precision="int8",
        temperature=temperature,
        ood_threshold=threshold(score(held_out)),
        resize_filter=shrink.FILTER.name,
        license=license_name,
        run=path.resolve().parent.name,
        checkpoint_sha256=files.sha256(path),
        settings=TrainingSettings(**settings.model_dump()),
        validation=ValidationMetrics(**dataclasses.asdict(last)),
        uncalibrated=measure(softmax(logits), parts.validation.labels),
        training_images=len(parts.training),
        image_folder_sha256=trained.sha256,
        exported_with=environment.describe("torch", "numpy", "onnx", "onnxruntime"),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(output) as partial:
        onnx.save(graph.classifier(settings.image_size, Head(layer, temperature, score), metadata, weights), partial)
        agreement = _agreement(model, Classifier(partial), parts.validation)
    size = megabytes(output.stat().st_size)
    print(f"{output}: {size}, the same class as torch for {agreement:.1%} of held-out images")
    return output


def _embed(images: Images, weights: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The mean embeddings float32 [N, D] of images and their mirror images."""
    mean: npt.NDArray[np.float32] = embeddings.extract(images.pixels, weights).mean(1)
    return mean


@torch.inference_mode()
def _agreement(model: PooledAlexNet, classifier: Classifier, images: Images) -> float:
    """How often the file's best class is torch's, for images and their mirror images; int8 changes a few."""
    pixels = np.ascontiguousarray(images.pixels[: embeddings.BATCH * 32])
    same = []
    for first in range(0, len(pixels), embeddings.BATCH):
        batch = torch.from_numpy(pixels[first : first + embeddings.BATCH])
        expected = (model.eval()(batch) + model(batch.flip(2))).argmax(1).numpy()
        same.append(classifier.run(batch.numpy()).probabilities.argmax(1) == expected)
    return float(np.concatenate(same).mean())
