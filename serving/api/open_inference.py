"""The Open Inference Protocol, version 2, over the same pipeline as `/classify`.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, with the binary extension of
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md, which Triton's
client uses unless told otherwise.

In: one tensor, `pixels` UINT8 [N, height, width, 3] RGB of the model's size, or `image` BYTES [N], image files (base64
in JSON). Out: `probabilities` FP32 [N, classes], and `unknown_score` FP32 [N] where the model has it, as the model
computes them, to the last bit.
"""

import functools
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from alexnet import __version__
from alexnet.inference.classifier import Classifier
from serving.api import routes
from serving.api.router import Handler
from serving.body import json_body
from serving.body.request import disconnected, receive
from serving.context import JSON_HEADERS
from serving.errors import RequestError
from serving.inference.pipeline import Pipeline, Row
from serving.inference.scheduler import Cost
from serving.limits import MemoryBudget
from serving.settings import Settings

PIXELS: Final = "pixels"
IMAGE: Final = "image"
PROBABILITIES: Final = "probabilities"
OOD_SCORE: Final = "unknown_score"

_VERSION: Final = "1"
_HEADER_LENGTH: Final = "inference-header-content-length"
_PARSING_BYTES: Final = 20  # for a byte of the body: a number of two letters becomes a Python object
_PARSING_SECONDS: Final = 1e-7


class _InputTensor(BaseModel):
    name: str
    shape: list[NonNegativeInt] = Field(max_length=8)
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = None


class _RequestedOutput(BaseModel):
    name: str
    parameters: dict[str, Any] = {}


class _InferRequest(BaseModel):
    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[_InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[_RequestedOutput] = []


@dataclass(frozen=True)
class InferInputs:
    """A parsed request: image files or pixels; the outputs that are wanted, and whether each is binary."""

    id: str | None
    outputs: dict[str, bool]
    images: Sequence[bytes | RequestError] = ()
    pixels: npt.NDArray[np.uint8] | None = None


class OpenInference:
    """The handlers of `/v2`."""

    def __init__(self, classifier: Classifier, settings: Settings, memory: MemoryBudget, pipeline: Pipeline) -> None:
        self._settings = settings
        self._memory = memory
        self._pipeline = pipeline
        self._name = classifier.name
        self._image_shape = classifier.image_shape
        self._shapes = {PROBABILITIES: [-1, len(classifier.classes)]}
        if classifier.detects_ood:
            self._shapes[OOD_SCORE] = [-1]

    def handlers(self) -> dict[str, dict[str, Handler]]:
        """Path to method to handler."""
        found: dict[str, dict[str, Handler]] = {
            routes.V2: {
                "GET": _answer({"name": "alexnet", "version": __version__, "extensions": ["binary_tensor_data"]})
            },
            routes.V2_LIVE: {"GET": _answer({"live": True})},
            routes.V2_READY: {"GET": _answer({"ready": True})},
        }
        for model in (f"{routes.V2_MODELS}/{self._name}", f"{routes.V2_MODELS}/{self._name}/versions/{_VERSION}"):
            found[model] = {"GET": _answer(self._metadata())}
            found[f"{model}/ready"] = {"GET": _answer({"name": self._name, "ready": True})}
            found[f"{model}/infer"] = {"POST": self.infer}
        return found

    async def infer(self, request: Request) -> Response:
        """Run the model on one tensor."""
        with self._memory.hold() as hold:
            body = await receive(request, self._settings, hold)
            length = request.headers.get(_HEADER_LENGTH)
            shape, max_images = self._image_shape, self._settings.max_images
            work = functools.partial(parse, body, length, shape, max_images, tuple(self._shapes))
            inputs = await self._pipeline.offload(work, Cost(_PARSING_BYTES * len(body), _PARSING_SECONDS * len(body)))
            if inputs.pixels is not None:
                rows = await self._pipeline.infer_pixels(inputs.pixels, disconnected(request))
            else:
                rows = await self._pipeline.infer(inputs.images, disconnected(request))
        good: list[Row] = []
        for place, row in enumerate(rows):
            if isinstance(row, RequestError):
                raise RequestError(row.code, f"image {place}: {row}", row.retry_seconds)
            good.append(row)
        classes = self._shapes[PROBABILITIES][1]
        values = {
            PROBABILITIES: np.array([row[0] for row in good], np.float32).reshape(len(good), classes),
            OOD_SCORE: np.array([row[2] for row in good], np.float32),
        }
        return self._respond(inputs, values)

    def _respond(self, inputs: InferInputs, values: dict[str, npt.NDArray[np.float32]]) -> Response:
        binary: list[bytes] = []
        outputs: list[dict[str, Any]] = []
        for name, is_binary in inputs.outputs.items():
            value = values[name]
            output: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(value.shape)}
            if is_binary:
                binary.append(value.astype("<f4").tobytes())
                output["parameters"] = {"binary_data_size": len(binary[-1])}
            else:
                output["data"] = value.ravel().tolist()
            outputs.append(output)
        body: dict[str, Any] = {"model_name": self._name, "model_version": _VERSION, "outputs": outputs}
        if inputs.id is not None:
            body["id"] = inputs.id
        content = json.dumps(body, separators=(",", ":")).encode()
        if not binary:
            return Response(content, media_type="application/json", headers=JSON_HEADERS)
        headers = {**JSON_HEADERS, _HEADER_LENGTH: str(len(content))}
        return Response(b"".join([content, *binary]), media_type="application/octet-stream", headers=headers)

    def _metadata(self) -> dict[str, Any]:
        inputs = [
            {"name": PIXELS, "datatype": "UINT8", "shape": [-1, *self._image_shape]},
            {"name": IMAGE, "datatype": "BYTES", "shape": [-1]},
        ]
        outputs = [{"name": name, "datatype": "FP32", "shape": shape} for name, shape in self._shapes.items()]
        return {
            "name": self._name, "versions": [_VERSION], "platform": "onnxruntime_onnx", "inputs": inputs,
            "outputs": outputs,
        }  # fmt: skip


