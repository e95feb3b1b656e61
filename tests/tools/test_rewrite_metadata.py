"""A model file with other metadata: the graph and the weights stay as they are."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from alexnet import files
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import ModelMetadata
from tests.models import CLASSES, SIDE, write_model
from tools import rewrite_metadata

NEW = ModelMetadata(name="other", classes=CLASSES, run="second", ood_threshold=0.75)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx", detects_ood=True)


def test_only_the_metadata_change(model: Path) -> None:
    before = onnx.load(model)
    sha256 = rewrite_metadata.rewrite(model, NEW)
    after = onnx.load(model)
    assert after.graph.SerializeToString(deterministic=True) == before.graph.SerializeToString(deterministic=True)
    assert after.opset_import == before.opset_import
    assert sha256 == files.sha256(model)
    assert Classifier(model, threads=1).metadata == NEW == rewrite_metadata.read(model)
    assert Classifier(model, threads=1).sha256 == sha256
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]


def test_answers_stay(model: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
    before = Classifier(model, threads=1).run(pixels)
    rewrite_metadata.rewrite(model, NEW)
    after = Classifier(model, threads=1).run(pixels)
    assert before.probabilities.tobytes() == after.probabilities.tobytes()
    assert before.ood_score is not None
    assert after.ood_score is not None
    assert before.ood_score.tobytes() == after.ood_score.tobytes()


def test_the_metrics_beside_it_name_the_new_file_and_keep_their_numbers(model: Path) -> None:
    metrics = model.with_name("metrics.json")
    facts = {"name": "tiny", "sha256": files.sha256(model), "bytes": model.stat().st_size, "run": "first"}
    files.write_json(metrics, {"model": facts, "accuracy": 0.5})
    sha256 = rewrite_metadata.rewrite(model, NEW)
    found = json.loads(metrics.read_text())
    assert found == {"model": {**facts, "sha256": sha256, "bytes": model.stat().st_size}, "accuracy": 0.5}
    files.write_json(metrics, {"model": {**facts, "sha256": "0" * 64}, "accuracy": 0.5})
    rewrite_metadata.rewrite(model, NEW.model_copy(update={"run": "third"}))
    assert json.loads(metrics.read_text())["model"]["sha256"] == "0" * 64  # of another model: left alone


def test_what_is_shown_can_be_given_back(model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rewrite_metadata.rewrite(model, NEW)
    assert rewrite_metadata.main([str(model), "--show"]) == 0
    shown = tmp_path / "metadata.json"
    shown.write_text(capsys.readouterr().out)
    before = model.read_bytes()
    assert rewrite_metadata.main([str(model), str(shown)]) == 0
    assert model.read_bytes() == before
    assert files.sha256(model) in capsys.readouterr().out


def test_mistakes_are_one_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"name": "x"}')
    before = model.read_bytes()
    for given in (
        [str(model), str(wrong)],
        [str(model), str(tmp_path / "none.json")],
        [str(wrong), "--show"],
        [str(tmp_path / "none.onnx"), "--show"],
        [str(write_model(tmp_path / "bare.onnx", metadata={})), "--show"],
    ):
        assert rewrite_metadata.main(given) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert model.read_bytes() == before
