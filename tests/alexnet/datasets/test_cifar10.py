"""CIFAR-10 on disk to arrays: the layout, the split, damaged files, the download."""

import functools
import hashlib
import http.server
import os
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from alexnet import datasets
from alexnet.datasets import Cifar10, Fingerprint, Images, cifar10, download
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
    monkeypatch.setattr(download, "_URL", f"http://127.0.0.1:{server.server_address[1]}/{archive.name}")
    monkeypatch.setattr(download, "_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    yield folder
    server.shutdown()
    server.server_close()


def test_a_record_is_a_label_and_three_planes_of_rows(tmp_path: Path) -> None:
    folder = tmp_path / cifar10.FOLDER
    folder.mkdir()
    red = np.arange(1024) % 251
    records = np.concatenate([[7], red, np.full(1024, 30), np.full(1024, 200), [9], np.zeros(3072)])
    records.astype(np.uint8).tofile(folder / "test_batch.bin")
    images = _open(tmp_path).test_images()
    assert images.pixels.shape == (2, 32, 32, 3)
    assert images.labels.tolist() == [7, 9]
    assert images.labels.dtype == np.int64
    assert images.pixels[0, 0, 5].tolist() == [5, 30, 200]  # row 0, column 5
    assert images.pixels[0, 1, 0].tolist() == [32, 30, 200]  # row 1 follows the 32 columns of row 0


def test_the_images_on_disk_are_those_that_were_written(data_root: Path, fixture_images: Images) -> None:
    test, training = _open(data_root).test_images(), _open(data_root).training()
    assert np.array_equal(test.pixels, fixture_images.pixels)
    assert np.array_equal(test.labels, fixture_images.labels)
    assert np.array_equal(training.pixels[:200], fixture_images.pixels)  # the five files in their order
    assert len(training) == 300


def test_training_images_are_read_where_there_are_no_test_images(own_root: Path) -> None:
    (own_root / cifar10.FOLDER / "test_batch.bin").unlink()
    assert len(_open(own_root).training()) == 300
    with pytest.raises(UserError, match=r"test_batch\.bin"):
        _open(own_root).test_images()


def test_a_foreign_file_beside_the_data_is_no_data(own_root: Path) -> None:
    (own_root / cifar10.FOLDER / ".DS_Store").write_bytes(b"\0" * 10)
    assert len(_open(own_root).training()) == 300


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
        (_cut_short, "184280 bytes, not a multiple of 3073", "unpack cifar-10-binary.tar.gz again"),
        (_label_11, "record 5 has label 11", "unpack cifar-10-binary.tar.gz again"),
        (_empty, "0 bytes", "unpack cifar-10-binary.tar.gz again"),
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
        _open(own_root).training()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert complaint in message
    assert remedy in message
    assert "\n" not in message


def test_the_split_shares_out_every_image_once() -> None:
    images = _numbered(50)
    split = cifar10.split(images, 10, seed=3)
    training, validation = split.training, split.validation
    assert (len(training), len(validation)) == (40, 10)
    assert sorted([*training.labels, *validation.labels]) == list(range(50))
    assert np.array_equal(training.pixels[:, 0, 0, 0], training.labels)  # pixels went with their labels


def test_the_split_depends_on_the_seed_alone() -> None:
    images = _numbered(50)
    first = cifar10.split(images, 10, seed=3).validation.labels
    np.random.default_rng().random(17)
    assert np.array_equal(cifar10.split(images, 10, seed=3).validation.labels, first)
    assert not np.array_equal(cifar10.split(images, 10, seed=4).validation.labels, first)


def test_the_split_of_the_published_run_stays_as_it_was() -> None:
    images = Images(np.zeros((50_000, 1, 1, 3), np.uint8), np.arange(50_000))
    split = cifar10.split(images, 10_000, seed=0)
    assert split.validation.labels[:5].tolist() == PUBLISHED_VALIDATION
    assert split.training.labels[:5].tolist() == PUBLISHED_TRAINING


@pytest.mark.parametrize("count", [-1, 50, 51])
def test_a_split_that_leaves_nothing_is_refused(count: int) -> None:
    with pytest.raises(UserError, match=rf"--validation-images is {count}, .* give 0 to 49"):
        cifar10.split(_numbered(50), count, seed=0)


def test_the_python_version_holds_the_same_images(data_root: Path, tmp_path: Path) -> None:
    binary = _open(data_root)
    folder = _write_python_version(binary.folder, tmp_path / "other")
    renamed = shutil.copytree(folder, tmp_path / "renamed")
    for root in (folder.parent, folder, renamed):
        python = _open(root)
        assert np.array_equal(python.training().pixels, binary.training().pixels)
        assert np.array_equal(python.training().labels, binary.training().labels)
        assert python.training_sha256 == binary.training_sha256
        test, expected = (data.test(Fingerprint(cifar10.CLASSES), root) for data in (python, binary))
        assert test.sha256 == expected.sha256
        assert np.array_equal(test.images.pixels, expected.images.pixels)


def test_a_digest_is_that_of_the_binary_file(data_root: Path) -> None:
    data = _open(data_root)
    expected = {name: hashlib.sha256((data.folder / name).read_bytes()).hexdigest() for name in cifar10.TRAIN_FILES}
    assert data.training_sha256 == expected


def test_the_folder_of_the_files_is_taken_too(data_root: Path, tmp_path: Path) -> None:
    renamed = shutil.copytree(data_root / cifar10.FOLDER, tmp_path / "images")
    for folder in (data_root / cifar10.FOLDER, renamed):
        assert np.array_equal(_open(folder).training().pixels, _open(data_root).training().pixels)


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps({"data": _Harmful(), "labels": [1]}),
        pickle.dumps({"data": np.zeros((1, 3072)), "labels": [1]}, protocol=2),
        pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [1, 2]}, protocol=2),
        pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [12]}, protocol=2),
        pickle.dumps([1], protocol=2),
    ],
)
def test_a_damaged_or_harmful_pickle_is_refused(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / cifar10.PYTHON_FOLDER
    folder.mkdir()
    (folder / "test_batch").write_bytes(content)
    with pytest.raises(UserError, match=r"test_batch: .*unpack cifar-10-python.tar.gz again") as caught:
        _open(tmp_path).test_images()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.usefixtures("offline")
def test_a_download_without_network_says_where_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        datasets.open(tmp_path, download=True)
    assert str(caught.value).startswith("could not download https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (")
    assert str(caught.value).endswith(f"get it by other means and unpack it in {tmp_path}")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_nothing_is_downloaded_when_the_data_is_there(data_root: Path) -> None:
    datasets.open(data_root, download=True)


@pytest.mark.usefixtures("archive_folder")
def test_absent_data_is_downloaded_and_unpacked_once(tmp_path: Path, fixture_images: Images) -> None:
    root = tmp_path / "deep" / "new"
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: datasets.open(root, download=True), range(4)))
    assert all(isinstance(data, Cifar10) for data in found)
    assert np.array_equal(_open(root).test_images().pixels, fixture_images.pixels)
    assert [item.name for item in root.iterdir() if item.name != ".download.lock"] == [cifar10.FOLDER]


