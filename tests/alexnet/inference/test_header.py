"""What a file says of its decoding before it begins: measured peaks of memory, and parts without number."""

import ctypes
import io
import re
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.errors import ImageError
from alexnet.inference.decode import decode
from alexnet.inference.formats import webp
from alexnet.inference.header import BYTES_PER_PIXEL, DecodeCost, Header, decode_cost, read_header
from tests import images
from tests.images import chunk, encode, photo

SIDE = 32
OTHERS = 1_000_000  # bytes that other threads of the test's process take meanwhile
_M_MMAP_THRESHOLD = -3  # of mallopt(3)
WIDTH, HEIGHT = 2_400, 1_800
LARGE = photo(WIDTH, HEIGHT)
GREY = LARGE.convert("L")
CLEAR = LARGE.convert("RGBA")
CLEAR.putalpha(GREY)


def _in_larger_canvas(content: bytes) -> bytes:
    return content[:6] + struct.pack("<HH", WIDTH + 100, HEIGHT + 100) + content[10:]


def _hidden() -> bytes:
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(LARGE)), 1)
    return images.apng(WIDTH, HEIGHT, b"", rows, (WIDTH, HEIGHT - 1, 0, 1))


FILES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encode(LARGE, "JPEG"),
    "JPEG at full scale": lambda: encode(photo(30_000, 150), "JPEG"),
    "JPEG grey at full scale": lambda: encode(photo(30_000, 150).convert("L"), "JPEG"),
    "JPEG progressive": lambda: encode(LARGE, "JPEG", progressive=True),
    "JPEG progressive, no subsampling": lambda: encode(LARGE, "JPEG", progressive=True, subsampling=0),
    "JPEG progressive CMYK": lambda: encode(photo(30_000, 150).convert("CMYK"), "JPEG", progressive=True),
    "JPEG without its end": lambda: encode(photo(30_000, 150), "JPEG")[:-2],
    "PNG": lambda: encode(LARGE, compress_level=1),
    "PNG on its side": lambda: images.with_orientation(LARGE, 6, "PNG", compress_level=1),
    "PNG grey": lambda: encode(GREY, compress_level=1),
    "PNG 16 bit": lambda: encode(Image.fromarray(np.asarray(GREY).astype(np.uint16) * 257), compress_level=1),
    "PNG alpha": lambda: encode(CLEAR, compress_level=1),
    "PNG alpha on its side": lambda: images.with_orientation(CLEAR, 8, "PNG", compress_level=1),
    "PNG grey alpha": lambda: encode(CLEAR.convert("LA"), compress_level=1),
    "PNG palette": lambda: encode(LARGE.quantize(32), compress_level=1, transparency=3),
    "PNG wide": lambda: encode(photo(200_000, 25), compress_level=1),
    "PNG hidden": _hidden,
    "WebP": lambda: encode(LARGE, "WEBP", method=0),
    "WebP alpha": lambda: encode(CLEAR, "WEBP", method=0),
    "WebP lossless": lambda: encode(LARGE, "WEBP", lossless=True, method=0, quality=0),
    "WebP animated": lambda: encode(LARGE, "WEBP", method=0, save_all=True, append_images=[GREY.convert("RGB")]),
    "WebP alpha lossless": lambda: encode(CLEAR, "WEBP", lossless=True, method=0, quality=0),
    "GIF": lambda: encode(LARGE.quantize(64), "GIF", transparency=3),
    "GIF within a larger canvas": lambda: _in_larger_canvas(encode(LARGE.quantize(64), "GIF")),
    "BMP": lambda: encode(LARGE, "BMP"),
    "BMP palette": lambda: encode(LARGE.quantize(64), "BMP"),
    "BMP run-length coded": lambda: images.rle_bmp(
        WIDTH, HEIGHT, (b"\xfa\x05" * 9 + b"\x96\x05\0\0") * HEIGHT + b"\0\1"
    ),
}


def cost(content: bytes) -> DecodeCost:
    return decode_cost(read_header(content), len(content), SIDE, SIDE)


def _status(name: str) -> int:
    (value,) = re.findall(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(value) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is told by Linux")
@pytest.mark.parametrize("name", FILES)
def test_decoding_never_takes_more_memory_than_its_header_says(name: str) -> None:
    content = FILES[name]()
    expected = cost(content).bytes
    decode(encode(photo()), SIDE, SIDE)  # what is loaded on first use is loaded now
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)  # as in a worker: what is freed is no hole that may be split
    libc.malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak may not be set back here")
    before = _status("VmRSS")
    decode(content, SIDE, SIDE)
    peak = _status("VmHWM") - before
    assert peak <= expected + OTHERS
    if name not in ("JPEG", "GIF"):  # of which so little is held that the working memory counts most
        assert peak > 0.4 * expected  # the table is no larger than it must be


@pytest.mark.parametrize("name", FILES)
def test_ordinary_files_take_at_most_5_bytes_a_pixel(name: str) -> None:
    rare = ("WebP a", "WebP lossless", "JPEG progressive", "PNG hidden", "GIF within", "BMP run-length")
    header = read_header(FILES[name]())
    if not name.startswith(rare):
        assert BYTES_PER_PIXEL[header.kind] <= 5


def test_every_kind_of_the_table_is_measured() -> None:
    assert {read_header(make()).kind for make in FILES.values()} == set(BYTES_PER_PIXEL)


@pytest.mark.parametrize("name", FILES)
def test_the_size_is_the_one_that_pillow_reads(name: str) -> None:
    content = FILES[name]()
    header = read_header(content)
    with Image.open(io.BytesIO(content)) as image:
        assert (header.width, header.height) == image.size


