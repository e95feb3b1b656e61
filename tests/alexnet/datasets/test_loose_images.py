"""A folder of images in any nesting: read in order, shrunk by the decoder; what cannot be read is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.datasets import loose_images
from alexnet.datasets.cifar10 import Images
from alexnet.errors import UserError
from alexnet.inference.decode import decode


def test_it_is_read_in_order_and_every_size_shrunk(tmp_path: Path, fixture_images: Images) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    Image.fromarray(fixture_images.pixels[0]).save(tmp_path / "b.png")
    Image.fromarray(fixture_images.pixels[1]).save(tmp_path / "sub" / "deep" / "c.webp", lossless=True)
    Image.new("RGB", (90, 50), (10, 200, 30)).save(tmp_path / "a.JPG", "PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    read = loose_images.read(tmp_path, 32, 32)
    assert read.pixels.shape == (3, 32, 32, 3)
    assert (read.pixels[0] == (10, 200, 30)).all()
    assert np.array_equal(read.pixels[1:], fixture_images.pixels[:2])
    assert loose_images.read(tmp_path, 48, 64).pixels.shape == (3, 48, 64, 3)
    large = loose_images.read(tmp_path, 48, 64).pixels[1]
    assert np.array_equal(large, decode((tmp_path / "b.png").read_bytes(), 48, 64))


def test_the_digest_is_of_names_and_contents(tmp_path: Path, fixture_images: Images) -> None:
    Image.fromarray(fixture_images.pixels[0]).save(tmp_path / "a.png")
    first = loose_images.read(tmp_path, 32, 32).sha256
    assert loose_images.read(tmp_path, 16, 16).sha256 == first
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    assert loose_images.read(tmp_path, 32, 32).sha256 != first


def test_what_cannot_be_read_is_left_out_and_named(
    tmp_path: Path, fixture_images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(fixture_images.pixels[0]).save(tmp_path / "good.png")
    for number in range(7):
        (tmp_path / f"broken-{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert len(loose_images.read(tmp_path, 32, 32)) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out")]
    assert len(lines) == 6
    assert "broken-0.png: " in lines[0]
    assert lines[-1] == f"left out: 2 more in {tmp_path}"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("absent", "no such folder"), ("file.png", "no such folder"), ("empty", "no images"), ("broken", "can be read")],
)
def test_a_folder_without_images_is_one_line(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "file.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=complaint) as caught:
        loose_images.read(tmp_path / name, 32, 32)
    assert "\n" not in str(caught.value)
