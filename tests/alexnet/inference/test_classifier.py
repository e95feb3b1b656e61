"""From pixels to probabilities, and the ways in which a model file or a GPU can be missing or wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from alexnet import files
from alexnet.datasets import Images
from alexnet.errors import ImageError, UserError
from alexnet.inference import session
from alexnet.inference.classifier import Classifier
from alexnet.inference.decode import decode
from alexnet.paths import MODEL, ROOT
from tests.conftest import FIXTURE
from tests.models import CLASSES, SIDE, VALIDATION, write_model

BOTH = ("onnxruntime", "onnxruntime-gpu")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime finds no CUDA here, whatever the machine has."""
    monkeypatch.setattr(session.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])


def test_rows_add_up_to_one_and_do_not_depend_on_their_neighbours(tiny_model: Path, fixture_images: Images) -> None:
    model = Classifier(tiny_model, threads=1)
    pixels = fixture_images.pixels[:33]
    together = model.run(pixels).probabilities
    assert together.shape == (33, len(CLASSES))
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    for place in (0, 7, 32):
        np.testing.assert_allclose(model.run(pixels[place : place + 1]).probabilities[0], together[place], atol=1e-6)


def test_an_empty_batch_has_no_rows(tiny_model: Path) -> None:
    empty = np.empty((0, SIDE, SIDE, 3), np.uint8)
    assert Classifier(tiny_model, threads=1).run(empty).probabilities.shape == (0, len(CLASSES))


