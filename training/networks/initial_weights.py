"""The weights that training starts from.

In: `--init`: `imagenet` (torchvision's weights, downloaded), `none`, or the path of a `.safetensors` file with tensors
under torchvision's names (`features.0.weight`, ..., `classifier.6.bias`), float16 or float32, as `alexnet compress
--release` writes. Out: a network that has them. Checkpoints of runs are read by checkpoint.py.
"""

from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import AlexNet_Weights

from alexnet.errors import UserError
from training.networks import stem
from training.networks.alexnet import AlexNet

LAST_LAYER: Final = ("classifier.6.weight", "classifier.6.bias")
_STEM: Final = "features.0.weight"
_FIRST_LINEAR: Final = "classifier.1.weight"
_POOLED: Final = 6  # side of the maps that torchvision's first linear layer sees


def load(model: AlexNet, init: str) -> None:
    """Fill the layers of `model` that `init` has weights for; the others keep their fresh values.

    The file must hold all convolutions. Its last layer is left out where it knows another number of classes.
    Raises `UserError` when the weights cannot be had or do not fit.
    """
    if init == "none":
        return
    fresh = model.network.state_dict()
    found = _download_imagenet() if init == "imagenet" else _merge_factors(_read(Path(init)))
    found = fit(found, fresh)
    if init == "imagenet":
        found = {name: value for name, value in found.items() if value.shape == fresh[name].shape}
    elif any(name in found and found[name].shape != fresh[name].shape for name in LAST_LAYER):
        found = {name: value for name, value in found.items() if name not in LAST_LAYER}
    for name, value in found.items():
        if name not in fresh or value.shape != fresh[name].shape:
            raise UserError(f"--init {init}: {name} of shape {tuple(value.shape)} is no tensor of this AlexNet")
    convolutions = [name for name in fresh if name.startswith("features.") and name.split(".")[1].isdigit()]
    missing = sorted(set(convolutions) - found.keys())
    if missing:
        raise UserError(f"--init {init}: {missing[0]} is missing; the file must hold all convolution layers")
    model.network.load_state_dict({**fresh, **found})


def fit(found: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    """`found` with stem and first linear layer in the form of `fresh`, the layers of a network of any `input_size`."""
    found = dict(found)
    if _STEM in found:
        found[_STEM] = _fit_stem(found[_STEM], fresh[_STEM])
    if _FIRST_LINEAR in found:
        found[_FIRST_LINEAR] = _fit_pooling(found[_FIRST_LINEAR], fresh[_FIRST_LINEAR])
    return found


def _merge_factors(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """`found` with the product of each layer's `up.weight` [out, rank] and `down.weight` [rank, in] as its weight."""
    found = dict(found)
    for name in [name for name in found if name.endswith(".down.weight")]:
        layer = name.removesuffix(".down.weight")
        if f"{layer}.up.weight" in found:
            found[f"{layer}.weight"] = found.pop(f"{layer}.up.weight") @ found.pop(name)
            found[f"{layer}.bias"] = found.pop(f"{layer}.up.bias")
    return found


def _fit_stem(weight: Tensor, wanted: Tensor) -> Tensor:
    """`weight` in the form of `wanted`, where that changes nothing that it computes."""
    kernel = wanted.shape[-1]
    if weight.shape[-1] == stem.KERNEL and kernel < stem.KERNEL:
        weight = stem.fuse(weight, stem.STRIDE)
    return stem.enlarge(weight, kernel) if weight.shape[-1] < kernel < stem.KERNEL else weight


def _fit_pooling(weight: Tensor, wanted: Tensor) -> Tensor:
    """`weight` [out, channels * 36] for maps of 3x3 where `wanted` is: their pooling to 6x6 repeats each value 2x2."""
    if 4 * wanted.shape[1] != weight.shape[1]:
        return weight
    return weight.view(len(weight), -1, _POOLED // 2, 2, _POOLED // 2, 2).sum((3, 5)).flatten(1)


def _download_imagenet() -> dict[str, Tensor]:
    try:
        return dict(AlexNet_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"could not download torchvision's AlexNet weights ({error}): give a .safetensors file, or --init none"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        raise UserError(f"--init {path}: give imagenet, none, or a file that ends in .safetensors or .pt")
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except FileNotFoundError as error:
        raise UserError(f"--init {path}: no such file") from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"--init {path}: not a readable safetensors file ({error})") from error
