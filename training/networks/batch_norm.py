"""Batch normalisation that starts as no change: the statistics of real images, undone by scale and shift."""

import torch
from torch import Tensor, nn

from training.networks.alexnet import AlexNet


@torch.no_grad()
def calibrate(model: AlexNet, pixels: Tensor) -> None:
    """Set each `BatchNorm2d` of `model` from `pixels` uint8 [N, 32, 32, 3], so that its features stay as they are.

    Mean and variance are those of its input; scale and shift restore them. Nothing else changes.
    """
    maps = model.preprocess(pixels)
    for layer in model.network.features:
        if not isinstance(layer, nn.BatchNorm2d):
            maps = layer(maps)
            continue
        variance, mean = torch.var_mean(maps, (0, 2, 3), correction=0)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
        layer.weight.copy_((variance + layer.eps).sqrt())
        layer.bias.copy_(mean)
