"""ONNX files with the signature and the metadata of ours, made in milliseconds: the service knows no difference.

They look at every pixel, so that two images get different scores, and can be made as slow as a test needs.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
VALIDATION = {  # a row of the trainer's, as the metadata hold it
    "epoch": 3,
    "training_loss": 0.5,
    "training_accuracy": 0.8,
    "validation_loss": 0.4,
    "validation_accuracy": 0.9,
    "seconds": 2.0,
    "learning_rate": 0.001,
}
_HIDDEN = 256


def write_model(
    path: Path,
    *,
    classes: tuple[str, ...] = CLASSES,
    rounds: int = 0,
    metadata: dict[str, str] | None = None,
    detects_ood: bool = False,
) -> Path:
    """Write a linear classifier of pixels; `rounds` multiplications of 256 x 256 make it slow without changing it.

    One that `detects_ood` gives its brightness from 0 to 1 as the score, over a threshold of 0.9 where the metadata
    are not given.
    """
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.05, (SIDE * SIDE * 3, len(classes))).astype(np.float32)
    constants = {
        "scale": np.float32(255),
        "flat": np.array([-1, SIDE * SIDE * 3], np.int64),
        "weight": weight,
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["cast", "scale"], ["unit"]),
        helper.make_node("Reshape", ["unit", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities" if not rounds else "quick"], axis=1),
    ]
    if rounds:
        nodes += _waste(constants, rounds)
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(classes)])]
    if detects_ood:
        nodes.append(helper.make_node("ReduceMean", ["rows"], ["unknown_score"], axes=[1], keepdims=0))
        outputs.append(helper.make_tensor_value_info("unknown_score", TensorProto.FLOAT, ["N"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    described = {"name": "tiny", "classes": json.dumps(classes), "input_size": str(SIDE), "run": "made for tests"}
    if detects_ood:
        described |= {"unknown_threshold": "0.9", "temperature": "1.25"}
    helper.set_model_props(model, described if metadata is None else metadata)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def _waste(constants: dict[str, np.ndarray | np.float32], rounds: int) -> list[onnx.NodeProto]:
    """Nodes that multiply a matrix `rounds` times and add nothing of it to the answer."""
    constants["rounds"] = np.array(rounds, np.int64)
    constants["go"] = np.array(True)
    constants["matrix"] = (np.eye(_HIDDEN) / 2).astype(np.float32)
    constants["none"] = np.float32(0)
    constants["first"] = np.array([_HIDDEN, _HIDDEN], np.int64)
    constants["axes"] = np.array([0, 1], np.int64)
    constants["one"] = np.array([1], np.int64)
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, [_HIDDEN, _HIDDEN])
    next_state = helper.make_tensor_value_info("next", TensorProto.FLOAT, [_HIDDEN, _HIDDEN])
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "matrix"], ["next"]),
            helper.make_node("Identity", ["on"], ["still"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            state,
        ],
        [helper.make_tensor_value_info("still", TensorProto.BOOL, []), next_state],
    )
    return [
        helper.make_node("ReduceMax", ["quick"], ["top"], keepdims=0),  # depends on the input: not worked out ahead
        helper.make_node("Expand", ["top", "first"], ["start"]),
        helper.make_node("Loop", ["rounds", "go", "start"], ["end"], body=body),
        helper.make_node("ReduceMax", ["end"], ["wasted"], keepdims=0),
        helper.make_node("Mul", ["wasted", "none"], ["nothing"]),
        helper.make_node("Add", ["quick", "nothing"], ["probabilities"]),
    ]
