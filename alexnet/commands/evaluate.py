"""`alexnet evaluate`, `compare` and `card`: model files to numbers, and numbers to a page."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from alexnet.commands.flags import DEFAULT_DATA, BatchSize, Data, Download, Json, Split, fetch, model_file
from alexnet.paths import MODEL


def evaluate(
    model: Annotated[
        Path, Parameter(help="the ONNX file or its folder; by default the shipped model", show_default=False)
    ] = MODEL,
    /,
    *,
    data: Data = DEFAULT_DATA,
    download: Download = False,
    output: Annotated[Path | None, Parameter(help="folder for the results; by default that of the model")] = None,
    split: Split = "test",
    predictions: Annotated[bool, Parameter(negative="", help="write predictions.parquet too, a row per image")] = False,
    ood: Annotated[
        tuple[Path, ...],
        Parameter(help="folder of images of none of the classes: how well the OOD score detects them; may be repeated"),
    ] = (),
    photos: Annotated[
        Path | None,
        Parameter(help="folder of photos, a folder for each class and none/: accuracy, calibration and OOD detection"),
    ] = None,
    corruptions: Annotated[
        str | None,
        Parameter(
            help="accuracy under the fifteen common corruptions: full (75 x all images), quick (45 x 2,000), or the "
            "folder of CIFAR-10-C's .npy files"
        ),
    ] = None,
    cifar10_1: Annotated[
        Path | None, Parameter(name="--cifar10-1", help="folder with CIFAR-10.1's .npy files: accuracy on them")
    ] = None,
    labels: Annotated[
        Path | None,
        Parameter(
            help="file of labels that most people back (cifar10h-counts.npy, cifar10_mturk.json): accuracy against them"
        ),
    ] = None,
    url: Annotated[
        str | None,
        Parameter(help="ask a running service too and count what differs; a key is taken from ALEXNET_API_KEYS"),
    ] = None,
    checkpoint: Annotated[
        Path | None, Parameter(help="ask torch too, with the run or checkpoint of the model, and count what differs")
    ] = None,
    batch_size: BatchSize = 256,
) -> None:
    """Measure a model: accuracy, F1, calibration, and more on demand."""
    from alexnet.evaluation import evaluate as evaluation
    from alexnet.evaluation.corruptions import Protocol

    ask_torch = None
    if checkpoint:
        from training.export import torch_parity

        ask_torch = partial(torch_parity.ask_torch, checkpoint)
    request = evaluation.Request(
        model_file(model),
        fetch(data, download),
        output or model_file(model).parent,
        split=split,
        batch_size=batch_size,
        predictions=predictions,
        ood=ood,
        photos=photos,
        corruptions=Protocol.of(corruptions) if corruptions else None,
        cifar10_1=cifar10_1,
        labels=labels,
        url=url,
        ask_torch=ask_torch,
    )
    evaluation.evaluate(request)


def compare(
    first: Annotated[Path, Parameter(help="a model file")],
    second: Annotated[Path, Parameter(help="another one with the same classes")],
    /,
    *,
    data: Data = DEFAULT_DATA,
    download: Download = False,
    split: Split = "test",
    batch_size: BatchSize = 256,
    json: Json = False,
) -> None:
    """Compare two models on the same images by McNemar's test: is one better, or is it chance?"""
    from alexnet.evaluation import compare as comparison

    found = comparison.compare(
        model_file(first), model_file(second), fetch(data, download), split=split, batch_size=batch_size
    )
    print(comparison.to_json(found)) if json else comparison.show(found)


def card(
    folder: Annotated[
        Path,
        Parameter(
            help="folder with model.onnx and metrics.json, and for the page; by default that of the shipped model",
            show_default=False,
        ),
    ] = MODEL.parent,
    /,
    *,
    data: Data = DEFAULT_DATA,
    download: Download = False,
) -> None:
    """Write the model card, from the model file and its metrics.json."""
    from alexnet.evaluation import model_card

    print(model_card.card(folder, fetch(data, download)))