def test_a_model_that_runs_out_of_memory_says_so() -> None:
    program = """
import resource
from pathlib import Path
import numpy as np
from alexnet import Classifier
model = Classifier.load(threads=1)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 30_000_000,) * 2)
try:
    model.run(np.zeros((512, *model.image_shape), np.uint8))
except MemoryError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "the model needs more memory for 512 images than there is\n", done.stderr


def test_our_own_mistakes_are_asserted(tiny_model: Path) -> None:
    model = Classifier(tiny_model, threads=1)
    with pytest.raises(AssertionError):
        model.run(np.zeros((1, SIDE, SIDE, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        model.run(np.zeros((1, SIDE, SIDE + 1, 3), np.uint8))


def test_all_that_is_said_about_a_model_is_read_from_its_file(tmp_path: Path) -> None:
    described = {
        "name": "other",
        "classes": '["a", "b", "c"]',
        "input_size": "63",
        "validation": json.dumps(VALIDATION),
    }
    path = write_model(tmp_path / "model.onnx", classes=("a", "b", "c"), metadata=described)
    model = Classifier(path, threads=2)
    assert model.name == "other"
    assert model.classes == ("a", "b", "c")
    assert model.metadata.input_size == 63
    assert model.metadata.validation is not None
    assert model.metadata.validation.model_dump() == VALIDATION
    assert model.image_shape == (SIDE, SIDE, 3)
    assert (model.threads, model.provider, model.degraded) == (2, "CPUExecutionProvider", False)


def test_the_sha_256_is_that_of_the_file(tiny_model: Path) -> None:
    import hashlib

    assert Classifier(tiny_model, threads=1).sha256 == hashlib.sha256(tiny_model.read_bytes()).hexdigest()


def test_what_export_writes_is_what_serving_reads(small_model: Path, fixture_images: Images) -> None:
    model = Classifier(small_model, threads=1)
    assert model.classes == CLASSES
    np.testing.assert_allclose(model.run(fixture_images.pixels[:2]).probabilities.sum(axis=1), 1, atol=1e-5)


def refused(path: Path, **options: object) -> str:
    """The one line with which the model is refused."""
    with pytest.raises(UserError) as caught:
        Classifier(path, threads=1, **options)  # type: ignore[arg-type]
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_missing_model_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    assert "alexnet export" in refused(tmp_path / "none.onnx")
    assert str(tmp_path) in refused(tmp_path)  # a folder


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_model_that_may_not_be_read_is_one_line(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(tiny_model.read_bytes())
    path.chmod(0)
    assert "Permission denied" in refused(path)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_model_cut_short_is_one_line(kept: float, tiny_model: Path, tmp_path: Path) -> None:
    content = tiny_model.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: int(len(content) * kept)])
    assert str(path) in refused(path)


@pytest.mark.parametrize("content", [b"hello", b"\0" * 1000, b"PK\x03\x04", b"\x80\x04N."])
def test_a_file_that_is_no_model_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert str(path) in refused(path)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"name": "x"},
        {"classes": json.dumps(CLASSES)},
        {"name": "x", "classes": "cat, dog"},
        {"name": "x", "classes": "7"},
        {"name": "x", "classes": '"abcdefghij"'},
        {"name": "x", "classes": "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"},
        {"name": "x", "classes": json.dumps(["cat"] * 10)},
        {"name": "x", "classes": json.dumps(CLASSES), "validation": "{"},
        {"name": "x", "classes": json.dumps(CLASSES), "validation": '{"epoch": 1}'},
        {"name": "x", "classes": json.dumps(CLASSES), "input_size": "large"},
    ],
)
def test_a_model_with_wrong_or_without_labels_is_refused(metadata: dict[str, str], tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", metadata=metadata)
    assert "alexnet export" in refused(path)


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        ("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3]),
        ("pixels", TensorProto.FLOAT, ["N", SIDE, SIDE, 3]),
        ("pixels", TensorProto.UINT8, ["N", 3, SIDE, SIDE]),
        ("pixels", TensorProto.UINT8, ["N", "H", "W", 3]),
        ("pixels", TensorProto.UINT8, [1, SIDE, SIDE, 3]),
        ("pixels", TensorProto.UINT8, ["N", SIDE * SIDE * 3]),
    ],
)
def test_a_model_with_another_signature_is_refused_with_its_own(
    name: str, kind: int, shape: list[object], tmp_path: Path
) -> None:
    described = {"name": "x", "classes": json.dumps(CLASSES)}
    nodes = [
        helper.make_node("Cast", [name], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["cast"], ["flat"]),
        helper.make_node("Slice", ["flat", "start", "stop", "axis"], ["probabilities"]),
    ]
    numbers = {"start": 0, "stop": len(CLASSES), "axis": 1}
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [shape[0], len(CLASSES)])],
        [helper.make_tensor(key, TensorProto.INT64, [1], [value]) for key, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, described)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert "not pixels uint8 [N, height, width, 3]" in refused(path)


@pytest.mark.usefixtures("no_gpu")
def test_a_required_gpu_that_is_missing_refuses_to_start(tiny_model: Path) -> None:
    assert "a GPU is required" in refused(tiny_model, gpu="require")


def test_a_required_gpu_that_is_missing_is_our_line_alone_and_later_lines_are_not_lost(
    tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if "CUDAExecutionProvider" not in session.ort.get_available_providers():
        pytest.skip("ONNX Runtime without CUDA does not try to load it")
    try:
        Classifier(tiny_model, threads=1, gpu="require")
        pytest.skip("there is a GPU")
    except UserError:
        assert capfd.readouterr().err == ""
    Classifier(tiny_model, threads=1, gpu="prefer")
    assert "CUDAExecutionProvider" in capfd.readouterr().err


@pytest.mark.usefixtures("no_gpu")
def test_a_preferred_gpu_that_is_missing_is_said(tiny_model: Path) -> None:
    model = Classifier(tiny_model, threads=1, gpu="prefer")
    assert model.degraded
    assert model.provider == "CPUExecutionProvider"
    assert not Classifier(tiny_model, threads=1).degraded


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("installed", "reason"),
    [
        (BOTH, "onnxruntime and onnxruntime-gpu are both installed"),
        (BOTH[:1], "onnxruntime-gpu is not installed"),
        (BOTH[1:], "CUDA, cuDNN or the driver"),
    ],
)
def test_why_there_is_no_gpu_is_said(
    installed: tuple[str, ...], reason: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "installed_runtimes", lambda: list(installed))
    assert reason in refused(tiny_model, gpu="require")


@pytest.mark.parametrize("packages", [(), BOTH[:1], BOTH[1:], BOTH])
def test_which_packages_of_onnx_runtime_are_installed(
    packages: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in packages:
        folder = tmp_path / f"{package.replace('-', '_')}-1.99.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.99\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert session.installed_runtimes() == list(packages)


def test_cuda_that_pip_installed_is_looked_for_when_a_gpu_is_wanted(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    monkeypatch.setattr(session.ort, "preload_dlls", lambda: looked.append(True))
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(session.ort, "get_available_providers", lambda: providers)
    Classifier(tiny_model, threads=1)
    assert looked == []
    Classifier(tiny_model, threads=1, gpu="prefer")
    assert looked == [True]


@pytest.mark.parametrize("module", ["alexnet.inference.classifier", "alexnet.doctor"])
def test_onnx_runtime_reports_to_nobody(module: str, tiny_model: Path, tmp_path: Path) -> None:
    # Its telemetry begins with a device id and a queue of reports in the home folder.
    code = f"import sys; from pathlib import Path; import {module}; from alexnet import machine\n"
    code += "machine.runtime()\n"
    code += "from alexnet.inference.classifier import Classifier; Classifier(Path(sys.argv[1]), threads=1)"
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment = {**kept, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, str(tiny_model)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.rglob("*")) == []


def test_threads_follow_the_usable_cpus(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alexnet.inference.classifier.usable_cpus", lambda: 3)
    assert Classifier(tiny_model).threads == 3
    assert Classifier(tiny_model, threads=1).threads == 1


def test_a_file_with_a_score_and_a_threshold_tells_what_is_unknown(tmp_path: Path) -> None:
    model = Classifier(write_model(tmp_path / "model.onnx", detects_ood=True), threads=1)
    pixels = np.stack([np.full((SIDE, SIDE, 3), value, np.uint8) for value in (0, 128, 255)])
    answers = model.run(pixels)
    assert answers.ood_score is not None
    np.testing.assert_allclose(answers.ood_score, [0, 128 / 255, 1], atol=1e-5)
    assert answers.is_ood is not None
    assert answers.is_ood.tolist() == [False, False, True]
    np.testing.assert_array_equal(answers.probabilities, model.run(pixels).probabilities)
    assert (model.metadata.temperature, model.metadata.ood_threshold) == (1.25, 0.9)


def test_a_file_from_before_unknown_things_is_served_and_does_not_tell(tiny_model: Path) -> None:
    model = Classifier(tiny_model, threads=1)
    answers = model.run(np.zeros((2, SIDE, SIDE, 3), np.uint8))
    assert answers.probabilities.shape == (2, len(CLASSES))
    assert answers.ood_score is None
    assert answers.is_ood is None
    assert not model.detects_ood


def test_a_score_without_a_threshold_tells_nothing(tmp_path: Path) -> None:
    described = {"name": "x", "classes": json.dumps(CLASSES)}
    path = write_model(tmp_path / "model.onnx", detects_ood=True, metadata=described)
    assert not Classifier(path, threads=1).detects_ood


def test_a_threshold_without_a_score_is_refused(tmp_path: Path) -> None:
    described = {"name": "x", "classes": json.dumps(CLASSES), "unknown_threshold": "0.5"}
    with pytest.raises(UserError, match="export it with"):
        Classifier(write_model(tmp_path / "model.onnx", metadata=described), threads=1)


@pytest.mark.parametrize("value", ['"0.5"', "true", "NaN", "[]", "high"])
def test_a_threshold_that_is_no_number_is_refused(tmp_path: Path, value: str) -> None:
    described = {"name": "x", "classes": json.dumps(CLASSES), "unknown_threshold": value}
    with pytest.raises(UserError, match="metadata are missing or damaged"):
        Classifier(write_model(tmp_path / "model.onnx", detects_ood=True, metadata=described), threads=1)


@pytest.mark.parametrize("named", [9, 11])
def test_another_number_of_classes_is_refused_with_both_numbers(named: int, tmp_path: Path) -> None:
    described = {"name": "x", "classes": json.dumps([f"class {place}" for place in range(named)])}
    path = write_model(tmp_path / "model.onnx", metadata=described)
    assert f"gives 10 probabilities, but names {named} classes" in refused(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_computes_nan_is_refused(value: float, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx")
    model = onnx.load(path)
    (weight,) = (item for item in model.graph.initializer if item.name == "weight")
    broken = numpy_helper.to_array(weight).copy()
    broken[0, 0] = value
    weight.CopyFrom(numpy_helper.from_array(broken, "weight"))
    onnx.save(model, path)
    assert "computes NaN or infinity" in refused(path)


def test_without_a_path_the_shipped_model_is_loaded() -> None:
    assert Classifier.load(threads=1).sha256 == files.sha256(MODEL)
    assert Classifier.load(str(MODEL), threads=1).name == "alexnet-cifar10"


CAT = FIXTURE / "cat" / "00000.png"


def test_an_image_is_a_path_bytes_a_pil_image_or_an_array(tmp_path: Path) -> None:
    model = Classifier.load(threads=1)
    with Image.open(CAT) as opened:
        image = opened.convert("RGB")
    kinds = [CAT, str(CAT), CAT.read_bytes(), image, np.asarray(image)]
    found = [model.predict(kind) for kind in kinds]
    assert (found[0].label, len(found[0].top), found[0].is_ood) == ("cat", 5, False)
    assert found[0].score == pytest.approx(float(model.run(np.asarray(image)[None]).probabilities.max()), abs=1e-6)
    assert all(prediction == found[0] for prediction in found)


def test_many_images_are_a_list_and_of_any_size() -> None:
    model = Classifier.load(threads=1)
    with Image.open(CAT) as opened:
        large = opened.convert("RGB").resize((320, 200))
    paths = sorted(FIXTURE.rglob("*.png"))[:70]
    found = model.predict([*paths, large], top_k=2)
    assert [len(prediction.top) for prediction in found] == [2] * 71
    outputs = model.run(np.stack([decode(path.read_bytes(), SIDE, SIDE) for path in paths]))
    assert [prediction.label for prediction in found[:70]] == [CLASSES[i] for i in outputs.probabilities.argmax(1)]
    assert outputs.is_ood is not None
    assert [prediction.is_ood for prediction in found[:70]] == outputs.is_ood.tolist()
    assert found[70].label == "cat"
    assert model.predict([]) == []
    assert len(model.predict(CAT, top_k=99).top) == 10


def test_what_is_no_image_is_said(tmp_path: Path) -> None:
    model = Classifier.load(threads=1)
    with pytest.raises(ImageError, match="not of a known image format"):
        model.predict(b"hello")
    with pytest.raises(FileNotFoundError):
        model.predict(tmp_path / "none.png")
    with pytest.raises(TypeError, match=r"float32 \[32, 32, 3\], not uint8 \[height, width, 3\]"):
        model.predict(np.zeros((32, 32, 3), np.float32))  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"uint8 \[32, 32\], not"):
        model.predict(np.zeros((32, 32), np.uint8))


@pytest.mark.parametrize(("spin", "entry"), [(True, "intra_op.spin_duration_us"), (False, "force_spinning_stop")])
def test_threads_stay_awake_after_a_run_only_where_that_is_wanted(spin: bool, entry: str) -> None:
    options = session.open_session(MODEL.read_bytes(), 2, spin=spin).get_session_options()
    assert options.get_session_config_entry(f"session.{entry}")
    other = ({"intra_op.spin_duration_us", "force_spinning_stop"} - {entry}).pop()
    with pytest.raises(Exception, match="does not have configuration"):
        options.get_session_config_entry(f"session.{other}")
