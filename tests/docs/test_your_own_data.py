"""docs/guide/your-own-data.md is true: its lines make images, a model and a service; its answers are the code's."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexnet import datasets
from alexnet.cli import main
from alexnet.datasets import Fingerprint
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from alexnet.paths import ROOT
from benchmarks.harness import serving
from tests.alexnet.datasets.test_image_folder import put
from tests.conftest import WIDTH

TEXT = (ROOT / "docs" / "guide" / "your-own-data.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
CLASSES = ("bird", "cat", "ship")


def test_the_tour_works_by_copying_the_lines(
    tmp_path: Path, init_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.optim import losses

    # Seconds in place of minutes: the smallest network.
    small = {
        "train": f"--epochs 2 --width {WIDTH} --init {init_file} --input-size 63 --batch-size 8 --dropout 0.1 "
        "--device cpu",
        "compress": "--max-drop 100",
    }
    weights = []

    def loss(*arguments: Any, plain: Callable[..., Any] = losses.mean) -> Any:
        weights.append(arguments[2])
        return plain(*arguments)

    monkeypatch.setattr(losses, "mean", loss)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (making,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(making, {})  # as a reader would run it
    said = {}
    for command in (line for line in COMMANDS if line.startswith("alexnet ")):
        words = [*shlex.split(command)[1:], *small.get(command.split()[1], "").split()]
        assert main(words) == 0, command
        said[words[0]] = capsys.readouterr().out

    assert "29 images to train on (bird 12, cat 12, ship 5), 7 held out\n" in said["train"]
    assert "the number to watch is the macro F1 of `alexnet evaluate`\n" in said["train"]
    assert weights[0].tolist() == pytest.approx([29 / 36, 29 / 36, 29 / 15])
    model = Classifier(Path("runs/photos/model.onnx"))
    assert (model.name, model.classes) == ("alexnet", CLASSES)
    assert model.metadata.settings is not None
    assert model.metadata.settings.validation_images == 7
    assert model.metadata.image_folder_sha256 == datasets.open(Path("photos")).fingerprint.sha256
    metrics = json.loads(Path("runs/photos/metrics.json").read_text())
    assert {name: row["support"] for name, row in metrics["classes"].items()} == {"bird": 5, "cat": 5, "ship": 2}
    assert (metrics["data"]["also_trained_on"], metrics["data"]["unreadable"]) == (0, 0)
    held_out = json.loads(Path("runs/photos/small/metrics.json").read_text())["data"]
    assert (held_out["images"], held_out["training_images"]) == (7, 29)
    assert len(re.findall(r"^ (?:bird|cat|ship) +\S+ +\d+\.\d %$", said["predict"], re.MULTILINE)) == 6
    assert Path("runs/photos/model.onnx").stat().st_size > 20 * Path("runs/photos/small.onnx").stat().st_size

    assert main(["train", "--resume", "runs/photos", "--data", "photos", "--epochs", "3"]) == 0
    assert "epoch 3/3" in capsys.readouterr().out
    assert main(["report", "runs/photos"]) == 1  # no test/ and validation/ in it
    _serve([line for line in COMMANDS if not line.startswith("alexnet ")], tmp_path)


def _serve(lines: list[str], folder: Path) -> None:
    service, question = lines
    variable, *rest = service.split()
    assert rest == ["bentoml", "serve"]
    name, _, path = variable.partition("=")
    assert question.startswith("curl ")
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    with serving(**{name: str(folder / path), "ALEXNET_THREADS": "1"}) as server:
        words = shlex.split(question.replace("http://127.0.0.1:3000", server.url))
        found = subprocess.run([words[0], "-sS", *words[1:]], cwd=folder, capture_output=True, check=True)
    answer = json.loads(found.stdout)
    assert sorted(prediction["label"] for prediction in answer["predictions"]) == list(CLASSES)
    assert answer["model"]["name"] == "alexnet"
    assert "unknown" in answer


def _no_such_folder() -> None:
    datasets.open(Path("photo"))


def _one_class() -> None:
    shutil.rmtree("photos/train/dog")
    _read()


def _empty_class() -> None:
    for file in Path("photos/train/dog").iterdir():
        file.unlink()
    _read()


def _class_in_test_alone() -> None:
    put(Path("photos/test"), "wolf", 0, 1, of="dog")
    _read()


def _no_test() -> None:
    shutil.rmtree("photos/test")
    datasets.open(Path("photos")).test(Fingerprint(("cat", "dog")), Path("model.onnx"))


def _other_classes() -> None:
    datasets.open(Path("photos")).check(Fingerprint(("bee", "wasp"), "0"), Path("model.onnx"))


def _too_many_held_out() -> None:
    datasets.open(Path("photos")).split(50, 0)


def _broken_image() -> None:
    file = next(Path("photos/train/cat").iterdir())
    Path("photos/train/cat/1.jpg").write_bytes(file.read_bytes()[:-100])
    datasets.open(Path("photos")).prepare()


def _read() -> None:
    datasets.open(Path("photos")).split(1, 0)


@pytest.mark.parametrize(
    ("found", "mistake"),
    [
        ("no such folder", _no_such_folder),
        ("one class", _one_class),
        ("an empty class", _empty_class),
        ("a class in test/ alone", _class_in_test_alone),
        ("no test/", _no_test),
        ("a model of other classes", _other_classes),
        ("too many held out", _too_many_held_out),
        ("a broken image", _broken_image),
    ],
)
def test_the_answers_to_mistakes_are_those_of_the_page(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: str,
    mistake: Callable[[], None],
) -> None:
    (table,) = re.findall(r"<!-- answers -->\n(.*?)<!-- /answers -->", TEXT, re.DOTALL)
    answers = dict(re.findall(r"^\| ([^|]+) \| `(.+)` \|$", table, re.MULTILINE))
    monkeypatch.chdir(tmp_path)
    put(Path("photos/train"), "cat", 0, 3)
    put(Path("photos/train"), "dog", 0, 3)
    put(Path("photos/test"), "cat", 3, 1)
    try:
        mistake()
        said = capsys.readouterr().err.splitlines()
    except UserError as error:
        said = [str(error)]
    assert answers[found] in said
    assert len(answers) == 8
