"""`alexnet predict`: the service's own answers for every image, a row for every mistake, whatever is asked for."""

import asyncio
import csv
import io
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.batch import command as batch
from alexnet.batch import pipeline, sources
from alexnet.batch.pipeline import Job, Limits, Predictor
from alexnet.cli import main
from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode, to_png
from alexnet.paths import ROOT
from tests import images
from tests.conftest import FIXTURE
from tests.models import CLASSES, write_model

CAT = FIXTURE / "cat" / "00000.png"
# What is in a folder of mistakes, and the code of each; None for a whole image.
MIXED: dict[str, tuple[bytes, str | None]] = {
    "0 cat.png": (CAT.read_bytes(), None),
    "1 empty.png": (b"", "empty_image"),
    "2 text.png": (b"no image", "unsupported_format"),
    "3 half.png": (CAT.read_bytes()[:300], "truncated_image"),
    "4 photo.jpg": (images.encode(images.photo(), "JPEG"), None),
    "5 claims.png": (images.png(60_000, 60_000, b""), "too_many_pixels"),
    "6 cat.parquet": (CAT.read_bytes(), "damaged_parquet"),
    "7 large.bin": (bytes(10_000_001), "body_too_large"),
    "8 no ending": (images.encode(images.photo(), "WebP"), None),
}


@pytest.fixture(scope="module")
def tiny(session_path: Path) -> Path:
    """A model of milliseconds."""
    return write_model(session_path / "predict" / "tiny.onnx")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of whole and broken files."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, (content, _) in MIXED.items():
        (folder / name).write_bytes(content)
    (folder / "9 gone.png").symlink_to("nowhere")
    return folder


def predict(model: Path, output: Path, *arguments: object) -> list[dict[str, str]]:
    """The rows of the table that the command writes."""
    assert main(["predict", *map(str, arguments), "--model", str(model), "--output", str(output)]) == 0
    with output.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_image_has_what_the_classifier_says_of_it_in_order(tiny: Path, tmp_path: Path) -> None:
    rows = predict(tiny, tmp_path / "out.csv", FIXTURE, "--part", 90, "--top-k", 2)
    files = sorted(FIXTURE.glob("*/*.png"))
    assert [row["path"] for row in rows] == [str(file) for file in files]
    classifier = Classifier(tiny, threads=1)
    for file, row in zip(files, rows, strict=True):
        (probabilities,) = classifier.run(decode(file.read_bytes(), 32, 32)[None]).probabilities
        best = probabilities.argsort()[::-1][:2]
        assert [row["label"], row["label_2"]] == [CLASSES[i] for i in best]
        scores = [float(row["score"]), float(row["score_2"])]
        assert scores == pytest.approx([float(probabilities[i]) for i in best], abs=2e-6)
    assert set(rows[0]) == {"path", "row", "label", "score", "label_2", "score_2", "error", "message"}
    assert len({row["score"] for row in rows}) > 150  # no score is of a neighbour


def test_a_broken_file_is_a_row_with_the_code_of_the_service(tiny: Path, tmp_path: Path, mixed: Path) -> None:
    rows = predict(tiny, tmp_path / "out.csv", mixed)
    assert [Path(row["path"]).name for row in rows] == [*MIXED, "9 gone.png"]
    assert [row["error"] or None for row in rows] == [*(code for _, code in MIXED.values()), "unreadable_file"]
    for row in rows:
        assert bool(row["label"]) != bool(row["error"])
        assert bool(row["score"]) != bool(row["message"])
    assert rows[-1]["message"] == "The file cannot be read: No such file or directory."


def test_the_service_answers_the_same(tiny: Path, tmp_path: Path, mixed: Path) -> None:
    from serving.app import Api
    from serving.inference.pipeline import Capacity
    from serving.metrics import Metrics
    from serving.settings import Settings

    api = Api(Classifier(tiny, threads=1), Settings(), Metrics(), Capacity(1))
    rows = predict(tiny, tmp_path / "out.csv", mixed)
    for row in rows:
        if row["error"] in ("unreadable_file", "damaged_parquet", "body_too_large"):
            continue
        found = _ask(api, Path(row["path"]).read_bytes())
        if row["error"]:
            assert found["error"]["code"] == row["error"]
            # The service has a limit of memory as well, and says which of both an image passes.
            assert found["error"]["message"] == row["message"] or row["error"] == "too_many_pixels"
        else:
            assert found["predictions"][0]["label"] == row["label"]
            assert found["predictions"][0]["score"] == pytest.approx(float(row["score"]), abs=2e-6)


