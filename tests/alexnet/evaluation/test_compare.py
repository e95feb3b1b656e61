"""Two models on the same images: counted as by hand, tested as by scipy, and told in one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy import stats

from alexnet.cli import main
from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.evaluation import compare
from alexnet.evaluation.compare import Comparison, Side
from alexnet.evaluation.metrics import Data
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import ModelMetadata, TrainingSettings, ValidationMetrics
from alexnet.paths import ROOT
from tests.models import CLASSES, VALIDATION, write_model


@pytest.fixture(scope="module")
def models(session_path: Path) -> tuple[Path, Path]:
    """Two models of the ten classes that are often of another mind."""
    first = write_model(session_path / "compared" / "first.onnx")
    model = onnx.load(first)
    (weight,) = (item for item in model.graph.initializer if item.name == "weight")
    values = numpy_helper.to_array(weight)
    moved = values + np.random.default_rng(1).normal(0, 0.03, values.shape).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(moved, "weight"))
    second = first.with_name("second.onnx")
    onnx.save(model, second)
    return first, second


def found(only_first: int, only_second: int) -> Comparison:
    """A comparison of 1,000 images with these counts."""
    both = (1000 - only_first - only_second) // 2
    sides = (Side(Path("a.onnx"), "a" * 64, both + only_first), Side(Path("b.onnx"), "b" * 64, both + only_second))
    data = Data(split="test", images=1000, sha256={})
    return Comparison(*sides, both, only_first, only_second, 1000 - both - only_first - only_second, data)


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        (6, 16, 0.0525),  # by hand: 2 (1 + 22 + 231 + 1540 + 7315 + 26334 + 74613) / 2^22
        (0, 5, 0.0625),  # 2 / 2^5
        (121, 59, 5.45e-06),  # chi-squared (62 - 1)^2 / 180 = 20.67
        (0, 0, 1),
        (7, 7, 1),
        (50, 50, 1),
    ],
)
def test_mcnemars_p_value_is_that_of_the_hand(only_first: int, only_second: int, expected: float) -> None:
    assert compare.mcnemar(only_first, only_second) == pytest.approx(expected, rel=0.002)
    assert compare.mcnemar(only_second, only_first) == compare.mcnemar(only_first, only_second)


def test_mcnemars_p_value_is_that_of_scipy() -> None:
    for only_first in range(0, 40, 3):
        for only_second in range(0, 40, 5):
            pairs = only_first + only_second
            if pairs == 0:
                continue
            p_value = compare.mcnemar(only_first, only_second)
            if pairs < 25:
                assert p_value == pytest.approx(stats.binomtest(only_first, pairs).pvalue)
            else:
                corrected = max(0, abs(only_first - only_second) - 1) ** 2 / pairs
                assert p_value == pytest.approx(stats.chi2.sf(corrected, 1))
                assert p_value == pytest.approx(stats.binomtest(only_first, pairs).pvalue, abs=0.01)


def test_the_images_are_counted_by_who_is_right(
    models: tuple[Path, Path], data_root: Path, fixture_images: Images
) -> None:
    result = compare.compare(*models, data_root, batch_size=33)
    a, b = (
        Classifier(model).run(fixture_images.pixels).probabilities.argmax(1) == fixture_images.labels
        for model in models
    )
    assert result.only_first == sum(x and not y for x, y in zip(a, b, strict=True)) > 0
    assert result.only_second == sum(y and not x for x, y in zip(a, b, strict=True)) > 0
    assert (result.both_right, result.both_wrong) == ((a & b).sum(), (~a & ~b).sum())
    assert (result.first.right, result.second.right, result.images) == (a.sum(), b.sum(), 200)
    assert result.difference == pytest.approx(b.mean() - a.mean())


def test_the_command_tells_it_to_people_and_to_programs(
    models: tuple[Path, Path], data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", *map(str, models), "--data", str(data_root)]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    result = compare.compare(*models, data_root)
    assert told["first"]["sha256"] == Classifier(models[0]).sha256
    assert told["second"]["accuracy"] == result.second.right / 200
    assert told["data"]["split"] == "test"
    assert [told[name] for name in ("only_first", "only_second")] == [result.only_first, result.only_second]
    assert (told["difference"], told["p_value"]) == (result.difference, result.p_value)
    assert main(words) == 0
    output = capsys.readouterr().out
    assert f"{models[1]}, sha256 {told['second']['sha256'][:12]}, accuracy {told['second']['accuracy']:.4f}" in output
    assert told["verdict"] in output


def test_the_better_one_is_named() -> None:
    assert compare.verdict(found(20, 60)).startswith("B is right more often than A, by 4.00 points (95 % interval")
    assert compare.verdict(found(60, 20)).startswith("A is right more often than B, by 4.00 points (95 % interval")
    assert compare.verdict(found(30, 34)).startswith("These 1,000 images do not tell which is better")


def test_a_model_is_as_good_as_itself(models: tuple[Path, Path], data_root: Path) -> None:
    result = compare.compare(models[0], models[0], data_root)
    assert (result.only_first, result.only_second, result.p_value, result.difference) == (0, 0, 1, 0)
    assert "do not tell" in compare.verdict(result)


def test_models_of_other_classes_are_refused(
    tmp_path: Path, models: tuple[Path, Path], data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_model(tmp_path / "digits.onnx", classes=tuple(f"digit {i}" for i in range(10)))
    assert main(["compare", str(models[0]), str(other), "--data", str(data_root)]) == 1
    error = capsys.readouterr().err
    assert "compare models of the same classes" in error
    assert error.count("\n") == 1


def test_models_that_held_out_other_images_are_refused(tmp_path: Path, data_root: Path) -> None:
    def write(name: str, seed: int) -> Path:
        settings = TrainingSettings(network="alexnet", epochs=3, seed=seed, validation_images=50, init="none")
        row = ValidationMetrics.model_validate(VALIDATION)
        metadata = ModelMetadata(name=name, classes=CLASSES, settings=settings, validation=row)
        return write_model(tmp_path / f"{name}.onnx", metadata=metadata.to_props())

    one, same, other = write("one", 1), write("same", 1), write("other", 2)
    assert compare.compare(one, same, data_root, split="validation").images == 50
    with pytest.raises(UserError, match="held out different images; compare them with --split test"):
        compare.compare(one, other, data_root, split="validation")


def test_models_are_compared_where_there_is_no_torch(models: tuple[Path, Path], data_root: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'matplotlib', 'onnx', 'scipy'): sys.modules[name] = None\n"
        "from alexnet.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = ["compare", *map(str, models), "--data", str(data_root)]
    result = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
