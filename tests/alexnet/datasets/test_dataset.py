"""The folder of `--data`: which kind it is, and models that get the data they were trained on."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from alexnet import datasets
from alexnet.datasets import AbsentError, Cifar10, Fingerprint, ImageFolder, cifar10, is_imbalanced
from alexnet.errors import UserError
from tests.alexnet.datasets.test_image_folder import put

CIFAR10 = Fingerprint(cifar10.CLASSES)
RUN = Path("run")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Fifteen cats, ten dogs and five ships to learn from, two cats and a dog to measure on."""
    root = tmp_path / "photos"
    for name, count in (("cat", 15), ("dog", 10), ("ship", 5)):
        put(root / "train", name, 0, count)
    put(root / "test", "cat", 15, 2)
    put(root / "test", "dog", 10, 1)
    return root


def test_cifar_10_is_split_by_the_seed_alone(data_root: Path) -> None:
    data = datasets.open(data_root)
    assert isinstance(data, Cifar10)
    assert (data.classes, data.fingerprint) == (cifar10.CLASSES, CIFAR10)
    expected = cifar10.split(data.training(), 170, 3)
    for split in (
        data.split(170, 3),
        data.split(170, 3, exact=False),
        data.split_again(CIFAR10, 170, 3, RUN),
    ):
        for found, wanted in ((split.training, expected.training), (split.validation, expected.validation)):
            assert np.array_equal(found.pixels, wanted.pixels)
            assert np.array_equal(found.labels, wanted.labels)
    assert np.array_equal(data.sample(256), data.training().pixels[:256])
    assert CIFAR10.to_dict() == {"classes": list(cifar10.CLASSES)}
    data.prepare()


def test_cifar_10_wins_where_both_lie(photos: Path, data_root: Path) -> None:
    assert isinstance(datasets.open(photos), ImageFolder)
    (photos / cifar10.FOLDER).symlink_to(data_root / cifar10.FOLDER)
    assert isinstance(datasets.open(photos), Cifar10)


