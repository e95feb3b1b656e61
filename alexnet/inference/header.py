"""What an image file says before a pixel of it is decoded: its size, and what decoding it takes.

In: the bytes of a JPEG, PNG, WebP, GIF or BMP file. Out: its `Header`, in a time that is bounded by the size of the
file; a file whose decoding could not be bounded is refused.
"""

import struct
from typing import Final, NamedTuple

from alexnet.errors import ImageError
from alexnet.inference.formats import jpeg, png, sniff, webp
from alexnet.inference.formats.jpeg import Jpeg
from alexnet.inference.formats.png import Png
from alexnet.inference.formats.truncation import ends_early
from alexnet.inference.formats.webp import WebP
from alexnet.inference.shrink import JPEG_MARGIN, working_bytes

# Bytes of memory for a pixel of what Pillow decodes, at the peak: tests/alexnet/inference/test_header.py measures them.
# Pillow stores RGB in 4 bytes.
BYTES_PER_PIXEL: Final = {
    "JPEG": 4.0,
    "PNG grey or palette": 1.0,
    "PNG 16-bit grey": 2.0,
    "PNG colour or alpha": 4.0,
    "PNG with a hidden image": 14.0,
    "GIF": 1.0,
    "GIF within a larger canvas": 10.5,
    "BMP palette": 1.0,
    "BMP run-length coded": 6.0,
    "BMP colour": 4.0,
    "WebP": 4.5,
    "WebP alpha": 7.0,
    "WebP lossless": 8.5,
    "WebP by Pillow": 17.0,  # libwebp's animation decoder has two canvases, and Pillow two copies of one
}
_BYTES_PER_COEFFICIENT: Final = 2  # of a JPEG file whose components come in several scans
_BASE_BYTES: Final = 2 << 20

# Nanoseconds for a pixel at its decoded size, on one core of a server; for the order of decoding alone.
_SECONDS_PER_PIXEL: Final = 15e-9
_SECONDS_PER_SCANNED_PIXEL: Final = 1e-9

_MOST_BLOCKS: Final = 10_000  # of a GIF file, before its first frame
_MOST_RUN_LENGTH_BYTES: Final = 1 << 20  # Pillow decodes a megabyte of them in about a second, and holds the GIL


class Header(NamedTuple):
    """Format, size in pixels, and of which kind in `BYTES_PER_PIXEL`.

    `box` is where the first frame of a GIF file lies on its canvas: left, top, right, bottom. `jpeg`, `png` and
    `webp` are the parts of these formats. `copies` is how often the bytes of the file are copied.
    """

    format: str
    width: int
    height: int
    kind: str
    copies: int = 0
    box: tuple[int, int, int, int] | None = None
    jpeg: Jpeg | None = None
    png: Png | None = None
    webp: WebP | None = None


class DecodeCost(NamedTuple):
    """What decoding takes: `bytes` of memory at the peak, never more; and about so many `seconds` of one core."""

    bytes: int
    seconds: float


def read_header(content: bytes) -> Header:
    """The header of an image file.

    Raises `ImageError`: `empty_image`, `unsupported_format`, `truncated_image`, `damaged_image`, or `too_complex` for a
    file with so many parts that decoding would take long whatever its size.
    """
    kind = sniff(content)
    try:
        return _READERS[kind](content)
    except (ValueError, struct.error, IndexError) as error:
        raise undecodable(kind, content) from error


