"""The folder of `--data`: CIFAR-10 as ever, pictures of one's own, and runs that get the data they were made of."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from alexnet.datasets import cifar10, dataset
from alexnet.datasets.dataset import Known
from alexnet.errors import UserError
from tests.alexnet.datasets.test_image_folder import put


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Fifteen cats, ten dogs and five ships to learn from, two cats and a dog to measure on."""
    root = tmp_path / "photos"
    for name, count in (("cat", 15), ("dog", 10), ("ship", 5)):
        put(root / "train", name, 0, count)
    put(root / "test", "cat", 15, 2)
    put(root / "test", "dog", 10, 1)
    return root


def test_cifar_10_is_split_as_ever(data_root: Path, tmp_path: Path) -> None:
    assert not dataset.is_pictures(data_root)
    assert not dataset.is_pictures(tmp_path / "absent")  # where it will be downloaded
    assert dataset.classes(data_root) == cifar10.CLASSES
    expected = cifar10.split(cifar10.read_training(data_root), 170, 3)
    for parts in (
        dataset.read_parts(data_root, 170, 3),
        dataset.read_parts(data_root, 170, 3, exactly=False),
        dataset.read_again(data_root, Known(cifar10.CLASSES), 170, 3, Path("run")),
    ):
        assert parts.known == Known(cifar10.CLASSES)
        for found, wanted in zip((parts.training, parts.validation), expected, strict=True):
            assert np.array_equal(found.pixels, wanted.pixels)
            assert np.array_equal(found.labels, wanted.labels)
    assert np.array_equal(dataset.sample(data_root, 256), cifar10.read_training(data_root).pixels[:256])
    assert Known(cifar10.CLASSES).describe() == {"classes": list(cifar10.CLASSES)}  # in checkpoints, as ever


def test_cifar_10_wins_where_both_lie(photos: Path, data_root: Path) -> None:
    (photos / cifar10.FOLDER).symlink_to(data_root / cifar10.FOLDER)
    assert dataset.classes(photos) == cifar10.CLASSES


@pytest.mark.parametrize(
    ("count", "exactly", "held_out"), [(10_000, False, 6), (4, False, 4), (12, True, 12), (27, True, 27)]
)
def test_a_fifth_is_held_out_unless_fewer_or_a_number_is_wanted(
    photos: Path, count: int, exactly: bool, held_out: int
) -> None:
    parts = dataset.read_parts(photos, count, 0, exactly=exactly)
    assert (len(parts.training), len(parts.validation)) == (30 - held_out, held_out)
    assert set(parts.training.labels) == {0, 1, 2}
    again = dataset.read_again(photos, parts.known, held_out, 0, Path("run"))
    assert np.array_equal(again.validation.pixels, parts.validation.pixels)
    assert np.array_equal(again.training.pixels, parts.training.pixels)
    assert Known.of(parts.known.describe()) == parts.known


def test_the_least_that_can_be_split_is(tmp_path: Path) -> None:
    put(tmp_path / "train", "cat", 0, 2)
    put(tmp_path / "train", "dog", 0, 1)
    parts = dataset.read_parts(tmp_path, 10_000, 0, exactly=False)
    assert (sorted(parts.training.labels), parts.validation.labels.tolist()) == ([0, 1], [0])
    next((tmp_path / "train" / "cat").iterdir()).unlink()
    with pytest.raises(UserError, match=r"--validation-images is 1, .* add some, or put others into validation/"):
        dataset.read_parts(tmp_path, 10_000, 0, exactly=False)


