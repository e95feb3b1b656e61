"""Image files to try the service with: whole ones in every format and mode, and files whose headers lie."""

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from alexnet.paths import ROOT

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
ORIENTATION: Final = 0x0112
# What Pillow must do to a image so that the EXIF orientation turns it back: the inverse of each turn.
UNTURN: Final = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def write_classes(root: Path, size: tuple[int, int]) -> Path:
    """`train/` with ten images of `size` (width, height) of each of two classes, `test/` with four; returns `root`."""
    for name in ("ship", "frog"):
        for place, file in enumerate(sorted((ROOT / "tests" / "data" / "cifar10" / name).glob("*.png"))[:14]):
            target = root / ("test" if place >= 10 else "train") / name / f"{file.stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(file).resize(size).save(target)
    return root


def photo(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    """A smooth image of many colours with no symmetry, RGB."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, name: str = "PNG", **options: Any) -> bytes:
    """The file of `image` in Pillow's format `name`."""
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def with_orientation(image: Image.Image, orientation: int, name: str, **options: Any) -> bytes:
    """A file that shows `image` upright once the EXIF orientation is applied, and otherwise turned."""
    turn = UNTURN[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image if turn is None else image.transpose(turn), name, exif=exif, **options)


def strip_adobe(jpeg: bytes) -> bytes:
    """The JPEG file without Adobe's APP14 segment."""
    place = jpeg.index(b"\xff\xee")
    (length,) = struct.unpack_from(">H", jpeg, place + 2)
    return jpeg[:place] + jpeg[place + 2 + length :]


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = 2, extra: Sequence[bytes] = ()) -> bytes:
    """A PNG file with this header, whatever `rows` hold."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"".join([PNG_SIGNATURE, header, *extra, data, chunk(b"IEND", b"")])


def gif(width: int, height: int) -> bytes:
    """A GIF file of a few bytes that claims to be this large."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"


def bmp(width: int, height: int) -> bytes:
    """A BMP file of a few bytes that claims to be this large."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 154, 0, 0, 54) + info + bytes(100)


def rle_bmp(width: int, height: int, runs: bytes) -> bytes:
    """A BMP file of 256 greys with run-length coded rows."""
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in range(256))
    start = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs


def jpeg(width: int, height: int) -> bytes:
    """A JPEG file of 8 x 8 pixels that claims to be this large."""
    file = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG"))
    place = file.index(b"\xff\xc0") + 5
    file[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(file)


def webp(width: int, height: int, kind: str) -> bytes:
    """A WebP file of a few bytes that claims to be this large: `lossy`, `lossless`, `extended` or `animated`."""
    small = encode(Image.new("RGB", (8, 8)), "WEBP")
    if kind == "lossy":
        place = small.index(b"\x9d\x01\x2a") + 3
        return small[:place] + struct.pack("<HH", width, height) + small[place + 4 :]
    if kind == "lossless":
        bits = struct.pack("<I", (width - 1) | ((height - 1) << 14))
        return _riff(b"VP8L" + struct.pack("<I", 26) + b"\x2f" + bits + bytes(21))
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    animated = kind == "animated"
    head = b"VP8X" + struct.pack("<I", 10) + bytes([2 if animated else 0, 0, 0, 0]) + canvas
    if not animated:
        return _riff(head + small[12:])
    frame = bytes(6) + struct.pack("<I", 7)[:3] * 2 + bytes(4) + small[12:]
    return _riff(head + b"ANIM" + struct.pack("<IIH", 6, 0, 0) + b"ANMF" + struct.pack("<I", len(frame)) + frame)


def _riff(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def apng(width: int, height: int, default: bytes, frame: bytes, box: tuple[int, int, int, int]) -> bytes:
    """An animation of one frame, RGB, whose default image is hidden; rows are compressed, `box` is width, height, left,
    top of the frame.
    """
    control = struct.pack(">IIIIIHHBB", 0, *box, 1, 10, 0, 0)
    return b"".join(
        [
            PNG_SIGNATURE,
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            chunk(b"acTL", struct.pack(">II", 1, 0)),
            chunk(b"IDAT", default),
            chunk(b"fcTL", control),
            chunk(b"fdAT", struct.pack(">I", 1) + frame),
            chunk(b"IEND", b""),
        ]
    )
