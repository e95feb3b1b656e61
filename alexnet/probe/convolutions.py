"""AlexNet's convolutions in an ONNX file: int8 weights with a scale for each output channel, and float32 biases.

In: the tensors `features.{0,3,6,8,10}.{weight,bias}` float32 by name. Out: initializers `features.N.int8`,
`features.N.scale` and `features.N.bias`; and back.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Weights = Mapping[str, npt.NDArray[np.float32]]

PLACES: Final = (0, 3, 6, 8, 10)  # in torchvision's network

_LARGEST: Final = 127  # of an int8


def quantize(weights: Weights) -> dict[str, npt.NDArray[Any]]:
    """The initializers of all convolutions."""
    constants: dict[str, npt.NDArray[Any]] = {}
    for place in PLACES:
        name = f"features.{place}"
        weight = weights[f"{name}.weight"]
        scale = np.abs(weight).max((1, 2, 3), keepdims=True) / _LARGEST
        scale[scale == 0] = 1.0  # a channel that is all zeros
        constants[f"{name}.int8"] = np.round(weight / scale).astype(np.int8)
        constants[f"{name}.scale"] = scale.astype(np.float32)
        constants[f"{name}.bias"] = weights[f"{name}.bias"]
    return constants


def read(model: onnx.ModelProto) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of the file that `quantize` made. Raises `KeyError` where it has none."""
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    found: dict[str, npt.NDArray[np.float32]] = {}
    for place in PLACES:
        name = f"features.{place}"
        found[f"{name}.weight"] = constants[f"{name}.int8"].astype(np.float32) * constants[f"{name}.scale"]
        found[f"{name}.bias"] = constants[f"{name}.bias"]
    return found


def replace(model: onnx.ModelProto, weights: Weights) -> None:
    """Give the graph of `model` other `weights`."""
    constants = quantize(weights)
    kept = [item for item in model.graph.initializer if item.name not in constants]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
