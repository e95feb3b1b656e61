"""The output head: logits to calibrated probabilities, and to the OOD score.

In: a graph with outputs `logits` float32 [N, classes] and `embedding` float32 [N, units]. Out: that graph with more
nodes, all of float32, and outputs `probabilities` float32 [N, classes] and `unknown_score` float32 [N]. Needs onnx, not
torch.
"""

from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from alexnet.evaluation.calibration import MIN_CERTAINTY, MIN_ENTROPY, Temperature
from alexnet.evaluation.ood import MIN_NORM, CentroidDistance, OodScore, RelativeMahalanobis

PROBABILITIES: Final = "probabilities"
UNKNOWN_SCORE: Final = "unknown_score"


def attach(
    body: onnx.ModelProto, temperature: Temperature | None = None, score: OodScore | None = None
) -> onnx.ModelProto:
    """`body` with its output head; without a `score`, its only output is `probabilities`."""
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
    """Nodes from `logits` to `calibrated` ones; their initializers are added to `constants`."""
    node = helper.make_node
    constants["temperature"] = np.float32(temperature.base)
    if not temperature.slope and not temperature.certainty_slope:
        return [node("Div", ["logits", "temperature"], ["calibrated"])]
    constants |= {
        "normalize": np.full((classes, 1), -1 / np.log(classes), np.float32),
        "min_entropy": np.float32(MIN_ENTROPY),
        "temperature_slope": np.float32(temperature.slope),
        "one": np.float32(1),
        "min_certainty": np.float32(MIN_CERTAINTY),
        "certainty_slope": np.float32(temperature.certainty_slope),
    }
    certainty = [
        node("Sub", ["one", "entropy"], ["difference"]),
        node("Max", ["difference", "min_certainty"], ["certainty"]),
        node("Pow", ["certainty", "certainty_slope"], ["certainty_power"]),
        node("Mul", ["entropy_power", "certainty_power"], ["power"]),
    ]
    return [
        node("Softmax", ["logits"], ["uncalibrated"], axis=1),
        node("LogSoftmax", ["logits"], ["log_uncalibrated"], axis=1),
        node("Mul", ["uncalibrated", "log_uncalibrated"], ["p_log_p"]),
        node("MatMul", ["p_log_p", "normalize"], ["normalized_entropy"]),
        node("Max", ["normalized_entropy", "min_entropy"], ["entropy"]),
        node("Pow", ["entropy", "temperature_slope"], ["entropy_power"]),
        *(certainty if temperature.certainty_slope else ()),
        node("Mul", ["power" if temperature.certainty_slope else "entropy_power", "temperature"], ["temperatures"]),
        node("Div", ["logits", "temperatures"], ["calibrated"]),
    ]


def _score_nodes(score: OodScore, constants: dict[str, object]) -> list[onnx.NodeProto]:
    """Nodes that compute `OodScore`; its distance's slope and offset are part of the initializers."""
    node = helper.make_node
    constants |= {
        "energy_temperature": np.float32(score.energy_temperature),
        "minus_energy_slope": np.float32(-score.energy_slope),
    }
    nodes = [
        node("Div", ["logits", "energy_temperature"], ["energy_logits"]),
        node("ReduceLogSumExp", ["energy_logits", "reduced"], ["minus_energy"], keepdims=0),
        node("Mul", ["minus_energy", "minus_energy_slope"], ["energy_term"]),
    ]
    if isinstance(score.distance, RelativeMahalanobis):
        nodes += _mahalanobis_nodes(score.distance, score.distance_slope, score.offset, constants)
    else:
        nodes += _centroid_nodes(score.distance, score.distance_slope, score.offset, constants)
    return [*nodes, node("Add", ["energy_term", "distance_term"], [UNKNOWN_SCORE])]


def _mahalanobis_nodes(
    distance: RelativeMahalanobis, slope: float, offset: float, constants: dict[str, object]
) -> list[onnx.NodeProto]:
    """Nodes from `embedding` to `distance_term`: `slope` times the distance, plus `offset`."""
    node = helper.make_node
    constants |= {
        "embedding_mean": distance.mean,
        "ood_quadratic": np.float32(slope * distance.quadratic),
        "ood_linear": np.float32(slope * distance.linear),
        "ood_constant": np.float32(slope * distance.constant + offset),
    }
    return [
        node("Sub", ["embedding", "embedding_mean"], ["centred"]),
        node("MatMul", ["centred", "ood_quadratic"], ["transformed"]),
        node("Mul", ["transformed", "centred"], ["products"]),
        node("ReduceSum", ["products", "reduced"], ["quadratic_term"], keepdims=0),
        node("Gemm", ["centred", "ood_linear", "ood_constant"], ["class_terms"]),
        node("ReduceMin", ["class_terms", "reduced"], ["nearest_class"], keepdims=0),
        node("Add", ["quadratic_term", "nearest_class"], ["distance_term"]),
    ]


def _centroid_nodes(
    distance: CentroidDistance, slope: float, offset: float, constants: dict[str, object]
) -> list[onnx.NodeProto]:
    """Nodes from `embedding` to `distance_term`: `slope` times the distance, plus `offset`."""
    node, centroids = helper.make_node, distance.centroids.astype(np.float64)
    constants |= {
        "min_norm": np.float32(MIN_NORM),
        "ood_centroids": np.float32(-2 * slope * centroids.T),
        "ood_constant": np.float32(slope * (1 + np.square(centroids).sum(1)) + offset),
    }
    return [
        node("ReduceL2", ["embedding", "reduced"], ["norm"], keepdims=1),
        node("Max", ["norm", "min_norm"], ["positive_norm"]),
        node("Div", ["embedding", "positive_norm"], ["unit_embedding"]),
        node("Gemm", ["unit_embedding", "ood_centroids", "ood_constant"], ["centroid_terms"]),
        node("ReduceMin", ["centroid_terms", "reduced"], ["distance_term"], keepdims=0),
    ]
