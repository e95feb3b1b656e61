"""A checkpoint to the small, calibrated files that ship.

In: a run's folder or a `.pt` file of the trainer's. Out: an ONNX file as `export` writes it, and smaller: constants
folded, layers of low rank, 8-bit integers, calibrated probabilities, and a second output, `unknown_score` float32 [N],
whose threshold is in the metadata. Every step is measured on the images that the run held out, and nothing is written
when too much macro F1 is lost.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from alexnet import environment, files
from alexnet.errors import UserError
from alexnet.evaluation.photos import PhotoSet
from alexnet.evaluation.photos import read as read_photos
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import Compression, CompressionStep, ModelMetadata, Precision
from alexnet.markdown import megabytes
from training.export import (
    head_fit,
    latency,
    onnx_export,
    output_head,
    quantize,
    rank_search,
    torch_parity,
    weights,
)
from training.export import steps as table
from training.export.folding import FoldedAlexNet, FoldedProbabilities
from training.export.head_fit import HeadFit
from training.export.multiply_adds import count_multiply_adds
from training.export.rank_search import Choice, Search
from training.export.source import FitImages, Probabilities, Source, read, read_calibration, read_images
from training.export.steps import Step, Steps
from training.networks import low_rank
from training.networks.alexnet import AlexNet, Variant

RANKS: Final = (32, 64, 96, 128, 160)
MAX_RANK: Final = 512
REFERENCE_SIZE: Final = 224  # pixels a side of the AlexNet that latencies are compared with

_RANK_FRACTION: Final = 0.5  # of the allowed loss, for low ranks


@dataclass(frozen=True)
class Request:
    """What to compress, and how.

    `rank` is that of the two large linear layers; None chooses it. `photos` are a folder that chooses the OOD score and
    its threshold, too: photos of the classes in folders of their names, and of none of them in `none/`. `sources` says
    which images beyond the data set the run was trained on. `calibration_from` is a file of an earlier run whose rank,
    temperature and threshold are taken, for a run that held out no images. With `release`, a float16 ONNX file for GPUs
    and the weights as float16 are written beside `output`. With `latency`, that of each step is measured, by `threads`.
    """

    checkpoint: Path
    data: Path
    output: Path
    precision: Precision = "int8"
    rank: int | None = None
    fine_tune_steps: int = 0
    max_drop: float = 0.2
    photos: Path | None = None
    sources: str | None = None
    calibration_from: Path | None = None
    release: bool = False
    latency: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class _Job:
    """A compression under way; `earlier` are the metadata of the file whose calibration is taken, None without one."""

    request: Request
    source: Source
    images: FitImages
    earlier: ModelMetadata | None
    photos: PhotoSet | None
    steps: Steps
    progress: Progress


@dataclass(frozen=True)
class _Product:
    """An ONNX file that is to be written."""

    path: Path
    model: onnx.ModelProto
    precision: Precision
    head: HeadFit


def compress(request: Request) -> Path:
    """Write the files that `request` asks for, and print the table of the steps; returns the ONNX file.

    Raises `UserError` on a bad checkpoint, rank or data, when torch and ONNX Runtime differ, and when more than
    `max_drop` points of macro F1 are lost.
    """
    if request.rank is not None and not 1 <= request.rank <= MAX_RANK:
        raise UserError(f"--rank is {request.rank}; give auto, or 1 to {MAX_RANK}")
    source = read(request.checkpoint)
    earlier = read_calibration(request.calibration_from, source.trained) if request.calibration_from else None
    images = read_images(source, request.data, calibrated=earlier is not None)
    count = len(images.training)
    if request.rank is not None and request.rank > count:
        raise UserError(f"--rank is {request.rank}: give {count} or less, the number of images that it is fitted to")
    side = source.settings.image_size
    photos = read_photos(request.photos, source.metadata.classes, side, side) if request.photos else None
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
        job = _Job(request, source, images, earlier, photos, Steps(Path(folder), images.measured, progress), progress)
        choice, body = _reduce(job)
        products = [_finish(job, body, request.precision, request.output)]
        if request.release:
            products.append(_finish(job, body, "fp16", request.output.with_name(f"{request.output.stem}-fp16.onnx")))
        latencies = _measure_latencies(job) if request.latency else {}
        records = table.describe(job.steps.made, latencies)
    table.show(records, images.split)
    _check_loss(records, len(products), images.split, request.max_drop)
    metadata = source.metadata.model_copy(
        update={"rank": choice.rank, "sources": request.sources, "compressed_with": _versions()}
    )
    request.output.parent.mkdir(parents=True, exist_ok=True)
    for product in products:
        _write(product, metadata, _describe(job, choice, product.head, records))
    if request.release:
        path = request.output.with_suffix(".safetensors")
        with files.replacing(path) as partial:
            weights.save_weights(partial, choice.network, source.model, metadata)
        _print(path)
    return request.output


def _reduce(job: _Job) -> tuple[Choice, onnx.ModelProto]:
    """The network with constants folded and layers of low rank, and its graph, proven to compute the same."""
    request, source, images = job.request, job.source, job.images
    ranks = tuple(rank for rank in RANKS if rank <= len(images.training)) or (len(images.training),)
    if job.earlier is not None and job.earlier.rank is not None:
        ranks = (job.earlier.rank,)
    search = Search(
        ranks=ranks if request.rank is None else (request.rank,),
        allowed=_RANK_FRACTION * request.max_drop / 100,
        steps=request.fine_tune_steps,
        progress=job.progress,
    )
    folded = FoldedAlexNet(source.model).eval()
    torch_parity.check_folding(source.model, folded, images.parity)
    choice = rank_search.choose(folded, images.training, images.measured, search)
    _rotate(choice.network)
    size = sum(value.numel() * value.element_size() for value in source.model.state_dict().values())
    job.steps.add_predicted("checkpoint", size, choice.predicted.numpy(), len(source.metadata.classes))
    body = onnx_export.to_onnx(choice.network, source.metadata, head_fit.BODY, source.settings.image_size)
    path = job.steps.add(f"rank {choice.rank}", output_head.attach(body))
    torch_parity.check_parity(FoldedProbabilities(choice.network).eval(), Classifier(path), images.parity)
    return choice, body


def _rotate(network: FoldedAlexNet) -> None:
    """Prepare the layers of low rank for 8 bits; `network` computes what it did."""
    generator = torch.Generator().manual_seed(0)
    for layers in (*network.features, network.first, network.second):
        if isinstance(layers, nn.Sequential):
            low_rank.rotate(layers, generator)


def _finish(job: _Job, body: onnx.ModelProto, precision: Precision, path: Path) -> _Product:
    """`body` in `precision`, with its output head, for `path`."""
    if precision == "int8":
        body = quantize.to_int8(body, job.images.training.pixels[: quantize.CALIBRATION_IMAGES])
    elif precision == "fp16":
        body = quantize.to_float16(body)
    if job.earlier is not None:
        model, head = head_fit.reuse(body, job.steps.run, job.images.training, job.earlier)
    else:
        model, head = head_fit.fit(body, job.steps.run, job.images.training, job.images.measured, job.photos)
    job.steps.add(precision, model)
    return _Product(path, model, precision, head)


def _measure_latencies(job: _Job) -> table.Latencies:
    """The latencies of each step, and of AlexNet at 224 pixels in float32, which comes first in the table."""
    name, metadata, side = f"AlexNet at {REFERENCE_SIZE}", job.source.metadata, job.source.settings.image_size
    reference = Probabilities(AlexNet(len(metadata.classes), REFERENCE_SIZE, Variant(image_size=side))).eval()
    model = onnx_export.to_onnx(reference, metadata, side=side)
    path = job.steps.save(name, model)
    job.steps.made.insert(0, Step(name, path.stat().st_size, path, count_multiply_adds(model)))
    paths = {step.name: step.path for step in job.steps.made if step.path is not None}
    return latency.measure_latencies(paths, job.images.measured.pixels, job.request.threads, job.progress)


def _check_loss(records: Sequence[CompressionStep], products: int, split: str, max_drop: float) -> None:
    """Raise `UserError` where one of the last `products` steps loses more than `max_drop` points of macro F1."""
    scores = [record.macro_f1 for record in records if record.macro_f1 is not None]
    lost = 100 * (scores[0] - min(scores[-products:]))
    if not lost <= max_drop:
        raise UserError(
            f"not written: {lost:.2f} points of macro F1 are lost on the {split} images, at most {max_drop:g} are "
            "allowed; give a higher --rank, --fine-tune-steps, another --precision, or a higher --max-drop"
        )


def _describe(job: _Job, choice: Choice, head: HeadFit, records: tuple[CompressionStep, ...]) -> Compression:
    request, images, photos_sha256 = job.request, job.images, job.photos.sha256 if job.photos else None
    if job.earlier is not None and job.earlier.compression is not None:
        photos_sha256 = job.earlier.compression.photos_sha256  # they chose the score and the threshold
    return Compression(
        rank_asked=request.rank,
        max_drop=request.max_drop,
        validation_images=len(images.measured) if images.held_out else 0,
        fine_tune_steps=request.fine_tune_steps,
        ranks_tried=choice.tried,
        ood=head.ood,
        photos_sha256=photos_sha256,
        steps=records,
    )


def _write(product: _Product, metadata: ModelMetadata, compression: Compression) -> None:
    update = {"precision": product.precision, "compression": compression}
    described = product.head.describe(metadata).model_copy(update=update)
    onnx.helper.set_model_props(product.model, described.to_props())
    with files.replacing(product.path) as partial:
        onnx.save(product.model, partial)
        Classifier(partial)
    _print(product.path)


def _print(path: Path) -> None:
    print(f"{path}: {megabytes(path.stat().st_size)}, sha256 {files.sha256(path)}")


def _versions() -> dict[str, str | int]:
    return environment.describe("torch", "onnx", "onnxruntime-gpu", "onnxruntime", "numpy")
