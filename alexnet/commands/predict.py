"""`alexnet predict`: images to predictions."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from alexnet.batch import command
from alexnet.batch.pipeline import Limits
from alexnet.commands.flags import Json, model_file
from alexnet.paths import MODEL

_DEFAULTS = command.Options()
_LIMITS = Limits()


# A string as it was typed: a `Path` drops `./` and `//`, and the table names files as the user does. `Path` stands here
# for shells, which then offer files.
Input = Annotated[
    str | Path,
    Parameter(required=True, help="image, folder, Parquet file with a column of images, or glob in quotes"),
]


def predict(
    *inputs: Input,
    model: Annotated[
        Path, Parameter(help="the ONNX file or its folder; by default the shipped model", show_default=False)
    ] = MODEL,
    options: Annotated[command.Options, Parameter(name="*", negative="")] = _DEFAULTS,
    json: Json = False,
    max_bytes: Annotated[
        int, Parameter(env_var="ALEXNET_MAX_BODY_BYTES", validator=Number(gte=1), help="largest image file")
    ] = _LIMITS.max_bytes,
    max_pixels: Annotated[
        int, Parameter(env_var="ALEXNET_MAX_PIXELS", validator=Number(gte=1), help="most pixels of an image")
    ] = _LIMITS.max_pixels,
) -> int:
    """Classify images: in the terminal, or to a CSV or Parquet table of any length."""
    given, limits = [str(item) for item in inputs], Limits(max_bytes, max_pixels)
    errors = command.predict(given, model_file(model), options, as_json=json, limits=limits)
    return 1 if errors and options.output is None else 0
