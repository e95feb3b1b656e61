"""A decoded image to the pixels that a model takes: upright, RGB over white, shrunk to its size.

In: a PIL image of any mode and size. Out: uint8 [height, width, 3] RGB. A large image is converted and shrunk in strips
of rows, so that no second copy of it is ever in memory; the pixels are the same to the last bit as if it were done at
once. An image that is not square is squeezed to a square as a whole, as the images of CIFAR-10 were.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from alexnet.errors import ImageError

BACKGROUND: Final = (255, 255, 255)
# Magic Kernel Sharp (https://johncostella.com/magic/): of Pillow's filters the one that changed the probabilities
# least, measured on CIFAR-10 images enlarged by three filters and factors and stored as JPEG, PNG and WebP.
FILTER: Final = Image.Resampling.MKS2013
REDUCING_GAP: Final = 3.0  # first shrink by whole factors to so many times the size, then filter
JPEG_MARGIN: Final = 4  # JPEG is decoded at a reduced scale while this many times the wanted size is left

_WHOLE_PIXELS: Final = 1 << 18  # of an image that is converted at once
_STRIP_PIXELS: Final = 1 << 16
_STRIP_BYTES: Final = 20  # for a pixel of a strip: cropped, turned, converted, premultiplied, shrunk
_PREMULTIPLIED: Final = "RGBa"

# What makes an image upright, by the orientation of its EXIF data.
_UPRIGHT: Final = 1
_TRANSPOSES: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = frozenset((5, 6, 7, 8))
_FROM_THE_END: Final = frozenset((3, 4, 7, 8))  # whose first upright rows are the last rows or columns that are stored

_ORIENTATION_TAG: Final = 0x0112
_SHORT: Final = 3
_MOST_ENTRIES: Final = 1_000


@dataclass(frozen=True)
class _Source:
    """The upright image, of which strips of rows are taken. `opaque` says whether its alpha counts for nothing."""

    image: Image.Image
    orientation: int
    opaque: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        width, height = self.image.size
        return (height, width) if self.orientation in _SIDEWAYS else (width, height)

    @property
    def has_alpha(self) -> bool:
        return not self.opaque and _has_alpha(self.image)

    def rows(self, first: int, last: int) -> Image.Image:
        """RGB, or RGBA where the image has alpha."""
        found = to_colour(_upright_rows(self.image, self.orientation, first, last))
        return found.convert("RGB") if self.opaque and found.mode == "RGBA" else found

    def strips(self, multiple: int) -> Iterator[tuple[int, Image.Image]]:
        """The image in strips, each with the number of its first row, a multiple of `multiple`."""
        width, height = self.size
        step = _strip_rows(width, multiple)
        for first in range(0, height, step):
            yield first, self.rows(first, min(first + step, height))


def to_pixels(
    image: Image.Image, orientation: int, height: int, width: int, *, opaque: bool = False
) -> npt.NDArray[np.uint8]:
    """Shrink `image`, whose alpha is ignored when it is `opaque`. Raises `ImageError` `unsupported_mode`."""
    if image.size == (width, height) and image.mode == "RGB" and orientation == _UPRIGHT and not _has_alpha(image):
        return _to_array(image)
    source = _Source(image, orientation, opaque)
    if image.width * image.height <= _WHOLE_PIXELS:
        shrunk = source.rows(0, source.size[1])
        if shrunk.size != (width, height):
            shrunk = shrunk.resize((width, height), FILTER, reducing_gap=REDUCING_GAP)
    else:
        shrunk = _shrink(source, height, width)
    if shrunk.mode == "RGBA":
        background = Image.new("RGBA", shrunk.size, BACKGROUND)
        shrunk = Image.alpha_composite(background, shrunk).convert("RGB")
    return _to_array(shrunk)


def read_orientation(exif: bytes) -> int:
    """The orientation in EXIF data (CIPA DC-008, 4.6.4), 1 to 8, as browsers read it.

    It is 1 where there is none, or the data is broken: the image counts.
    """
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return _UPRIGHT
    try:
        (place,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, place)
        for entry in range(min(count, _MOST_ENTRIES)):
            tag, kind, values, value = struct.unpack_from(order + "HHIH", data, place + 2 + 12 * entry)
            if (tag, kind, values) == (_ORIENTATION_TAG, _SHORT, 1):
                return value if value in _TRANSPOSES else _UPRIGHT
    except struct.error:
        pass
    return _UPRIGHT


def working_bytes(image_width: int, image_height: int, height: int, width: int) -> int:
    """The most memory that `to_pixels` needs beside the image."""
    if image_width * image_height <= _WHOLE_PIXELS:
        return _STRIP_BYTES * image_width * image_height
    most = 0
    for upright_width, upright_height in ((image_width, image_height), (image_height, image_width)):
        rows = min(upright_height, _strip_rows(upright_width, _factor(upright_height, height)))
        most = max(most, _STRIP_BYTES * rows * upright_width)
    return most


def to_colour(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where the image can be transparent. Raises `ImageError` on a mode with no such meaning."""
    mode = image.mode
    if mode.startswith("I;16"):
        return _from_grey16(image)
    if mode == "CMYK":
        # Pillow inverts every CMYK JPEG, as Adobe's programs want; those without Adobe's marker must not be.
        return (image if "adobe" in image.info else ImageChops.invert(image)).convert("RGB")
    if _has_alpha(image):
        return image if mode == "RGBA" else image.convert("RGBA")
    if mode in ("1", "L", "P", "RGB", "RGBX", "YCbCr"):
        return image if mode == "RGB" else image.convert("RGB")
    raise ImageError("unsupported_mode", f"Images of mode {mode} are not supported; send RGB or grey.")


