"""A checkpoint to the small file: smaller, as good, calibrated, the same on every CPU, or not written."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from rich.progress import Progress
from safetensors import safe_open

from alexnet import datasets, files
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation import calibration, evaluate, photos
from alexnet.evaluation.calibration import Temperature
from alexnet.evaluation.evaluate import Request
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import ModelMetadata
from benchmarks import older_cpu
from tests.conftest import VALIDATION_IMAGES, WIDTH
from tests.models import write_model
from training import checkpoint
from training.export import compress, head_fit, latency, quantize, rank_search, source
from training.export.folding import FoldedAlexNet
from training.export.multiply_adds import count_multiply_adds
from training.export.rank_search import Search
from training.networks import initial_weights
from training.networks.alexnet import AlexNet, Variant

SIZE = 63


@pytest.fixture(scope="module", autouse=True)
def quick(fixture_images: Images) -> Iterator[None]:
    """Fewer images than a real file needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_fit, "_OUTLIERS", 30)
        patch.setattr(source, "parity_images", lambda _: fixture_images.pixels[:10])
        yield


@pytest.fixture(scope="module")
def small_file(session_path: Path, data_root: Path, small_run: Path, quick: None) -> Path:
    """What `compress` makes of the small run."""
    output = session_path / "compressed" / "model.onnx"
    return compress.compress(compress.Request(small_run, data_root, output, rank=16, max_drop=100))


def inside(path: Path, name: str, pixels: np.ndarray) -> np.ndarray:
    """What the value `name` inside the graph of the file at `path` is for `pixels`."""
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run([name], {"pixels": pixels})[0]
    return found


def held_out(data_root: Path, run: Path) -> Images:
    settings = checkpoint.load(run).settings
    return datasets.open(data_root).split(settings.validation_images, settings.seed).validation


def test_the_file_is_small_and_serves(small_file: Path, small_model: Path, fixture_images: Images) -> None:
    assert small_file.stat().st_size < small_model.stat().st_size / 20
    model, whole = Classifier(small_file), Classifier(small_model)
    assert model.detects_ood
    answers = model.run(fixture_images.pixels)
    np.testing.assert_allclose(answers.probabilities.sum(1), 1, atol=1e-5)
    expected = whole.run(fixture_images.pixels).probabilities.argmax(1)
    assert (answers.probabilities.argmax(1) == expected).mean() > 0.8  # a run of seconds is never sure
    assert list(small_file.parent.iterdir()) == [small_file]


def test_the_metadata_say_what_was_done_and_where_it_comes_from(small_file: Path, small_run: Path) -> None:
    metadata = Classifier(small_file).metadata
    facts = metadata.compression
    assert facts is not None
    assert metadata.checkpoint_sha256 == files.sha256(small_run / "best.pt")
    assert (metadata.run, metadata.rank, metadata.precision) == ("small", 16, "int8")
    assert [step.name for step in facts.steps] == ["checkpoint", "rank 16", "int8"]
    assert list(facts.ranks_tried) == [16]
    sizes = [step.bytes for step in facts.steps]
    assert sizes[0] > 10 * sizes[1] > 20 * sizes[2]
    assert facts.steps[0].agreement == 1
    assert not any(step.latency_ms for step in facts.steps)  # measured on demand
    assert facts.steps[2].multiply_adds == count_multiply_adds(onnx.load(small_file))
    assert facts.ood.offset is not None


def test_no_weight_is_so_large_that_older_cpus_overflow(small_file: Path) -> None:
    model = onnx.load(small_file)
    assert 32 < quantize.largest_weight(model) <= 64
    # Two products of 8 bits and such a weight fit into 16 bits with their sign.
    assert 2 * 255 * quantize.largest_weight(model) <= np.iinfo(np.int16).max
    quantised = [i for i in model.graph.initializer if i.data_type == onnx.TensorProto.INT8 and len(i.dims) > 1]
    assert len(quantised) == 5 + 4  # convolution layers, and two layers as two each
    model.graph.initializer.append(numpy_helper.from_array(np.full(3, -128, np.int8), "large"))
    assert quantize.largest_weight(model) == 128


