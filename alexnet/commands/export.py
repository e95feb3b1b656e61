"""`alexnet export`, `compress` and `report`: a run to a model file, and to a comparison with the published run."""

from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from alexnet.commands.flags import DEFAULT_DATA, Data, Download, Mlflow, Register, fetch

_OUTPUT: Final = Path("models/alexnet/model.onnx")  # where a new model ships from
_PUBLISHED: Final = Path("docs/runs/published")

Checkpoint = Annotated[Path, Parameter(help="folder of a run (its best.pt), or a .pt file")]
Output = Annotated[Path, Parameter(help="the ONNX file to write")]
Rank = Annotated[
    int | Literal["auto"],
    Parameter(help="rank of the two large linear layers; auto takes the lowest that is good enough"),
]


def export(
    checkpoint: Checkpoint,
    /,
    *,
    data: Data = DEFAULT_DATA,
    download: Download = False,
    output: Output = _OUTPUT,
    mlflow: Mlflow = None,
    register: Register = None,
) -> None:
    """Write a checkpoint as one ONNX file, and check that its outputs are the same."""
    from training.export import onnx_export
    from training.fine_tuning import export as fine_tuned
    from training.tracking import run_log

    log = run_log.model_logger(checkpoint, mlflow, register)
    write = fine_tuned.export if fine_tuned.is_pooled(checkpoint) else onnx_export.export
    log(write(checkpoint, fetch(data, download), output))


def compress(
    checkpoint: Checkpoint,
    /,
    *,
    data: Data = DEFAULT_DATA,
    download: Download = False,
    output: Output = _OUTPUT,
    rank: Rank = "auto",
    max_drop: Annotated[
        float, Parameter(validator=Number(gte=0), help="points of macro F1 that may be lost on the validation images")
    ] = 0.2,
    precision: Annotated[Literal["int8", "fp16", "fp32"], Parameter(help="fp16 is for CUDA")] = "int8",
    fine_tune_steps: Annotated[
        int, Parameter(validator=Number(gte=0), help="steps of distillation from the whole network")
    ] = 0,
    photos: Annotated[
        Path | None,
        Parameter(
            help="development photos that choose the OOD score and its threshold: a folder for each class, and none/"
        ),
    ] = None,
    sources: Annotated[
        str | None,
        Parameter(help="for the card: which images beyond the data set were trained on, and under which terms"),
    ] = None,
    calibration_from: Annotated[
        Path | None,
        Parameter(help="take rank, temperature and OOD threshold from this file, for a run that held out no images"),
    ] = None,
    release: Annotated[
        bool,
        Parameter(negative="", help="also write a float16 ONNX file for GPUs, and the weights for `train --init`"),
    ] = False,
    latency: Annotated[
        bool, Parameter(negative="", help="measure the latency of each step, beside AlexNet at 224 pixels")
    ] = False,
    threads: Annotated[
        int | None, Parameter(validator=Number(gte=1), help="threads for the latency; by default as served")
    ] = None,
    mlflow: Mlflow = None,
    register: Register = None,
) -> None:
    """Write a checkpoint as a small, calibrated ONNX file; shows size and accuracy after each step."""
    from training.export import compress as steps
    from training.tracking import run_log

    log = run_log.model_logger(checkpoint, mlflow, register)
    request = steps.Request(
        checkpoint,
        fetch(data, download),
        output,
        precision=precision,
        rank=None if rank == "auto" else rank,
        fine_tune_steps=fine_tune_steps,
        max_drop=max_drop,
        photos=photos,
        sources=sources,
        calibration_from=calibration_from,
        release=release,
        latency=latency,
        threads=threads,
    )
    log(steps.compress(request))


def report(
    run: Annotated[
        Path,
        Parameter(
            help="folder with config.json and metrics.csv of `train`, and test/ and validation/ "
            "of `evaluate --predictions`"
        ),
    ] = _PUBLISHED,
    /,
    *,
    published: Annotated[Path, Parameter(help="folder of the published run's files")] = _PUBLISHED,
    output: Annotated[Path, Parameter(help="folder for reproduction.md and its plots")] = Path("docs/development"),
) -> None:
    """Compare a run with the published one, from their files."""
    from training.reproduction import report as comparison

    print(comparison.report(run, published, output))
