"""JPEG files as far as their markers tell: size, coding process, scans (ITU-T T.81, annex B).

In: the bytes of a JPEG file. Out: its frame header, in time that is bounded by the number of its markers; and the
pixels of an ordinary one.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from simplejpeg import decode_jpeg

from alexnet.errors import ImageError
from alexnet.inference.formats import names

MAX_SCANS: Final = 100  # encoders write about ten
MAX_SCANNED_PIXELS: Final = 1_000_000_000  # pixels times scans: about a second of decoding
_SEGMENT: Final = struct.Struct(">BBH")  # 0xFF, marker and length, which counts itself
_MAX_SEGMENTS: Final = 2_000  # before the first scan; each may hold 64 kB
EOI: Final = b"\xff\xd9"
_SOS: Final = b"\xff\xda"
_MARKER: Final = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # but neither a stuffed zero nor a restart
# Coding processes that Pillow's decoder does not read, by their start-of-frame marker.
_UNSUPPORTED: Final = {
    0xC3: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xC7: "hierarchical",
    0xCB: "lossless",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
    0xCF: "hierarchical",
    0xF7: "JPEG-LS",
}
_PROGRESSIVE: Final = (0xC2, 0xCA)
_START_OF_FRAME: Final = frozenset((0xC0, 0xC1, 0xC9, *_PROGRESSIVE, *_UNSUPPORTED))
_ALONE: Final = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # markers without a segment
_COMMON: Final = frozenset((0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)))  # DHT, DQT, DRI, COM and APP0 to APP15
_APP1: Final = 0xE1
_EXIF: Final = b"Exif\0\0"


class Jpeg(NamedTuple):
    """The frame header. `sampling` has the horizontal and vertical factor of each component, by its identifier.

    `first_scan` is where the first scan's marker stands, `scans` how many there are, `ended` whether an end marker
    follows. `buffered` says whether the decoder holds the coefficients of the whole image, because the components come
    in several scans; scans of other files are not counted. `plain` says that before the first scan there are a frame
    header and common segments alone, which every parser reads in the same way. `exif` is the Exif data, if any.
    """

    width: int
    height: int
    sampling: dict[int, tuple[int, int]]
    progressive: bool
    first_scan: int
    scans: int
    ended: bool
    buffered: bool
    plain: bool
    exif: bytes

    def coefficients(self) -> int:
        """How many coefficients all components have, in whole blocks of 8 by 8."""
        most_x = max(x for x, _ in self.sampling.values())
        most_y = max(y for _, y in self.sampling.values())
        units = -(-self.width // (8 * most_x)) * -(-self.height // (8 * most_y))
        return units * sum(64 * x * y for x, y in self.sampling.values())


def read(content: bytes) -> Jpeg:
    """The frame header of a JPEG file.

    Raises `ValueError` where the segments end or break before the first scan, `ImageError` `unsupported_format` for a
    coding process that is not read, `too_complex` for too many segments or scans.
    """
    frame: tuple[int, int, int, dict[int, tuple[int, int]]] | None = None
    place, plain, exif = 2, True, b""
    for _ in range(_MAX_SEGMENTS):
        if place + 4 > len(content):
            raise ValueError("it ends before the first scan")
        prefix, marker, length = _SEGMENT.unpack_from(content, place)
        if prefix != 0xFF:
            raise ValueError("no marker")
        if marker == _SOS[1]:
            if frame is None:
                raise ValueError("no frame before the first scan")
            kind, width, height, sampling = frame
            components = content[place + 4] if place + 4 < len(content) else 0
            progressive = kind in _PROGRESSIVE
            buffered = progressive or components < len(sampling)
            # A decoder stops after a first scan that has everything.
            scans = _count_scans(content, place, width * height) if buffered else 1
            ended = content.rfind(EOI, place) >= 0  # from the end, where it mostly is
            return Jpeg(width, height, sampling, progressive, place, scans, ended, buffered, plain, exif)
        if marker == 0xFF:  # a fill byte
            place, plain = place + 1, False
        elif marker in _ALONE:
            place, plain = place + 2, False
        else:
            if marker in _START_OF_FRAME:
                plain = plain and frame is None
                frame = _frame(content, place)
            elif marker not in _COMMON:
                plain = False
            if length < 2:
                raise ValueError("a segment without a length")
            if marker == _APP1 and content.startswith(_EXIF, place + 4):
                part = content[place + 4 : place + 2 + length]
                exif = exif + part[len(_EXIF) :] if exif else part  # large data come in several segments
            place += 2 + length
    raise ImageError("too_complex", f"The JPEG file has more than {_MAX_SEGMENTS:,} segments; save it again.")


def decode(content: bytes, found: Jpeg, scale: int, colours: Literal["RGB", "RGBX"]) -> npt.NDArray[np.uint8] | None:
    """The image of a plain file, grey or in colour, reduced by `scale`: uint8 [height, width, 3 or 4], as it is stored.

    Pillow's libjpeg-turbo asks for the CPU's features anew for each file, which a virtual machine answers slowly;
    simplejpeg's does not. None for a file that is Pillow's to judge: of another kind, or with anything that libjpeg
    warns about.
    """
    if len(found.sampling) not in (1, 3) or not found.plain:
        return None
    height, width = -(-found.height // scale), -(-found.width // scale)
    least = (0, 0) if scale == 1 else (height, width)
    try:
        pixels: npt.NDArray[np.uint8] = decode_jpeg(content, colours, min_height=least[0], min_width=least[1])
    except ValueError:
        return None
    return pixels if pixels.shape[:2] == (height, width) else None


def lacks_only_end(content: bytes, found: Jpeg) -> bool:
    """Whether no end-of-image marker follows the first scan, and yet each coefficient has been sent in full."""
    if found.ended:
        return False
    left = {(identifier, k) for identifier in found.sampling for k in range(64)}
    try:
        for place in _scans(content, found.first_scan):
            count = content[place + 4]
            chosen = content[place + 5 : place + 5 + 2 * count : 2]
            first, last, approximation = content[place + 5 + 2 * count : place + 8 + 2 * count]
            if not found.progressive:
                first, last, approximation = 0, 63, 0
            if approximation & 0xF == 0:  # no bits of these coefficients are left to be sent
                left -= {(identifier, k) for identifier in chosen for k in range(first, last + 1)}
    except (IndexError, ValueError):
        return False
    return not left


def _frame(content: bytes, place: int) -> tuple[int, int, int, dict[int, tuple[int, int]]]:
    kind = content[place + 1]
    try:
        precision, height, width, count = struct.unpack_from(">BHHB", content, place + 4)
        components = struct.unpack_from("BBB" * count, content, place + 10)
    except struct.error as error:
        raise ValueError("the frame header ends early") from error
    if kind in _UNSUPPORTED or precision != 8:
        what = _UNSUPPORTED.get(kind, f"{precision}-bit")
        name = what if what.startswith("JPEG") else f"{what} JPEG"
        raise ImageError("unsupported_format", f"{name} files are not supported; send 8-bit JPEG or {names()}.")
    sampling = {components[i]: (components[i + 1] >> 4, components[i + 1] & 0xF) for i in range(0, 3 * count, 3)}
    if not width or not height or not sampling or not all(x and y for x, y in sampling.values()):
        raise ValueError("a frame of no size")
    return kind, width, height, sampling


def _count_scans(content: bytes, first: int, pixels: int) -> int:
    limit = max(1, min(MAX_SCANS, MAX_SCANNED_PIXELS // pixels))
    # Scans cannot hold the marker's bytes, so this counts too many only where other data follows or precedes.
    scans = content.count(_SOS)
    if scans > limit:
        scans = sum(1 for _ in _scans(content, first))
    if scans > limit:
        raise ImageError(
            "too_complex", f"The JPEG file has {scans} scans; {limit} are the most for its size. Save it anew."
        )
    return scans


def _scans(content: bytes, place: int) -> Iterator[int]:
    """Where the scans begin, up to the end of the image."""
    while True:
        found = _MARKER.search(content, place)
        if found is None or found.group() == EOI:
            return
        place = found.start()
        if found.group() == _SOS:
            yield place
        (length,) = struct.unpack_from(">H", content, place + 2) if place + 4 <= len(content) else (0,)
        place += 2 + length
