"""Bytes of images to pixels to predictions, with ONNX Runtime."""

from typing import Final

# What an image's header may claim unless another limit is given. Here, for those who decode nothing themselves.
MAX_PIXELS: Final = 64_000_000
