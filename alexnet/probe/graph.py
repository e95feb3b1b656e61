"""The ONNX graphs of a linear probe: the network of its features, and the whole model file.

In: models/features/model.onnx or other weights of its convolutions, a linear layer and an OOD score. Out: `pixels`
uint8 [N, side, side, 3] RGB to `embedding` float32 [N, D]; or to `probabilities` float32 [N, classes] and
`unknown_score` float32 [N], as every model file here. Needs onnx.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from alexnet.errors import UserError
from alexnet.inference.metadata import ModelMetadata
from alexnet.paths import FEATURES
from alexnet.probe import convolutions
from alexnet.probe.convolutions import Weights
from alexnet.probe.logistic import Linear
from alexnet.probe.ood import GRID, NearestMean

SMALLEST: Final = 63  # pixels a side: below, nothing is left for the last pooling

EMBEDDING: Final = 256 * GRID**2  # values: channels of the last convolution, in each part of the image
_Constants = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Head:
    """What follows the embedding: a linear layer, the temperature of its logits, and the OOD score."""

    layer: Linear
    temperature: float
    ood: NearestMean


def features(side: int, weights: Weights | None = None) -> onnx.ModelProto:
    """The network from `pixels` to `embedding`, the features of images of `side` x `side` pixels.

    `weights` are those of the convolutions, where they are not ImageNet's. Raises `UserError` where the shipped
    convolutions are missing.
    """
    try:
        model = onnx.load(FEATURES)
    except OSError as error:
        raise UserError(f"{FEATURES}: {error.strerror}; install alexnet-cifar10 again") from error
    if weights is not None:
        convolutions.replace(model, weights)
    graph = model.graph
    _add(
        graph,
        [
            helper.make_node("MatMul", ["features", "columns"], ["by_column"]),
            helper.make_node("MatMul", ["rows", "by_column"], ["cells"]),
            helper.make_node("Flatten", ["cells"], ["embedding"]),
        ],
        {"columns": _pooling(_side_of_maps(side)).T, "rows": _pooling(_side_of_maps(side))},
    )
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", side, side, 3]))
    graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", EMBEDDING]))
    return model


def classifier(side: int, head: Head, metadata: ModelMetadata, weights: Weights | None = None) -> onnx.ModelProto:
    """The model file: features of the image and of its mirror image, their mean, and what follows from that."""
    model = features(side, weights)
    graph, layer, ood = model.graph, head.layer, head.ood
    classes = len(metadata.classes)
    first = next(node for node in graph.node if "pixels" in node.input)
    first.input[list(first.input).index("pixels")] = "both"
    node = helper.make_node
    mirror = [
        node("Slice", ["pixels", "last", "before_first", "column_axis", "backwards"], ["mirrored"]),
        node("Concat", ["pixels", "mirrored"], ["both"], axis=0),
    ]
    tail = [
        node("Reshape", ["embedding", "pairs"], ["two_embeddings"]),
        node("ReduceMean", ["two_embeddings", "first_axis"], ["mean_embedding"], keepdims=0),
        node("Gemm", ["mean_embedding", "weight", "bias"], ["calibrated"]),
        node("Softmax", ["calibrated"], ["probabilities"], axis=1),
        node("Reshape", ["mean_embedding", "cells_apart"], ["by_cell"]),
        node("ReduceMean", ["by_cell", "third_axis"], ["mean_of_cells"], keepdims=0),
        node("LpNormalization", ["mean_of_cells"], ["direction"], axis=1, p=2),
        node("Gemm", ["direction", "projection", "offset"], ["projected"]),
        node("Mul", ["projected", "projected"], ["squares"]),
        node("ReduceSum", ["squares", "second_axis"], ["squared_length"], keepdims=0),
        node("Gemm", ["projected", "towards_means", "squared_means"], ["towards_each"]),
        node("ReduceMin", ["towards_each", "second_axis"], ["towards_nearest"], keepdims=0),
        node("Add", ["squared_length", "towards_nearest"], ["unknown_score"]),
    ]
    constants: _Constants = {
        "last": np.array([-1], np.int64),
        "before_first": np.array([np.iinfo(np.int64).min], np.int64),
        "column_axis": np.array([2], np.int64),
        "backwards": np.array([-1], np.int64),
        "pairs": np.array([2, -1, len(layer.weight)], np.int64),
        "first_axis": np.array([0], np.int64),
        "second_axis": np.array([1], np.int64),
        "third_axis": np.array([2], np.int64),
        "cells_apart": np.array([-1, len(ood.projection), GRID**2], np.int64),
        "weight": (layer.weight / head.temperature).astype(np.float32),
        "bias": (layer.bias / head.temperature).astype(np.float32),
        "projection": ood.projection,
        "offset": ood.offset,
        "towards_means": -2 * ood.means.T,
        "squared_means": np.square(ood.means).sum(1),
    }
    body = list(graph.node)
    del graph.node[:], graph.output[:]
    _add(graph, mirror + body + tail, constants)
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes]))
    graph.output.append(helper.make_tensor_value_info("unknown_score", TensorProto.FLOAT, ["N"]))
    helper.set_model_props(model, metadata.to_props())
    onnx.checker.check_model(model)
    return model


def _add(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], constants: _Constants) -> None:
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())


def _side_of_maps(side: int) -> int:
    """The side of the feature maps of images of `side` pixels: convolution 11/4, then pooling 3/2 three times."""
    side = (side + 4 - 11) // 4 + 1
    for _ in range(3):
        side = (side - 3) // 2 + 1
    return side


def _pooling(side: int) -> npt.NDArray[np.float32]:
    """The matrix [GRID, side] of the means of adaptive pooling, as torch's AdaptiveAvgPool2d defines its parts."""
    matrix = np.zeros((GRID, side), np.float32)
    for part in range(GRID):
        first, last = part * side // GRID, -(-(part + 1) * side // GRID)
        matrix[part, first:last] = 1 / (last - first)
    return matrix
