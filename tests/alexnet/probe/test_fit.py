"""`alexnet fit`: photos to a model that other commands take, in one command and without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet import evaluation
from alexnet.cli import main
from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode
from alexnet.paths import FEATURES, ROOT
from alexnet.probe import graph
from alexnet.probe.graph import Head
from alexnet.probe.logistic import Linear
from alexnet.probe.ood import GRID, NearestMean

FIXTURE = ROOT / "tests" / "data" / "cifar10"
SIZE = "95"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ships and frogs: 14 of each to learn from, 6 to measure with."""
    root = tmp_path_factory.mktemp("fit") / "photos"
    for name in ("ship", "frog"):
        for place, file in enumerate(sorted((FIXTURE / name).glob("*.png"))[:20]):
            target = root / ("test" if place >= 14 else "train") / name / f"{file.stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(file).resize((120, 90)).save(target)
    return root


@pytest.fixture(scope="module")
def fitted(photos: Path) -> Path:
    output = photos.with_name("run")
    assert main(["fit", str(photos), "--image-size", SIZE, "--output", str(output)]) == 0
    return output


def test_one_command_gives_a_measured_model(fitted: Path, photos: Path) -> None:
    classifier = Classifier.load(fitted / "model.onnx")
    assert classifier.classes == ("frog", "ship")
    assert classifier.image_shape == (95, 95, 3)
    assert classifier.detects_ood
    metrics = json.loads((fitted / "metrics.json").read_text())
    assert metrics["model"]["sha256"] == classifier.sha256
    assert metrics["accuracy"] >= 10 / 12
    found = classifier.predict([str(path) for path in sorted((photos / "test" / "ship").iterdir())])
    assert sum(item.label == "ship" for item in found) >= 5
    assert "linear probe" in (fitted / "README.md").read_text()
    assert (fitted / "confusion.png").exists()
    assert "license: unknown" in (fitted / "README.md").read_text()
    assert json.loads((fitted / "config.json").read_text())["id2label"] == {"0": "frog", "1": "ship"}


def test_a_folder_stands_for_its_model(fitted: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = next((photos / "test" / "ship").iterdir())
    assert main(["predict", str(image), "--model", str(fitted), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])
    assert main(["evaluate", str(fitted), "--data", str(photos)]) == 0


def test_an_image_and_its_mirror_image_get_the_same_answer(fitted: Path, photos: Path) -> None:
    content = next((photos / "test" / "frog").iterdir()).read_bytes()
    pixels = decode(content, 95, 95)
    outputs = Classifier.load(fitted / "model.onnx").run(np.stack([pixels, pixels[:, ::-1]]))
    assert np.allclose(outputs.probabilities[0], outputs.probabilities[1], atol=1e-5)
    assert outputs.ood_score is not None
    assert np.allclose(outputs.ood_score[0], outputs.ood_score[1], rtol=1e-3)


def test_class_folders_alone_are_split(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(photos / "train", tmp_path / "flat")
    assert main(["fit", str(tmp_path / "flat"), "--image-size", SIZE, "--output", str(tmp_path / "run")]) == 0
    assert "5 test images" in capsys.readouterr().out


def test_without_test_images_it_says_how_to_measure(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photos / "train", tmp_path / "photos" / "train")
    assert main(["fit", str(tmp_path / "photos"), "--image-size", SIZE, "--output", str(tmp_path / "run")]) == 0
    assert f"alexnet evaluate {tmp_path / 'run'} --data {tmp_path / 'photos'}" in capsys.readouterr().out


def test_without_test_images_those_of_validation_are_measured(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photos / "train", tmp_path / "photos" / "train")
    shutil.copytree(photos / "test", tmp_path / "photos" / "val")
    place = ["--output", str(tmp_path / "run"), "--license", "cc-by-4.0"]
    assert main(["fit", str(tmp_path / "photos"), "--image-size", SIZE, *place]) == 0
    assert "12 validation images" in capsys.readouterr().out
    page = (tmp_path / "run" / "README.md").read_text()
    assert page.startswith("---\nlicense: cc-by-4.0\n")
    assert "On the 12 validation images." in page
    assert "Trained on 28 images of an image folder;" in page


def test_noise_is_further_from_the_classes_than_their_images(fitted: Path, photos: Path) -> None:
    classifier = Classifier.load(fitted / "model.onnx")
    real = np.stack([decode(path.read_bytes(), 95, 95) for path in sorted((photos / "train").rglob("*.png"))])
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    near, far = classifier.run(real).ood_score, classifier.run(noise).ood_score
    assert near is not None
    assert far is not None
    assert np.median(far) > np.median(near)


def test_the_graph_computes_what_numpy_computes(tmp_path: Path) -> None:
    import onnx
    import onnxruntime as ort

    from alexnet.inference.metadata import ModelMetadata

    side, rng = 71, np.random.default_rng(0)
    body = ort.InferenceSession(graph.features(side).SerializeToString())
    pixels = rng.integers(0, 256, (3, side, side, 3), np.uint8)
    mean = sum(body.run(None, {"pixels": view})[0] for view in (pixels, pixels[:, :, ::-1])) / 2
    width = mean.shape[1]
    layer = Linear(rng.normal(0, 0.1, (width, 2)).astype(np.float32), np.array([0.5, -0.5], np.float32))
    score = NearestMean(*(rng.normal(size=s).astype(np.float32) for s in ((width // GRID**2, 4), 4, (2, 4))))
    metadata = ModelMetadata(name="probe", classes=("a", "b"), ood_threshold=1.0)
    onnx.save(graph.classifier(side, Head(layer, 2.0, score), metadata), tmp_path / "model.onnx")
    outputs = Classifier.load(tmp_path / "model.onnx").run(pixels)
    logits = layer(mean) / 2
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(outputs.probabilities, expected, atol=1e-4)
    assert np.allclose(outputs.ood_score, score(mean), rtol=1e-2, atol=1e-3)


def test_the_shipped_features_are_small() -> None:
    assert FEATURES.stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--image-size", "40"], "--image-size"), ([], "no such folder")],
)
def test_mistakes_are_one_line(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(tmp_path / "none"), *arguments]) != 0
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_fitting_imports_no_torch(photos: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from alexnet.probe.fit import fit; "
        f"fit(Path({str(photos)!r}), Path({str(tmp_path)!r}), {SIZE}, 0); "
        "assert not {'torch', 'scipy', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_without_the_extra_the_card_is_left_out(
    module: str,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == module or name == "alexnet.evaluation.plots"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(evaluation, "plots", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["fit", str(photos), "--image-size", SIZE, "--epochs", "0", "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"no card: it needs {module}: pip install 'alexnet-cifar10[evaluate]'" in said
    assert said.splitlines()[-1].startswith("done in ")
    assert json.loads((tmp_path / "config.json").read_text())["image_size"] == int(SIZE)
