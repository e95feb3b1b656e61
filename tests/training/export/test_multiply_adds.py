"""Multiply-adds of ONNX graphs, against counts by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from alexnet.paths import MODEL
from tests.models import CLASSES, write_model
from training.export.multiply_adds import count_multiply_adds
from training.networks import low_rank


def test_a_linear_classifier_multiplies_each_value_once_for_each_class(tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / "linear.onnx"))
    assert count_multiply_adds(model) == 32 * 32 * 3 * len(CLASSES)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"  # the model is not changed


def test_convolutions_count_by_output_position_and_group() -> None:
    weight = numpy_helper.from_array(np.zeros((8, 2, 3, 3), np.float32), "weight")
    nodes = [helper.make_node("Conv", ["image", "weight"], ["maps"], group=3, strides=[2, 2], pads=[1, 1, 1, 1])]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 6, 10, 10])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["N", 8, 5, 5])],
        [weight],
    )
    assert count_multiply_adds(helper.make_model(graph)) == 8 * 5 * 5 * 2 * 3 * 3


def test_a_shape_that_is_not_known_is_an_error() -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["image", "weight"], ["product"])],
        "unknown",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", "inputs"])],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(np.zeros((4, 5), np.float32), "weight")],
    )
    with pytest.raises(ValueError, match="the shape of image cannot be inferred"):
        count_multiply_adds(helper.make_model(graph))


def test_the_shipped_model() -> None:
    """Nearly all are those of the convolutions.

    The first computes 5x5 outputs of its 64 channels at each of 8x8 places, from the 7x7 pixels below; the others have
    five eighths of their channels.
    """
    convolutions = 8**2 * (5**2 * 64) * 3 * 7**2
    channels = ((64, 192), (192, 384), (384, 256), (256, 256))
    for side, kernel, (inputs, outputs) in zip((19, 9, 9, 9), (5, 3, 3, 3), channels, strict=True):
        narrow, wide = low_rank.ranks(inputs, outputs, 0.625)
        convolutions += side**2 * (inputs * narrow + narrow * wide * kernel**2 + wide * outputs)
    assert 0 < count_multiply_adds(onnx.load(MODEL)) - convolutions < 0.03 * convolutions
