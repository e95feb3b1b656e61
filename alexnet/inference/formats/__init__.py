"""Which image formats are read, and how their files are told apart: by their first bytes, never by a name."""

import struct
from typing import Final

from alexnet.errors import ImageError

FORMATS: Final = ("JPEG", "PNG", "WebP", "GIF", "BMP")
SUFFIXES: Final = (".jpg", *(f".{name.lower()}" for name in FORMATS))

_BMP_HEADERS: Final = tuple(struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124))
# Brands of ISO base media files (https://aomediacodec.github.io/av1-avif/, ISO/IEC 23008-12).
_BRANDS: Final = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}


def sniff(content: bytes) -> str:
    """The format of `content`, of `FORMATS`. Raises `ImageError` `empty_image` or `unsupported_format`."""
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
    if not content:
        raise ImageError("empty_image", f"The image is empty; send a {names()} file.")
    if content[4:8] == b"ftyp" and content[8:12] in _BRANDS:
        found = _BRANDS[content[8:12]]
        raise ImageError("unsupported_format", f"{found} images are not supported; send {names()}.")
    raise ImageError("unsupported_format", f"The bytes are not of a known image format; send {names()}.")


def names() -> str:
    """The formats for a sentence."""
    return ", ".join(FORMATS[:-1]) + " or " + FORMATS[-1]
