"""Fine-tuning of a probe: the network starts where the probe is, and is kept only where it wins."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alexnet import UserError
from alexnet.cli import main
from alexnet.inference.classifier import Classifier
from alexnet.paths import ROOT
from tests.images import write_classes
from training import checkpoint
from training.fine_tuning import choose
from training.networks import probe_weights
from training.networks.alexnet import PooledAlexNet
from training.settings import Settings

SIDE = 71


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("tune") / "photos", (SIDE, SIDE))


@pytest.fixture(scope="module")
def tuned(photos: Path) -> Path:
    output = photos.with_name("run")
    words = ["fit", str(photos), "--image-size", str(SIDE), "--epochs", "2", "--output", str(output)]
    assert main(words) == 0
    return output


def test_both_are_compared_and_the_better_one_is_kept(
    tuned: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["fit", str(photos), "--image-size", str(SIDE), "--epochs", "2", "--output", str(tuned)]) == 0
    )  # resumed
    said = capsys.readouterr().out
    assert "epoch 1/2" not in said
    assert "of 4 images held out, fine-tuning has " in said
    file = Classifier.load(tuned / "fine-tuning" / "model.onnx")
    assert file.image_shape == (SIDE, SIDE, 3)
    assert file.detects_ood
    assert file.metadata.settings is not None
    assert file.metadata.settings.network == "pooled"
    kept = Classifier.load(tuned / "model.onnx")
    assert (kept.sha256 == file.sha256) == ("chosen: the fine-tuned network" in said)
    assert file.embed(next((photos / "test" / "ship").iterdir())).shape == (1, 2304)


def test_a_finished_run_is_small(tuned: Path) -> None:
    assert sum(path.stat().st_size for path in tuned.rglob("*") if path.is_file()) < 150e6


def test_a_run_of_other_settings_is_replaced(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", str(photos), "--image-size", str(SIDE), "--epochs", "1", "--output", str(tmp_path)]
    assert main(words) == 0
    assert main([*words, "--seed", "1"]) == 0
    assert "is of other photos or settings, and is replaced" in capsys.readouterr().out
    assert checkpoint.load(tmp_path / "fine-tuning").settings.seed == 1


def test_ties_go_to_the_probe() -> None:
    tie = choose.Choice(0.9, 0.9, 10, Path("model.onnx"))
    assert not tie.better
    assert replace(tie, fine_tuned=0.91).better


def test_the_network_starts_as_the_probe(photos: Path, tmp_path: Path) -> None:
    assert main(["fit", str(photos), "--image-size", str(SIDE), "--epochs", "0", "--output", str(tmp_path)]) == 0
    classifier = Classifier.load(tmp_path / "model.onnx")
    model = PooledAlexNet(2, SIDE).eval()
    probe_weights.load(model, str(tmp_path / "model.onnx"), classifier.classes)
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    with torch.inference_mode():
        logits = (model(torch.from_numpy(pixels)) + model(torch.from_numpy(pixels[:, :, ::-1].copy()))) / 2
    expected = torch.softmax(logits / classifier.metadata.temperature, 1).numpy()
    assert np.allclose(classifier.run(pixels).probabilities, expected, atol=1e-4)
    probe_weights.load(model, str(tmp_path / "model.onnx"), ("other", "classes"))
    assert not model.head.weight.any()
    weights, _ = probe_weights.extract(model)
    assert sorted(weights) == sorted(
        f"features.{place}.{kind}" for place in (0, 3, 6, 8, 10) for kind in ("weight", "bias")
    )


@pytest.mark.parametrize("init", ["model.safetensors", "missing.onnx", str(ROOT / "models" / "alexnet" / "model.onnx")])
def test_weights_of_something_else_are_refused(init: str) -> None:
    with pytest.raises(UserError, match="--init"):
        probe_weights.load(PooledAlexNet(2, SIDE), init, ("a", "b"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"network": "pooled", "image_size": 48}, "needs 63 or more"),
        ({"network": "teacher", "image_size": 64}, "a teacher sees images of 32 pixels"),
        ({"network": "pooled", "image_size": 64, "outliers": "none"}, "--extra and --outliers"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(values: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Settings.from_dict(values)


def test_patience_ends_a_run(photos: Path, tmp_path: Path) -> None:
    words = ["train", "--epochs", "9", "--patience", "1", "--learning-rate", "0"]
    assert main([*words, "--image-size", str(SIDE), "--data", str(photos), "--output", str(tmp_path / "run")]) == 0
    assert len(checkpoint.load(tmp_path / "run" / "last.pt").epochs) == 2
    assert main(["train", "--resume", str(tmp_path / "run"), "--data", str(photos)]) == 0
    assert len(checkpoint.load(tmp_path / "run" / "last.pt").epochs) == 2
    assert main(["compress", str(tmp_path / "run"), "--data", str(photos), "--output", str(tmp_path / "m.onnx")]) == 1


def test_cifar10_has_no_other_size(data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--recipe", "custom", "--data", str(data_root), "--output", str(tmp_path / "run")]) == 1
    assert "leave out --image-size" in capsys.readouterr().err
