"""AlexNet's convolutions to `models/features/model.onnx`, from which `alexnet fit` starts.

    python -m tools.features                           # torchvision's ImageNet weights, downloaded
    python -m tools.features --weights FILE.safetensors

In: the ten tensors `features.{0,3,6,8,10}.{weight,bias}`. Out: a graph from `pixels` uint8 [N, H, W, 3] RGB, H and W at
least 63, to `features` float32 [N, 256, h, w], those of the last max pooling; normalisation is part of it. Weights are
stored as int8 with a scale for each output channel. ONNX Runtime multiplies the two once, when it opens the file, and
computes in float32.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from alexnet import files
from alexnet.paths import FEATURES
from alexnet.probe import convolutions

# Name, stride, padding, and whether max pooling follows (https://arxiv.org/abs/1404.5997).
_LAYERS: Final = ((0, 4, 2, True), (3, 1, 2, True), (6, 1, 1, False), (8, 1, 1, False), (10, 1, 1, True))
# The statistics that torchvision's ImageNet weights were trained with, for values from 0 to 1:
# https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.alexnet.html
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


def to_onnx(weights: Mapping[str, npt.NDArray[np.float32]]) -> onnx.ModelProto:
    """The graph of the convolutions with these `weights`."""
    constants: dict[str, npt.NDArray[Any]] = {
        "mean": np.array(_MEAN, np.float32) * 255,
        "std": np.array(_STD, np.float32) * 255,
        **convolutions.quantize(weights),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["cast", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalized"]),
        helper.make_node("Transpose", ["normalized"], ["image"], perm=[0, 3, 1, 2]),
    ]
    found = "image"
    for place, stride, padding, pooled in _LAYERS:
        name = f"features.{place}"
        last = "features" if place == _LAYERS[-1][0] else f"{name}.pooled"
        nodes += [
            helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [f"{name}.weight"]),
            helper.make_node(
                "Conv",
                [found, f"{name}.weight", f"{name}.bias"],
                [f"{name}.sums"],
                strides=[stride] * 2,
                pads=[padding] * 4,
            ),
            helper.make_node("Relu", [f"{name}.sums"], [f"{name}.maps"]),
        ]
        found = f"{name}.maps"
        if pooled:
            nodes.append(helper.make_node("MaxPool", [found], [last], kernel_shape=[3, 3], strides=[2, 2]))
            found = last
    channels = len(weights[f"features.{_LAYERS[-1][0]}.bias"])
    graph = helper.make_graph(
        nodes,
        "features",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", channels, "h", "w"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _read(path: Path | None) -> dict[str, npt.NDArray[np.float32]]:
    if path is not None:
        from safetensors.numpy import load_file

        return load_file(path)
    from torchvision.models import AlexNet_Weights

    state = AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    return {name: value.numpy() for name, value in state.items() if name.startswith("features.")}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", type=Path, help="a .safetensors file; by default torchvision's, downloaded")
    parser.add_argument("--output", type=Path, default=FEATURES)
    arguments = parser.parse_args()
    with files.replacing(arguments.output) as partial:
        onnx.save(to_onnx(_read(arguments.weights)), partial)
    print(
        f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB, sha256 {files.sha256(arguments.output)}"
    )


if __name__ == "__main__":
    main()
