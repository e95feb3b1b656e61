"""A checkpoint to one ONNX file, proven to compute what the checkpoint does.

In: a run's folder or a `.pt` file of the trainer's. Out: a self-contained ONNX file with input `pixels` uint8
[N, 32, 32, 3] RGB and output `probabilities` float32 [N, classes], only N dynamic. Preprocessing and softmax are part
of the graph; class names and provenance are its metadata.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from alexnet import datasets, files
from alexnet.datasets import cifar10
from alexnet.inference.classifier import Classifier
from alexnet.inference.metadata import ModelMetadata
from alexnet.markdown import megabytes
from training.export import torch_parity
from training.export.source import Probabilities, parity_images, read


def export(checkpoint: Path, data_root: Path, output: Path) -> Path:
    """Write `checkpoint` as the ONNX file `output`; returns `output`.

    Nothing is written unless torch and ONNX Runtime agree on real images. Raises `UserError` on a bad checkpoint, and
    when they differ.
    """
    source = read(checkpoint)
    data = datasets.open(data_root, side=source.settings.image_size)
    data.check(source.trained, source.path)
    network = Probabilities(source.model).eval()
    images = parity_images(data)
    output.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(output) as partial:
        onnx.save(to_onnx(network, source.metadata, side=source.settings.image_size), partial)
        difference = torch_parity.check_parity(network, Classifier(partial), images)
    print(f"{output}: {megabytes(output.stat().st_size)}, sha256 {files.sha256(output)}")
    print(f"torch and ONNX Runtime agree on {len(images)} images: largest difference {difference:.1e}")
    return output


def to_onnx(
    network: nn.Module, metadata: ModelMetadata, outputs: Sequence[str] = ("probabilities",), side: int = cifar10.SIDE
) -> onnx.ModelProto:
    """The graph of `network`, whose `forward` takes `pixels` uint8 [N, side, side, 3] and gives `outputs`; N is
    dynamic.
    """
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["pixels"],
            output_names=list(outputs),
            dynamic_shapes={"pixels": {0: torch.export.Dim("N")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    exported: onnx.ModelProto = program.model_proto
    for node in exported.graph.node:  # the exporter leaves stack traces, with the paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    for item in (*exported.graph.input, *exported.graph.output, *exported.graph.value_info):
        del item.metadata_props[:]
    onnx.helper.set_model_props(exported, metadata.to_props())
    onnx.checker.check_model(exported, full_check=True)
    return exported