def _has_alpha(image: Image.Image) -> bool:
    mode, transparent = image.mode, "transparency" in image.info
    if mode.startswith("I;16"):
        return isinstance(image.info.get("transparency"), int)
    return mode in ("LA", "PA", "RGBA", "La", "RGBa") or (mode in ("1", "L", "P", "RGB") and transparent)


def _shrink(source: _Source, height: int, width: int) -> Image.Image:
    """As Pillow's `resize` with a reducing gap: alpha premultiplied, then reduced by whole factors, then filtered.

    The rows that are reduced to one do not depend on others.
    """
    image_width, image_height = source.size
    x, y = _factor(image_width, width), _factor(image_height, height)
    mode = _PREMULTIPLIED if source.has_alpha else "RGB"
    reduced = Image.new(mode, (-(-image_width // x), -(-image_height // y)))
    for first, strip in source.strips(y):
        coloured = strip if strip.mode == mode else strip.convert(mode)
        reduced.paste(coloured.reduce((x, y)), (0, first // y))
    shrunk = reduced.resize((width, height), FILTER, box=(0, 0, image_width / x, image_height / y))
    return shrunk.convert("RGBA") if source.has_alpha else shrunk


def _to_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an RGB image."""
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)


def _factor(side: int, wanted: int) -> int:
    """The integer factor by which Pillow reduces a side before it filters."""
    return int(side / wanted / REDUCING_GAP) or 1


def _strip_rows(width: int, multiple: int) -> int:
    rows = max(1, _STRIP_PIXELS // width)
    return -(-rows // multiple) * multiple


def _from_grey16(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255: Pillow's own conversion would cut everything above 255 to white."""
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey.convert("RGB")
    alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.merge("RGBA", (grey, grey, grey, alpha))


def _upright_rows(image: Image.Image, orientation: int, first: int, last: int) -> Image.Image:
    """The rows from `first` to `last`, exclusive, of the upright image."""
    stored = image.width if orientation in _SIDEWAYS else image.height
    start, end = (stored - last, stored - first) if orientation in _FROM_THE_END else (first, last)
    box = (start, 0, end, image.height) if orientation in _SIDEWAYS else (0, start, image.width, end)
    strip = image if box == (0, 0, image.width, image.height) else image.crop(box)
    return strip.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else strip
