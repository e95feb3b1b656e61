"""Image folders to arrays: what counts, what is left out and said, what is refused, and what is cached."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet import datasets
from alexnet.datasets import Fingerprint, ImageFolder, decode_cache
from alexnet.datasets.folders import TEST, TRAIN, VALIDATION, count_same
from alexnet.datasets.image_folder import Part
from alexnet.errors import UserError
from alexnet.inference import decode as images
from alexnet.paths import ROOT

FIXTURE = ROOT / "tests" / "data" / "cifar10"
NAMES = ("cat", "dog")


def put(folder: Path, name: str, first: int, count: int, of: str | None = None) -> None:
    """`count` images of the class `of` into `folder`/`name`, of ordinary sizes."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    for file in sorted((FIXTURE / (of or name)).glob("*.png"))[first : first + count]:
        Image.open(file).resize((160, 120)).save(target / f"{file.stem}.jpg")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four cats and two dogs to learn from, two and one to measure on."""
    root = tmp_path / "photos"
    put(root / TRAIN, "cat", 0, 4)
    put(root / TRAIN, "dog", 0, 2)
    put(root / TEST, "cat", 4, 2)
    put(root / TEST, "dog", 2, 1)
    return root


def test_pixels_are_those_of_the_service_in_the_order_of_classes_and_paths(photos: Path) -> None:
    (photos / TRAIN / "cat" / "more" / "deep").mkdir(parents=True)
    shutil.move(photos / TRAIN / "cat" / _names(photos, "cat")[0], photos / TRAIN / "cat" / "more" / "deep")
    assert _open(photos).classes == NAMES
    part = _train(photos)
    assert part.images.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert list(part.paths[:4]) == sorted(part.paths[:4])
    for path, pixels in zip(part.paths, part.images.pixels, strict=True):
        assert np.array_equal(pixels, images.decode(path.read_bytes(), 32, 32))
    assert part.skipped == ()


def test_classes_are_named_in_any_language_and_ordered_by_name(photos: Path) -> None:
    for name in ("Zebra", "cafe\u0301", "猫", "red panda"):
        put(photos / TRAIN, name, 0, 1, of="frog")
    assert _open(photos).classes == ("Zebra", "caf\u00e9", "cat", "dog", "red panda", "猫")
    put(photos / TEST, "caf\u00e9", 1, 1, of="frog")  # composed here, in two there
    test = _open(photos).test(_open(photos).fingerprint, photos)
    assert sorted(test.images.labels.tolist()) == [1, 2, 2, 3]


def test_hidden_things_are_nothing_and_links_count_where_they_lead_to_files(photos: Path, tmp_path: Path) -> None:
    before = _train(photos).paths
    (photos / TRAIN / ".cache").mkdir()
    (photos / TRAIN / "cat" / ".DS_Store").write_bytes(b"x")
    put(photos / TRAIN / "cat", ".thumbnails", 0, 2, of="cat")
    (photos / TRAIN / "cat" / "round").symlink_to(photos / TRAIN)
    (photos / TRAIN / "cat" / "zzz.jpg").symlink_to(before[0])
    put(tmp_path / "elsewhere", "birds", 0, 2, of="bird")
    (photos / TRAIN / "bird").symlink_to(tmp_path / "elsewhere" / "birds")
    part = _train(photos)
    assert _open(photos).classes == ("bird", "cat", "dog")
    assert [path.name for path in part.paths[2:6]] + [path.name for path in part.paths[7:]] == [p.name for p in before]
    assert part.paths[6].name == "zzz.jpg"
    assert part.skipped == (f"{photos / TRAIN / 'cat' / 'round'}: It is not a file, nor a link to one.",)


def test_what_cannot_be_read_is_named_and_left_out_and_only_once_decoded(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cats = photos / TRAIN / "cat"
    first = cats / _names(photos, "cat")[0]
    first.write_bytes(first.read_bytes()[:-200])
    (cats / "notes.txt").write_text("Sunday, in the garden")
    (cats / "gone.jpg").symlink_to("nowhere.jpg")
    (photos / TRAIN / "readme.txt").write_text("these are ours")
    for _ in range(2):  # decoded, then kept
        part = _train(photos)
        assert part.images.labels.tolist() == [0, 0, 0, 1, 1]
        assert np.array_equal(part.images.pixels[0], images.decode(part.paths[0].read_bytes(), 32, 32))
        capsys.readouterr()
        _open(photos).prepare()
        said = capsys.readouterr().err.splitlines()
        assert f"left out: {first}: The JPEG file ends before its last pixel." in said
        assert f"left out: {cats / 'gone.jpg'}: It is not a file, nor a link to one." in said
        assert any("notes.txt: The bytes are not of a known image format" in line for line in said)
        assert said[-1] == f"left out: 1 file in {photos / TRAIN} itself, which is in no class"
        assert len(said) == 4


def test_many_that_cannot_be_read_are_five_names_and_a_number(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        (photos / TRAIN / "dog" / f"{number}.heic").write_bytes(b"....ftypheic")
    _train(photos)
    capsys.readouterr()
    _open(photos).prepare()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 6
    assert said[-1] == f"left out: 7 more in {photos / TRAIN}"


def _no_train(photos: Path) -> None:
    (photos / TRAIN).rename(photos / VALIDATION)


def _one_class(photos: Path) -> None:
    shutil.rmtree(photos / TRAIN / "dog")
    shutil.rmtree(photos / TEST / "dog")


def _no_class(photos: Path) -> None:
    shutil.rmtree(photos / TRAIN)
    (photos / TRAIN).mkdir()


def _empty_class(photos: Path) -> None:
    for file in (photos / TRAIN / "dog").iterdir():
        file.unlink()


def _broken_class(photos: Path) -> None:
    for file in (photos / TRAIN / "dog").iterdir():
        file.write_bytes(b"broken")


def _foreign(photos: Path) -> None:
    put(photos / TEST, "wolf", 0, 1, of="dog")


def _bytes(photos: Path) -> None:
    os.mkdir(os.fsencode(photos / TRAIN) + b"/caf\xe9")  # noqa: PTH102 (a name that pathlib cannot spell)


def _twice(photos: Path) -> None:
    put(photos / TRAIN, "cafe\u0301", 0, 1, of="cat")
    put(photos / TRAIN, "caf\u00e9", 0, 1, of="cat")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_no_train, "{photos}/train: no such folder; put the images of each class into {photos}/train/<class>/"),
        (_one_class, "{photos}/train has one class, cat; two are needed at least"),
        (_no_class, "{photos}/train has no classes; two are needed at least"),
        (_empty_class, "{photos}/train/dog has no image that can be read: put some there, or remove"),
        (_broken_class, "{photos}/train/dog has no image that can be read: put some there, or remove"),
        (
            _foreign,
            "{photos}/test has the class wolf, which is not among those trained on (cat, dog): rename",
        ),
        (_bytes, "cannot name a class (it cannot be printed"),
        (_twice, "cannot name a class (it cannot be printed, or another folder has this name)"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(photos: Path, change: Callable[[Path], None], complaint: str) -> None:
    change(photos)
    with pytest.raises(UserError) as caught:
        _read_all(photos)
    assert complaint.format(photos=photos) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_empty_part_is_said(photos: Path) -> None:
    shutil.rmtree(photos / TEST)
    with pytest.raises(UserError, match=r"test: no such folder; put the images of each class into"):
        _open(photos).test(Fingerprint(NAMES), photos)
    (photos / TEST / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="test has no image that can be read"):
        _open(photos).test(Fingerprint(NAMES), photos)


def test_what_was_decoded_is_kept_until_a_file_changes(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Path] = []
    decode = decode_cache._decode

    def count(file: decode_cache.File, side: int) -> object:
        counted.append(file.path)
        return decode(file, side)

    monkeypatch.setattr(decode_cache, "_decode", count)
    whole = _train(photos)
    assert len(counted) == 6
    assert [item.name for item in sorted(photos.iterdir()) if item.name.startswith(".")] == [
        ".train-32.npy",
        ".train-32.npz",
    ]
    again = _train(photos)
    assert len(counted) == 6
    assert np.array_equal(again.images.pixels, whole.images.pixels)
    assert again.sha256() == whole.sha256()

    moved = photos.rename(photos.with_name("moved"))
    _train(moved)
    assert len(counted) == 6
    cat, dog = (moved / TRAIN / "cat" / _names(moved, "cat")[0], moved / TRAIN / "dog" / _names(moved, "dog")[0])
    status = cat.stat()
    shutil.copy(dog, cat)  # another size or time
    os.utime(cat, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    changed = _train(moved)
    assert len(counted) == 12
    assert changed.sha256() != whole.sha256()
    dog.rename(dog.with_name("other.jpg"))
    _train(moved)
    assert len(counted) == 18
    monkeypatch.setattr(decode_cache.PIL, "__version__", "another")  # decode itself
    _train(moved)
    assert len(counted) == 24


@pytest.mark.parametrize("name", [".train-32.npy", ".train-32.npz"])
@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_file_of_pixels_is_made_anew(photos: Path, name: str, damage: bytes | None) -> None:
    whole = _train(photos).sha256()  # before the file it is mapped from is cut
    kept = photos / name
    kept.write_bytes(kept.read_bytes()[:-100] if damage is None else damage)
    assert _train(photos).sha256() == whole
    assert np.load(photos / ".train-32.npy", allow_pickle=False).shape == (6, 32, 32, 3)
    with np.load(photos / ".train-32.npz", allow_pickle=False) as made:
        assert made["digests"].shape == (6, 32)


def test_a_folder_that_may_not_be_written_is_read_without(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = _train(photos)
    (photos / ".train-32.npy").unlink()
    (photos / ".train-32.npy").mkdir()  # the root user may write everywhere else
    capsys.readouterr()
    assert _train(photos).sha256() == whole.sha256()
    assert f"{photos / '.train-32.npy'} cannot be written (Is a directory)" in capsys.readouterr().err
    assert not any(item.suffix == ".part" for item in photos.iterdir())


def test_the_same_files_are_counted_whatever_their_names(photos: Path) -> None:
    cats = [photos / TRAIN / "cat" / name for name in _names(photos, "cat")]
    shutil.copy(cats[0], photos / TEST / "dog" / "renamed.jpg")
    (photos / TEST / "cat" / "linked.jpg").symlink_to(cats[1])
    (photos / TEST / "cat" / "same-size.jpg").write_bytes(bytes(cats[0].stat().st_size))
    data = _open(photos)
    test, train = (data.list_files(part) for part in (TEST, TRAIN))
    assert (len(test), len(train)) == (6, 6)
    assert count_same(test, train) == 2
    assert data.list_files(VALIDATION) == []


def test_copies_and_contradictions_are_said_and_stay_on_one_side(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cats = [photos / TRAIN / "cat" / name for name in _names(photos, "cat")]
    shutil.copy(cats[0], cats[0].with_name("copy.jpg"))
    shutil.copy(cats[1], photos / TRAIN / "dog" / "cat.jpg")
    data = _open(photos)
    data.prepare()
    said = capsys.readouterr().err
    assert f"2 of 8 files in {photos / TRAIN} are copies of another" in said
    assert f"the same image is in two classes: {cats[1]} and {photos / TRAIN / 'dog' / 'cat.jpg'}; remove one" in said
    for seed in range(5):
        split = data.split(2, seed)
        sides = [{image.tobytes() for image in images.pixels} for images in (split.training, split.validation)]
        assert not sides[0] & sides[1]


def test_what_machines_leave_is_passed_over(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _train(photos).sha256()
    for folder in (photos, photos / TRAIN, photos / TRAIN / "cat"):
        for name in ("@eaDir", "#recycle", "__MACOSX", "lost+found"):
            put(folder, name, 0, 1, of="cat")
    (photos / TRAIN / "cat" / "Thumbs.db").write_bytes(b"x")
    (photos / TRAIN / "desktop.ini").write_bytes(b"x")
    data = _open(photos)
    capsys.readouterr()
    data.prepare()
    assert data.classes == NAMES
    assert _train(photos).sha256() == before
    assert "left out" not in capsys.readouterr().err


def test_folders_of_classes_alone_are_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "cat", 0, 12)
    put(tmp_path, "dog", 0, 8)
    first = tmp_path / "cat" / sorted(item.name for item in (tmp_path / "cat").iterdir())[0]
    shutil.copy(first, first.with_name("copy.jpg"))
    data = _open(tmp_path)
    assert data.classes == NAMES
    data.prepare()
    said = capsys.readouterr().err
    assert "its 2 folders are the classes; 4 images are drawn to test on (seed 0, copies together), 17 to train" in said
    test = data.test(Fingerprint(("bird", "cat", "dog")), tmp_path)
    assert "4 images are drawn to test on" in capsys.readouterr().err
    split = data.split(4, 0)
    sides = [{image.tobytes() for image in images.pixels} for images in (split.training, split.validation, test.images)]
    assert [len(images) for images in (split.training, split.validation, test.images)] == [13, 4, 4]
    assert len(set.union(*sides)) == sum(map(len, sides))
    assert set(test.images.labels) == {1, 2}  # the places in the model's own classes
    assert test.paths is not None
    for path, pixels, label in zip(test.paths, test.images.pixels, test.images.labels, strict=True):
        assert np.array_equal(pixels, images.decode((tmp_path / path).read_bytes(), 32, 32))
        assert path.split("/")[0] == ("bird", "cat", "dog")[label]
    again = _open(tmp_path).test(data.fingerprint, tmp_path)
    assert again.paths == test.paths
    assert again.sha256 != test.sha256  # of other labels
    with pytest.raises(UserError, match=r"has the class cat, which is not among those trained on \(bee, dog\)"):
        data.test(Fingerprint(("bee", "dog")), tmp_path)


def test_folders_of_classes_with_too_few_images_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "cat", 0, 1)
    put(tmp_path, "dog", 0, 1)
    with pytest.raises(UserError, match="has too few images to train and to test on: add some to each class"):
        _open(tmp_path).split(1, 0)


def test_a_deep_folder_is_walked(photos: Path) -> None:
    folder = photos / TRAIN / "cat" / Path(*["d"] * 900)
    os.makedirs(folder)  # noqa: PTH103 (pathlib calls itself for each level)
    shutil.copy(photos / TRAIN / "cat" / _names(photos, "cat")[0], folder / "deep.jpg")
    assert len(_train(photos).paths) == 7


def _open(photos: Path) -> ImageFolder:
    data = datasets.open(photos)
    assert isinstance(data, ImageFolder)
    return data


def _train(photos: Path) -> Part:
    return _open(photos).train


def _read_all(photos: Path) -> Part:
    data = _open(photos)
    assert data.classes
    return data.train


def _names(photos: Path, name: str) -> list[str]:
    return sorted(file.name for file in (photos / TRAIN / name).iterdir() if file.is_file())
