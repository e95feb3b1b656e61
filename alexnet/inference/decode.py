"""Bytes of an image file to pixels.

In: the bytes of one JPEG, PNG, WebP, GIF or BMP file. Out: uint8 [height, width, 3] RGB at the size that the model
eats. The bytes decide the format, never a name or a content type. Of several frames the first counts. Orientation is
applied, transparency is laid on white, and an image that is not square is squeezed to a square as a whole, as the
pictures of CIFAR-10 were. `to_png` is the way back, for eyes.
"""

import io
import struct
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

from alexnet.errors import ImageError
from alexnet.inference import MAX_PIXELS

FORMATS: Final = ("JPEG", "PNG", "WebP", "GIF", "BMP")
BACKGROUND: Final = (255, 255, 255)
# Magic Kernel Sharp (https://johncostella.com/magic/): of Pillow's filters the one that changed the probabilities
# least, measured on CIFAR-10 images enlarged by three filters and factors and stored as JPEG, PNG and WebP.
FILTER: Final = Image.Resampling.MKS2013
REDUCING_GAP: Final = 3.0  # first shrink by whole factors to so many times the size, then filter; None filters at once

# JPEG is decoded at a half, a quarter or an eighth while this many times the wanted size is left for the filter.
_JPEG_MARGIN: Final = 4
_BMP_HEADERS: Final = tuple(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))
_ORIENTATION_TAG: Final = 0x0112
_TRANSPOSES: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(content: bytes, height: int, width: int, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """The image in `content` as uint8 [height, width, 3] RGB, unless its header claims more than `max_pixels`.

    Raises `ImageError`: `empty_image`, `unsupported_format`, `too_many_pixels`, `unsupported_mode`,
    `truncated_image` or `damaged_image`.
    """
    if not content:
        raise ImageError("empty_image", f"The image is empty; send a {_names()} file.")
    kind = _sniff(content)
    if kind is None:
        raise _unsupported()
    try:
        with Image.open(io.BytesIO(content), formats=[kind.upper()]) as image:
            if image.width * image.height > max_pixels:  # judged by the header, before a pixel is decoded
                raise _too_many_pixels(max_pixels)
            pixels = from_image(image, height, width)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(max_pixels) from error
    except Exception as error:  # Pillow's decoders raise what their format's parser happens to raise
        if _ENDS_EARLY[kind](content):
            raise _truncated(kind) from error
        raise ImageError("damaged_image", f"The {kind} file is damaged and cannot be decoded.") from error
    if kind == "PNG" and _png_ends_early(content):  # Pillow does not look for the end once it has all rows
        raise _truncated(kind)
    return pixels


def to_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The PNG file of `pixels` uint8 [height, width, 3] RGB: nothing is lost, `decode` gives them back."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _unsupported() -> ImageError:
    return ImageError("unsupported_format", f"This is no image of a known format; send {_names()}.")


def _truncated(kind: str) -> ImageError:
    return ImageError("truncated_image", f"The {kind} file ends before its picture does.")


def _names() -> str:
    return ", ".join(FORMATS[:-1]) + " or " + FORMATS[-1]


def _sniff(content: bytes) -> str | None:
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WebP"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if content.startswith(b"BM") and content[14:18] in _BMP_HEADERS:  # two letters alone are no proof
        return "BMP"
    return None


def _too_many_pixels(limit: int) -> ImageError:
    return ImageError("too_many_pixels", f"The image has more than {limit / 1e6:g} megapixels; shrink it.")


def from_image(image: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A PIL image as uint8 [height, width, 3] RGB. Raises `ImageError` `unsupported_mode`, and what Pillow raises."""
    if image.format == "JPEG":
        image.draft(None, (width * _JPEG_MARGIN, height * _JPEG_MARGIN))
    image.load()
    orientation = _orientation(image)
    picture = _to_colour(image)
    if orientation in _TRANSPOSES:
        picture = picture.transpose(_TRANSPOSES[orientation])
    if picture.size != (width, height):
        picture = picture.resize((width, height), FILTER, reducing_gap=REDUCING_GAP)
    if picture.mode == "RGBA":
        background = Image.new("RGBA", picture.size, BACKGROUND)
        picture = Image.alpha_composite(background, picture).convert("RGB")
    return np.frombuffer(picture.tobytes(), np.uint8).reshape(height, width, 3)


def _orientation(image: Image.Image) -> int:
    if not image.info:  # as most small pictures are: asking Pillow would take a tenth more
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken note beside a whole picture: the picture counts
        return 1


def _to_colour(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where the image can be transparent. Raises `ImageError` on a mode with no such meaning."""
    mode, transparent = image.mode, "transparency" in image.info
    if mode.startswith("I;16"):
        return _from_grey16(image)
    if mode == "CMYK":
        # Pillow inverts every CMYK JPEG, as Adobe's programs want; those without Adobe's marker must not be.
        return (image if "adobe" in image.info else ImageChops.invert(image)).convert("RGB")
    if mode in ("LA", "PA", "RGBA", "La", "RGBa") or (mode in ("1", "L", "P", "RGB") and transparent):
        return image if mode == "RGBA" else image.convert("RGBA")  # converting to the same mode copies 256 MB
    if mode in ("1", "L", "P", "RGB", "RGBX", "YCbCr"):
        return image if mode == "RGB" else image.convert("RGB")
    raise ImageError("unsupported_mode", f"Images of mode {mode} are not supported; send RGB or grey.")


def _from_grey16(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255: Pillow's own conversion would cut everything above 255 to white."""
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey.convert("RGB")
    alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.merge("RGBA", (grey, grey, grey, alpha))


def _jpeg_ends_early(content: bytes) -> bool:
    """Whether no end marker follows the first scan; the segments before it may hold a thumbnail with its own."""
    place = 2
    while content[place : place + 2] != b"\xff\xda":
        segment = content[place : place + 4]
        if len(segment) < 4:
            return True
        if segment[0] != 0xFF:
            return False
        place += 1 if segment[1] == 0xFF else 2 + int.from_bytes(segment[2:])
    return content.find(b"\xff\xd9", place) < 0


def _png_ends_early(content: bytes) -> bool:
    return b"IEND\xae\x42\x60\x82" not in content


def _riff_ends_early(content: bytes) -> bool:
    return len(content) < 12 or struct.unpack_from("<I", content, 4)[0] + 8 > len(content)


def _gif_ends_early(content: bytes) -> bool:
    """Whether the blocks stop before the trailer (https://www.w3.org/Graphics/GIF/spec-gif89a.txt)."""
    try:
        place = 13 + _gif_table(content[10])
        while content[place] != 0x3B:
            place += 2 if content[place] == 0x21 else 11 + _gif_table(content[place + 9])
            while content[place]:
                place += 1 + content[place]
            place += 1
    except IndexError:
        return True
    return False


def _gif_table(flags: int) -> int:
    """Bytes of the colour table that `flags` announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp_ends_early(content: bytes) -> bool:
    return len(content) < 54 or struct.unpack_from("<I", content, 2)[0] > len(content)


# Asked about a file that failed to decode: whether its end is missing.
_ENDS_EARLY: Final[dict[str, Callable[[bytes], bool]]] = {
    "JPEG": _jpeg_ends_early,
    "PNG": _png_ends_early,
    "WebP": _riff_ends_early,
    "GIF": _gif_ends_early,
    "BMP": _bmp_ends_early,
}