def test_the_threshold_keeps_95_of_100_validation_images(small_file: Path, data_root: Path, small_run: Path) -> None:
    answers = Classifier(small_file).run(held_out(data_root, small_run).pixels)
    assert answers.is_ood is not None
    assert (~answers.is_ood).mean() == pytest.approx(0.95, abs=0.01)


def test_no_other_temperature_suits_the_validation_images_better(
    small_file: Path, data_root: Path, small_run: Path
) -> None:
    images = held_out(data_root, small_run)
    model = Classifier(small_file)
    probabilities = model.run(images.pixels).probabilities
    found = calibration.temperature_of(model.metadata)
    assert found is not None
    assert found.base != 1
    uncalibrated = calibration.softmax(inside(small_file, "logits", images.pixels))
    assert model.metadata.uncalibrated == calibration.measure(uncalibrated, images.labels)
    likelihood = calibration.negative_log_likelihood(probabilities, images.labels)
    changes = ((0.97, 0, 0), (1.03, 0, 0), (1, 0.03, 0), (1, -0.03, 0), (1, 0, 0.03), (1, 0, -0.03))
    for base, *more in changes:
        slopes = (
            min(max(old + new, 0.0), 1.0) for old, new in zip((found.slope, found.certainty_slope), more, strict=True)
        )
        other = Temperature(found.base * base, *slopes)
        worse = calibration.negative_log_likelihood(calibration.apply_temperature(uncalibrated, other), images.labels)
        assert worse >= likelihood - 1e-5, other


def test_a_loss_beyond_the_allowed_one_is_refused_and_nothing_is_written(
    tmp_path: Path, data_root: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"not written: .* points of macro F1 are lost .* at most -100 are allowed"):
        compress.compress(
            compress.Request(small_run, data_root, tmp_path / "model.onnx", rank=8, max_drop=-100, precision="fp32")
        )
    assert list(tmp_path.iterdir()) == []
    assert "rank 8" in capsys.readouterr().out  # the table shows where it was lost


@pytest.mark.parametrize("rank", [0, 513])
def test_a_rank_out_of_range_is_refused(tmp_path: Path, data_root: Path, small_run: Path, rank: int) -> None:
    with pytest.raises(UserError, match=f"--rank is {rank}; give auto, or 1 to 512"):
        compress.compress(compress.Request(small_run, data_root, tmp_path / "m.onnx", rank=rank))


def test_latencies_are_measured_on_demand(
    tmp_path: Path, data_root: Path, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compress, "REFERENCE_SIZE", SIZE)
    monkeypatch.setattr(latency, "_ROUNDS", 1)
    request = compress.Request(
        small_run, data_root, tmp_path / "model.onnx", "fp32", rank=8, max_drop=100, latency=True, threads=1
    )
    facts = Classifier(compress.compress(request)).metadata.compression
    assert facts is not None
    assert [step.name for step in facts.steps] == [f"AlexNet at {SIZE}", "checkpoint", "rank 8", "fp32"]
    assert all(min(step.latency_ms.values()) > 0 for step in facts.steps if step.name != "checkpoint")
    assert set(facts.steps[0].latency_ms) == {1, 32}


@pytest.fixture(scope="module")
def release(session_path: Path, data_root: Path, small_run: Path, small_file: Path) -> Path:
    """The files of a release."""
    request = compress.Request(
        small_run,
        data_root,
        session_path / "release" / "model.onnx",
        fine_tune_steps=2,
        max_drop=100,
        release=True,
    )
    return compress.compress(request)


