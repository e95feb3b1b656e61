"""The metadata of a model file: written and read back, refused where damaged, and free of paths."""

import json

import pytest

from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import (
    Calibration,
    Compression,
    CompressionStep,
    ModelMetadata,
    OodFit,
    TrainingSettings,
    ValidationMetrics,
    name_of,
)
from alexnet.paths import MODEL
from tests.models import VALIDATION

FULL = ModelMetadata(
    name="alexnet-cifar10",
    classes=("cat", "Größe"),
    input_size=160,
    precision="int8",
    rank=32,
    temperature=1.25,
    temperature_slope=0.5,
    temperature_certainty_slope=0.25,
    ood_threshold=0.1 + 0.2,
    resize_filter="MKS2013",
    license="Apache-2.0",
    sources="5,250 photos of a public set",
    training_images=28,
    run="/home/someone/runs/improved",
    checkpoint_sha256="0" * 64,
    image_folder_sha256="1" * 64,
    init_sha256="2" * 64,
    teacher_sha256=("3" * 64,),
    settings=TrainingSettings(
        network="alexnet",
        epochs=3,
        seed=0,
        validation_images=50,
        init=r"C:\weights\init.safetensors",
        teacher=("/dev/shm/runs/teacher/best.pt",),
        nesterov=True,
        weight_decay=5e-4,
    ),
    validation=ValidationMetrics.model_validate(VALIDATION),
    uncalibrated=Calibration(expected_calibration_error=0.08, negative_log_likelihood=0.27),
    exported_with={"cpu": "a CPU", "cpus": 2},
    compression=Compression(
        rank_asked=None,
        max_drop=0.2,
        validation_images=50,
        fine_tune_steps=600,
        ranks_tried={32: 0.94},
        ood=OodFit(energy_temperature=5, energy_slope=35, distance_slope=0.1, auroc=0.9, kinds=("noise", "flat")),
        steps=(
            CompressionStep(
                name="int8", bytes=1000, accuracy=0.9, macro_f1=None, agreement=1.0, latency_ms={1: 1.5, 32: 20.0}
            ),
        ),
    ),
    compressed_with={"cpu": "a CPU", "onnx": "1.23.2"},
)


def test_what_is_written_is_read_back() -> None:
    props = FULL.to_props()
    assert all(isinstance(value, str) for value in props.values())
    assert ModelMetadata.from_props(props) == FULL
    assert ModelMetadata.from_props({**props, "of another program": "{"}) == FULL
    assert len(props) == len(ModelMetadata.model_fields)


def test_the_keys_are_readable_from_other_languages() -> None:
    props = FULL.to_props()
    assert props["name"] == "alexnet-cifar10"
    assert json.loads(props["classes"]) == ["cat", "Größe"]
    assert props["unknown_threshold"] == "0.30000000000000004"  # of the output unknown_score
    assert json.loads(props["validation"])["validation_accuracy"] == 0.9


def test_what_is_not_known_is_left_out() -> None:
    props = ModelMetadata(name="x", classes=("a",)).to_props()
    slopes = {"temperature_slope": "0.0", "temperature_certainty_slope": "0.0"}
    assert props == {"name": "x", "classes": '["a"]', "precision": "fp32", **slopes}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("none", "none"),
        ("imagenet", "imagenet"),
        ("weights/init.safetensors", "init.safetensors"),
        ("/dev/shm/runs/teacher/best.pt", "teacher/best.pt"),
        ("best.pt", "best.pt"),
        ("/best.pt", "best.pt"),
        (r"C:\runs\first\best.pt", "first/best.pt"),
        ("", ""),
    ],
)
def test_a_path_is_its_name(path: str, name: str) -> None:
    assert name_of(path) == name


def test_no_path_gets_in() -> None:
    settings = FULL.settings
    assert settings is not None
    assert settings.init == "init.safetensors"
    assert settings.model_dump()["teacher"] == ("teacher/best.pt",)
    assert FULL.run == "improved"
    written = ModelMetadata.from_props({**FULL.to_props(), "run": "/srv/runs/first"})
    assert written.run == "first"


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("name", None, "name: Field required"),
        ("classes", None, "classes: Field required"),
        ("classes", "cat, dog", "classes: not JSON"),
        ("classes", "7", "classes: Input should be a valid array"),
        ("classes", '["a", "a"]', "classes: two classes have the same name"),
        ("classes", "[]", "classes: .* at least 1 item"),
        ("classes", "[1]", r"classes\.0: Input should be a valid string"),
        ("input_size", "63.5", "input_size: Input should be a valid integer"),
        ("unknown_threshold", '"0.5"', "unknown_threshold: Input should be a valid number"),
        ("unknown_threshold", "true", "unknown_threshold: Input should be a valid number"),
        ("temperature", "NaN", "temperature: Input should be a finite number"),
        ("precision", "int4", "precision: Input should be 'fp32', 'fp16' or 'int8'"),
        ("validation", '{"epoch": 1}', r"validation\.training_loss: Field required"),
        ("settings", "[]", "settings: Input should be an object"),
    ],
)
def test_damaged_metadata_are_refused_with_the_key_and_the_reason(key: str, text: str | None, reason: str) -> None:
    props = {name: value for name, value in FULL.to_props().items() if name != key}
    with pytest.raises(ValueError, match=f"^{reason}"):
        ModelMetadata.from_props(props if text is None else {**props, key: text})


def test_the_shipped_file_says_all_of_it_and_names_no_folder() -> None:
    metadata = Classifier(MODEL, threads=1).metadata
    assert metadata.settings is not None
    measured = ("validation", "uncalibrated") if metadata.settings.validation_images else ()
    for name in (*measured, "compression", "exported_with", "compressed_with", "run"):
        assert getattr(metadata, name) is not None, name
    assert b"/dev/" not in MODEL.read_bytes()
    assert b"/home/" not in MODEL.read_bytes()
    text = " ".join(metadata.to_props().values())
    assert metadata.teacher_sha256
    assert '"/' not in text
