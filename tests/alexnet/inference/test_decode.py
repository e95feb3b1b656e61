"""Bytes to pixels: what is no image, what is damaged, what lies, and that every way to write a image is read."""

import contextlib
import io
import random
import struct
import time
import tracemalloc
import zlib
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from alexnet.errors import ImageError
from alexnet.inference import decode as decoder
from alexnet.inference import shrink
from alexnet.inference.formats import jpeg, png
from serving.errors import CODES
from tests import images
from tests.images import encode, photo

SIDE = 32
PHOTO = photo()
# A image at the model's own size is not resized, so that pixels can be compared to the last digit.
SMALL = photo(SIDE, SIDE, seed=1)

WHOLE = {
    "jpeg": encode(PHOTO, "JPEG", quality=85),
    "jpeg progressive": encode(PHOTO, "JPEG", progressive=True),
    "jpeg grey": encode(PHOTO.convert("L"), "JPEG"),
    "jpeg with exif": images.with_orientation(PHOTO, 6, "JPEG"),
    "jpeg cmyk": encode(PHOTO.convert("CMYK"), "JPEG"),
    "png": encode(PHOTO, "PNG"),
    "png palette": encode(PHOTO.quantize(32), "PNG"),
    "png rgba": encode(PHOTO.convert("RGBA"), "PNG"),
    "webp": encode(PHOTO, "WEBP"),
    "webp lossless": encode(PHOTO, "WEBP", lossless=True),
    "webp animated": encode(PHOTO, "WEBP", save_all=True, append_images=[photo(seed=2)]),
    "gif": encode(PHOTO, "GIF"),
    "bmp": encode(PHOTO, "BMP"),
    "bmp palette": encode(PHOTO.quantize(16), "BMP"),
}


def decode(content: bytes, **options: Any) -> npt.NDArray[np.uint8]:
    return decoder.decode(content, SIDE, SIDE, **options)


def refused(content: bytes, **options: Any) -> str:
    """The code with which `content` is refused."""
    with pytest.raises(ImageError) as caught:
        decode(content, **options)
    assert caught.value.code in CODES
    return caught.value.code


def outcome(content: bytes) -> npt.NDArray[np.uint8] | str:
    """The pixels of `content`, or the code with which it is refused."""
    try:
        return decode(content)
    except ImageError as error:
        return error.code


def damaged(files: list[bytes], copies: int, rng: random.Random) -> list[bytes]:
    """So many copies of each, in which a byte or two are replaced, inserted or left out, after the format's name."""
    found = []
    for content in files:
        for _ in range(copies):
            changed = bytearray(content)
            place = rng.randrange(8 if content.startswith(b"\x89PNG") else 2, len(content))
            changed[place : place + rng.randrange(2)] = bytes([rng.randrange(256)] * rng.randrange(3))
            found.append(bytes(changed))
    return found


