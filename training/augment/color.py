"""Random changes of colour and contrast.

In and out: images float32 [N, 3, H, W] RGB from 0 to 1. Each change happens to an image with the same probability, and
with a strength of its own.
"""

import torch
from torch import Tensor

_PROBABILITY = 0.4


def jitter(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """White balance, gamma, contrast, brightness and saturation, in this order."""
    count, device = len(images), images.device

    def drawn(low: float, high: float, neutral: float, channels: int = 1) -> Tensor:
        """A strength for each image [N, channels, 1, 1]; `neutral` where nothing is to change."""
        values = torch.rand(count, channels + 1, 1, 1, device=device, generator=generator)
        return torch.where(values[:, :1] < _PROBABILITY, low + (high - low) * values[:, 1:], neutral)

    images = images * drawn(0.8, 1.2, 1.0, channels=3)
    images = images.clamp(1e-4, 1) ** torch.exp(drawn(-0.7, 0.7, 0.0))
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * drawn(0.3, 1.6, 1.0) + drawn(-0.25, 0.25, 0.0)
    red, green, blue = images.split(1, 1)
    grey = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    changed: Tensor = (grey + (images - grey) * drawn(0.0, 2.0, 1.0)).clamp(0, 1)
    return changed
