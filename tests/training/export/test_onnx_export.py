"""A checkpoint to one ONNX file: whole, self-contained, equal to the checkpoint, or not written."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx.external_data_helper import uses_external_data
from torch import nn

from alexnet import files
from alexnet.datasets import Images, cifar10
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import ModelMetadata
from tests.conftest import WIDTH, write_binary
from training import checkpoint, trainer
from training.export import onnx_export, source, torch_parity
from training.export.onnx_export import export as export_model
from training.networks.alexnet import AlexNet, Variant
from training.settings import Settings


@pytest.fixture(scope="module")
def classifier(small_model: Path) -> Classifier:
    return Classifier(small_model)


@pytest.fixture(scope="module")
def network(small_run: Path) -> nn.Module:
    """The small run in torch, with softmax."""
    return source.Probabilities(source.read(small_run).model).eval()


def test_the_model_is_one_file_that_needs_no_other(small_model: Path, tmp_path: Path) -> None:
    assert list(small_model.parent.iterdir()) == [small_model]
    model = onnx.load(small_model, load_external_data=False)
    assert not any(uses_external_data(item) for item in model.graph.initializer)
    alone = shutil.copy(small_model, tmp_path / "elsewhere.onnx")
    Classifier(alone)


def test_only_the_number_of_images_is_open(small_model: Path) -> None:
    session = ort.InferenceSession(small_model, providers=["CPUExecutionProvider"])
    (pixels,), (probabilities,) = session.get_inputs(), session.get_outputs()
    assert (pixels.name, pixels.type, pixels.shape) == ("pixels", "tensor(uint8)", ["N", 32, 32, 3])
    assert (probabilities.name, probabilities.type) == ("probabilities", "tensor(float)")
    assert probabilities.shape == ["N", 10]


def test_any_number_of_images_equals_as_many_single_ones(classifier: Classifier, fixture_images: Images) -> None:
    pixels = fixture_images.pixels[:13]
    singles = np.concatenate([classifier.run(pixels[i : i + 1]).probabilities for i in range(13)])
    assert np.ptp(singles, axis=0).max() > 1e-3  # the images differ to the model
    for size in (2, 7, 13):
        np.testing.assert_allclose(classifier.run(pixels[:size]).probabilities, singles[:size], atol=1e-6)


def test_the_file_answers_as_torch_does_on_images_that_the_export_has_not_seen(
    classifier: Classifier, network: nn.Module
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(classifier.run(pixels).probabilities, expected, atol=1e-4)


def test_dropout_is_off(classifier: Classifier, small_model: Path, fixture_images: Images) -> None:
    pixels = fixture_images.pixels[:5]
    assert np.array_equal(classifier.run(pixels).probabilities, classifier.run(pixels).probabilities)
    assert "Dropout" not in {node.op_type for node in onnx.load(small_model).graph.node}


def test_the_metadata_say_where_the_model_comes_from(small_model: Path, small_run: Path) -> None:
    metadata = Classifier(small_model).metadata
    saved = checkpoint.load(small_run / "best.pt")
    assert metadata.classes == cifar10.CLASSES
    assert (metadata.name, metadata.input_size, metadata.rank) == ("alexnet-cifar10", 63, None)
    assert metadata.run == "small"
    assert metadata.checkpoint_sha256 == files.sha256(small_run / "best.pt")
    assert metadata.settings is not None
    assert metadata.settings.model_dump() == {**saved.settings.model_dump(), "init": "init.safetensors", "teacher": ()}
    assert metadata.validation is not None
    assert metadata.validation.model_dump() == dataclasses.asdict(saved.epochs[-1])
    assert metadata.exported_with is not None
    assert metadata.exported_with["onnx"] == onnx.__version__


def test_the_metrics_of_a_last_checkpoint_are_those_of_its_last_epoch(small_run: Path) -> None:
    found = source.read(small_run / "last.pt").metadata.validation
    assert found is not None
    assert found.epoch == 2


def test_of_a_last_checkpoint_the_averaged_weights_are_taken_which_were_validated(
    tmp_path: Path, data_root: Path, small_settings: Settings
) -> None:
    run = trainer.start(small_settings.replace(ema_decay=0.5), data_root, tmp_path / "run")
    saved = checkpoint.load(run / "last.pt")
    assert saved.ema is not None
    found = source.read(run / "last.pt").model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in saved.ema.items())
    assert not all(torch.equal(found[name], value) for name, value in saved.model.items())


def test_nothing_of_this_machine_is_inside(small_model: Path) -> None:
    model = onnx.load(small_model)
    for item in model.graph.initializer:
        item.ClearField("raw_data")  # any three letters can be found among so many weights
    content = model.SerializeToString()
    assert len(content) < 100_000
    for place in (str(Path.home()), str(Path.cwd()), str(small_model.parent.parent), "site-packages", ".py"):
        assert place.encode() not in content


def test_a_file_with_other_weights_does_not_pass(classifier: Classifier, fixture_images: Images) -> None:
    torch.manual_seed(1)
    other = source.Probabilities(AlexNet(10, 63, Variant(width=WIDTH))).eval()
    with pytest.raises(UserError, match=r"not written: ONNX Runtime and torch differ by .* at batch size 1 from"):
        torch_parity.check_parity(other, classifier, fixture_images.pixels)


def test_a_difference_at_one_batch_size_alone_is_found(
    classifier: Classifier, network: nn.Module, fixture_images: Images
) -> None:
    class WrongInBatches(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            probabilities = network(pixels)
            return probabilities if len(pixels) == 1 else probabilities.roll(1, dims=0)

    with pytest.raises(UserError, match="at batch size 7 from image 0 on"):
        torch_parity.check_parity(WrongInBatches(), classifier, fixture_images.pixels[:8])


def test_a_model_of_no_numbers_is_not_written_over_an_older_one(
    tmp_path: Path, data_root: Path, small_run: Path
) -> None:
    saved = checkpoint.load(small_run / "best.pt")
    saved.model["network.classifier.6.bias"][3] = torch.nan  # a run that diverged
    checkpoint.save(tmp_path / "diverged.pt", saved)
    output = tmp_path / "models" / "model.onnx"
    output.parent.mkdir()
    output.write_bytes(b"older")
    with pytest.raises(UserError, match="the run diverged, its weights are not finite"):
        export_model(tmp_path / "diverged.pt", data_root, output)
    assert list(output.parent.iterdir()) == [output]
    assert output.read_bytes() == b"older"


def test_too_few_images_to_prove_anything_are_refused(tmp_path: Path, small_run: Path, fixture_images: Images) -> None:
    write_binary(tmp_path, fixture_images, fixture_images)
    with pytest.raises(UserError, match=r"has 200 training images; the check of the export needs 256"):
        export_model(small_run, tmp_path, tmp_path / "models" / "model.onnx")
    assert not (tmp_path / "models").exists()


def test_a_run_without_a_whole_epoch_has_nothing_to_export(tmp_path: Path, data_root: Path) -> None:
    with pytest.raises(UserError, match=r"best\.pt: no such file"):
        export_model(tmp_path, data_root, tmp_path / "model.onnx")


@pytest.mark.parametrize("input_size", [160, 224])
def test_input_sizes_at_which_the_pooling_differs_can_be_exported(
    input_size: int, fixture_images: Images, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = AlexNet(10, input_size, Variant(width=WIDTH))
    model.network.classifier = nn.Sequential(nn.Flatten(), nn.Linear(round(256 * WIDTH) * 6 * 6, 10))
    _write_proven(model.eval(), tmp_path, fixture_images.pixels[:8])


def _write_proven(model: AlexNet, folder: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """What `export` does to a network of another size than a checkpoint's."""
    network = source.Probabilities(model).eval()
    onnx.save(onnx_export.to_onnx(network, ModelMetadata(name="part", classes=cifar10.CLASSES)), folder / "part.onnx")
    torch_parity.check_parity(network, Classifier(folder / "part.onnx"), pixels)
    return folder / "part.onnx"
