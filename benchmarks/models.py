"""The models that are measured: the shipped one, and the float32 one of 224 pixels that it began as.

The latter has 228 MB and is not in git. It is exported from a run, or else made with fresh weights: what a network
computes takes the same time whatever its weights are.
"""

import argparse
import sys
import warnings
from pathlib import Path
from typing import Final

from alexnet.datasets.cifar10 import CLASSES, SIDE
from alexnet.paths import ROOT

SHIPPED: Final = ROOT / "models" / "alexnet" / "model.onnx"
FRESH: Final = ROOT / "runs" / "benchmarks" / "float32-fresh-weights.onnx"
INPUT_SIZE: Final = 224


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that choose models."""
    parser.add_argument("--model", type=Path, default=SHIPPED, help="our model (default: the shipped one)")
    parser.add_argument("--float32", type=Path, help="`alexnet export RUN` (default: one with fresh weights is made)")


def float32(given: Path | None) -> Path:
    """The model that is given, or the one with fresh weights."""
    if given is not None:
        return given
    if not FRESH.exists():
        print(f"making {FRESH.relative_to(ROOT)}: float32, {INPUT_SIZE} pixels, fresh weights", file=sys.stderr)
        FRESH.parent.mkdir(parents=True, exist_ok=True)
        make_fresh(FRESH)
    return FRESH


def make_fresh(path: Path, width: float = 1.0) -> None:
    """Write AlexNet as `alexnet export` does, but with random weights; `width` multiplies its channels."""
    import onnx  # slow to import, and seldom needed
    import torch

    from alexnet import files
    from alexnet.inference.metadata import ModelMetadata
    from training.networks.alexnet import AlexNet, Variant

    torch.manual_seed(0)
    network = torch.nn.Sequential(AlexNet(len(CLASSES), INPUT_SIZE, Variant(width=width)), torch.nn.Softmax(1)).eval()
    example = (torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        program = torch.onnx.export(
            network,
            example,
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    described = ModelMetadata(name="alexnet-fresh-weights", classes=CLASSES, input_size=INPUT_SIZE)
    onnx.helper.set_model_props(model, described.to_props())
    with files.replacing(path) as partial:
        onnx.save(model, partial)
