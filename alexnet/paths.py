"""Where a checkout keeps its files: every path that more than one module needs."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
MODEL: Final = ROOT / "models" / "alexnet" / "model.onnx"
