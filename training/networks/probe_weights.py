"""The weights that `PooledAlexNet` starts from, and those that an ONNX file takes from it.

In: `--init`: `imagenet`, the convolutions that ship in models/features; or the `.onnx` of `alexnet fit`, which has a
linear layer too; or `none`. Out: a network that has them, with a linear layer that is fitted first where none was
given. Nothing is downloaded.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.inference.metadata import ModelMetadata
from alexnet.paths import FEATURES
from alexnet.probe import convolutions, logistic
from alexnet.probe.logistic import Linear
from training.networks.alexnet import PooledAlexNet

_SUFFIX: Final = ".onnx"
_PENALTY: Final = 1e-3  # in the middle of those that `alexnet fit` chooses from
_BATCH: Final = 64


def load(model: PooledAlexNet, init: str, classes: tuple[str, ...]) -> None:
    """Fill the layers of `model` that `init` has; the linear layer is zero where it has none of these `classes`.

    Raises `UserError` where the file cannot be had or does not fit.
    """
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    if init == "none":
        return
    if init != "imagenet" and not init.endswith(_SUFFIX):
        raise UserError(f"--init {init}: give imagenet, none, or the {_SUFFIX} file of `alexnet fit`")
    path = FEATURES if init == "imagenet" else Path(init)
    try:
        file = onnx.load(path)
        weights = convolutions.read(file)
    except OSError as error:
        raise UserError(f"--init {init}: {error.strerror}") from error
    except Exception as error:  # a damaged file, or another network
        raise UserError(f"--init {init}: not a file of `alexnet fit` ({type(error).__name__})") from error
    layer = None if path == FEATURES else _read_layer(file, classes)
    found = {name: torch.tensor(value) for name, value in weights.items()}
    if layer is not None:
        found |= {
            "classifier.1.weight": torch.tensor(layer.weight.T),
            "classifier.1.bias": torch.tensor(layer.bias),
        }
    state = model.network.state_dict()
    for name, value in found.items():
        if value.shape != state[name].shape:
            raise UserError(f"--init {init}: {name} of shape {tuple(value.shape)} is no tensor of this network")
    model.network.load_state_dict({**state, **found})


def extract(model: PooledAlexNet) -> tuple[dict[str, npt.NDArray[np.float32]], Linear]:
    """The weights of the convolutions by torchvision's names, and the linear layer."""
    state = {name: value.detach().cpu().contiguous().numpy() for name, value in model.network.state_dict().items()}
    weights = {name: value for name, value in state.items() if name.startswith("features.")}
    return weights, Linear(np.ascontiguousarray(state["classifier.1.weight"].T), state["classifier.1.bias"])


def _read_layer(file: onnx.ModelProto, classes: tuple[str, ...]) -> Linear | None:
    """The linear layer of a file of these `classes`, without the temperature that is part of it; None of others."""
    metadata = ModelMetadata.from_props({item.key: item.value for item in file.metadata_props})
    if metadata.classes != classes:
        return None
    constants = {item.name: numpy_helper.to_array(item) for item in file.graph.initializer}
    temperature = np.float32(metadata.temperature or 1.0)
    return Linear(constants["weight"] * temperature, constants["bias"] * temperature)


@torch.inference_mode()
def fit_head(model: PooledAlexNet, images: Images) -> None:
    """Set the linear layer by logistic regression on the features of `images`."""
    model.eval()
    found = [
        torch.flatten(model.network.avgpool(model.network.features(model.preprocess.normalize(batch))), 1)
        for batch in torch.from_numpy(images.pixels).split(_BATCH)
    ]
    layer = logistic.fit_layer(torch.cat(found).numpy()[:, None], images.labels, model.classes, _PENALTY)
    model.head.weight.copy_(torch.from_numpy(layer.weight.T))
    model.head.bias.copy_(torch.from_numpy(layer.bias))
