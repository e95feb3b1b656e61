"""Images that are shown as browsers show them. The expected colours are those of Chromium 156, but where noted."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alexnet.errors import ImageError
from alexnet.inference import decode as decoding
from alexnet.inference.decode import decode
from alexnet.inference.shrink import read_orientation
from tests import images
from tests.images import chunk, encode, photo, png

RED, GREEN, BLUE, WHITE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (9, 9, 9)
Colours = tuple[tuple[int, int, int], ...]

# Top left, top right, bottom left, bottom right.
UPRIGHT: Colours = (RED, GREEN, BLUE, BLUE)
UPSIDE_DOWN: Colours = (BLUE, BLUE, GREEN, RED)
WIDTH, HEIGHT = 40, 24


def quadrants() -> Image.Image:
    """Red, green, and blue below."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BLUE)
    image.paste(RED, (0, 0, WIDTH // 2, HEIGHT // 2))
    image.paste(GREEN, (WIDTH // 2, 0, WIDTH, HEIGHT // 2))
    return image


IMAGE = quadrants()
JPEG = encode(IMAGE, "JPEG", quality=95)


def rows(image: Image.Image) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in np.asarray(image))


def colours(content: bytes) -> Colours:
    """Of the four corners, rounded to what they are meant to be."""
    pixels = decode(content, 32, 32)
    found = [pixels[y, x].astype(int) for y in (6, 25) for x in (6, 25)]
    meant = np.array([RED, GREEN, BLUE, WHITE, GREY])
    return tuple(tuple(meant[np.abs(meant - colour).sum(1).argmin()].tolist()) for colour in found)


def wrong(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file with a wrong checksum."""
    whole = chunk(name, content)
    return whole[:-1] + bytes([whole[-1] ^ 0xFF])


def exif(value: int, kind: str = "H") -> bytes:
    """EXIF data with this orientation."""
    values = struct.pack("<HH", value, 0) if kind == "H" else struct.pack("<I", value)
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI", 0x0112, 3 if kind == "H" else 4, 1) + values + bytes(4)


def segment(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
XMP += b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>'
RAW_PROFILE = b"\nexif\n%8d\n%s\n" % (len(exif(3)) + 6, (b"Exif\0\0" + exif(3)).hex().encode())
BOMB = zlib.compress(bytes(5_000_000), 9)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"a\0\0" + BOMB),
        chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB),
        chunk(b"iCCP", b"a\0\0" + BOMB),
        chunk(b"iCCP", b"nonsense"),
        *(wrong(name, content) for name, content in ((b"tEXt", b"a\0b"), (b"pHYs", bytes(9)), (b"eXIf", exif(3)))),
        wrong(b"tRNS", struct.pack(">HHH", *BLUE)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"tEXt", b"Raw profile type exif\0" + RAW_PROFILE),
        chunk(b"acTL", struct.pack(">II", 0, 0)),
    ],
    ids=lambda extra: extra[4:8].decode(),
)
def test_ancillary_chunks_of_a_png_that_are_large_or_broken_do_not_matter(extra: bytes) -> None:
    assert colours(png(WIDTH, HEIGHT, rows(IMAGE), extra=[extra])) == UPRIGHT


def test_ancillary_chunks_that_matter_do() -> None:
    transparent = chunk(b"tRNS", struct.pack(">HHH", *BLUE))
    text = chunk(b"zTXt", b"a\0\0" + BOMB)  # the file is written anew without it
    for extra in ([transparent], [text, transparent]):
        assert colours(png(WIDTH, HEIGHT, rows(IMAGE), extra=extra)) == (RED, GREEN, WHITE, WHITE)
    for extra in ([chunk(b"eXIf", exif(3))], [text, chunk(b"eXIf", exif(3))]):
        assert colours(png(WIDTH, HEIGHT, rows(IMAGE), extra=extra)) == UPSIDE_DOWN


def test_critical_chunks_must_be_whole() -> None:
    whole = bytearray(png(WIDTH, HEIGHT, rows(IMAGE)))
    whole[whole.index(b"IDAT") - 5] ^= 0xFF  # in the checksum of the header
    with pytest.raises(ImageError) as caught:
        decode(bytes(whole), 32, 32)
    assert caught.value.code == "damaged_image"


def test_of_an_animation_that_hides_its_default_image_the_first_frame_is_shown() -> None:
    hidden = zlib.compress(rows(Image.new("RGB", (WIDTH, HEIGHT), GREY)))
    whole = zlib.compress(rows(IMAGE))
    left = zlib.compress(rows(IMAGE.crop((0, 0, WIDTH // 2, HEIGHT))))
    assert colours(images.apng(WIDTH, HEIGHT, hidden, whole, (WIDTH, HEIGHT, 0, 0))) == UPRIGHT
    within = (WIDTH // 2, HEIGHT, WIDTH // 2, 0)
    assert colours(images.apng(WIDTH, HEIGHT, hidden, left, within)) == (WHITE, RED, WHITE, BLUE)


@pytest.mark.parametrize("box", [(0, 5, 0, 0), (WIDTH, HEIGHT, 1, 0), (2**31, 2**31, 0, 0)])
def test_a_frame_that_does_not_fit_gives_way_to_the_default_image(box: tuple[int, int, int, int]) -> None:
    default, frame = zlib.compress(rows(IMAGE)), zlib.compress(rows(Image.new("RGB", (WIDTH, HEIGHT), GREY)))
    assert colours(images.apng(WIDTH, HEIGHT, default, frame, box)) == UPRIGHT


def test_only_the_orientation_in_exif_counts() -> None:
    def jpeg(content: bytes) -> bytes:
        return JPEG[:2] + content + JPEG[2:]

    assert colours(jpeg(segment(b"http://ns.adobe.com/xap/1.0/\0" + XMP))) == UPRIGHT
    assert colours(jpeg(segment(b"Exif\0\0" + exif(3)))) == UPSIDE_DOWN
    assert colours(jpeg(segment(b"Exif\0\0" + exif(3, "I")))) == UPRIGHT  # not the type that the standard says
    assert colours(jpeg(segment(b"Exif\0\0" + exif(3)) + segment(b"Exif\0\0" + exif(1)))) == UPSIDE_DOWN
    assert colours(encode(IMAGE, "WEBP", lossless=True, xmp=XMP)) == UPRIGHT


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_exif_is_read_in_both_byte_orders_and_never_past_its_end(prefix: bytes) -> None:
    big = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    assert read_orientation(prefix + big) == 6
    assert read_orientation(prefix + exif(8)) == 8
    for end in range(len(big) - 2):  # the last two bytes are padding
        assert read_orientation(prefix + big[:end]) == 1
    for value in (0, 9, 65_535):
        assert read_orientation(prefix + exif(value)) == 1


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}])
def test_a_jpeg_that_lacks_only_its_end_marker_is_read(options: dict[str, Any]) -> None:
    for image in (IMAGE, photo(500, 300), photo(500, 300).convert("L"), photo(50, 30).convert("CMYK")):
        whole = encode(image, "JPEG", **options)
        assert whole.endswith(b"\xff\xd9")
        for content in (whole[:-2], whole[:-1]):
            np.testing.assert_array_equal(decode(content, 32, 32), decode(whole, 32, 32))


def test_a_progressive_jpeg_without_its_last_scans_is_truncated() -> None:
    whole = encode(photo(), "JPEG", progressive=True)
    scans = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for place in scans[1:]:
        with pytest.raises(ImageError) as caught:
            decode(whole[:place], 32, 32)
        assert caught.value.code == "truncated_image"


def test_a_photo_with_a_second_image_inside_is_decoded_at_a_reduced_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    to_pixels = decoding.to_pixels

    def watched(image: Image.Image, *arguments: Any, **options: Any) -> Any:
        sizes.append(image.size)
        return to_pixels(image, *arguments, **options)

    monkeypatch.setattr(decoding, "to_pixels", watched)
    large = photo(2_000, 1_500)
    file = io.BytesIO()
    large.save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (2_000, 1_500))], quality=90)
    with Image.open(io.BytesIO(file.getvalue())) as image:
        assert image.format == "MPO"
    pixels = decode(file.getvalue(), 32, 32)
    assert sizes == [(250, 188)]
    np.testing.assert_allclose(pixels.astype(int), decode(encode(large), 32, 32).astype(int), atol=12)


def bmp32(header: int, alpha: bytes) -> bytes:
    """A 32-bit BMP file with masks, whose pixels have these values of alpha, from the bottom row on."""
    red, green, blue = (np.asarray(IMAGE)[::-1, :, place].reshape(-1) for place in range(3))
    pixels = np.stack([blue, green, red, np.frombuffer(alpha, np.uint8)], 1).tobytes()
    info = struct.pack("<IiiHHIIiiII", header, WIDTH, HEIGHT, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    info += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(header - 56)
    start = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + pixels


@pytest.mark.parametrize("header", [56, 108, 124])
def test_a_bmp_whose_alpha_is_zero_everywhere_is_opaque(header: int) -> None:
    # Chromium shows it as blank, the viewers of Windows as it was meant.
    nothing = bytes(WIDTH * HEIGHT)
    assert colours(bmp32(header, nothing)) == UPRIGHT
    assert colours(bmp32(header, b"\xff" * (WIDTH * HEIGHT))) == UPRIGHT
    assert colours(bmp32(header, b"\xff" + nothing[1:])) == (WHITE, WHITE, WHITE, WHITE)


def test_what_a_gif_does_not_cover_of_its_canvas_is_white() -> None:
    image = Image.new("P", (WIDTH, HEIGHT), 0)
    image.putpalette([*BLUE, *RED, *GREEN])
    image.paste(1, (0, 0, WIDTH // 2, HEIGHT // 2))
    image.paste(2, (WIDTH // 2, 0, WIDTH, HEIGHT // 2))
    content = encode(image, "GIF")
    assert colours(content) == UPRIGHT
    larger = content[:6] + struct.pack("<HH", 2 * WIDTH, 2 * HEIGHT) + content[10:]
    assert colours(larger) == (RED, WHITE, WHITE, WHITE)
    smaller = content[:6] + struct.pack("<HH", WIDTH // 2, HEIGHT // 2) + content[10:]
    assert colours(smaller) == UPRIGHT


def with_frame(kind: int, precision: int = 8) -> bytes:
    """A JPEG file whose frame header says another coding process or precision."""
    content = bytearray(JPEG)
    place = content.index(b"\xff\xc0")
    content[place + 1], content[place + 4] = kind, precision
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (with_frame(0xC1, 12), "12-bit JPEG files"),
        (with_frame(0xC3), "lossless JPEG files"),
        (with_frame(0xC3, 16), "lossless JPEG files"),
        (with_frame(0xC5), "hierarchical JPEG files"),
        (with_frame(0xF7), "JPEG-LS files"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC images"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC images"),
        (encode(IMAGE, "AVIF"), "AVIF images"),
    ],
)
def test_what_is_not_supported_is_called_by_its_name(content: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=f"^{name} are not supported; send .*JPEG, PNG, WebP, GIF or BMP") as caught:
        decode(content, 32, 32)
    assert caught.value.code == "unsupported_format"


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory error when reading image file")])
def test_a_lack_of_memory_is_no_fault_of_the_image(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(MemoryError):
        decode(encode(IMAGE, "GIF"), 32, 32)


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
def test_a_lack_of_memory_for_a_plain_file_is_no_fault_of_it_either(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.Image.frombytes", fail)
    monkeypatch.setattr("alexnet.inference.formats.jpeg.decode_jpeg", fail)
    with pytest.raises(MemoryError):
        decode(encode(IMAGE, name), 32, 32)