def _ask(api: Any, content: bytes) -> Any:
    from serving.errors import RequestError
    from serving.inference.pipeline import ClassifyRequest

    (result,) = asyncio.run(api.pipeline.classify(ClassifyRequest([content], 5)))
    return {"error": result.describe()} if isinstance(result, RequestError) else result.describe()


def test_an_error_does_not_hold_on_to_its_file(tiny: Path, mixed: Path) -> None:
    job = Job(tiny, 1, None, Limits(10**7, 10**7))
    with Predictor(job) as predictor:
        ((_, rows),) = predictor.rows(sources.divide(sources.find([str(mixed)]), 100))
    errors = [row.error for row in rows if row.error is not None]
    assert len(errors) == 7
    assert all(error.__traceback__ is None and error.__context__ is None for error in errors)


def test_the_unknown_column_is_there_where_the_model_tells(
    session_path: Path, tmp_path: Path, mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(session_path / "predict" / "unknown.onnx", detects_ood=True)
    white = mixed / "white.png"
    white.write_bytes(to_png(np.full((32, 32, 3), 255, np.uint8)))
    rows = predict(model, tmp_path / "out.csv", CAT, white, mixed / "2 text.png", CAT)
    assert [row["unknown"] for row in rows] == ["false", "true", "", "false"]
    assert list(rows[0])[-3:] == ["unknown", "error", "message"]
    # For programs and for eyes too.
    assert main(["predict", str(white), str(CAT), "--model", str(model), "--json"]) == 0
    assert [json.loads(line)["unknown"] for line in capsys.readouterr().out.splitlines()] == [True, False]
    assert main(["predict", str(white), str(CAT), "--model", str(model)]) == 0
    assert " ".join(capsys.readouterr().out.split()).count("probably none of these classes") == 1


def test_the_limits_are_those_of_the_service(
    tiny: Path, tmp_path: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALEXNET_MAX_PIXELS", "2000")
    monkeypatch.setenv("ALEXNET_MAX_BODY_BYTES", "2700")
    rows = {Path(row["path"]).name: row["error"] for row in predict(tiny, tmp_path / "out.csv", mixed)}
    assert rows["0 cat.png"] == ""
    assert rows["4 photo.jpg"] == ("body_too_large" if len(MIXED["4 photo.jpg"][0]) > 2700 else "too_many_pixels")
    assert rows["8 no ending"] == "too_many_pixels"


def test_parquet_in_and_out(tiny: Path, tmp_path: Path, mixed: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    files = sorted(FIXTURE.glob("*/*.png"))[:70]
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    images[3] = {"bytes": b"no image", "path": "broken"}
    images[4] = {"bytes": None, "path": "none"}
    shard = tmp_path / "shards" / "a.parquet"
    shard.parent.mkdir()
    parquet.write_table(pyarrow.table({"image": images, "n": list(range(70))}), shard, row_group_size=25)
    expected = predict(tiny, tmp_path / "files.csv", *files)

    rows = predict(tiny, tmp_path / "rows.csv", shard.parent, files[0], "--part", 20)
    assert [(row["path"], row["row"]) for row in rows[:70]] == [(str(shard), str(n)) for n in range(70)]
    assert (rows[70]["path"], rows[70]["row"]) == (str(files[0]), "")
    assert [row["error"] for row in rows[3:5]] == ["unsupported_format", "missing_image"]
    for n in {*range(70)} - {3, 4}:
        assert rows[n]["label"] == expected[n]["label"]
        assert float(rows[n]["score"]) == pytest.approx(float(expected[n]["score"]), abs=2e-6)

    out = tmp_path / "out.parquet"
    arguments = ["predict", str(shard), "--model", str(tiny), "--output", str(out), "--part", "20"]
    assert main(arguments) == 0
    table = parquet.read_table(out).to_pylist()
    assert [row["row"] for row in table] == list(range(70))
    assert [row["label"] for row in table] == [row["label"] or None for row in rows[:70]]
    assert table[3]["error"] == "unsupported_format"
    assert table[3]["score"] is None


def test_bars_in_the_terminal(tiny: Path, mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(CAT), "--model", str(tiny), "--top-k", "3"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert str(CAT).startswith(title)
    lines = [line for line in lines if " %" in line]
    assert len(lines) == 3
    assert all(line.split()[0] in CLASSES for line in lines)
    lengths = [line.count("━") for line in lines]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 0
    # A script sees that an image could not be read; the others are shown all the same.
    assert main(["predict", str(mixed / "2 text.png"), str(CAT), "--model", str(tiny)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "(unsupported_format)" in out
    assert " %" in out


def test_many_images_are_a_line_each(tiny: Path, mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(FIXTURE), str(mixed), "--model", str(tiny), "--top-k", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 210
    files = sorted(FIXTURE.glob("*/*.png"))
    for file, line in zip(files, lines, strict=False):
        path, label, score, percent = line.split()
        assert (path, percent) == (str(file), "%")
        assert label in CLASSES
        assert float(score) <= 100
    assert lines[201].endswith("(empty_image)")


@pytest.mark.parametrize("threads", [1, 3])
def test_one_batch_is_decoded_by_all_threads(tiny: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    together = threading.Barrier(threads)

    def decode_together(*_: object) -> np.ndarray:
        together.wait(30)  # broken unless so many decode at once
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr(pipeline.decode, "decode", decode_together)
    job = Job(tiny, 1, None, Limits(), threads=threads)
    files = [str(file) for file in sorted(FIXTURE.glob("*/*.png"))[: 20 * threads]]  # less than a batch
    with Predictor(job, Classifier(tiny, threads=1)) as predictor:
        ((_, rows),) = predictor.rows(sources.divide(sources.find(files), 100))
    assert [row.path for row in rows] == files
    assert all(row.error is None for row in rows)


def test_brackets_in_names_are_no_markup(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(CAT, tmp_path / "[red]x.png")
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "[red]x.png", "--model", str(tiny)]) == 0
    assert "[red]x.png" in capsys.readouterr().out


def test_json_lines_for_programs(tiny: Path, mixed: Path) -> None:
    out = io.StringIO()
    assert batch.predict([str(mixed), str(FIXTURE)], tiny, batch.Options(top_k=2), as_json=True, out=out) == 7
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == 210
    assert lines[1]["error"]["code"] == "empty_image"
    assert [item["label"] in CLASSES for item in lines[0]["predictions"]] == [True, True]


def test_a_reader_that_has_enough_is_no_error(tiny: Path) -> None:
    command = f"{sys.executable} -m alexnet predict {FIXTURE} {FIXTURE} --json --model {tiny} | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert json.loads(done.stdout)["path"] == str(FIXTURE / "airplane" / "00003.png")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["absent.png"], "absent.png: there is no such file or folder, and nothing that matches"),
        (["{cat}", "--output", "x.txt"], "--output x.txt: its name must end in .csv or .parquet"),
        (["{cat}", "--output", "x"], "its name must end in .csv or .parquet"),
        (["{cat}", "--top-k", "0"], "--top-k is 0: it must be greater than or equal to 1"),
        (["{cat}", "--top-k", "11"], "--top-k is 11; the model has 10 classes"),
        (["{cat}", "--part", "-1"], "--part is -1: it must be greater than or equal to 1"),
        (["{cat}", "--resume"], "--ray, --resume and --overwrite are for --output FILE"),
        (["{cat}", "--output", "x.csv", "--resume", "--overwrite"], "give one of them"),
        (["{cat}", "--output", "x.csv", "--json"], "--json is for standard output"),
        (["{cat}", "--output", "x.csv", "--ray", "photos/"], "--ray photos/: not local, auto or HOST:PORT"),
        (["{cat}", "--model", "absent.onnx"], "absent.onnx: No such file or directory; make a model"),
        (["{empty}"], "no image in"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    given = [item.format(fixture=FIXTURE, cat=CAT, empty=empty) for item in arguments]
    model = [] if "--model" in given else ["--model", str(tiny)]
    assert main(["predict", *given, *model]) in (1, 2)
    errors = capsys.readouterr().err
    assert complaint in errors
    assert errors.count("\n") == 1
    assert list(empty.iterdir()) == []


def test_csv_needs_nothing_beyond_the_serving_packages(tiny: Path, tmp_path: Path) -> None:
    absent = ("torch", "matplotlib", "pyarrow", "pandas", "ray")
    code = f"import sys; sys.modules |= dict.fromkeys({absent}); from alexnet.cli import main; "
    code += "sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "predict", str(CAT), "--model", str(tiny), "--output"]
    done = subprocess.run([*command, str(tmp_path / "x.csv")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.csv").read_text().count("\n") == 2
    for more, missing in ((["x.parquet"], "[parquet]"), (["x.csv", "--overwrite", "--ray", "local"], "[ray]")):
        given = [*command, str(tmp_path / more[0]), *more[1:]]
        done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"pip install 'alexnet-cifar10{missing}'" in done.stderr
        assert done.stderr.count("\n") == 1
