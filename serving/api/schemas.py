"""The shapes of requests and responses, from which the OpenAPI description is made.

Responses are written field by field where they arise, since a model of pydantic costs more than the JSON itself; tests
hold every response to these shapes.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from alexnet.inference.prediction import DEFAULT_TOP_K
from serving.errors import CODES

_BASE64: Final = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "base64, with or without a `data:` prefix; URLs are not fetched",
}
# What client generators and Swagger UI take for a file.
FILE: Final[dict[str, Any]] = {"type": "string", "format": "binary"}

File = Annotated[bytes, WithJsonSchema(FILE)]
Base64 = Annotated[str, WithJsonSchema(_BASE64)]
TopK = Annotated[int, Field(ge=1, description="how many classes are named")]
Probability = Annotated[float, Field(ge=0, le=1)]


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


# A boolean that is absent where it means nothing, and never null.
MaybeBool = Annotated[bool | SkipJsonSchema[None], Field(json_schema_extra=_without_default)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageForm(_Shape):
    """One image as a form."""

    image: File
    top_k: TopK = DEFAULT_TOP_K


class ImagesForm(_Shape):
    """Many images as a form."""

    images: list[File]
    top_k: TopK = DEFAULT_TOP_K


class ImageJson(_Shape):
    """One image as JSON."""

    image: Base64
    top_k: TopK = DEFAULT_TOP_K


class ImagesJson(_Shape):
    """Many images as JSON."""

    images: list[Base64]
    top_k: TopK = DEFAULT_TOP_K


class Prediction(_Shape):
    """A class and its calibrated probability."""

    label: str = Field(description="a class of the model; `/model` lists them")
    score: Probability


class ModelName(_Shape):
    """The model that answered."""

    name: str
    sha256: str = Field(description="of the ONNX file")
    degraded: bool = Field(False, description="true where a GPU was preferred and the CPU computes")


class ImageResult(_Shape):
    """One image's classes, best first."""

    predictions: list[Prediction] = Field(min_length=1)
    unknown: MaybeBool = Field(
        None,
        description="whether the image probably shows none of the classes; absent where the model cannot tell",
    )


class Classification(ImageResult):
    """The answer to one image."""

    model: ModelName


class ImageError(_Shape):
    """Why one image of a batch has no result."""

    code: str
    message: str


class ImageFailure(_Shape):
    """An image of a batch without a result."""

    error: ImageError


class BatchClassification(_Shape):
    """The answer to many images: in their order, a result or an error for each."""

    results: list[ImageResult | ImageFailure]
    model: ModelName


class Runtime(_Shape):
    """Where the model runs."""

    provider: str = Field(description="ONNX Runtime's execution provider")
    degraded: bool
    threads: int
    onnxruntime: str = Field(description="version")


class Explanation(_Shape):
    """How much each part of an image matters for its best class, by occlusion."""

    label: str = Field(description="the best class")
    score: Probability
    grid: list[list[float]] = Field(
        description="rows of cells from top to bottom: the probability that the class loses when the parts of the "
        "image around that cell are covered; negative where it gains"
    )
    model: ModelName


class TestResult(_Shape):
    """How well this very file did on test images, none of which it was trained or selected on."""

    dataset: str
    images: int
    accuracy: Probability
    accuracy_interval_95: list[Probability] = Field(min_length=2, max_length=2)
    macro_f1: Probability
    expected_calibration_error: Probability


class PhotoTest(_Shape):
    """How well this very file did on camera photos of its classes, and of other things."""

    images: int = Field(description="photos of the classes")
    accuracy: Probability
    unknown: Probability | None = Field(description="the fraction of them that is called unknown")
    others: int | None = Field(description="photos of other things")
    others_unknown: Probability | None = Field(description="the fraction of those that is called unknown")


class ValidationResult(_Shape):
    """How well the trained network did on the validation images by which its epoch was chosen."""

    accuracy: Probability


class ModelInfo(_Shape):
    """What is known about the model."""

    name: str
    version: str | None = Field(description="the run, and the start of its checkpoint's SHA-256")
    sha256: str = Field(description="of the ONNX file")
    license: str | None = Field(description="of the weights")
    classes: list[str]
    image_size: list[int] = Field(min_length=2, max_length=2, description="height and width in pixels")
    run: str | None = Field(description="the training run")
    test: TestResult | None = Field(description="null where nobody has measured this very file")
    photos: PhotoTest | None
    validation: ValidationResult | None
    temperature: float | None = Field(description="by which the probabilities were calibrated")
    unknown_threshold: float | None = Field(description="OOD score above which an image is `unknown`")
    samples: list[str] = Field(description="classes of which the page at `/ui` has an example")
    card: bool = Field(description="whether the model card is at `/ui/card.md`")
    runtime: Runtime


class Readiness(_Shape):
    """Whether requests are taken."""

    ready: bool
    provider: str
    degraded: bool


class Error(_Shape):
    """What went wrong. Programs should go by the code."""

    code: Literal[tuple(CODES)]  # type: ignore[valid-type]
    message: str
    request_id: str = Field(description="also in the header X-Request-Id and in the log")


class ErrorResponse(_Shape):
    """Every error, of whatever layer."""

    error: Error