@pytest.mark.parametrize("kind", ["lossless", "animated"])
def test_a_webp_of_a_few_bytes_that_claims_64_megapixels_costs_as_much_as_a_large_file(kind: str) -> None:
    content = images.webp(8_000, 8_000, kind)
    assert len(content) < 150
    assert cost(content).bytes > (8 if kind == "lossless" else 16) * 64_000_000


def test_webp_is_decoded_by_pillow_where_libwebp_has_no_function_for_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [FILES[name]() for name in ("WebP", "WebP alpha", "WebP lossless")]
    files.append(images.with_orientation(CLEAR, 6, "WEBP", lossless=True, method=0, quality=0))
    ours = [decode(content, SIDE, SIDE) for content in files]
    monkeypatch.setattr(webp, "_decoder", lambda: None)
    for content, pixels in zip(files, ours, strict=True):
        assert read_header(content).kind == "WebP by Pillow"
        np.testing.assert_array_equal(decode(content, SIDE, SIDE), pixels)


def test_a_webp_of_many_chunks_is_left_to_pillow() -> None:
    small = encode(photo(), "WEBP", exif=Image.Exif().tobytes())
    content = small + (b"abcd" + bytes(4)) * 2_000
    content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
    assert read_header(content).kind == "WebP by Pillow"
    np.testing.assert_array_equal(decode(content, SIDE, SIDE), decode(small, SIDE, SIDE))


def test_decoding_a_large_webp_lets_other_threads_run() -> None:
    content, gaps, done = FILES["WebP lossless"](), [0.0], threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not done.is_set():
            time.sleep(0.001)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()

    ticking = threading.Thread(target=tick)
    ticking.start()
    started = time.perf_counter()
    for _ in range(3):
        decode(content, SIDE, SIDE)
    seconds = time.perf_counter() - started
    done.set()
    ticking.join()
    assert max(gaps) < seconds / 6  # half of what one decoding takes


def test_a_large_photo_costs_what_its_reduced_scale_does() -> None:
    photo_cost, screenshot_cost = (cost(FILES[name]()) for name in ("JPEG", "PNG"))
    assert photo_cost.bytes < 8_000_000
    assert screenshot_cost.bytes > 4 * WIDTH * HEIGHT
    assert 0 < photo_cost.seconds < screenshot_cost.seconds < 1


def complex_refused(content: bytes) -> str:
    """The message of the refusal, which takes no time."""
    started = time.process_time()
    with pytest.raises(ImageError) as caught:
        decode(content, SIDE, SIDE)
    assert time.process_time() - started < 0.2
    assert caught.value.code == "too_complex"
    return str(caught.value)


def with_scans(width: int, height: int, more: int) -> bytes:
    """A progressive JPEG file that claims this size, its last scan repeated `more` times."""
    content = bytearray(encode(photo(64, 64), "JPEG", progressive=True))
    place = content.index(b"\xff\xc2") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    last = content.rindex(b"\xff\xda")
    return bytes(content[:last] + content[last:-2] * (more + 1) + content[-2:])


def test_a_jpeg_of_many_scans_is_refused_and_one_of_a_hundred_small_ones_is_read() -> None:
    assert "has 810 scans; 100 are the most" in complex_refused(with_scans(64, 64, 800))
    assert "has 30 scans; 15 are the most for its size" in complex_refused(with_scans(8_000, 8_000, 20))
    assert decode(with_scans(64, 64, 90), SIDE, SIDE).shape == (SIDE, SIDE, 3)


def test_scan_markers_that_are_no_scans_do_not_count() -> None:
    whole = encode(photo(), "JPEG")
    decoy = b"\xff\xe1" + struct.pack(">H", 2_002) + b"\xff\xda" * 1_000
    for content in (whole[:2] + decoy + whole[2:], whole + b"\xff\xda" * 1_000):
        np.testing.assert_array_equal(decode(content, SIDE, SIDE), decode(whole, SIDE, SIDE))
        assert read_header(content).jpeg == _moved(read_header(whole), content)


def _moved(header: Header, content: bytes) -> object:
    assert header.jpeg is not None
    found = read_header(content).jpeg
    assert found is not None
    return header.jpeg._replace(first_scan=found.first_scan)


@pytest.mark.parametrize("filler", [b"\xff\xfe\0\2", b"\xff"])
def test_a_jpeg_of_many_segments_or_fill_bytes_is_refused(filler: bytes) -> None:
    whole = encode(photo(), "JPEG")
    assert "2,000 segments" in complex_refused(whole[:2] + filler * 100_000 + whole[2:])
    assert decode(whole[:2] + filler * 1_000 + whole[2:], SIDE, SIDE).shape == (SIDE, SIDE, 3)


def test_a_png_of_many_chunks_is_refused() -> None:
    rows = (b"\0" + bytes(3 * SIDE)) * SIDE
    assert "chunks" in complex_refused(images.png(SIDE, SIDE, rows, extra=[chunk(b"tEXt", b"")] * 100_000))
    assert (decode(images.png(SIDE, SIDE, rows, extra=[chunk(b"prVt", b"")] * 900), SIDE, SIDE) == 0).all()


@pytest.mark.parametrize("filler", [b"!\xfe" + b"\1a" * 1_000_000 + b"\0", b"\x77" * 1_000_000, b"!\xfe\0" * 300_000])
def test_a_gif_with_much_before_its_first_frame_is_refused(filler: bytes) -> None:
    whole = encode(photo().quantize(16), "GIF")
    place = 13 + (3 << (whole[10] & 7) + 1)
    assert "blocks before its first frame" in complex_refused(whole[:place] + filler + whole[place:])


def test_a_large_run_length_coded_bmp_is_refused() -> None:
    assert "run-length" in complex_refused(images.rle_bmp(1_000, 600, (b"\1\5" * 1_000 + b"\0\0") * 600 + b"\0\1"))