def test_what_is_no_data_set_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(AbsentError, match=r"absent: no such folder; give one with CIFAR-10 or your own images, or --d"):
        datasets.open(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    put(tmp_path, "unknowns", 0, 1, of="cat")  # images for `evaluate --ood`, beside which CIFAR-10 may lie
    with pytest.raises(AbsentError, match=r"has no data set; put the images of each class into .*/train/<class>/, or"):
        datasets.open(tmp_path)
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("train/cat/1.txt", "x")
    for download in (False, True):
        with pytest.raises(UserError, match=r"photos\.zip is a file; unpack it if it is an archive, and give"):
            datasets.open(archive, download=download)


@pytest.mark.parametrize(
    ("count", "exact", "held_out"), [(10_000, False, 6), (4, False, 4), (12, True, 12), (27, True, 27)]
)
def test_a_fifth_is_held_out_unless_fewer_or_a_number_is_wanted(
    photos: Path, count: int, exact: bool, held_out: int
) -> None:
    data = datasets.open(photos)
    split = data.split(count, 0, exact=exact)
    assert (len(split.training), len(split.validation)) == (30 - held_out, held_out)
    assert set(split.training.labels) == {0, 1, 2}
    assert len(set(split.training.labels[:10])) > 1 or held_out == 27  # shuffled: the first ones are a sample
    again = datasets.open(photos).split_again(data.fingerprint, held_out, 0, RUN)
    assert np.array_equal(again.validation.pixels, split.validation.pixels)
    assert np.array_equal(again.training.pixels, split.training.pixels)
    assert Fingerprint.of(data.fingerprint.to_dict()) == data.fingerprint


@pytest.mark.parametrize("count", [-1, 28, 10_000])
def test_a_number_that_cannot_be_held_out_is_refused_with_what_can(photos: Path, count: int) -> None:
    with pytest.raises(UserError, match=rf"--validation-images is {count}, but train/ has 30 images .* give 0 to 27"):
        datasets.open(photos).split(count, 0)


def test_the_least_that_can_be_split_is(tmp_path: Path) -> None:
    put(tmp_path / "train", "cat", 0, 2)
    put(tmp_path / "train", "dog", 0, 1)
    split = datasets.open(tmp_path).split(10_000, 0, exact=False)
    assert (sorted(split.training.labels), split.validation.labels.tolist()) == ([0, 1], [0])
    next((tmp_path / "train" / "cat").iterdir()).unlink()
    with pytest.raises(UserError, match=r"--validation-images is 1, .* add some, or put others into validation/"):
        datasets.open(tmp_path).split(10_000, 0, exact=False)


@pytest.mark.parametrize("name", ["validation", "val", "valid", "dev", "Val"])
def test_validation_is_what_is_held_out_where_it_is_there(photos: Path, name: str) -> None:
    put(photos / name, "ship", 5, 3)
    put(photos / name, "cat", 17, 1)
    data = datasets.open(photos)
    split = data.split(10_000, 0, exact=False)
    assert sorted(split.validation.labels) == [0, 2, 2, 2]
    assert sorted(split.training.labels) == [0] * 15 + [1] * 10 + [2] * 5
    assert len(set(split.training.labels[:10])) > 1  # shuffled: the first ones are a sample
    with pytest.raises(UserError, match="has 4 images to hold out: leave out the flag, or remove the folder"):
        data.split(7, 0)
    shutil.rmtree(photos / name)
    with pytest.raises(UserError, match="does not hold the images that run was trained on: restore them"):
        datasets.open(photos).split_again(data.fingerprint, 4, 0, RUN)


def test_two_names_of_one_part_are_refused(photos: Path) -> None:
    put(photos / "val", "ship", 5, 3)
    put(photos / "dev", "cat", 17, 1)
    with pytest.raises(UserError, match="photos has val/ and dev/; keep one of them as validation/"):
        datasets.open(photos)


def test_a_run_resumes_with_the_images_it_began_with(photos: Path) -> None:
    trained = datasets.open(photos).fingerprint
    put(photos / "train", "ship", 5, 1)
    with pytest.raises(UserError, match="does not hold the images that run was trained on: restore them, or train a n"):
        datasets.open(photos).split_again(trained, 6, 0, RUN)


def test_other_classes_are_refused(photos: Path, data_root: Path) -> None:
    trained = datasets.open(photos).fingerprint
    for refuse in (datasets.open(data_root).check, datasets.open(data_root).test):
        with pytest.raises(UserError, match=rf"run has the classes cat, dog, ship, but {data_root} has airplane, "):
            refuse(trained, RUN)
    put(photos / "train", "bird", 0, 1)
    with pytest.raises(UserError, match=r"run has the classes cat, dog, ship, but .*photos has bird, cat, dog, ship"):
        datasets.open(photos).check(trained, RUN)
    with pytest.raises(UserError, match=r"run has the classes airplane, .*, but .*photos has bird, cat, dog, ship"):
        datasets.open(photos).check(CIFAR10, RUN)


def test_test_images_that_were_trained_on_and_classes_without_are_said(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = datasets.open(photos).test(Fingerprint(("bee", "cat", "dog", "ship")), RUN)  # a model may know more
    assert test.images.labels.tolist() == [1, 1, 2]
    assert (test.also_trained_on, test.unreadable) == (0, 0)
    assert test.paths is not None
    assert [Path(path).parts[:2] for path in test.paths] == [("test", "cat"), ("test", "cat"), ("test", "dog")]
    assert f"no test image of bee, ship in {photos / 'test'}: F1 counts as 0 there" in capsys.readouterr().err
    shutil.copy(next((photos / "train" / "cat").iterdir()), photos / "test" / "cat" / "again.jpg")
    (photos / "test" / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    test = datasets.open(photos).test(Fingerprint(("cat", "dog")), RUN)
    assert (test.also_trained_on, test.unreadable) == (1, 1)
    assert f"1 of 5 files in {photos / 'test'} are in train/ or validation/ too" in capsys.readouterr().err
    datasets.open(photos).prepare()
    assert f"1 of 5 files in {photos / 'test'} are in train/ too" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"test has the class dog, which is not among those trained on \(cat\)"):
        datasets.open(photos).test(Fingerprint(("cat",)), RUN)


def test_a_model_is_measured_without_train(photos: Path) -> None:
    shutil.rmtree(photos / "train")
    data = datasets.open(photos)
    assert len(data.test(Fingerprint(("cat", "dog")), RUN).images) == 3
    with pytest.raises(UserError, match=r"train: no such folder; put the images of each class into"):
        data.split(1, 0)


def test_a_sample_has_all_classes(photos: Path) -> None:
    data = datasets.open(photos)
    whole, few = data.sample(256), data.sample(4)
    assert whole.shape == (30, 32, 32, 3)
    assert [int(np.flatnonzero((whole == image).all((1, 2, 3)))[0]) for image in few] == [0, 9, 19, 29]


@pytest.mark.parametrize(
    ("counts", "unequal"), [([10, 10], False), ([15, 10], False), ([16, 10], True), ([3, 0], True)]
)
def test_classes_are_imbalanced_from_half_as_many_more_on(counts: list[int], unequal: bool) -> None:
    assert is_imbalanced(np.array(counts)) == unequal
