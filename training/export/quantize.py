"""Quantization: a float32 ONNX graph to 8-bit integers that every CPU computes alike, or to float16 for GPUs.

In: a graph with input `pixels` and its first output made by the last layer; training images uint8 [N, 32, 32, 3]. Out:
a new graph with the same inputs, outputs and metadata. Needs onnx, not torch.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import convert_float_to_float16

CALIBRATION_IMAGES: Final = 512
# Without VNNI, ONNX Runtime adds two products of an activation (to 255) and a weight in 16 bits, which holds 32,767:
# https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#when-and-why-do-i-need-to-try-u8u8
SAFE_WEIGHT: Final = 64

_BATCH: Final = 32
# The resize stays float32: it would gain nothing.
_OPERATORS: Final = ("Conv", "Relu", "MaxPool", "Reshape", "Transpose", "Gemm")


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Batches of images, as ONNX Runtime asks for them."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._batches = iter(np.split(images, range(_BATCH, len(images), _BATCH)))

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


def to_int8(model: onnx.ModelProto, images: npt.NDArray[np.uint8]) -> onnx.ModelProto:
    """Unsigned 8-bit activations over the range that `images` cause; signed 7-bit weights, a scale for each channel.

    The last layer stays float32: it is small, and logits need more than 8 bits. All kernels of ONNX Runtime compute the
    same, see `SAFE_WEIGHT`. A linear layer with more outputs than inputs has one scale: with thousands, ONNX Runtime
    takes three times as long. Where one value is subtracted from the pixels, they are the first layer's input as they
    are.
    """
    shift = _pixel_shift(model)
    overrides = {name: [{"quant_type": QuantType.QInt8, "reduce_range": True}] for name in _expanding_weights(model)}
    if shift is not None:
        scale, zero_point = np.array(1, np.float32), np.array(shift.value, np.uint8)
        exact = {"quant_type": QuantType.QUInt8, "scale": scale, "zero_point": zero_point}
        overrides[shift.output] = [exact]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _Images(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_OPERATORS),
            nodes_to_exclude=[node.name for node in model.graph.node if model.graph.output[0].name in node.output],
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": overrides},
        )
        result = onnx.load(target)
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    assert largest_weight(result) <= SAFE_WEIGHT
    if shift is not None:
        _read_pixels(result, shift)
    return result


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and activations of 16 bits, for CUDA; inputs and outputs stay as they are."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    with _quiet():
        result: onnx.ModelProto = convert_float_to_float16(copy, keep_io_types=True)
    return result


def largest_weight(model: onnx.ModelProto) -> int:
    """The largest absolute value among the 8-bit integer weights of `model`, 0 without any."""
    weights = (numpy_helper.to_array(i) for i in model.graph.initializer if i.data_type == onnx.TensorProto.INT8)
    return max((int(np.abs(weight.astype(np.int64)).max()) for weight in weights if weight.size), default=0)


@dataclass(frozen=True)
class _PixelShift:
    """The node that subtracts the integer `value` from the pixels, after their cast to float32; by names of tensors."""

    pixels: str
    output: str
    value: int


def _pixel_shift(model: onnx.ModelProto) -> _PixelShift | None:
    """That of `model`, where it subtracts one value from all pixels."""
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    casts = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    for node in model.graph.node:
        if node.op_type == "Sub" and node.input[0] in casts and node.input[1] in constants:
            value = constants[node.input[1]]
            if value.size == 1 and 0 <= value.item() == round(value.item()) <= 255:
                return _PixelShift(casts[node.input[0]], node.output[0], round(value.item()))
    return None


def _read_pixels(model: onnx.ModelProto, shift: _PixelShift) -> None:
    """Give the first layer the pixels themselves, whose scale is 1, instead of quantizing them anew."""
    nodes = list(model.graph.node)
    made = {name: node for node in nodes for name in node.output}
    (quantize,) = (node for node in nodes if node.op_type == "QuantizeLinear" and node.input[0] == shift.output)
    for node in nodes:
        if node.op_type == "DequantizeLinear" and node.input[0] == quantize.output[0]:
            node.input[0] = shift.pixels
    subtract = made[shift.output]
    for node in (made[subtract.input[0]], subtract, quantize):
        model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for item in [item for item in model.graph.initializer if item.name not in used]:
        model.graph.initializer.remove(item)
    onnx.checker.check_model(model, full_check=True)


def _expanding_weights(model: onnx.ModelProto) -> Iterator[str]:
    """The weights of linear layers with more outputs than inputs."""
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in shapes:
            outputs, inputs = shapes[node.input[1]]
            if outputs > inputs:
                yield node.input[1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without its advice to prepare the graph, which does not apply."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