def parse(
    body: bytes, header_length: str | None, image_shape: tuple[int, int, int], max_images: int, known: Sequence[str]
) -> InferInputs:
    """The inputs of a request; `header_length` is that of the JSON before binary data, `known` are the model's outputs.

    Raises `RequestError`: `malformed_body`, or `too_many_images`.
    """
    length = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or len(header_length) > 9 or int(header_length) > length:
            raise _malformed(f"{_HEADER_LENGTH} is not a length within the body")
        length = int(header_length)
    head, binary = body[:length], body[length:]
    json_body.check_size(head, max_commas=max_images * int(np.prod(image_shape)) + json_body.MAX_NESTING)
    try:
        request = _InferRequest.model_validate_json(head)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise _malformed(f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()) from error
    (tensor,) = request.inputs
    images = tensor.shape[0] if tensor.shape else 0
    if images > max_images:
        raise RequestError("too_many_images", f"At most {max_images} images in a request.")
    outputs = _outputs(request, known)
    if (tensor.name, tensor.datatype) == (PIXELS, "UINT8"):
        return InferInputs(request.id, outputs, pixels=_pixels(tensor, binary, image_shape))
    if (tensor.name, tensor.datatype) == (IMAGE, "BYTES") and tensor.shape in ([images], [images, 1]):
        return InferInputs(request.id, outputs, images=_images(tensor, binary, images))
    raise _malformed(
        f"the input must be {PIXELS} UINT8 [N, {image_shape[0]}, {image_shape[1]}, 3] or {IMAGE} BYTES [N], not "
        f"{tensor.name[:80]} {tensor.datatype[:20]} {tensor.shape}"
    )


def _outputs(request: _InferRequest, known: Sequence[str]) -> dict[str, bool]:
    """Which outputs are wanted, all without a list, and whether each is binary."""
    default = request.parameters.get("binary_data_output") is True
    wanted = {output.name: output.parameters.get("binary_data", default) is True for output in request.outputs}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise _malformed(f"the model has no output {unknown[0][:80]}, but {' and '.join(known)}")
    return wanted or dict.fromkeys(known, default)


def _pixels(tensor: _InputTensor, binary: bytes, image_shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    if len(tensor.shape) != 4 or tensor.shape[1:] != list(image_shape):
        raise _malformed(f"{PIXELS} must have the shape [N, {', '.join(map(str, image_shape))}], not {tensor.shape}")
    if _is_binary(tensor, binary):
        values = np.frombuffer(binary, np.uint8)
    else:
        try:
            numbers = np.array(tensor.data).ravel()
        except ValueError as error:  # lists of different lengths
            raise _malformed("the data are not a tensor") from error
        if numbers.size and (numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() > 255):
            raise _malformed("the data are not integers from 0 to 255")
        values = numbers.astype(np.uint8)
    if values.size != int(np.prod(tensor.shape)):
        raise _malformed(f"there are {values.size} values for a tensor of shape {tensor.shape}")
    return values.reshape(tensor.shape)


def _images(tensor: _InputTensor, binary: bytes, count: int) -> list[bytes | RequestError]:
    if not _is_binary(tensor, binary):
        texts = [text for row in tensor.data for text in (row if isinstance(row, list) else [row])]
        if len(texts) != count:
            raise _malformed(f"there are {len(texts)} texts for {count} images")
        return [json_body.to_bytes(text) for text in texts]
    found: list[bytes | RequestError] = []
    place = 0
    for _ in range(count):  # each is its length in four bytes, then its bytes
        if place + 4 > len(binary):
            break
        (size,) = struct.unpack_from("<I", binary, place)
        found.append(binary[place + 4 : place + 4 + size])
        place += 4 + size
    if len(found) != count or place != len(binary):
        raise _malformed(f"the binary data are not {count} texts with their lengths")
    return found


def _is_binary(tensor: _InputTensor, binary: bytes) -> bool:
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if not isinstance(tensor.data, list) or binary:
            raise _malformed("the input has neither a list `data` nor `binary_data_size`")
        return False
    if size != len(binary) or isinstance(size, bool) or tensor.data is not None:
        raise _malformed(f"binary_data_size is {size!r}, but {len(binary)} bytes follow the JSON")
    return True


def _answer(content: dict[str, Any]) -> Handler:
    async def respond(_: Request) -> Response:
        return JSONResponse(content, headers=JSON_HEADERS)

    return respond


def _malformed(reason: str) -> RequestError:
    return RequestError("malformed_body", f"The request cannot be read: {reason}.")
