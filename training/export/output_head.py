"""The output head: logits to calibrated probabilities, and to the OOD score.

In: a graph with outputs `logits` float32 [N, classes] and `embedding` float32 [N, units]. Out: that graph with more
nodes, all of float32, and outputs `probabilities` float32 [N, classes] and `unknown_score` float32 [N]. Needs onnx, not
torch.
"""

from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from alexnet.evaluation.calibration import MIN_ENTROPY, Temperature
from alexnet.evaluation.ood import OodScore

PROBABILITIES: Final = "probabilities"
UNKNOWN_SCORE: Final = "unknown_score"


def attach(
    body: onnx.ModelProto, temperature: Temperature | None = None, score: OodScore | None = None
) -> onnx.ModelProto:
    """`body` with its head; without a `score`, `probabilities` are all that it answers."""
    model = onnx.ModelProto()
    model.CopyFrom(body)
    graph = model.graph
    logits, _ = graph.output
    batch, classes = logits.type.tensor_type.shape.dim
    constants: dict[str, object] = {"reduced": np.array([1], np.int64)}
    nodes = _temperature_nodes(temperature or Temperature(1.0), classes.dim_value, constants)
    nodes.append(helper.make_node("Softmax", ["calibrated"], [PROBABILITIES], axis=1))
    shapes = {PROBABILITIES: [batch.dim_param, classes.dim_value]}
    if score is not None:
        nodes += _score_nodes(score, constants)
        shapes[UNKNOWN_SCORE] = [batch.dim_param]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for name, value in constants.items():
        if name in used:
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _temperature_nodes(temperature: Temperature, classes: int, constants: dict[str, object]) -> list[onnx.NodeProto]:
    """`logits` to `calibrated` ones; what the nodes need is added to `constants`."""
    node = helper.make_node
    constants["temperature"] = np.float32(temperature.base)
    if not temperature.slope:
        return [node("Div", ["logits", "temperature"], ["calibrated"])]
    constants |= {
        "per_class": np.full((classes, 1), -1 / np.log(classes), np.float32),
        "least_entropy": np.float32(MIN_ENTROPY),
        "temperature_slope": np.float32(temperature.slope),
    }
    return [
        node("Softmax", ["logits"], ["plain"], axis=1),
        node("LogSoftmax", ["logits"], ["plain_logarithm"], axis=1),
        node("Mul", ["plain", "plain_logarithm"], ["surprises"]),
        node("MatMul", ["surprises", "per_class"], ["share_of_entropy"]),
        node("Max", ["share_of_entropy", "least_entropy"], ["entropy"]),
        node("Pow", ["entropy", "temperature_slope"], ["power"]),
        node("Mul", ["power", "temperature"], ["temperatures"]),
        node("Div", ["logits", "temperatures"], ["calibrated"]),
    ]


def _score_nodes(score: OodScore, constants: dict[str, object]) -> list[onnx.NodeProto]:
    """What `OodScore` computes; the slope and the offset of its distance are part of the constants."""
    node, distance, slope = helper.make_node, score.distance, score.distance_slope
    constants |= {
        "heat": np.float32(score.energy_temperature),
        "minus_slope_energy": np.float32(-score.energy_slope),
        "centre": distance.mean,
        "square": np.float32(slope * distance.quadratic),
        "lines": np.float32(slope * distance.linear),
        "bases": np.float32(slope * distance.constant + score.offset),
    }
    return [
        node("Div", ["logits", "heat"], ["heated"]),
        node("ReduceLogSumExp", ["heated", "reduced"], ["minus_energy"], keepdims=0),
        node("Mul", ["minus_energy", "minus_slope_energy"], ["sign_energy"]),
        node("Sub", ["embedding", "centre"], ["from_centre"]),
        node("MatMul", ["from_centre", "square"], ["squared"]),
        node("Mul", ["squared", "from_centre"], ["products"]),
        node("ReduceSum", ["products", "reduced"], ["far_from_all"], keepdims=0),
        node("Gemm", ["from_centre", "lines", "bases"], ["far_from_each"]),
        node("ReduceMin", ["far_from_each", "reduced"], ["far_from_nearest"], keepdims=0),
        node("Add", ["far_from_all", "far_from_nearest"], ["sign_distance"]),
        node("Add", ["sign_energy", "sign_distance"], [UNKNOWN_SCORE]),
    ]
