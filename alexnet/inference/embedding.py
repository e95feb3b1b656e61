"""What a model computes before its last layer: an output that is added to its graph in memory.

In: the bytes of an ONNX file. Out: a function from pixels uint8 [N, height, width, 3] to embeddings float32 [N, D], the
features of which the file makes its OOD score. The file itself stays as it is, and so do its answers. Needs onnx.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from alexnet.inference.session import Gpu, open_session, run

Embed = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]

# How the tensor is named: in a linear probe, the mean over the image and its mirror image; in files of
# `alexnet compress`, the pooled feature maps; `code` in the first file that shipped.
_NAMES: Final = ("mean_embedding", "embedding", "code")


def open_embedding(content: bytes, threads: int, gpu: Gpu) -> Embed | None:
    """The function of the file's graph; None where no tensor has a name that is known."""
    model = onnx.load_from_string(content)
    graph = model.graph
    computed = {name for node in graph.node for name in node.output}
    found = next((name for name in _NAMES if name in computed), None)
    if found is None:
        return None
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(found, onnx.TensorProto.FLOAT, None))
    session = open_session(model.SerializeToString(), threads, gpu)

    def embed(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        (embedding,) = run(session, [found], pixels)
        return embedding

    return embed
