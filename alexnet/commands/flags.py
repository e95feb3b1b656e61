"""Flags that several commands have."""

from pathlib import Path
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from alexnet import datasets

DEFAULT_DATA: Final = Path("data")
RUNS: Final = Path("runs")

Data = Annotated[Path, Parameter(help="folder with CIFAR-10, or with your own images in train/CLASS/ and test/CLASS/")]
Download = Annotated[
    bool, Parameter(negative="", help="download CIFAR-10 (170 MB) to --data where there is no data set")
]
Split = Annotated[Literal["test", "validation"], Parameter(help="test images, or those that the model's run held out")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="JSON on standard output")]
BatchSize = Annotated[int, Parameter(help="images per run of the model; does not change any result")]
Mlflow = Annotated[str | None, Parameter(help="MLflow: the address of a server, or sqlite:///mlflow.db")]
Register = Annotated[str | None, Parameter(help="name under which MLflow registers the model's next version")]


def model_file(path: Path) -> Path:
    """The model file that `path` names: itself, or model.onnx in a folder."""
    return path / "model.onnx" if path.is_dir() else path


def fetch(data: Path, download: bool) -> Path:
    """`data`, where CIFAR-10 is downloaded first if `download` says so and there is no data set."""
    if download:
        datasets.open(data, download=True)
    return data
