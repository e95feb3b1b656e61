"""PNG files as far as their chunks tell, and without what a decoder could stumble over.

In: the bytes of a PNG file. Out: its header; the image of an ordinary one; and a file of the chunks that make its
pixels: what browsers show of an animation at first is an image of its own, and text, profiles and ancillary chunks with
a wrong checksum are left out (https://www.w3.org/TR/png-3/).
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

from PIL import Image

from alexnet.errors import ImageError

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS: Final = 1_000  # and one more for each kilobyte of the file; encoders write one for 8 kB
# They may inflate to any size, or make an animation of it; none of them changes the image.
_LEFT_OUT: Final = frozenset((b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"acTL", b"fcTL", b"fdAT"))
_PLAIN_MODES: Final = {(8, 0): "L", (8, 2): "RGB"}  # by depth and colour type
_DEFAULT_METHODS: Final = bytes(3)  # of compression, filtering and interlacing
_WITHOUT_EFFECT: Final = frozenset((b"bKGD", b"cHRM", b"gAMA", b"pHYs", b"sBIT", b"sRGB", b"tEXt", b"tIME"))


class Chunk(NamedTuple):
    """A chunk of the file: its name, and where it starts and ends."""

    name: bytes
    start: int
    end: int

    def content(self, file: bytes) -> bytes:
        """What it holds."""
        return file[self.start + 8 : self.end - 4]

    def is_whole(self, file: bytes) -> bool:
        """Whether its checksum is right."""
        view = memoryview(file)
        return zlib.crc32(view[self.start + 4 : self.end - 4]) == int.from_bytes(file[self.end - 4 : self.end])


class Png(NamedTuple):
    """The header: `depth` in bits a sample, `colour` the colour type of the standard; and the chunks that are whole."""

    width: int
    height: int
    depth: int
    colour: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Still:
    """A PNG file without animation, and where on the canvas its image lies: left, top, right, bottom."""

    content: bytes
    box: tuple[int, int, int, int]


def read(content: bytes) -> Png:
    """The header of a PNG file.

    Raises `ValueError` where it has none, `ImageError` `too_complex` for too many chunks.
    """
    chunks = []
    place, limit = len(_SIGNATURE), _MOST_CHUNKS + len(content) // 1024
    while place + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content):
            break
        chunks.append(Chunk(name, place, end))
        if len(chunks) > limit:
            raise ImageError("too_complex", f"The PNG file has more than {limit:,} chunks; save it again.")
        if name == b"IEND":
            break
        place = end
    if not chunks or chunks[0].name != b"IHDR" or chunks[0].end - chunks[0].start < 25:
        raise ValueError("no header")
    width, height, depth, colour = struct.unpack_from(">IIBB", content, chunks[0].start + 8)
    if not width or not height:
        raise ValueError("an image of no size")
    return Png(width, height, depth, colour, tuple(chunks))


def decode(content: bytes, found: Png) -> Image.Image | None:
    """The image of a plain file: grey or RGB of 8 bits, not interlaced, with no chunk that could change its pixels.

    Pillow's own parser takes half of the time of a small file. None for a file that needs it, or is damaged.
    """
    mode, (header, *others, end) = _PLAIN_MODES.get((found.depth, found.colour)), found.chunks
    data = [chunk.content(content) for chunk in others if chunk.name == b"IDAT"]
    names = [chunk.name for chunk in others if chunk.name not in _WITHOUT_EFFECT]
    if mode is None or end.name != b"IEND" or names != [b"IDAT"] * len(data):
        return None
    if header.content(content)[10:] != _DEFAULT_METHODS or not (header.is_whole(content) and end.is_whole(content)):
        return None
    try:
        return Image.frombytes(mode, (found.width, found.height), b"".join(data), "zip", mode)
    except (OSError, ValueError):
        return None


def still(content: bytes, found: Png) -> Still:
    """The file of the image that is shown at first; `content` itself where there is nothing to leave out."""
    whole = (0, 0, found.width, found.height)
    frame = _first_frame(content, found)
    if frame is not None:
        return frame
    kept = [chunk for chunk in found.chunks if not _is_left_out(chunk, content)]
    end = found.chunks[-1]
    if len(kept) == len(found.chunks) and (end.name != b"IEND" or end.is_whole(content)):
        return Still(content, whole)
    parts = [content[chunk.start : chunk.end] for chunk in kept if chunk.name != b"IEND"]
    if end.name == b"IEND":
        parts.append(_chunk(b"IEND", b""))
    else:
        parts.append(content[end.end :])  # the part of a chunk with which the file breaks off
    return Still(b"".join([_SIGNATURE, *parts]), whole)


def has_hidden_image(found: Png) -> bool:
    """Whether the image of the IDAT chunks is no frame of the animation: then its first frame is shown instead."""
    names = [chunk.name for chunk in found.chunks]
    if b"acTL" not in names or b"IDAT" not in names or b"fdAT" not in names:
        return False
    data = names.index(b"IDAT")
    return names.index(b"acTL") < data and b"fcTL" not in names[:data] and b"fcTL" in names[data:]


def _first_frame(content: bytes, found: Png) -> Still | None:
    """The first frame as a PNG file of its own, where the default image is hidden; None where it is not, or broken."""
    if not has_hidden_image(found):
        return None
    names = [chunk.name for chunk in found.chunks]
    place = names.index(b"fcTL", names.index(b"IDAT"))
    control = found.chunks[place].content(content)
    data = []
    for chunk in found.chunks[place + 1 :]:
        if chunk.name == b"fcTL":
            break
        if chunk.name == b"fdAT":
            data.append(chunk.content(content)[4:])
    if len(control) < 20 or not data:
        return None
    width, height, left, top = struct.unpack_from(">IIII", control, 4)
    if not width or not height or left + width > found.width or top + height > found.height:
        return None
    header = struct.pack(">II", width, height) + found.chunks[0].content(content)[8:]
    before = [
        content[chunk.start : chunk.end]
        for chunk in found.chunks[1:place]
        if chunk.name in (b"PLTE", b"tRNS", b"eXIf") and not _is_left_out(chunk, content)
    ]
    parts = [_chunk(b"IHDR", header), *before, _chunk(b"IDAT", b"".join(data)), _chunk(b"IEND", b"")]
    return Still(b"".join([_SIGNATURE, *parts]), (left, top, left + width, top + height))


def _is_left_out(chunk: Chunk, content: bytes) -> bool:
    ancillary = bool(chunk.name[0] & 0x20)
    return chunk.name in _LEFT_OUT or (ancillary and not chunk.is_whole(content))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
