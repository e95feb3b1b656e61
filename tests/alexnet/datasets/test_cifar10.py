"""CIFAR-10 on disk to arrays: the layout, the split, damaged files, the download."""

import functools
import hashlib
import http.server
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from alexnet.datasets import cifar10
from alexnet.datasets.cifar10 import Images
from alexnet.errors import UserError

PUBLISHED_VALIDATION = [25461, 5892, 10377, 28814, 9578]  # the first indices of either part of 50,000 images by seed 0
PUBLISHED_TRAINING = [16552, 39853, 13550, 28370, 38101]


@pytest.fixture
def own_root(tmp_path: Path, data_root: Path) -> Path:
    """A copy of the data folder that a test may damage."""
    return shutil.copytree(data_root, tmp_path / "data")


@pytest.fixture
def archive_folder(tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A local HTTP server in the place of the published one; yields the folder that it serves, with the archive."""
    folder = tmp_path / "published"
    folder.mkdir()
    archive = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(data_root / cifar10.FOLDER, cifar10.FOLDER)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setattr(cifar10, "_URL", f"http://127.0.0.1:{server.server_address[1]}/{archive.name}")
    monkeypatch.setattr(cifar10, "_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    yield folder
    server.shutdown()
    server.server_close()


def test_a_record_is_a_label_and_three_planes_of_rows(tmp_path: Path) -> None:
    folder = tmp_path / cifar10.FOLDER
    folder.mkdir()
    red = np.arange(1024) % 251
    records = np.concatenate([[7], red, np.full(1024, 30), np.full(1024, 200), [9], np.zeros(3072)])
    records.astype(np.uint8).tofile(folder / "test_batch.bin")
    images = cifar10.read_test(tmp_path)
    assert images.pixels.shape == (2, 32, 32, 3)
    assert images.labels.tolist() == [7, 9]
    assert images.labels.dtype == np.int64
    assert images.pixels[0, 0, 5].tolist() == [5, 30, 200]  # row 0, column 5
    assert images.pixels[0, 1, 0].tolist() == [32, 30, 200]  # row 1 follows the 32 columns of row 0


def test_the_images_on_disk_are_those_that_were_written(data_root: Path, fixture_images: Images) -> None:
    test, training = cifar10.read_test(data_root), cifar10.read_training(data_root)
    assert np.array_equal(test.pixels, fixture_images.pixels)
    assert np.array_equal(test.labels, fixture_images.labels)
    assert np.array_equal(training.pixels[:200], fixture_images.pixels)  # the five files in their order
    assert len(training) == 300


def test_training_images_are_read_where_there_are_no_test_images(own_root: Path) -> None:
    (own_root / cifar10.FOLDER / "test_batch.bin").unlink()
    assert len(cifar10.read_training(own_root)) == 300
    with pytest.raises(UserError, match=r"test_batch\.bin"):
        cifar10.read_test(own_root)


def test_a_foreign_file_beside_the_data_is_no_data(own_root: Path) -> None:
    (own_root / cifar10.FOLDER / ".DS_Store").write_bytes(b"\0" * 10)
    assert len(cifar10.read_training(own_root)) == 300


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _label_11(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5 * 3073] = 11
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "complaint", "remedy"),
    [
        (_cut_short, "184280 bytes, not a multiple of 3073", "to have it downloaded again"),
        (_label_11, "record 5 has label 11", "to have it downloaded again"),
        (_empty, "0 bytes", "to have it downloaded again"),
        (Path.unlink, "No such file", "unpack cifar-10-binary.tar.gz in"),
        (_folder_in_its_place, "Is a directory", "unpack cifar-10-binary.tar.gz in"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(
    own_root: Path, damage: Callable[[Path], None], complaint: str, remedy: str
) -> None:
    path = own_root / cifar10.FOLDER / "data_batch_3.bin"
    damage(path)
    with pytest.raises(UserError) as caught:
        cifar10.read_training(own_root)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert complaint in message
    assert remedy in message
    assert "\n" not in message


def test_the_split_shares_out_every_image_once() -> None:
    images = _numbered(50)
    training, validation = cifar10.split(images, 10, seed=3)
    assert (len(training), len(validation)) == (40, 10)
    assert sorted([*training.labels, *validation.labels]) == list(range(50))
    assert np.array_equal(training.pixels[:, 0, 0, 0], training.labels)  # pixels went with their labels


def test_the_split_depends_on_the_seed_alone() -> None:
    images = _numbered(50)
    first = cifar10.split(images, 10, seed=3)[1].labels
    np.random.default_rng().random(17)
    assert np.array_equal(cifar10.split(images, 10, seed=3)[1].labels, first)
    assert not np.array_equal(cifar10.split(images, 10, seed=4)[1].labels, first)


def test_the_split_of_the_published_run_stays_as_it_was() -> None:
    images = Images(np.zeros((50_000, 1, 1, 3), np.uint8), np.arange(50_000))
    training, validation = cifar10.split(images, 10_000, seed=0)
    assert validation.labels[:5].tolist() == PUBLISHED_VALIDATION
    assert training.labels[:5].tolist() == PUBLISHED_TRAINING


@pytest.mark.parametrize("count", [0, -1, 50, 51])
def test_a_split_that_leaves_nothing_is_refused(count: int) -> None:
    with pytest.raises(UserError, match=rf"--validation-images is {count}, .* give 1 to 49"):
        cifar10.split(_numbered(50), count, seed=0)


@pytest.mark.usefixtures("offline")
def test_a_download_without_network_says_where_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        cifar10.ensure_downloaded(tmp_path)
    assert str(caught.value).startswith("could not download https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (")
    assert str(caught.value).endswith(f"get it by other means and unpack it in {tmp_path}")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_nothing_is_downloaded_when_the_data_is_there(data_root: Path) -> None:
    cifar10.ensure_downloaded(data_root)


@pytest.mark.usefixtures("archive_folder")
def test_absent_data_is_downloaded_and_unpacked(tmp_path: Path, fixture_images: Images) -> None:
    cifar10.ensure_downloaded(tmp_path / "new")
    assert np.array_equal(cifar10.read_test(tmp_path / "new").pixels, fixture_images.pixels)


def test_an_archive_with_another_checksum_is_refused(archive_folder: Path, tmp_path: Path) -> None:
    archive = archive_folder / "cifar-10-binary.tar.gz"
    content = bytearray(archive.read_bytes())
    content[1000] ^= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"could not download .*corrupted"):
        cifar10.ensure_downloaded(tmp_path / "new")
    assert not (tmp_path / "new" / cifar10.FOLDER).exists()


def _numbered(count: int) -> Images:
    numbers = np.arange(count)
    return Images(np.full((count, 2, 2, 3), numbers[:, None, None, None], np.uint8), numbers)
