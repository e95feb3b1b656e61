"""WebP files (https://developers.google.com/speed/webp/docs/riff_container), decoded without Pillow where possible.

In: the bytes of a WebP file. Out: its header, and for a file without animation its image. Pillow decodes every WebP
file as an animation, which takes 17 bytes a pixel and holds the GIL throughout; libwebp's function for one image takes
4 to 8 and needs no GIL. It is called in the library that Pillow has loaded; without it, Pillow decodes.
"""

import ctypes
import functools
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

_MOST_CHUNKS: Final = 1_000  # that are looked at: for EXIF data and the kind of the image
_ANIMATION, _ALPHA = 0x02, 0x10  # flags of the extended header
_BYTES: Final = 4  # RGBA


@dataclass(frozen=True)
class WebP:
    """The header. `exif` is the EXIF data of the file; `animated` also says that its parts were too many to look at."""

    width: int
    height: int
    alpha: bool
    lossless: bool
    animated: bool
    exif: bytes = b""


def read(content: bytes) -> WebP:
    """The header of a WebP file. Raises `ValueError` or `struct.error` where it has none."""
    name = content[12:16]
    if name == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
        found = WebP(width, height, alpha=False, lossless=False, animated=False)
    elif name == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
        found = WebP(width, height, alpha=bool(bits >> 28 & 1), lossless=True, animated=False)
    elif name == b"VP8X":
        found = _read_extended(content)
    else:
        raise ValueError("no image")
    if not found.width or not found.height:
        raise ValueError("an image of no size")
    return found


def can_decode(found: WebP) -> bool:
    """Whether `decode` can: for one image, where libwebp's function was found."""
    return not found.animated and _decoder() is not None


def decode(content: bytes, found: WebP) -> Image.Image:
    """The image as RGBA, or RGBX where it has no alpha. Raises `ValueError` where it cannot be decoded."""
    pixels = np.empty(found.width * found.height * _BYTES, np.uint8)
    decoder = _decoder()
    assert decoder is not None
    if not decoder(content, len(content), pixels.ctypes.data, len(pixels), found.width * _BYTES):
        raise ValueError("libwebp cannot decode it")
    mode = "RGBA" if found.alpha else "RGBX"
    image = Image.frombuffer(mode, (found.width, found.height), pixels, "raw", mode, 0, 1)
    if found.exif:
        image.info["exif"] = found.exif
    return image


def _read_extended(content: bytes) -> WebP:
    flags, sides = content[20], content[24:30]
    if len(sides) < 6:
        raise ValueError("no canvas")
    width, height = int.from_bytes(sides[:3], "little") + 1, int.from_bytes(sides[3:], "little") + 1
    alpha, lossless, animated, exif = bool(flags & _ALPHA), False, bool(flags & _ANIMATION), b""
    place = 30
    for _ in range(_MOST_CHUNKS):
        if animated or place + 8 > len(content):
            break
        name, size = struct.unpack_from("<4sI", content, place)
        if name == b"VP8L":
            lossless = True
        elif name == b"EXIF":
            exif = content[place + 8 : place + 8 + size]
        place += 8 + size + (size & 1)
    else:
        animated = True
    return WebP(width, height, alpha, lossless, animated, exif)


@functools.cache
def _decoder() -> "ctypes._NamedFuncPointer | None":
    """`WebPDecodeRGBAInto(data, size, output, output_size, stride)`, which gives 0 where it cannot decode."""
    try:
        from PIL import _webp

        function = ctypes.CDLL(_webp.__file__).WebPDecodeRGBAInto
    except (ImportError, OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function.restype = ctypes.c_void_p
    return function
