"""`alexnet doctor`: what is here, and whether it fits together."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from alexnet import doctor as diagnosis
from alexnet.commands.flags import DEFAULT_DATA, RUNS, Data, Json
from alexnet.paths import MODEL


def doctor(
    model: Annotated[Path, Parameter(help="the ONNX file; by default the shipped model", show_default=False)] = MODEL,
    /,
    *,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> int:
    """Tell what is here, whether it fits together, and what to do where it does not."""
    findings = diagnosis.examine(model, data, RUNS)
    print(diagnosis.to_json(findings)) if json else diagnosis.show(findings)
    return 0 if diagnosis.is_healthy(findings) else 1
