"""Whether an image file that could not be decoded ends too early, or is damaged in another way.

In: the bytes of a file, and its format. Out: whether its end is missing.
"""

import struct
from collections.abc import Callable
from typing import Final


def ends_early(kind: str, content: bytes) -> bool:
    """Whether the end of `content`, a file of that format, is missing."""
    return _ENDS_EARLY[kind](content)


def _jpeg(content: bytes) -> bool:
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


def _png(content: bytes) -> bool:
    return b"IEND\xae\x42\x60\x82" not in content


def _riff(content: bytes) -> bool:
    return len(content) < 12 or struct.unpack_from("<I", content, 4)[0] + 8 > len(content)


def _gif(content: bytes) -> bool:
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


def _bmp(content: bytes) -> bool:
    return len(content) < 54 or struct.unpack_from("<I", content, 2)[0] > len(content)


_ENDS_EARLY: Final[dict[str, Callable[[bytes], bool]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WebP": _riff,
    "GIF": _gif,
    "BMP": _bmp,
}
