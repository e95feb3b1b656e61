"""What a model file says about itself.

In and out: the metadata of an ONNX file, text by key (`metadata_props`). This module alone knows the keys; everything
else reads and writes the fields of `ModelMetadata`. No path is stored: a file is named by its name, a run's checkpoint
also by its run.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

Precision = Literal["fp32", "fp16", "int8"]
Environment = dict[str, str | int]  # what `alexnet.environment.describe` returns
Setting = bool | int | float | str | tuple[str, ...] | None


def name_of(path: str) -> str:
    """The name that stands for `path` in metadata: `model.safetensors`; of a run's checkpoint `run/best.pt`."""
    parts = [part for part in re.split(r"[\\/]", path) if part]
    return "/".join(parts[-2 if path.endswith(".pt") else -1 :])


def _name_within(value: Any) -> Any:
    if isinstance(value, str):
        return name_of(value)
    return tuple(_name_within(item) for item in value) if isinstance(value, list | tuple) else value


Name = Annotated[str, BeforeValidator(_name_within)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class TrainingSettings(_Record):
    """The settings of the run that trained the weights: those that later steps read, and the others as JSON values."""

    model_config = ConfigDict(extra="allow")

    network: str
    epochs: int
    seed: int
    validation_images: int
    init: Name
    __pydantic_extra__: dict[str, Annotated[Setting, BeforeValidator(_name_within)]]


class ValidationMetrics(_Record):
    """The trainer's row of the exported epoch: losses in nats per image, accuracies from 0 to 1.

    `validation_*` are measured on the images that the run held out, with the weights in the file before compression.
    """

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    learning_rate: float


class CompressionStep(_Record):
    """A step of `alexnet compress`, measured on the validation images: None where only the latency was measured.

    `agreement` is the share of images that get the class that the exported network gives them; `latency_ms` the median
    latency in milliseconds by batch size.
    """

    name: str
    bytes: int
    multiply_adds: int | None = None
    accuracy: float | None
    macro_f1: float | None
    agreement: float | None
    latency_ms: dict[int, float]


class OodFit(_Record):
    """The constants of the OOD score, and its mean AUROC on the out-of-distribution images, of these `kinds`, that it
    was chosen on.
    """

    distance: Literal["mahalanobis", "centroids"] = "mahalanobis"
    energy_temperature: float
    energy_slope: float
    distance_slope: float
    offset: float | None = None
    auroc: float
    kinds: tuple[str, ...]


class Calibration(_Record):
    """Expected calibration error (0 to 1) and negative log-likelihood (nats per image) on the validation images."""

    expected_calibration_error: float
    negative_log_likelihood: float


class Compression(_Record):
    """What `alexnet compress` was asked for, tried and measured; `ranks_tried` is macro F1 by rank.

    `photos_sha256` is the digest of the development photos that chose the OOD score, None without.
    """

    rank_asked: int | None
    max_drop: float
    validation_images: int
    fine_tune_steps: int
    ranks_tried: dict[int, float]
    ood: OodFit
    photos_sha256: str | None = None
    steps: tuple[CompressionStep, ...]


class ModelMetadata(_Record):
    """All that a model file says about itself; only `name` and `classes` are required.

    `input_size` is the side in pixels to which the network resizes its input; `rank` is None where no layer was
    factorised; `image_folder_sha256` is the digest of the image folder it was trained on, None for CIFAR-10;
    `training_images` is how many it had to learn from; `uncalibrated` is what the file would score without its
    temperature; `resize_filter` is Pillow's filter with which photos were shrunk when it was made; `sources` says which
    images beyond the data set it was trained on, and under which terms.
    """

    name: str
    classes: tuple[str, ...] = Field(min_length=1)
    input_size: int | None = None
    precision: Precision = "fp32"
    rank: int | None = None
    temperature: float | None = None
    temperature_slope: float = 0.0
    temperature_certainty_slope: float = 0.0
    ood_threshold: float | None = Field(None, alias="unknown_threshold")
    resize_filter: str | None = None
    license: str | None = None
    sources: str | None = None

    run: Name | None = None
    checkpoint_sha256: str | None = None
    image_folder_sha256: str | None = None
    training_images: int | None = None
    init_sha256: str | None = None
    teacher_sha256: tuple[str, ...] | None = None
    settings: TrainingSettings | None = None
    validation: ValidationMetrics | None = None
    uncalibrated: Calibration | None = None
    exported_with: Environment | None = None
    compression: Compression | None = None
    compressed_with: Environment | None = None

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) < len(classes):
            raise ValueError("two classes have the same name")
        return classes

    def to_props(self) -> dict[str, str]:
        """The metadata of an ONNX file, text by key; what is not known is left out."""
        values = self.model_dump(mode="json", exclude_none=False)
        return {
            key: value if key in _TEXT else json.dumps(value, ensure_ascii=False)
            for key, value in values.items()
            if value is not None
        }

    @classmethod
    def from_props(cls, props: Mapping[str, str]) -> Self:
        """Read what `to_props` wrote; other keys are ignored. Raises `ValueError` with the key and the reason."""
        values = {key: text if key in _TEXT else _parse(key, text) for key, text in props.items() if key in _KEYS}
        try:
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ValueError(f"{place}: {first['msg'].removeprefix('Value error, ')}") from error


def _parse(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{key}: not JSON ({error})") from error


_KEYS: Final = frozenset(field.alias or name for name, field in ModelMetadata.model_fields.items())
# Keys whose text is the value itself; that of the others is JSON.
_TEXT: Final = frozenset(
    {"name", "precision", "resize_filter", "license", "sources", "run"}
    | {"checkpoint_sha256", "image_folder_sha256", "init_sha256"}
)