def test_validation_is_what_is_held_out_where_it_is_there(photos: Path) -> None:
    put(photos / "validation", "ship", 5, 3)
    put(photos / "validation", "cat", 17, 1)
    parts = dataset.read_parts(photos, 10_000, 0, exactly=False)
    assert sorted(parts.validation.labels) == [0, 2, 2, 2]
    assert sorted(parts.training.labels) == [0] * 15 + [1] * 10 + [2] * 5
    assert len(set(parts.training.labels[:10])) > 1  # shuffled: the first ones are a sample
    with pytest.raises(UserError, match="has 4 pictures to hold out: leave out the flag, or remove the folder"):
        dataset.read_parts(photos, 7, 0)
    before = parts.known
    shutil.rmtree(photos / "validation")
    with pytest.raises(UserError, match="has not the pictures that run was trained on: restore them"):
        dataset.read_again(photos, before, 4, 0, Path("run"))


def test_a_run_goes_on_with_the_pictures_it_began_with(photos: Path) -> None:
    known = dataset.read_parts(photos, 6, 0).known
    put(photos / "train", "ship", 5, 1)
    with pytest.raises(UserError, match="has not the pictures that run was trained on: restore them, or train a new"):
        dataset.read_again(photos, known, 6, 0, Path("run"))


def test_other_classes_are_refused_before_anything_is_downloaded(
    photos: Path, data_root: Path, tmp_path: Path, offline: None
) -> None:
    known = dataset.read_parts(photos, 6, 0).known
    for root in (data_root, tmp_path / "absent"):
        with pytest.raises(UserError) as caught:
            dataset.check(root, known, Path("run"))
        expected = f"run knows cat, dog, ship: give the folder of its pictures with --data; {root} is not it"
        assert str(caught.value) == expected
    put(photos / "train", "bird", 0, 1)
    with pytest.raises(UserError, match=r"run knows cat, dog, ship: but .*photos has bird, cat, dog, ship; give its"):
        dataset.check(photos, known, Path("run"))
    with pytest.raises(UserError, match=r"run knows airplane, .*: but .*photos has bird, cat, dog, ship; give its own"):
        dataset.check(photos, Known(cifar10.CLASSES), Path("run"))
    with pytest.raises(UserError, match=r"run knows a, b: not the classes of CIFAR-10; give its own data"):
        dataset.check(data_root, Known(("a", "b")), Path("run"))


def test_test_pictures_that_were_learnt_and_classes_without_are_said(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, facts = dataset.read_test(photos, ("bee", "cat", "dog", "ship"))  # a model may know more
    assert images.labels.tolist() == [1, 1, 2]
    assert (facts["also_trained_on"], facts["left_out"]) == (0, 0)
    assert f"no picture of bee, ship in {photos / 'test'}: F1 counts as 0 there" in capsys.readouterr().err
    shutil.copy(next((photos / "train" / "cat").iterdir()), photos / "test" / "cat" / "again.jpg")
    (photos / "test" / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    _, facts = dataset.read_test(photos, ("cat", "dog"))
    assert (facts["also_trained_on"], facts["left_out"]) == (1, 1)
    assert f"1 of 5 files in {photos / 'test'} are in train/ or validation/ too" in capsys.readouterr().err
    dataset.prepare(photos)
    assert f"1 of 5 files in {photos / 'test'} are in train/ too" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"test has the class dog, which is not among those learnt \(cat\)"):
        dataset.read_test(photos, ("cat",))


def test_a_model_is_measured_without_train(photos: Path) -> None:
    shutil.rmtree(photos / "train")
    assert dataset.is_pictures(photos)
    assert len(dataset.read_test(photos, ("cat", "dog"))[0]) == 3


def test_a_sample_has_all_classes(photos: Path) -> None:
    assert dataset.sample(photos, 256).shape == (30, 32, 32, 3)
    few = dataset.sample(photos, 4)
    whole = dataset.sample(photos, 256)
    assert [int(np.flatnonzero((whole == image).all((1, 2, 3)))[0]) for image in few] == [0, 9, 19, 29]


@pytest.mark.parametrize(
    ("counts", "unequal"), [([10, 10], False), ([15, 10], False), ([16, 10], True), ([3, 0], True)]
)
def test_classes_are_unequal_from_half_as_many_more_on(counts: list[int], unequal: bool) -> None:
    assert dataset.are_unequal(np.array(counts)) == unequal
