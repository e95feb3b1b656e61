"""Where the shipped files are: in `models/` of a checkout or a Bento, inside this package in an installed wheel."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_PACKAGED: Final = Path(__file__).parent / "models"
MODEL: Final = (_PACKAGED if _PACKAGED.is_dir() else ROOT / "models") / "alexnet" / "model.onnx"
