"""`alexnet doctor`: checks of this installation."""

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
    """Check the machine, packages, settings, data and model, and say how to fix what is wrong."""
    findings = diagnosis.examine(model, data, RUNS)
    print(diagnosis.to_json(findings)) if json else diagnosis.show(findings)
    return 0 if diagnosis.is_healthy(findings) else 1
