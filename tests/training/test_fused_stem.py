"""`--fused-stem`: a network whose first convolution sees the image itself, from its initial weights to its file."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper

from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from training import checkpoint, networks, trainer
from training.export import compress, onnx_export
from training.export.multiply_adds import count_multiply_adds
from training.export.source import read
from training.networks import initial_weights
from training.networks.alexnet import GREY
from training.networks.stem import PolyphaseStem
from training.settings import Settings

SIDE = 96  # three times the image's


@pytest.fixture(scope="module")
def settings(small_settings: Settings, small_run: Path) -> Settings:
    return small_settings.replace(input_size=SIDE, fused_stem=True, init=str(small_run / "best.pt"))


@pytest.fixture(scope="module")
def fused_run(tmp_path_factory: pytest.TempPathFactory, data_root: Path, settings: Settings) -> Path:
    return trainer.start(settings, data_root, tmp_path_factory.mktemp("runs") / "fused")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, data_root: Path, fused_run: Path) -> Path:
    path = tmp_path_factory.mktemp("released") / "model.onnx"
    return compress.compress(compress.Request(fused_run, data_root, path, rank=16, max_drop=100, release=True))


def test_it_is_trained(fused_run: Path) -> None:
    model = read(fused_run).model
    assert isinstance(model.network.features[0], PolyphaseStem)
    assert checkpoint.load(fused_run).epochs[-1].validation_accuracy is not None


def test_its_file_computes_what_torch_does(tmp_path: Path, data_root: Path, fused_run: Path) -> None:
    path = onnx_export.export(fused_run, data_root, tmp_path / "model.onnx")  # which compares them
    assert Classifier(path).image_shape == (32, 32, 3)


def test_it_computes_less_than_a_convolution_on_the_enlarged_image(
    tmp_path: Path, data_root: Path, settings: Settings, small_run: Path, released: Path
) -> None:
    plain = trainer.start(settings.replace(fused_stem=False, epochs=1), data_root, tmp_path / "plain")
    other = compress.compress(compress.Request(plain, data_root, tmp_path / "model.onnx", rank=16, max_drop=100))
    assert count_multiply_adds(onnx.load(released)) < count_multiply_adds(onnx.load(other))


def test_its_first_layer_reads_the_pixels_as_they_are(released: Path, fused_run: Path, fixture_images: Images) -> None:
    model = onnx.load(released)
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    transpose, dequantize = next(
        (before, node)
        for node in model.graph.node
        for before in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in before.output and before.input[0] == "pixels"
    )
    assert transpose.op_type == "Transpose"
    assert [constants[name].item() for name in dequantize.input[1:]] == [1, GREY]
    assert not any(node.op_type in ("Cast", "Sub") and node.input[0] in transpose.output for node in model.graph.node)
    assert constants.keys() <= {name for node in model.graph.node for name in node.input}
    network = read(fused_run).model
    with torch.inference_mode():
        wanted = network(torch.from_numpy(fixture_images.pixels)).argmax(1).numpy()
    found = Classifier(released).run(fixture_images.pixels).probabilities.argmax(1)
    assert (found == wanted).mean() > 0.9


def test_its_graph_stays_in_8_bits_between_the_phases_and_the_pooling(tmp_path: Path, released: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(released, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    first, pooling = kinds.index("QLinearConv"), next(n for n, kind in enumerate(kinds) if "MaxPool" in kind)
    assert set(kinds[first + 1 : pooling]) <= {"Transpose", "Reshape"}


def test_the_weights_of_its_release_are_those_of_the_large_convolution(
    released: Path, fused_run: Path, settings: Settings, fixture_images: Images
) -> None:
    pixels, wanted = torch.from_numpy(fixture_images.pixels), Classifier(released.with_name("model-fp16.onnx"))
    classes = wanted.run(fixture_images.pixels).probabilities.argmax(1)
    for fused in (True, False):
        model = networks.build(settings.replace(fused_stem=fused), 10).eval()
        assert not isinstance(model, networks.PooledAlexNet | networks.Teacher)
        initial_weights.load(model, str(released.with_suffix(".safetensors")))
        with torch.inference_mode():
            assert (model(pixels).argmax(1).numpy() == classes).mean() > (0.95 if fused else 0.5)
    trained = read(fused_run).model.network.features[0].weight
    found = networks.build(settings, 10)
    initial_weights.load(found, str(released.with_suffix(".safetensors")))  # type: ignore[arg-type]
    np.testing.assert_allclose(found.network.features[0].weight.detach(), trained.detach(), atol=2e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"network": "teacher", "input_size": 32},
        {"input_size": 100},
        {"input_size": 64},
        {"image_size": 50, "input_size": 150},
    ],
)
def test_other_sizes_and_networks_have_none(settings: Settings, change: dict[str, object]) -> None:
    with pytest.raises(
        UserError, match="--fused-stem: only AlexNet has one, at an --input-size of three or more times"
    ):
        settings.replace(**change)
