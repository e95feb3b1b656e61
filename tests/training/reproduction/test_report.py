"""The files of a run to the report on it, with its plots."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from alexnet import datasets
from alexnet.cli import main
from alexnet.datasets import Fingerprint, cifar10
from alexnet.evaluation import predictions
from alexnet.paths import ROOT
from tests.conftest import TRAINING_IMAGES
from training.settings import Settings

PUBLISHED = ROOT / "docs" / "runs" / "published"
OUTPUTS = (
    "reproduction.md",
    "reproduction/class-accuracy.png",
    "reproduction/loss.png",
    "reproduction/validation-accuracy.png",
)


@pytest.fixture(scope="module")
def measured_run(tmp_path_factory: pytest.TempPathFactory, small_run: Path, small_model: Path, data_root: Path) -> Path:
    """What a report on the small run needs, made by the commands that the remedies name."""
    folder = tmp_path_factory.mktemp("measured")
    for name in ("config.json", "metrics.csv"):
        shutil.copy(small_run / name, folder)
    for split in ("test", "validation"):
        given = ["evaluate", str(small_model), "--data", str(data_root), "--output", str(folder / split)]
        assert main([*given, "--split", split, "--predictions"]) == 0
    return folder


@pytest.fixture
def own_run(tmp_path: Path, measured_run: Path) -> Path:
    """A copy of it that a test may damage."""
    return shutil.copytree(measured_run, tmp_path / "run")


def test_a_run_measured_on_both_splits_becomes_a_report(
    measured_run: Path, tmp_path: Path, small_settings: Settings, data_root: Path
) -> None:
    assert _report(measured_run, tmp_path / "docs") == 0
    page = (tmp_path / "docs" / "reproduction.md").read_text()
    assert "partial report: 2 of 30 epochs" in page
    metrics = json.loads((measured_run / "test" / "metrics.json").read_text())
    assert f"`{metrics['model']['sha256']}`" in page
    assert f"Our test accuracy is {metrics['accuracy']:.4f}" in page
    training = TRAINING_IMAGES - small_settings.validation_images
    assert f"| training images | 40000 | {training} |" in page
    assert f"| training batches | 1250 | {math.ceil(training / small_settings.batch_size)} |" in page
    assert "not those that `data.json` describes" in page
    for name in OUTPUTS[1:]:
        assert f"]({name})" in page
        assert Image.open(tmp_path / "docs" / name).size == (880, 495)


def test_the_same_files_give_the_same_report(measured_run: Path, tmp_path: Path) -> None:
    for folder in ("first", "again"):
        assert _report(measured_run, tmp_path / folder) == 0
    first, again = (_contents(tmp_path / folder) for folder in ("first", "again"))
    assert tuple(sorted(first)) == OUTPUTS
    assert first == again
    assert _report(measured_run, tmp_path / "first") == 0  # over what is there
    assert _contents(tmp_path / "first") == first


def test_another_run_gives_other_plots(own_run: Path, measured_run: Path, tmp_path: Path) -> None:
    lines = (own_run / "metrics.csv").read_text().splitlines()
    cells = lines[-1].split(",")
    lines[-1] = ",".join([cells[0], "0.5", "0.8", "0.4", *cells[4:]])
    (own_run / "metrics.csv").write_text("\n".join(lines) + "\n")
    _report(measured_run, tmp_path / "first")
    _report(own_run, tmp_path / "other")
    first, other = (_contents(tmp_path / folder) for folder in ("first", "other"))
    changed = {name for name in OUTPUTS if first[name] != other[name]}
    assert changed == set(OUTPUTS) - {"reproduction/class-accuracy.png"}


def test_predictions_are_in_the_order_of_the_data(
    measured_run: Path, data_root: Path, small_settings: Settings
) -> None:
    data = datasets.open(data_root)
    test = data.test(Fingerprint(cifar10.CLASSES), data_root).images
    validation = data.split(small_settings.validation_images, small_settings.seed).validation
    for split, images in (("test", test), ("validation", validation)):
        found = predictions.read(measured_run / split / predictions.FILE_NAME, cifar10.CLASSES, "")
        assert np.array_equal(found.labels, images.labels)


def test_the_model_does_on_the_validation_images_what_the_trainer_saw(
    measured_run: Path, small_settings: Settings
) -> None:
    measured = json.loads((measured_run / "validation" / "metrics.json").read_text())
    assert measured["data"]["split"] == "validation"
    assert measured["data"]["images"] == small_settings.validation_images
    assert measured["data"]["seed"] == small_settings.seed
    rows = [line.split(",") for line in (measured_run / "metrics.csv").read_text().splitlines()[1:]]
    assert measured["accuracy"] == max(float(row[4]) for row in rows)


def test_without_flags_only_the_test_images_are_measured(small_model: Path, data_root: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(small_model), "--data", str(data_root), "--output", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "metrics.json", "reliability.png"]
    facts = json.loads((tmp_path / "metrics.json").read_text())["data"]
    assert (facts["split"], facts["images"], sorted(facts)) == ("test", 200, ["images", "sha256", "split"])


def test_a_model_that_does_not_tell_its_validation_images_is_refused(
    small_model: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(small_model)
    kept = [item for item in model.metadata_props if item.key != "settings"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "foreign.onnx")
    given = ["evaluate", str(tmp_path / "foreign.onnx"), "--data", str(data_root), "--output", str(tmp_path / "out")]
    assert main([*given, "--split", "validation"]) == 1
    message = capsys.readouterr().err
    assert "foreign.onnx does not say which images its run held out; export it with" in message
    assert not (tmp_path / "out").exists()


def test_runs_beside_it_with_other_seeds_are_told_with_mean_and_spread(own_run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(own_run, own_run.parent / "run-seed-1")
    _replace("config.json", '"seed": 0', '"seed": 1')(other)
    path = other / "test" / "metrics.json"
    metrics = json.loads(path.read_text())
    accuracies = [metrics["classes"]["cat"]["accuracy"], 0.125]
    metrics["classes"]["cat"]["accuracy"] = accuracies[1]
    path.write_text(json.dumps(metrics))
    assert _report(own_run, tmp_path / "docs") == 0
    page = (tmp_path / "docs" / "reproduction.md").read_text()
    assert "with 2 seeds" in page
    (line,) = [line for line in page.splitlines() if line.startswith("| cat |") and line.count("|") == 8]
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    mean = f"{np.mean(accuracies):.4f}"
    assert cells == [
        "0.816",
        *(f"{value:.4f}" for value in accuracies),
        mean,
        f"{np.mean(accuracies) - 0.816:+.4f}",
        f"{np.ptp(accuracies):.4f}",
    ]
    assert "| spread |  | 0.0000 | 0.0000 | 0.0000 | 0.0000 | 0.0 |" in page


def test_a_run_beside_it_that_differs_in_more_than_its_seed_is_refused(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(own_run, own_run.parent / "run-seed-1")
    _replace("config.json", '"seed": 0', '"seed": 1')(other)
    _replace("config.json", '"momentum": 0.9', '"momentum": 0.8')(other)
    assert _report(own_run, tmp_path / "docs") == 1
    assert "run small differs from small in momentum, seed, not in its seed alone" in capsys.readouterr().err


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        assert (folder / name).exists()
        (folder / name).write_bytes(content)

    return damage


def _predict(split: str, classes: tuple[str, ...]) -> Callable[[Path], None]:
    """Predictions of two images."""

    def damage(folder: Path) -> None:
        found = predictions.Predictions(np.array([0, 1]), np.array([1, 1]))
        predictions.write(folder / split / predictions.FILE_NAME, found, classes)

    return damage


def _add_a_better_epoch(folder: Path) -> None:
    with (folder / "metrics.csv").open("a") as file:
        file.write("3,0.1,0.99,0.1,0.99,7\n")


@pytest.mark.parametrize(
    ("damage", "complaint", "remedy"),
    [
        (_remove("config.json"), "config.json: No such file", "give the folder of a run"),
        (_remove("metrics.csv"), "metrics.csv: No such file", "give the folder of a run"),
        (_replace("metrics.csv", "seconds", "hours"), "metrics.csv: not a table of", "give the folder of a run"),
        (_replace("metrics.csv", "\n2,", "\n3,"), "metrics.csv: not a table of one row per epoch", "from epoch 1 on"),
        (
            _remove("test/metrics.json"),
            "test/metrics.json: No such file",
            "make it with: alexnet evaluate MODEL --split test --predictions --output",
        ),
        (
            _remove("validation/predictions.parquet"),
            "validation/predictions.parquet: No such file",
            "make it with: alexnet evaluate MODEL --split validation --predictions --output",
        ),
        (_replace("test/metrics.json", "{", ""), "test/metrics.json: Invalid JSON", "alexnet evaluate MODEL"),
        (_write("test/predictions.parquet", b"cat"), "not a Parquet file", "alexnet evaluate MODEL"),
        (_predict("test", ("cat", "lion")), "names other classes than the model", "alexnet evaluate MODEL"),
        (_predict("test", cifar10.CLASSES), "not the predictions that metrics.json", "alexnet evaluate MODEL"),
        (
            _replace("test/metrics.json", '"accuracy": 0.', '"accuracy": 0.9'),
            "not the predictions that metrics.json beside it sums up",
            "alexnet evaluate MODEL",
        ),
        (_replace("test/metrics.json", '"sha256": "', '"sha256": "0'), "on different models", "evaluate both again"),
        (_add_a_better_epoch, "best at epoch 3, but", "export the run again and evaluate that"),
        (_replace("config.json", '"run": "small"', '"run": "big"'), "a model of run small, not big", "export this run"),
    ],
)
def test_files_that_cannot_be_used_are_named_with_the_remedy(
    own_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    complaint: str,
    remedy: str,
) -> None:
    damage(own_run)
    assert _report(own_run, tmp_path / "docs") == 1
    message = capsys.readouterr().err
    assert message.startswith("alexnet: ")
    assert message.count("\n") == 1
    assert complaint in message
    assert remedy in message
    assert not (tmp_path / "docs").exists()


def test_a_folder_without_the_published_run_is_named(
    measured_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(measured_run), "--published", str(tmp_path), "--output", str(tmp_path)]) == 1
    assert "published.json: No such file or directory; it is part of the repository" in capsys.readouterr().err


def _report(run: Path, output: Path) -> int:
    return main(["report", str(run), "--published", str(PUBLISHED), "--output", str(output)])


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
