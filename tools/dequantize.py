"""The weights of an int8 file as a safetensors file, for `alexnet train --init`, where those of its run are gone.

    python -m tools.dequantize MODEL.onnx WEIGHTS.safetensors

In: a file of `alexnet compress` with factorised linear layers, of a network that resizes its input. Out: float32
tensors under torchvision's names, as training/export/weights.py writes them. Train with the same --input-size.
"""

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from alexnet import files
from alexnet.errors import UserError
from training.export import weights
from training.networks.alexnet import AlexNet

_ANY_SIZE: Final = 224  # pixels a side: normalisation and pooling are the same for all that are resized
_CONVOLUTIONS: Final = (0, 3, 6, 8, 10)
# The layers of the file, and their names in torchvision's network.
_LINEAR: Final = {
    "first.0": "classifier.1.down",
    "first.1": "classifier.1.up",
    "second.0": "classifier.4.down",
    "second.1": "classifier.4.up",
    "last.0": "classifier.6",
}


def dequantize(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the file at `path`. Raises `UserError` on a file of another network."""
    try:
        constants = {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
        channels = len(constants["features.10.bias_quantized"])
        side = round((constants["first.0.weight_quantized"].shape[1] / channels) ** 0.5)
        names = {f"features.{place}": f"features.{place}" for place in _CONVOLUTIONS} | _LINEAR
        found = {
            f"{theirs}.{kind}": torch.from_numpy(_float(constants, f"{ours}.{kind}"))
            for ours, theirs in names.items()
            for kind in ("weight", "bias")
            if kind == "weight" or not theirs.endswith("down")
        }
    except (OSError, KeyError) as error:
        raise UserError(f"{path}: not an int8 file of a factorised AlexNet ({error})") from error
    model = AlexNet(len(found["classifier.6.bias"]), _ANY_SIZE)
    return {name: value.contiguous() for name, value in weights.undo_folding(found, side, model).items()}


def _float(constants: dict[str, npt.NDArray[Any]], name: str) -> npt.NDArray[np.float32]:
    """The float32 values of a tensor that is stored as integers with a scale for each output channel, or as floats."""
    if name in constants:
        return constants[name].copy()
    values = constants[f"{name}_quantized"].astype(np.float32)
    scales = constants[f"{name}_quantized_scale" if name.endswith("bias") else f"{name}_scale"]
    found: npt.NDArray[np.float32] = values * scales.reshape(-1, *[1] * (values.ndim - 1))
    return found


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if len(arguments) != 2:
        print("usage: python -m tools.dequantize MODEL.onnx WEIGHTS.safetensors", file=sys.stderr)
        return 2
    try:
        found = dequantize(Path(arguments[0]))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    with files.replacing(Path(arguments[1])) as partial:
        save_file(found, partial)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
