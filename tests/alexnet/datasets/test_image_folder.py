"""Folders of pictures to arrays: what counts, what is left out and said, what is refused, and what is kept."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.datasets import decode_cache, image_folder
from alexnet.datasets.image_folder import TEST, TRAIN, VALIDATION
from alexnet.errors import UserError
from alexnet.inference import decode as images
from alexnet.paths import ROOT

FIXTURE = ROOT / "tests" / "data" / "cifar10"
NAMES = ("cat", "dog")


def put(folder: Path, name: str, first: int, count: int, of: str | None = None) -> None:
    """`count` pictures of the class `of` into `folder`/`name`, of ordinary sizes."""
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
    assert image_folder.classes(photos) == NAMES
    part = image_folder.read(photos, TRAIN, NAMES)
    assert part.images.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert list(part.paths[:4]) == sorted(part.paths[:4])
    for path, pixels in zip(part.paths, part.images.pixels, strict=True):
        assert np.array_equal(pixels, images.decode(path.read_bytes(), 32, 32))
    assert part.skipped == ()


def test_classes_are_named_in_any_language_and_ordered_by_name(photos: Path) -> None:
    for name in ("Zebra", "cafe\u0301", "猫", "red panda"):
        put(photos / TRAIN, name, 0, 1, of="frog")
    assert image_folder.classes(photos) == ("Zebra", "caf\u00e9", "cat", "dog", "red panda", "猫")
    put(photos / TEST, "caf\u00e9", 1, 1, of="frog")  # composed here, in two there
    part = image_folder.read(photos, TEST, image_folder.classes(photos))
    assert sorted(part.images.labels.tolist()) == [1, 2, 2, 3]


def test_hidden_things_are_nothing_and_links_count_where_they_lead_to_files(photos: Path, tmp_path: Path) -> None:
    before = image_folder.read(photos, TRAIN, NAMES).paths
    (photos / TRAIN / ".cache").mkdir()
    (photos / TRAIN / "cat" / ".DS_Store").write_bytes(b"x")
    put(photos / TRAIN / "cat", ".thumbnails", 0, 2, of="cat")
    (photos / TRAIN / "cat" / "round").symlink_to(photos / TRAIN)
    (photos / TRAIN / "cat" / "zzz.jpg").symlink_to(before[0])
    put(tmp_path / "elsewhere", "birds", 0, 2, of="bird")
    (photos / TRAIN / "bird").symlink_to(tmp_path / "elsewhere" / "birds")
    part = image_folder.read(photos, TRAIN, image_folder.classes(photos))
    assert image_folder.classes(photos) == ("bird", "cat", "dog")
    assert [path.name for path in part.paths[2:6]] + [path.name for path in part.paths[7:]] == [p.name for p in before]
    assert part.paths[6].name == "zzz.jpg"
    assert part.skipped == (f"{photos / TRAIN / 'cat' / 'round'}: It is no file, nor a link to one.",)


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
        part = image_folder.read(photos, TRAIN, NAMES)
        assert part.images.labels.tolist() == [0, 0, 0, 1, 1]
        assert np.array_equal(part.images.pixels[0], images.decode(part.paths[0].read_bytes(), 32, 32))
        capsys.readouterr()
        image_folder.warn(photos, TRAIN, part)
        said = capsys.readouterr().err.splitlines()
        assert f"left out: {first}: The JPEG file ends before its picture does." in said
        assert f"left out: {cats / 'gone.jpg'}: It is no file, nor a link to one." in said
        assert any("notes.txt: This is no image of a known format" in line for line in said)
        assert said[-1] == f"left out: 1 file in {photos / TRAIN} itself, which is in no class"
        assert len(said) == 4


def test_many_that_cannot_be_read_are_five_names_and_a_number(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        (photos / TRAIN / "dog" / f"{number}.heic").write_bytes(b"....ftypheic")
    part = image_folder.read(photos, TRAIN, NAMES)
    capsys.readouterr()
    image_folder.warn(photos, TRAIN, part)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 6
    assert said[-1] == f"left out: 7 more in {photos / TRAIN}"


def _no_train(photos: Path) -> None:
    (photos / TEST).rename(photos / "unused")
    for item in (photos / TRAIN).iterdir():
        item.rename(photos / item.name)
    (photos / TRAIN).rmdir()
    shutil.rmtree(photos / "unused")


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
        (_no_train, "{photos} has pictures in cat and dog, but no train/: put those of each class"),
        (_one_class, "{photos}/train has one class, cat; two are needed at least"),
        (_no_class, "{photos}/train has no classes; two are needed at least"),
        (_empty_class, "{photos}/train/dog has no picture that can be read: put some there, or remove"),
        (_broken_class, "{photos}/train/dog has no picture that can be read: put some there, or remove"),
        (_foreign, "{photos}/test has the class wolf, which is not among those learnt (cat, dog): rename or remove it"),
        (_bytes, "cannot be the name of a class (it cannot be printed"),
        (_twice, "cannot be the name of a class (it cannot be printed, or another folder has the same)"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(photos: Path, change: Callable[[Path], None], complaint: str) -> None:
    change(photos)
    with pytest.raises(UserError) as caught:
        _read_all(photos)
    assert complaint.format(photos=photos) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_empty_part_is_said(photos: Path) -> None:
    with pytest.raises(UserError, match=r"validation: no such folder; put the pictures of each class into"):
        image_folder.read(photos, VALIDATION, NAMES)
    shutil.rmtree(photos / TEST)
    (photos / TEST / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="test has no picture that can be read"):
        image_folder.read(photos, TEST, NAMES)


def test_a_folder_of_other_things_is_none_of_pictures(tmp_path: Path) -> None:
    assert not image_folder.is_folder(tmp_path / "absent")
    put(tmp_path, "unknowns", 0, 1, of="cat")  # images for `evaluate --unknowns`, beside which CIFAR-10 may lie
    assert not image_folder.is_folder(tmp_path)


def test_what_was_decoded_is_kept_until_a_file_changes(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Path] = []
    decode = decode_cache._decode

    def count(file: decode_cache.File) -> object:
        counted.append(file.path)
        return decode(file)

    monkeypatch.setattr(decode_cache, "_decode", count)
    whole = image_folder.read(photos, TRAIN, NAMES)
    assert len(counted) == 6
    assert [item.name for item in photos.iterdir() if item.name.startswith(".")] == [".train.npz"]
    again = image_folder.read(photos, TRAIN, NAMES)
    assert len(counted) == 6
    assert np.array_equal(again.images.pixels, whole.images.pixels)
    assert again.sha256() == whole.sha256()

    moved = photos.rename(photos.with_name("moved"))
    image_folder.read(moved, TRAIN, NAMES)
    assert len(counted) == 6
    cat, dog = (moved / TRAIN / "cat" / _names(moved, "cat")[0], moved / TRAIN / "dog" / _names(moved, "dog")[0])
    status = cat.stat()
    shutil.copy(dog, cat)  # another size or time
    os.utime(cat, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    changed = image_folder.read(moved, TRAIN, NAMES)
    assert len(counted) == 12
    assert changed.sha256() != whole.sha256()
    dog.rename(dog.with_name("other.jpg"))
    image_folder.read(moved, TRAIN, NAMES)
    assert len(counted) == 18
    monkeypatch.setattr(decode_cache.PIL, "__version__", "another")  # decode itself
    image_folder.read(moved, TRAIN, NAMES)
    assert len(counted) == 24


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_file_of_pixels_is_made_anew(photos: Path, damage: bytes | None) -> None:
    whole = image_folder.read(photos, TRAIN, NAMES)
    kept = photos / ".train.npz"
    kept.write_bytes(kept.read_bytes()[:-100] if damage is None else damage)
    assert image_folder.read(photos, TRAIN, NAMES).sha256() == whole.sha256()
    with np.load(kept, allow_pickle=False) as made:
        assert made["pixels"].shape == (6, 32, 32, 3)


def test_a_folder_that_may_not_be_written_is_read_without(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = image_folder.read(photos, TRAIN, NAMES)
    (photos / ".train.npz").unlink()
    (photos / ".train.npz").mkdir()  # the root user may write everywhere else
    capsys.readouterr()
    assert image_folder.read(photos, TRAIN, NAMES).sha256() == whole.sha256()
    assert f"{photos / '.train.npz'} cannot be written (Is a directory)" in capsys.readouterr().err
    assert not any(item.suffix == ".part" for item in photos.iterdir())


@pytest.mark.parametrize("seed", [0, 1])
def test_each_class_gives_its_share_and_keeps_one(seed: int) -> None:
    part = _numbered([50, 10, 2, 1])
    training, held_out = image_folder.split(part, 12, seed)
    assert sorted([*training, *held_out]) == list(range(63))
    counts = np.bincount(part.images.labels[held_out], minlength=4)
    assert counts.tolist()[:2] == [10, 2]
    assert counts[3] == 0
    assert set(part.images.labels[training]) == {0, 1, 2, 3}
    assert set(image_folder.split(part, 7, seed)[1]) < set(held_out)  # fewer are among the more
    assert np.array_equal(image_folder.split(part, 12, seed)[1], held_out)
    assert not np.array_equal(image_folder.split(part, 12, seed + 2)[1], held_out)
    assert image_folder.most_held_out(part) == 59
    assert set(part.images.labels[image_folder.split(part, 59, seed)[0]]) == {0, 1, 2, 3}


@pytest.mark.parametrize("count", [0, -1, 60, 10_000])
def test_a_share_that_cannot_be_is_refused_with_what_can(count: int) -> None:
    with pytest.raises(UserError, match=rf"--validation-images is {count}, but train/ has 63 pictures .* give 1 to 59"):
        image_folder.split(_numbered([50, 10, 2, 1]), count, 0)


def test_the_same_files_are_counted_whatever_their_names(photos: Path) -> None:
    cats = [photos / TRAIN / "cat" / name for name in _names(photos, "cat")]
    shutil.copy(cats[0], photos / TEST / "dog" / "renamed.jpg")
    (photos / TEST / "cat" / "linked.jpg").symlink_to(cats[1])
    (photos / TEST / "cat" / "same-size.jpg").write_bytes(bytes(cats[0].stat().st_size))
    test, train = (image_folder.list_files(photos, part) for part in (TEST, TRAIN))
    assert (len(test), len(train)) == (6, 6)
    assert image_folder.count_same(test, train) == 2
    assert image_folder.list_files(photos, VALIDATION) == []


def _read_all(photos: Path) -> image_folder.Part:
    assert image_folder.is_folder(photos)
    return image_folder.read(photos, TRAIN, image_folder.classes(photos))


def _names(photos: Path, name: str) -> list[str]:
    return sorted(file.name for file in (photos / TRAIN / name).iterdir() if file.is_file())


def _numbered(sizes: list[int]) -> image_folder.Part:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    pixels = np.zeros((len(labels), 32, 32, 3), np.uint8)
    return image_folder.Part(image_folder.Images(pixels, labels), tuple(Path(str(i)) for i in range(len(labels))), ())
