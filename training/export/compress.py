"""A checkpoint to the small, calibrated file that ships.

In: a run's folder or a `.pt` file of the trainer's. Out: an ONNX file as `export` writes it, and smaller: cheap
preprocessing, factorised linear layers, 8-bit integers, probabilities at a fitted temperature, and a second output,
`unknown_score` float32 [N], whose threshold is in the metadata. Every step is measured on the images that the run held
out, and nothing is written when too much macro F1 is lost.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from alexnet import datasets, environment, files
from alexnet.datasets import Fingerprint, Images, Split, synthetic_outliers
from alexnet.errors import UserError
from alexnet.evaluation import calibration, ood
from alexnet.evaluation.scores import score
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import Compression, ModelMetadata, OodFit, Precision
from alexnet.markdown import megabytes
from training import trainer
from training.export import latency, onnx_export, output_head, quantize, rank_search
from training.export import steps as table
from training.export.folding import FoldedAlexNet
from training.export.steps import Step
from training.networks.alexnet import AlexNet

Pixels = npt.NDArray[np.uint8]

RANKS: Final = (32, 64, 96, 128, 160)  # 160 is what 6 MB have room for
MAX_RANK: Final = 512
REFERENCE_SIZE: Final = 224  # pixels a side of the AlexNet whose speed is the measure

_BODY: Final = ("logits", "embedding")
_FIT_IMAGES: Final = 20_000  # training images to whose answers layers and distances are fitted
_UNKNOWN_IMAGES: Final = 1_000  # made up, of each kind
_SEED: Final = 0
_RANK_SHARE: Final = 0.5  # of the allowed loss, what the rank may take
_BATCH: Final = 100


class _Probabilities(nn.Module):
    """A `FoldedAlexNet` network with softmax, to compare its file with."""

    def __init__(self, network: FoldedAlexNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.softmax(self.network(pixels)[0], dim=1)


@dataclass(frozen=True)
class _Bench:
    """Where steps are made and measured: a folder for their files, and the images."""

    folder: Path
    training: Images
    validation: Images
    parity: Pixels
    progress: Progress

    def save(self, name: str, model: onnx.ModelProto, network: nn.Module | None = None) -> Step:
        """`model` as a step of the table. Raises `UserError` where it does not answer as `network` does."""
        path = self.folder / f"{len(list(self.folder.iterdir()))}.onnx"
        onnx.save(model, path)
        if network is not None:
            onnx_export.check_parity(network.eval(), Classifier(path), self.parity)
        (probabilities,) = self.run(path, ("probabilities",), self.validation.pixels)
        predicted = probabilities.argmax(1)
        return Step(name, path, score(self.validation.labels, predicted, probabilities.shape[1]), predicted)

    def run(self, path: Path, outputs: Sequence[str], pixels: Pixels) -> list[npt.NDArray[np.float32]]:
        """What the file at `path` answers to `pixels`, by the names of `outputs`."""
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        task = self.progress.add_task("images", total=len(pixels))
        parts = []
        for first in range(0, len(pixels), _BATCH):
            batch = pixels[first : first + _BATCH]
            parts.append(session.run(list(outputs), {"pixels": batch}))
            self.progress.advance(task, len(batch))
        self.progress.remove_task(task)
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def compress(
    checkpoint: Path,
    data_root: Path,
    output: Path,
    *,
    max_drop: float,
    precision: Precision,
    rank: int | None = None,
    fine_tune_steps: int = 0,
    threads: int | None = None,
) -> Path:
    """Write `checkpoint` as the small ONNX file `output` and print the table of the steps; returns `output`.

    A `rank` of None is chosen; `threads` are those that the speed is measured with. Raises `UserError` on a bad
    checkpoint, rank or data, when torch and ONNX Runtime differ, and when more than `max_drop` points of macro F1 of
    the validation images are lost.
    """
    if rank is not None and not 1 <= rank <= MAX_RANK:
        raise UserError(f"--rank is {rank}; give auto, or 1 to {MAX_RANK}")
    path = checkpoint / "best.pt" if checkpoint.is_dir() else checkpoint
    saved = trainer.load_checkpoint(path)
    model = onnx_export.restore(saved)
    trained, settings = Fingerprint.of(saved), saved["settings"]
    data = datasets.open(data_root)
    data.check(trained, path)
    parity = onnx_export.parity_images(data)
    parts = data.split_again(trained, settings["validation_images"], settings["seed"], path)
    _check_enough(parts, rank)
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
        bench = _Bench(Path(folder), parts.training, parts.validation, parity, progress)
        probabilities = onnx_export.Probabilities(model)
        described = onnx_export.metadata(path, saved)
        whole = onnx_export.to_onnx(probabilities.eval(), described)
        made = [bench.save("as exported", whole, probabilities)]
        choice = _shrink(bench, model, rank, max_drop, fine_tune_steps)
        body = onnx_export.to_onnx(choice.network, described, _BODY)
        made.append(bench.save(f"rank {choice.rank}", output_head.attach(body), _Probabilities(choice.network)))
        if precision == "int8":
            body = quantize.to_int8(body, bench.training.pixels[: quantize.CALIBRATION_IMAGES])
            made.append(bench.save("int8", output_head.attach(body)))
        elif precision == "fp16":
            body = quantize.to_float16(body)
            made.append(bench.save("float16", output_head.attach(body)))
        final, calibrated, fit = _finish(bench, body, described)
        made.append(bench.save("with its head", final))
        raced = [*_reference(bench, model, described), *made]
        speeds = latency.race({step.name: step.path for step in raced}, parts.validation.pixels, threads, progress)
        progress.stop()
        table.show(raced, speeds)
        _check_loss(made, max_drop)
        compression = Compression(
            rank_asked=rank,
            max_drop=max_drop,
            validation_images=len(parts.validation),
            fine_tune_steps=fine_tune_steps,
            ranks_tried=choice.tried,
            ood=fit,
            steps=tuple(table.describe(raced, speeds)),
        )
        update = {
            "rank": choice.rank,
            "precision": precision,
            "compression": compression,
            "compressed_with": _versions(),
        }
        onnx.helper.set_model_props(final, calibrated.model_copy(update=update).to_props())
        output.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(output) as partial:
            onnx.save(final, partial)
            Classifier(partial)
    print(f"{output}: {megabytes(output.stat().st_size)}, sha256 {files.sha256(output)}")
    return output


def _shrink(bench: _Bench, model: AlexNet, rank: int | None, max_drop: float, steps: int) -> rank_search.Choice:
    """The network with cheap preprocessing and two factorised layers."""
    return rank_search.choose(
        FoldedAlexNet(model).eval(),
        _first(bench.training, _FIT_IMAGES),
        bench.validation,
        _ranks(len(bench.training)) if rank is None else (rank,),
        allowed=_RANK_SHARE * max_drop / 100,
        steps=steps,
        progress=bench.progress,
    )


def _finish(
    bench: _Bench, body: onnx.ModelProto, described: ModelMetadata
) -> tuple[onnx.ModelProto, ModelMetadata, OodFit]:
    """`body` with probabilities at the temperature that suits the validation images best, and a score for unknown
    things; `described` with that temperature and the score's threshold; the constants of the score.
    """
    path = bench.folder / "body.onnx"
    onnx.save(body, path)
    fitted = _first(bench.training, _FIT_IMAGES)
    logits, codes = bench.run(path, _BODY, fitted.pixels)
    distance = ood.fit_distance(codes, fitted.labels, logits.shape[1])
    known = bench.run(path, _BODY, bench.validation.pixels)
    made = synthetic_outliers.make(bench.validation.pixels, bench.validation.labels, _UNKNOWN_IMAGES, _SEED)
    outliers = {kind: bench.run(path, _BODY, pixels) for kind, pixels in made.items()}
    score, area = ood.fit_score(distance, known, outliers)
    uncalibrated = calibration.softmax(known[0])
    temperature = calibration.fit_temperature(uncalibrated, bench.validation.labels)
    final = output_head.attach(body, temperature, score)
    onnx.save(final, path)
    (scores,) = bench.run(path, (output_head.UNKNOWN_SCORE,), bench.validation.pixels)
    update = {
        "uncalibrated": calibration.measure(uncalibrated, bench.validation.labels),
        "temperature": temperature.base,
        "temperature_slope": temperature.slope,
        "ood_threshold": ood.threshold(scores),
    }
    fit = OodFit(
        energy_temperature=score.energy_temperature,
        energy_slope=score.energy_slope,
        distance_slope=score.distance_slope,
        auroc=area,
        kinds=tuple(made),
    )
    calibrated = described.model_copy(update=update)
    onnx.helper.set_model_props(final, calibrated.to_props())
    return final, calibrated, fit


def _reference(bench: _Bench, model: AlexNet, described: ModelMetadata) -> list[Step]:
    """AlexNet at 224 pixels in float32, with any weights, to compare speeds with; nothing where the run has that."""
    if model.preprocess.input_size == REFERENCE_SIZE:
        return []
    path = bench.folder / "reference.onnx"
    network = onnx_export.Probabilities(AlexNet(model.classes, REFERENCE_SIZE)).eval()
    onnx.save(onnx_export.to_onnx(network, described), path)
    return [Step(f"AlexNet at {REFERENCE_SIZE}", path)]


def _check_loss(steps: Sequence[Step], max_drop: float) -> None:
    before, after = steps[0].scores, steps[-1].scores
    assert before is not None
    assert after is not None
    lost = 100 * (before.macro_f1 - after.macro_f1)
    if not lost <= max_drop:
        raise UserError(
            f"not written: {lost:.2f} points of macro F1 are lost on the validation images, at most {max_drop:g} are "
            "allowed; give a higher --rank, --fine-tune-steps, another --precision, or a higher --max-drop"
        )


def _ranks(images: int) -> tuple[int, ...]:
    """Those to try: layers that are fitted to the answers to so many images have no more directions than that."""
    return tuple(rank for rank in RANKS if rank <= images) or (images,)


def _check_enough(parts: Split, rank: int | None) -> None:
    """Raise `UserError` where one's own pictures are too few to fit the layers and the score for unknown things."""
    images, held_out = len(parts.training), len(np.unique(parts.validation.labels))
    if rank is not None and rank > images:
        raise UserError(f"--rank is {rank}, but there are only {images} images to fit it to; give {images} or less")
    if held_out < 2:
        raise UserError("the images that the run held out are of one class: hold out more, and train again")


def _first(images: Images, count: int) -> Images:
    return images.take(np.arange(min(count, len(images))))


def _versions() -> dict[str, str | int]:
    return environment.describe("torch", "onnx", "onnxruntime-gpu", "onnxruntime", "numpy")