def decode_cost(header: Header, size: int, height: int, width: int) -> DecodeCost:
    """What decoding a file of `size` bytes to `height` by `width` pixels takes."""
    decoded_width, decoded_height = header.width, header.height
    total, seconds = _BASE_BYTES + header.copies * size, 0.0
    if header.jpeg is not None:
        scale = jpeg_scale(header, height, width)
        decoded_width, decoded_height = -(-decoded_width // scale), -(-decoded_height // scale)
        seconds = header.width * header.height * _SECONDS_PER_SCANNED_PIXEL
        if header.jpeg.buffered:
            total += _BYTES_PER_COEFFICIENT * header.jpeg.coefficients()
            seconds *= header.jpeg.scans
    pixels = decoded_width * decoded_height
    total += int(pixels * BYTES_PER_PIXEL[header.kind]) + working_bytes(decoded_width, decoded_height, height, width)
    return DecodeCost(total, seconds + pixels * _SECONDS_PER_PIXEL)


def jpeg_scale(header: Header, height: int, width: int) -> int:
    """By how much Pillow reduces a JPEG file while it decodes it: 1, 2, 4 or 8."""
    wanted = min(header.width // (width * JPEG_MARGIN), header.height // (height * JPEG_MARGIN))
    return next((scale for scale in (8, 4, 2) if wanted >= scale), 1)


def undecodable(kind: str, content: bytes) -> ImageError:
    """Why a file of that format could not be decoded: its end is missing, or it is damaged."""
    if ends_early(kind, content):
        return ImageError("truncated_image", f"The {kind} file ends before its last pixel.")
    return ImageError("damaged_image", f"The {kind} file is damaged and cannot be decoded.")


def _jpeg(content: bytes) -> Header:
    found = jpeg.read(content)
    return Header("JPEG", found.width, found.height, "JPEG", jpeg=found, copies=0 if found.ended else 2)


def _png(content: bytes) -> Header:
    found = png.read(content)
    if png.has_hidden_image(found):
        kind = "PNG with a hidden image"
    elif found.colour in (0, 3):
        kind = "PNG 16-bit grey" if found.depth == 16 else "PNG grey or palette"
    else:
        kind = "PNG colour or alpha"
    return Header("PNG", found.width, found.height, kind, png=found, copies=2)


def _webp(content: bytes) -> Header:
    found = webp.read(content)
    if not webp.can_decode(found):
        return Header("WebP", found.width, found.height, "WebP by Pillow", webp=found, copies=3)
    kind = "WebP lossless" if found.lossless else "WebP alpha" if found.alpha else "WebP"
    return Header("WebP", found.width, found.height, kind, webp=found)


def _gif(content: bytes) -> Header:
    """The canvas, enlarged to hold the first frame (https://www.w3.org/Graphics/GIF/spec-gif89a.txt)."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    place, blocks = 13 + _table(flags), 0
    while blocks < _MOST_BLOCKS:
        introducer = content[place]
        if introducer == 0x2C:
            left, top, own_width, own_height = struct.unpack_from("<HHHH", content, place + 1)
            box = (left, top, left + own_width, top + own_height)
            width, height = max(width, box[2]), max(height, box[3])
            if not own_width or not own_height:
                raise ValueError("a frame of no size")
            whole = box == (0, 0, width, height)
            return Header("GIF", width, height, "GIF" if whole else "GIF within a larger canvas", box=box)
        if introducer == 0x3B:
            raise ValueError("no frame")
        if introducer == 0x21:  # an extension: its label, and blocks of data up to an empty one
            place += 2
            while content[place] and blocks < _MOST_BLOCKS:
                place += 1 + content[place]
                blocks += 1
        place += 1
        blocks += 1
    raise ImageError("too_complex", "The GIF file has too many blocks before its first frame; save it anew.")


def _table(flags: int) -> int:
    """Bytes of the colour table that `flags` announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp(content: bytes) -> Header:
    (size,) = struct.unpack_from("<I", content, 14)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<IiHHI", content, 18)
    if not width or not height:
        raise ValueError("an image of no size")
    if compression in (1, 2) and len(content) > _MOST_RUN_LENGTH_BYTES:
        raise ImageError("too_complex", "The BMP file is run-length coded and larger than 1 MB; save it as PNG.")
    kind = "BMP run-length coded" if compression in (1, 2) else "BMP palette" if bits <= 8 else "BMP colour"
    return Header("BMP", width, abs(height), kind)


_READERS: Final = {"JPEG": _jpeg, "PNG": _png, "WebP": _webp, "GIF": _gif, "BMP": _bmp}