def assert_judged_as_by_pillow(quick: ModuleType, files: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The outcome of each is the same when `decode` of the module `quick` leaves all files to Pillow's own parser."""
    found = [outcome(content) for content in files]
    monkeypatch.setattr(quick, "decode", lambda *_: None)
    for content, expected in zip(files, found, strict=True):
        assert np.array_equal(outcome(content), expected)


@pytest.mark.parametrize("name", WHOLE)
def test_every_format_becomes_pixels_of_the_models_size(name: str) -> None:
    pixels = decode(WHOLE[name])
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("name", ["PNG", "WEBP", "BMP"])
def test_pixels_of_the_models_size_come_through_unchanged(name: str) -> None:
    content = encode(SMALL, name, **({"lossless": True} if name == "WEBP" else {}))
    np.testing.assert_array_equal(decode(content), np.asarray(SMALL))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_image"),
        (b"x", "unsupported_format"),
        (b"\xff", "unsupported_format"),
        (b"hello, this is text", "unsupported_format"),
        (b'{"image": "cat"}', "unsupported_format"),
        (b"http://example.com/cat.jpg", "unsupported_format"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "unsupported_format"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format"),
        (b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>", "unsupported_format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "unsupported_format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unsupported_format"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "unsupported_format"),
        (b"BM is how this sentence begins, and it is no bitmap at all, however long it may be", "unsupported_format"),
        (b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x07builtin", "unsupported_format"),
        (encode(PHOTO, "TIFF"), "unsupported_format"),
        (encode(PHOTO, "ICO"), "unsupported_format"),
        (encode(PHOTO, "PPM"), "unsupported_format"),
        (encode(PHOTO, "JPEG2000"), "unsupported_format"),
        (encode(PHOTO, "TGA"), "unsupported_format"),
        (encode(PHOTO, "PCX"), "unsupported_format"),
        (encode(PHOTO, "PDF"), "unsupported_format"),
        (encode(PHOTO, "EPS"), "unsupported_format"),
    ],
)
def test_what_is_no_image_of_ours_is_refused_by_name(content: bytes, code: str) -> None:
    with pytest.raises(ImageError, match="JPEG, PNG, WebP, GIF or BMP") as caught:
        decode(content)
    assert caught.value.code == code


def test_random_bytes_never_reach_an_answer_or_a_crash() -> None:
    rng = random.Random(0)
    heads = [b"", b"\xff\xd8\xff", images.PNG_SIGNATURE, b"GIF89a", b"BM", b"RIFF\x40\0\0\0WEBPVP8 "]
    for number in range(600):
        refused(heads[number % len(heads)] + rng.randbytes(rng.randrange(300)))


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_short_anywhere_is_called_truncated(name: str) -> None:
    whole = WHOLE[name]
    expected = decode(whole)
    signature = 18  # before that many bytes nobody can tell what it would have been
    last = 60
    middle = range(signature, len(whole) - last, max(1, len(whole) // 150))
    for end in [*middle, *range(len(whole) - last, len(whole))]:
        found = outcome(whole[:end])
        lost = len(whole) - end
        if lost <= {"gif": 3, "bmp": 3, "jpeg": 2}.get(name[:4].strip(), 0) and not isinstance(found, str):
            np.testing.assert_array_equal(found, expected)  # the last bytes hold nothing of the image
        else:
            assert isinstance(found, str), f"{end} of {len(whole)} bytes passed"
            assert found == "truncated_image", f"{end} of {len(whole)} bytes"


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_within_its_signature_is_refused(name: str) -> None:
    for end in range(1, 18):
        assert refused(WHOLE[name][:end]) in ("unsupported_format", "truncated_image")


def test_an_animation_cut_after_its_first_frame_still_has_it_and_before_it_is_truncated() -> None:
    one, two = encode(PHOTO, "GIF"), encode(PHOTO, "GIF", save_all=True, append_images=[photo(seed=2)])
    for end in range(13, len(two), 7):
        found = outcome(two[:end])
        if isinstance(found, str):
            assert found == "truncated_image"
            assert end < len(one) + 30  # more than one frame by what an animation adds
        else:
            np.testing.assert_array_equal(found, decode(one))


def test_a_thumbnails_end_is_not_taken_for_the_end_of_the_photo() -> None:
    thumbnail = encode(photo(16, 16), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 8) + b"Exif\0\0" + thumbnail
    whole = WHOLE["jpeg"]
    content = whole[:2] + segment + whole[2:]
    np.testing.assert_array_equal(decode(content), decode(whole))
    assert refused(content[: 2 + len(segment)]) == "truncated_image"
    assert refused(content[:-200]) == "truncated_image"


def test_what_follows_the_end_of_a_photo_does_not_matter() -> None:
    for name in ("jpeg", "png", "gif", "bmp", "webp"):
        np.testing.assert_array_equal(decode(WHOLE[name] + b"\0" * 100 + b"trailer"), decode(WHOLE[name]))


@pytest.mark.parametrize("name", ["png", "webp", "gif", "bmp", "jpeg"])
def test_a_damaged_file_is_refused_or_read_but_never_breaks(name: str) -> None:
    rng = random.Random(name)
    codes = set()
    for _ in range(150):
        content = bytearray(WHOLE[name])
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        found = outcome(bytes(content))
        if isinstance(found, str):
            codes.add(found)
        else:
            assert found.shape == (SIDE, SIDE, 3)
    assert codes <= {
        "damaged_image",
        "truncated_image",
        "too_many_pixels",
        "unsupported_format",
        "unsupported_mode",
    }


def test_a_png_whose_checksum_is_wrong_is_damaged() -> None:
    content = bytearray(WHOLE["png"])
    content[content.index(b"IDAT") + 20] ^= 0xFF
    assert refused(bytes(content)) == "damaged_image"


@pytest.mark.parametrize("kind", ["lossy", "lossless", "extended", "animated"])
def test_a_webp_header_that_claims_too_much_is_judged_before_a_pixel_is_decoded(kind: str) -> None:
    _refused_at_once(images.webp(16383, 16383, kind))


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (64_000_001, 1)])
def test_a_png_header_that_claims_too_much_is_judged_before_a_pixel_is_decoded(width: int, height: int) -> None:
    _refused_at_once(images.png(width, height, bytes(3_000_000)))  # 3 kB of file


@pytest.mark.parametrize(
    "content", [images.gif(65_535, 65_535), images.bmp(30_000, 30_000), images.bmp(30_000, -30_000)]
)
def test_a_gif_or_bmp_header_that_claims_too_much_is_judged_before_a_pixel_is_decoded(content: bytes) -> None:
    _refused_at_once(content)


def test_a_jpeg_header_that_claims_too_much_is_judged_before_a_pixel_is_decoded() -> None:
    _refused_at_once(images.jpeg(65_535, 65_535))


def _refused_at_once(content: bytes) -> None:
    assert len(content) < 5_000
    decode(WHOLE["png"])  # what is loaded on first use is loaded now
    tracemalloc.start()
    started = time.process_time()
    code = refused(content)
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert code == "too_many_pixels"
    assert seconds < 0.05
    assert peak < 1_000_000


def test_the_limit_of_pixels_is_exact_and_in_the_message() -> None:
    content = encode(photo(100, 50), "PNG")
    assert decode(content, max_pixels=5_000).shape == (SIDE, SIDE, 3)
    with pytest.raises(ImageError, match=r"0\.004999 megapixels") as caught:
        decode(content, max_pixels=4_999)
    assert caught.value.code == "too_many_pixels"


def test_text_in_a_png_that_unpacks_to_gigabytes_is_harmless() -> None:
    bomb = images.chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))
    content = images.png(SIDE, SIDE, (b"\0" + bytes(SIDE * 3)) * SIDE, extra=[bomb])
    tracemalloc.start()
    assert (decode(content) == 0).all()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("name", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_gives_the_same_pixels_in_every_exif_orientation(name: str, orientation: int) -> None:
    exact = {"lossless": True} if name == "WEBP" else {"quality": 100, "subsampling": 0} if name == "JPEG" else {}
    pixels = decode(images.with_orientation(PHOTO, orientation, name, **exact))
    upright = decode(encode(PHOTO, name, **exact))
    # JPEG's rounding differs between a block and its transpose; a turned photo would differ by a hundred.
    np.testing.assert_allclose(pixels.astype(int), upright.astype(int), atol=4 if name == "JPEG" else 0)


@pytest.mark.parametrize("value", [0, 9, 255, 65_535])
def test_an_orientation_that_means_nothing_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[images.ORIENTATION] = value
    np.testing.assert_array_equal(decode(encode(SMALL, "PNG", exif=exif)), np.asarray(SMALL))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_beside_a_whole_picture_is_ignored() -> None:
    whole = WHOLE["jpeg"]
    segment = b"\xff\xe1" + struct.pack(">H", 30) + b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff" + bytes(14)
    np.testing.assert_array_equal(decode(whole[:2] + segment + whole[2:]), decode(whole))


def test_16_bit_grey_is_scaled_like_its_8_bit_twin() -> None:
    grey = np.asarray(photo(50, 40).convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert deep.mode == "I;16"
    twin = decode(encode(Image.fromarray(grey)))
    np.testing.assert_array_equal(decode(encode(deep)), twin)
    fine = np.random.default_rng(0).integers(0, 256, grey.shape, dtype=np.uint16)  # what 8 bits cannot hold
    np.testing.assert_array_equal(decode(encode(Image.fromarray(grey.astype(np.uint16) * 256 + fine))), twin)
    assert len(np.unique(twin)) > 50  # and not white throughout


def test_16_bit_grey_with_a_transparent_value() -> None:
    values = np.full((SIDE, SIDE), 257 * 10, np.uint16)
    values[:16] = 257 * 200
    transparent = images.chunk(b"tRNS", struct.pack(">H", 257 * 10))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    pixels = decode(images.png(SIDE, SIDE, rows, depth=16, colour=0, extra=[transparent]))
    assert (pixels[:16] == 200).all()
    assert (pixels[16:] == shrink.BACKGROUND).all()


def _in_mode(mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(SMALL.convert("L")).astype(np.uint16) * 257)
    if mode == "PA":
        return SMALL.quantize(64).convert("PA")
    return SMALL.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr", "I;16"])
def test_every_mode_with_colours_becomes_the_right_rgb(mode: str) -> None:
    image = _in_mode(mode)
    expected = SMALL.convert("1" if mode == "1" else "L") if mode in ("1", "L", "LA", "I;16") else SMALL
    pixels = np.asarray(shrink.to_colour(image).convert("RGB")).astype(int)
    tolerance = 20 if mode in ("P", "PA") else 2
    assert np.abs(pixels - np.asarray(expected.convert("RGB")).astype(int)).mean() < tolerance


@pytest.mark.parametrize("mode", ["I", "F", "HSV", "LAB"])
def test_a_mode_without_colours_is_refused_by_its_name(mode: str) -> None:
    with pytest.raises(ImageError, match=f"mode {mode} ") as caught:
        shrink.to_colour(Image.new(mode, (4, 4)))
    assert caught.value.code == "unsupported_mode"


def test_a_file_of_any_mode_in_any_format_is_answered_or_refused() -> None:
    written = []
    for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I", "F"):
        for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
            image = Image.new(mode, (20, 20)) if mode in ("I", "F") else _in_mode(mode)
            with contextlib.suppress(OSError, ValueError, KeyError):  # Pillow does not write it
                content = encode(image, name)
                written.append((mode, name))
                if name == "TIFF":
                    assert refused(content) == "unsupported_format"
                else:
                    assert decode(content).shape == (SIDE, SIDE, 3)
    assert len(written) > 30
    assert {("CMYK", "JPEG"), ("I;16", "PNG"), ("F", "TIFF"), ("LA", "PNG"), ("P", "GIF")} <= set(written)


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
@pytest.mark.parametrize("size", [(SIDE, SIDE), (200, 120)])
def test_colours_hidden_under_alpha_0_do_not_show(name: str, size: tuple[int, int]) -> None:
    exact = {"lossless": True, "exact": True} if name == "WEBP" else {}
    drawn = photo(*size).convert("RGBA")
    hidden = np.array(drawn)
    hidden[:, : size[0] // 2, 3] = 0
    clean = hidden.copy()
    clean[:, : size[0] // 2, :3] = 0
    pixels = decode(encode(Image.fromarray(hidden), name, **exact))
    np.testing.assert_array_equal(pixels, decode(encode(Image.fromarray(clean), name, **exact)))
    assert shrink.BACKGROUND == (255, 255, 255)
    assert (pixels[:, : SIDE // 2 - 4] == shrink.BACKGROUND).all()
    assert (pixels[:, SIDE // 2 + 4 :] != shrink.BACKGROUND).any()


def test_half_transparent_colours_are_mixed_with_white() -> None:
    drawn = Image.new("RGBA", (SIDE, SIDE), (255, 0, 0, 128))
    np.testing.assert_allclose(decode(encode(drawn))[5, 5].astype(int), (255, 127, 127), atol=1)


@pytest.mark.parametrize(
    ("mode", "transparency"), [("P", 0), ("P", bytes([0, 255])), ("L", 0), ("RGB", (0, 0, 0)), ("1", 0)]
)
def test_a_transparent_colour_of_a_png_shows_the_background(mode: str, transparency: Any) -> None:
    drawn = Image.new(mode, (SIDE, SIDE), 0)
    if mode == "P":
        drawn.putpalette([0, 0, 0, 10, 20, 30])
    drawn.paste(1 if mode in ("P", "1") else (200,) * 3 if mode == "RGB" else 200, (0, 0, SIDE, 16))
    pixels = decode(encode(drawn, "PNG", transparency=transparency))
    assert (pixels[16:] == shrink.BACKGROUND).all()
    assert (pixels[:16] == {"P": (10, 20, 30), "1": (255, 255, 255)}.get(mode, (200, 200, 200))).all()


def test_a_transparent_gif_shows_the_background() -> None:
    drawn = Image.new("P", (SIDE, SIDE), 0)
    drawn.putpalette([9, 9, 9, 10, 20, 30])
    drawn.paste(1, (0, 0, SIDE, 16))
    pixels = decode(encode(drawn, "GIF", transparency=0))
    assert (pixels[16:] == shrink.BACKGROUND).all()
    assert (pixels[:16] == (10, 20, 30)).all()


def test_cmyk_with_adobes_marker_is_inverted_and_without_it_is_not() -> None:
    with_marker = encode(PHOTO.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in with_marker
    inverted = Image.eval(PHOTO.convert("CMYK"), lambda value: 255 - value)
    without_marker = images.strip_adobe(encode(inverted, "JPEG", quality=95))
    assert b"Adobe" not in without_marker
    expected = decode(encode(PHOTO)).astype(int)
    for content in (with_marker, without_marker):
        assert np.abs(decode(content).astype(int) - expected).mean() < 5
    negative = decode(images.strip_adobe(with_marker)).astype(int)
    assert np.abs(negative - expected).mean() > 50  # the two do differ


@pytest.mark.parametrize("name", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_counts(name: str) -> None:
    exact = {"lossless": True} if name == "WEBP" else {}
    frames = [photo(seed=seed) for seed in range(2, 8)]
    animated = encode(PHOTO, name, save_all=True, append_images=frames, duration=50, **exact)
    with Image.open(io.BytesIO(animated)) as image:
        assert image.n_frames == 7
    np.testing.assert_array_equal(decode(animated), decode(encode(PHOTO, name, **exact)))


@pytest.mark.parametrize("name", ["GIF", "WEBP"])
def test_thousands_of_frames_cost_no_more_than_one(name: str) -> None:
    first = Image.new("RGB", (64, 64), (1, 2, 3))
    frames = [Image.new("RGB", (64, 64), (number % 251, number % 7, 50)) for number in range(2_000)]
    bomb = encode(first, name, save_all=True, append_images=frames, duration=20)
    started = time.process_time()
    decode(bomb)
    assert time.process_time() - started < 0.25


def test_a_gif_whose_frame_is_smaller_than_its_canvas() -> None:
    content = bytearray(encode(Image.new("P", (40, 40), 0), "GIF"))
    place = content.rindex(b"\x2c\0\0\0\0")
    content[6:10] = struct.pack("<HH", 80, 80)
    assert content[place + 5 : place + 9] == struct.pack("<HH", 40, 40)
    assert decode(bytes(content)).shape == (SIDE, SIDE, 3)


def test_a_run_length_coded_bmp_is_read_and_its_end_is_missed() -> None:
    rows = [bytes([SIDE, grey, 0, 0]) for grey in range(SIDE)]
    content = images.rle_bmp(SIDE, SIDE, b"".join(rows) + bytes([0, 1]))
    pixels = decode(content)
    assert [row[0, 0] for row in pixels] == list(reversed(range(SIDE)))  # rows are stored from the bottom
    for end in range(54, len(content) - 6):
        assert refused(content[:end]) == "truncated_image"


def decoded_sizes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A list that gets the size of every image as it was decoded, before it is shrunk."""
    sizes: list[tuple[int, int]] = []
    to_pixels = decoder.to_pixels

    def watched(image: Image.Image, *arguments: Any, **options: Any) -> npt.NDArray[np.uint8]:
        sizes.append(image.size)
        return to_pixels(image, *arguments, **options)

    monkeypatch.setattr(decoder, "to_pixels", watched)
    return sizes


@pytest.mark.parametrize("progressive", [False, True])
def test_a_photo_of_12_megapixels_is_decoded_at_a_reduced_scale(
    progressive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    to_pixels = decoder.to_pixels
    monkeypatch.setattr(
        decoder, "to_pixels", lambda image, *a, **k: sizes.append(image.size) or to_pixels(image, *a, **k)
    )
    large = photo(4_000, 3_000)
    pixels = decode(encode(large, "JPEG", quality=90, progressive=progressive))
    assert sizes == [(500, 375)]  # an eighth: JPEG's smallest scale
    expected = np.asarray(large.resize((SIDE, SIDE), shrink.FILTER)).astype(int)
    assert np.abs(pixels - expected).mean() < 3


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
def test_a_jpeg_whole_or_damaged_is_judged_as_pillows_own_parser_does(
    mode: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)
    files = [encode(photo(*size).convert(mode), "JPEG", **options) for size in ((32, 32), (1, 1), (17, 90), (700, 300))]
    files.append(images.with_orientation(photo(300, 200), 6, "JPEG"))
    assert all(jpeg.decode(content, jpeg.read(content), 1, "RGB") is not None for content in files)
    assert_judged_as_by_pillow(jpeg, [*files, *damaged(files, 100, rng)], monkeypatch)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_png_whole_or_damaged_is_judged_as_pillows_own_parser_does(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)
    files = [encode(photo(*size).convert(mode), "PNG", dpi=(72, 72)) for size in ((32, 32), (1, 1), (17, 90), (90, 70))]
    assert all(png.decode(content, png.read(content)) is not None for content in files)
    assert_judged_as_by_pillow(png, [*files, *damaged(files, 200, rng)], monkeypatch)


def test_a_png_that_is_interlaced_or_has_other_chunks_that_matter_is_left_to_pillow() -> None:
    whole = encode(photo(1, 1))
    header = whole[12:28] + b"\1"  # one pixel is stored in the same way
    interlaced = whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]
    palette, alpha, key = photo().quantize(16), photo().convert("RGBA"), {"transparency": (0, 0, 0)}
    for content in (interlaced, encode(palette), encode(alpha), encode(photo(), **key)):
        assert png.decode(content, png.read(content)) is None
        assert isinstance(outcome(content), np.ndarray)


def test_a_jpeg_is_not_reduced_so_far_that_the_filter_has_nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    to_pixels = decoder.to_pixels
    monkeypatch.setattr(
        decoder, "to_pixels", lambda image, *a, **k: sizes.append(image.size) or to_pixels(image, *a, **k)
    )
    for width, height in ((100, 60), (255, 255), (512, 40), (3_000, 200)):
        decode(encode(photo(width, height), "JPEG"))
        assert min(sizes[-1]) >= min(128, width, height) // 2 or sizes[-1] == (width, height)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (31, 33), (2_000, 3)])
@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_every_shape_of_picture_is_answered(size: tuple[int, int], name: str) -> None:
    assert decode(encode(Image.new("RGB", size, (10, 200, 30)), name)).shape == (SIDE, SIDE, 3)


def test_a_rectangle_is_squeezed_as_a_whole() -> None:
    wide = Image.new("RGB", (200, 100), (255, 0, 0))
    wide.paste((0, 0, 255), (0, 0, 20, 100))
    pixels = decode(encode(wide))
    assert pixels[16, 0, 2] > 200  # the left edge is still there
    assert pixels[16, -1, 0] > 200


def test_opaque_alpha_changes_nothing() -> None:
    np.testing.assert_array_equal(decode(encode(SMALL.convert("RGBA"))), decode(encode(SMALL)))


def test_decoding_uses_the_bytes_alone_whatever_pillow_could_also_read(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_image = Image.open
    monkeypatch.setattr(
        Image, "open", lambda file, formats: opened.append(formats) or open_image(file, formats=formats)
    )
    for content in WHOLE.values():
        decode(content)
    assert {name for (name,) in opened} == {"JPEG", "PNG", "WEBP", "GIF", "BMP"}
    before = len(opened)
    refused(encode(PHOTO, "TIFF"))
    refused(encode(PHOTO, "EPS"))
    assert len(opened) == before  # no decoder saw them
