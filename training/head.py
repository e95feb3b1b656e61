"""The end of the graph: logits to probabilities that mean what they say, and to a score for unknown things.

In: a graph with outputs `logits` float32 [N, classes] and `code` float32 [N, units]. Out: a graph with the same nodes
and a few more, whose outputs are `probabilities` float32 [N, classes] and `unknown_score` float32 [N]. All of the head
is float32. Needs onnx, not torch.
"""

from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from training.unknown_score import Score

PROBABILITIES: Final = "probabilities"
UNKNOWN_SCORE: Final = "unknown_score"


def attach(body: onnx.ModelProto, temperature: float = 1.0, score: Score | None = None) -> onnx.ModelProto:
    """`body` with its head; without a `score`, `probabilities` are all that it answers."""
    model = onnx.ModelProto()
    model.CopyFrom(body)
    graph = model.graph
    logits, _ = graph.output
    batch, classes = logits.type.tensor_type.shape.dim
    axes = {"reduced": np.array([1], np.int64)}
    constants: dict[str, object] = {"temperature": np.float32(temperature)}
    nodes = [
        helper.make_node("Div", ["logits", "temperature"], ["calibrated"]),
        helper.make_node("Softmax", ["calibrated"], [PROBABILITIES], axis=1),
    ]
    shapes = {PROBABILITIES: [batch.dim_param, classes.dim_value]}
    if score is not None:
        constants |= axes | _constants(score)
        nodes += _score_nodes()
        shapes[UNKNOWN_SCORE] = [batch.dim_param]
    graph.node.extend(nodes)
    for name, value in constants.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _constants(score: Score) -> dict[str, object]:
    distance = score.distance
    return {
        "heat": np.float32(score.heat),
        "centre": distance.centre,
        "square": distance.square,
        "lines": distance.lines,
        "bases": distance.bases,
        "slope_confidence": np.float32(score.slope_confidence),
        "slope_distance": np.float32(score.slope_distance),
        "offset": np.float32(score.offset),
    }


def _score_nodes() -> list[onnx.NodeProto]:
    """What `unknown_score.Score` computes."""
    node = helper.make_node
    return [
        node("Div", ["logits", "heat"], ["heated"]),
        node("Softmax", ["heated"], ["heated_probabilities"], axis=1),
        node("ReduceMax", ["heated_probabilities", "reduced"], ["confidence"], keepdims=0),
        node("Sub", ["code", "centre"], ["from_centre"]),
        node("MatMul", ["from_centre", "square"], ["squared"]),
        node("Mul", ["squared", "from_centre"], ["products"]),
        node("ReduceSum", ["products", "reduced"], ["far_from_all"], keepdims=0),
        node("Gemm", ["from_centre", "lines", "bases"], ["far_from_each"]),
        node("ReduceMin", ["far_from_each", "reduced"], ["far_from_nearest"], keepdims=0),
        node("Add", ["far_from_all", "far_from_nearest"], ["distance"]),
        node("Mul", ["confidence", "slope_confidence"], ["sign_confidence"]),
        node("Mul", ["distance", "slope_distance"], ["sign_distance"]),
        node("Add", ["sign_confidence", "sign_distance"], ["signs"]),
        node("Add", ["signs", "offset"], [UNKNOWN_SCORE]),
    ]
