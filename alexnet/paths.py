"""Where the shipped files are: in `models/` of a checkout or a Bento, inside this package in an installed wheel."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_PACKAGED: Final = Path(__file__).parent / "models"
_MODELS: Final = _PACKAGED if _PACKAGED.is_dir() else ROOT / "models"
MODEL: Final = _MODELS / "alexnet" / "model.onnx"
FEATURES: Final = _MODELS / "features" / "model.onnx"  # the convolutions that `alexnet fit` starts from