def test_a_release_has_the_model_for_gpus_and_the_weights_too(release: Path, fixture_images: Images) -> None:
    assert sorted(path.name for path in release.parent.iterdir()) == [
        "model-fp16.onnx",
        "model.onnx",
        "model.safetensors",
    ]
    assert len({path.stat().st_mode for path in release.parent.iterdir()}) == 1
    model, half = Classifier(release), Classifier(release.with_name("model-fp16.onnx"))
    assert (model.metadata.precision, half.metadata.precision) == ("int8", "fp16")
    assert model.metadata.compression is not None
    names = [step.name for step in model.metadata.compression.steps]
    assert names[0] == "checkpoint"
    assert names[1].startswith("rank ")
    assert names[2:] == ["int8", "fp16"]
    outputs = half.run(fixture_images.pixels)
    assert outputs.is_ood is not None
    agreement = outputs.probabilities.argmax(1) == model.run(fixture_images.pixels).probabilities.argmax(1)
    assert agreement.mean() > 0.8


def test_the_weights_of_a_release_compute_what_its_file_does(
    release: Path, small_run: Path, fixture_images: Images
) -> None:
    whole = source.read(small_run).model
    model = AlexNet(10, SIZE, Variant(width=WIDTH)).eval()
    initial_weights.load(model, str(release.with_suffix(".safetensors")))
    with torch.inference_mode():
        logits = model(torch.from_numpy(fixture_images.pixels))
        original = whole(torch.from_numpy(fixture_images.pixels))
    half = Classifier(release.with_name("model-fp16.onnx"))
    assert (logits.argmax(1).numpy() == half.run(fixture_images.pixels).probabilities.argmax(1)).mean() > 0.97
    assert not torch.equal(logits, original)
    with safe_open(release.with_suffix(".safetensors"), "np") as file:
        assert ModelMetadata.from_props(file.metadata()).run == "small"
        assert {file.get_tensor(name).dtype for name in file.keys()} == {np.dtype(np.float16)}  # noqa: SIM118


def test_the_weights_start_a_network_of_other_classes(release: Path) -> None:
    model = AlexNet(3, SIZE, Variant(width=WIDTH))
    fresh = {place: model.network.classifier[place].weight.clone() for place in (4, 6)}
    initial_weights.load(model, str(release.with_suffix(".safetensors")))
    assert torch.equal(model.network.classifier[6].weight, fresh[6])
    assert not torch.equal(model.network.classifier[4].weight, fresh[4])


