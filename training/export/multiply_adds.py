"""Multiply-adds of one image, counted in an ONNX graph.

In: a graph whose first axis is the number of images. Out: the multiply-adds of its convolutions and matrix products, of
float32, float16 and 8-bit integers alike; element-wise operations and pooling do not count. Needs onnx, not torch.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import onnx

_MATRIX_PRODUCTS: Final = ("MatMul", "MatMulInteger", "Gemm")
_CONVOLUTIONS: Final = ("Conv", "ConvInteger")


def count_multiply_adds(model: onnx.ModelProto) -> int:
    """The multiply-adds of `model` for one image. Raises `ValueError` where a shape cannot be inferred."""
    single = onnx.ModelProto()
    single.CopyFrom(model)
    single.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del single.graph.value_info[:]  # for the symbolic number of images
    for output in single.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, strict_mode=True, data_prop=True).graph
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
    return sum(_count(node, shapes) for node in graph.node)


def _count(node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]]) -> int:
    if node.op_type in _CONVOLUTIONS:
        kernel = _shape(node.input[1], shapes)  # [outputs, inputs / groups, height, width]
        return math.prod(_shape(node.output[0], shapes)) * math.prod(kernel[1:])
    if node.op_type in _MATRIX_PRODUCTS:
        left = _shape(node.input[0], shapes)
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(_shape(node.output[0], shapes)) * left[-2 if transposed else -1]
    return 0


def _shape(name: str, shapes: Mapping[str, Sequence[int]]) -> Sequence[int]:
    shape = shapes.get(name, ())
    if not shape or 0 in shape:
        raise ValueError(f"the shape of {name} cannot be inferred")
    return shape