@pytest.mark.parametrize("damage", ["another checksum", "another content"])
def test_a_damaged_archive_is_refused(
    archive_folder: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_folder / "cifar-10-binary.tar.gz"
    archive.write_bytes(b"no archive" if damage == "another content" else archive.read_bytes()[:-1] + b"!")
    if damage == "another content":
        monkeypatch.setattr(download, "_MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(UserError, match=r"could not download .*\((MD5 .*corrupted|.*could not be opened.*)\): get it"):
        datasets.open(tmp_path / "new", download=True)
    assert not (tmp_path / "new" / cifar10.FOLDER).exists()


def _open(root: Path) -> Cifar10:
    data = datasets.open(root)
    assert isinstance(data, Cifar10)
    return data


def _write_python_version(binary: Path, root: Path) -> Path:
    """The files of `binary` as pickles of protocol 2, the one of the published files."""
    folder = root / cifar10.PYTHON_FOLDER
    folder.mkdir(parents=True)
    for name in (*cifar10.TRAIN_FILES, *cifar10.TEST_FILES):
        records = np.fromfile(binary / name, np.uint8).reshape(-1, 3073)
        batch = {"data": records[:, 1:], "labels": records[:, 0].tolist()}
        (folder / Path(name).stem).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


def _numbered(count: int) -> Images:
    numbers = np.arange(count)
    return Images(np.full((count, 2, 2, 3), numbers[:, None, None, None], np.uint8), numbers)