def test_photos_choose_the_score_and_raise_the_threshold(
    tmp_path: Path, data_root: Path, small_run: Path, small_file: Path, fixture_images: Images
) -> None:
    for name in ("cat", "ship", "none"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number, image in enumerate(fixture_images.pixels[:20]):
            pixels = image[::-1] if name == "none" else 255 - image  # far from what the run has seen
            Image.fromarray(pixels).resize((80, 60)).save(tmp_path / "photos" / name / f"{number}.png")
    output = tmp_path / "model.onnx"
    request = compress.Request(small_run, data_root, output, rank=16, max_drop=100, photos=tmp_path / "photos")
    model = Classifier(compress.compress(request))
    assert model.metadata.compression is not None
    assert model.metadata.compression.ood.kinds == ("none", "noise", "flat")
    for images in (held_out(data_root, small_run), photos.read(tmp_path / "photos", model.classes, 32, 32).images):
        is_ood = model.run(images.pixels).is_ood
        assert is_ood is not None
        assert is_ood.mean() <= 0.05


def test_the_calibration_of_an_earlier_file_is_taken(
    tmp_path: Path, data_root: Path, small_run: Path, small_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_of_them(dataset: datasets.Dataset, *_: object) -> datasets.Split:
        images = datasets.open(dataset.root).split(VALIDATION_IMAGES, 0).training
        return datasets.Split(images, images.take(np.arange(0)))

    monkeypatch.setattr(datasets.Dataset, "split_again", all_of_them)
    request = compress.Request(small_run, data_root, tmp_path / "model.onnx", max_drop=100)
    with pytest.raises(UserError, match=r"held out no images to calibrate with: give --calibration-from FILE.onnx"):
        compress.compress(request)
    earlier = Classifier(small_file).metadata
    assert earlier.compression is not None
    with_photos = earlier.compression.model_copy(update={"photos_sha256": "5" * 64})
    file = onnx.load(small_file)
    onnx.helper.set_model_props(file, earlier.model_copy(update={"compression": with_photos}).to_props())
    onnx.save(file, tmp_path / "earlier.onnx")
    found = Classifier(compress.compress(replace(request, calibration_from=tmp_path / "earlier.onnx"))).metadata
    for name in ("rank", "temperature", "temperature_slope", "temperature_certainty_slope", "ood_threshold"):
        assert getattr(found, name) == getattr(earlier, name), name
    assert found.compression is not None
    assert found.compression.validation_images == 0
    assert found.compression.photos_sha256 == "5" * 64, "they chose the threshold, whichever run is measured with it"
    assert found.uncalibrated is None
    other = write_model(tmp_path / "other.onnx", classes=("bee", "wasp"))
    for file, complaint in ((other, "it has other classes"), (write_model(tmp_path / "plain.onnx"), "does not state")):
        with pytest.raises(UserError, match=complaint):
            compress.compress(replace(request, calibration_from=file))


def test_float16_answers_nearly_as_float32(tmp_path: Path, small_file: Path, small_model: Path) -> None:
    body = onnx.load(small_model)
    onnx.save(quantize.to_float16(body), tmp_path / "half.onnx")
    assert (tmp_path / "half.onnx").stat().st_size == pytest.approx(small_model.stat().st_size / 2, rel=0.01)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    half, whole = Classifier(tmp_path / "half.onnx"), Classifier(small_model)
    assert half.run(pixels).probabilities.dtype == np.float32
    np.testing.assert_allclose(half.run(pixels).probabilities, whole.run(pixels).probabilities, atol=5e-3)


def test_the_file_is_evaluated_with_calibration_and_ood_detection(
    tmp_path: Path, small_file: Path, data_root: Path, fixture_images: Images
) -> None:
    (tmp_path / "odd").mkdir()
    for number, image in enumerate(255 - fixture_images.pixels[:50]):
        Image.fromarray(image).save(tmp_path / "odd" / f"{number}.png")
    found = evaluate.evaluate(Request(small_file, data_root, tmp_path / "out", ood=(tmp_path / "odd",)))
    outputs = Classifier(small_file).run(fixture_images.pixels)
    assert found.calibration == calibration.measure(outputs.probabilities, fixture_images.labels)
    assert outputs.is_ood is not None
    assert found.ood is not None
    assert found.ood.refused == outputs.is_ood.mean()
    assert list(found.ood.sets) == ["odd", "noise", "flat"]
    assert found.ood.sets["odd"].images == 50
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 5000


def test_ood_images_need_a_model_with_a_score(tmp_path: Path, small_model: Path, data_root: Path) -> None:
    with pytest.raises(UserError, match="the model has no OOD score"):
        evaluate.evaluate(Request(small_model, data_root, tmp_path / "out", ood=(tmp_path,)))


@pytest.mark.skipif(shutil.which(older_cpu.EMULATOR) is None, reason="qemu-user is not installed")
def test_a_cpu_without_vnni_gives_the_same_answers(small_file: Path) -> None:
    pixels = older_cpu.read_images(4)
    theirs = older_cpu.answers_on(older_cpu.CPUS[0], small_file, pixels)
    np.testing.assert_allclose(theirs, Classifier(small_file, threads=1).run(pixels).probabilities, atol=1e-3)


def test_fine_tuning_brings_the_answers_closer(fixture_images: Images) -> None:
    torch.manual_seed(0)
    model = AlexNet(10, SIZE)
    for parameter in model.network.features.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    whole = FoldedAlexNet(model).eval()
    with torch.no_grad():
        whole.last[0].weight.mul_(80)  # as sure of itself as a network that was trained
    images = fixture_images.take(np.arange(128))
    with Progress(disable=True) as progress, torch.inference_mode():
        inputs = rank_search.features(whole, images, progress)
        target = whole.classify(inputs).softmax(1)

    def distance(steps: int) -> float:
        with Progress(disable=True) as progress:
            found = rank_search.choose(whole, images, images, Search((2,), 0.0, steps, progress))
        with torch.inference_mode():
            return float((found.network.classify(inputs).softmax(1) - target).square().mean())

    assert distance(20) < 0.95 * distance(0)
