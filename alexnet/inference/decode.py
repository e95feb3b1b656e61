"""Bytes of an image file to pixels.

In: the bytes of one JPEG, PNG, WebP, GIF or BMP file. Out: uint8 [height, width, 3] RGB at the size that the model
takes. The bytes decide the format, never a name or a content type. Of several frames the first counts; orientation is
applied, transparency is laid on white. `to_png` is the way back, for eyes.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from alexnet.errors import ImageError
from alexnet.inference import MAX_PIXELS
from alexnet.inference.formats import jpeg, png, webp
from alexnet.inference.formats.truncation import ends_early
from alexnet.inference.header import Header, jpeg_scale, read_header, undecodable
from alexnet.inference.shrink import JPEG_MARGIN, read_orientation, to_pixels

MAX_SIDE: Final = 1 << 18  # of a PNG or BMP file; the other formats allow no more than 65,535

_STRIP_PIXELS: Final = 1 << 16
# What a JPEG decoder may be given after the last scan: nothing of it counts where that scan is whole.
_TAILS: Final = (b"\x55" * 64, b"\xaa" * 64)


def decode(content: bytes, height: int, width: int, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """The image in `content` as uint8 [height, width, 3] RGB, unless its header claims more than `max_pixels`.

    Raises `ImageError`: `empty_image`, `unsupported_format`, `too_many_pixels`, `too_complex`, `unsupported_mode`,
    `truncated_image` or `damaged_image`; `MemoryError` when there is none left.
    """
    header = read_header(content)
    if header.width * header.height > max_pixels:  # judged by the header, before a pixel is decoded
        raise _too_many_pixels(max_pixels)
    if max(header.width, header.height) > MAX_SIDE:
        raise ImageError("too_many_pixels", f"A side of the image has more than {MAX_SIDE:,} pixels; shrink it.")
    if header.png is not None and ends_early("PNG", content):  # Pillow does not look for the end once it has all rows
        raise undecodable("PNG", content)
    try:
        if header.jpeg is not None and (header.width, header.height) == (width, height) and not header.jpeg.exif:
            pixels = jpeg.decode(content, header.jpeg, 1, "RGB")
            if pixels is not None:
                return pixels
        plain = _load_plain(content, header, height, width)
        if plain is not None:
            return _shrink(plain, header, height, width)
        with _load(content, header, height, width) as image:
            return _shrink(image, header, height, width)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(max_pixels) from error
    except Exception as error:  # Pillow's decoders raise what their format's parser happens to raise
        if "out of memory" in str(error):
            raise MemoryError(str(error)) from error
        if header.jpeg is None or not jpeg.lacks_only_end(content, header.jpeg):
            raise undecodable(header.format, content) from error
    return _decode_without_end(content, header, height, width)  # here the first attempt's memory is free again


def from_image(image: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A PIL image as uint8 [height, width, 3] RGB. Raises `ImageError` `unsupported_mode`, and what Pillow raises."""
    image.load()
    return to_pixels(image, read_orientation(image.info.get("exif", b"")), height, width)


def to_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The PNG file of `pixels` uint8 [height, width, 3] RGB: nothing is lost, `decode` gives them back."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _too_many_pixels(limit: int) -> ImageError:
    return ImageError("too_many_pixels", f"The image has more than {limit / 1e6:g} megapixels; shrink it.")


@contextmanager
def _load(content: bytes, header: Header, height: int, width: int) -> Iterator[Image.Image]:
    """The image decoded by Pillow: of a JPEG file at a reduced scale, of an animation what is shown at first."""
    if header.webp is not None and webp.can_decode(header.webp):
        yield webp.decode(content, header.webp)
        return
    box, size = header.box, (header.width, header.height)
    if header.png is not None:
        frame = png.still(content, header.png)
        content, box = frame.content, frame.box
        size = (box[2] - box[0], box[3] - box[1])
    with Image.open(io.BytesIO(content), formats=[header.format.upper()]) as image:
        if image.size != size:
            raise ValueError("Pillow reads another size than our own header does")
        if header.jpeg is not None:
            image.draft(None, (width * JPEG_MARGIN, height * JPEG_MARGIN))
        image.load()
        if box in (None, (0, 0, header.width, header.height)):
            yield image
            return
        within = image.crop(box) if header.png is None else image
        canvas = Image.new("RGBA", (header.width, header.height))
        canvas.paste(within.convert("RGBA"), box)
        canvas.info = {key: value for key, value in image.info.items() if key == "exif"}
        yield canvas


def _load_plain(content: bytes, header: Header, height: int, width: int) -> Image.Image | None:
    """The image of an ordinary JPEG or PNG file, without Pillow's parser; None where that is needed."""
    if header.png is not None:
        return png.decode(content, header.png)
    if header.jpeg is None:
        return None
    pixels = jpeg.decode(content, header.jpeg, jpeg_scale(header, height, width), "RGBX")
    if pixels is None:
        return None
    image = Image.frombuffer("RGBX", (pixels.shape[1], pixels.shape[0]), pixels, "raw", "RGBX", 0, 1)  # not a copy
    image.info["exif"] = header.jpeg.exif
    return image


def _shrink(image: Image.Image, header: Header, height: int, width: int) -> npt.NDArray[np.uint8]:
    # Programs that know no alpha leave it zero in 32-bit BMP files: such an image is not meant to be invisible.
    opaque = header.format == "BMP" and image.mode == "RGBA" and not _has_visible_pixel(image)
    return to_pixels(image, read_orientation(image.info.get("exif", b"")), height, width, opaque=opaque)


def _has_visible_pixel(image: Image.Image) -> bool:
    return any(strip.getchannel("A").getbbox() is not None for strip in _strips(image))


def _decode_without_end(content: bytes, header: Header, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The image of a JPEG file that lacks its end marker. Raises `ImageError` where it lacks more.

    A decoder reads on after the last scan: where that is whole, what follows changes no pixel.
    """
    body = content.rstrip(b"\xff")
    try:
        pixels, digest = _decode_and_digest(body + jpeg.EOI, header, height, width)
        for tail in _TAILS:
            if _decode_and_digest(b"".join([body, tail, jpeg.EOI]), header, height, width)[1] != digest:
                raise ValueError("a part of the last scan is missing")
    except (OSError, SyntaxError, ValueError) as error:
        raise undecodable("JPEG", content) from error
    return pixels


def _decode_and_digest(content: bytes, header: Header, height: int, width: int) -> tuple[npt.NDArray[np.uint8], bytes]:
    """The pixels, and a digest of the image before it was shrunk."""
    digest = hashlib.sha256()
    with _load(content, header, height, width) as image:
        for strip in _strips(image):
            digest.update(strip.tobytes())
        return _shrink(image, header, height, width), digest.digest()


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))
