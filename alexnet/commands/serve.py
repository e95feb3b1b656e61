"""`alexnet serve`: a model file to answers over HTTP."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from alexnet.commands.flags import model_file


def serve(
    *,
    model: Annotated[
        Path | None,
        Parameter(help="the ONNX file or its folder; by default ALEXNET_MODEL, or the shipped model"),
    ] = None,
    host: Annotated[str, Parameter(help="address to listen on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65_535), help="port to listen on")] = 3000,
    workers: Annotated[
        int | None,
        Parameter(validator=Number(gte=0), help="processes; by default ALEXNET_WORKERS, or one for every two CPUs"),
    ] = None,
) -> None:
    """Start the HTTP service, as `bentoml serve` does; environment variables set the rest (docs/guide/api.md)."""
    from serving import logs, settings
    from serving.server import supervisor

    if model is not None:
        os.environ["ALEXNET_MODEL"] = str(model_file(model.resolve()))
    if workers is not None:
        os.environ["ALEXNET_WORKERS"] = str(workers)
    found = settings.load()
    logs.configure(found.log_format)
    supervisor.serve(host, port, found)
