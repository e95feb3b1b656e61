"""`import alexnet`: what it offers, and what it does not load."""

import pydoc
import subprocess
import sys

import pytest

import alexnet
from alexnet.inference.classifier import Classifier
from alexnet.inference.prediction import Prediction
from alexnet.paths import ROOT


def test_all_names_are_there() -> None:
    assert alexnet.Classifier is Classifier
    assert alexnet.Prediction is Prediction
    assert all(hasattr(alexnet, name) for name in alexnet.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        _ = alexnet.Trainer  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import alexnet", ("torch", "starlette", "bentoml", "onnxruntime", "numpy")),
        ("from alexnet import Classifier; Classifier.load(threads=1)", ("torch", "starlette", "bentoml", "uvicorn")),
    ],
)
def test_nothing_is_loaded_that_is_not_needed(code: str, absent: tuple[str, ...]) -> None:
    code = f"import sys; {code}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_documentation_draws_the_package() -> None:
    for word in ("predict", "embed", "alexnet fit", "inference/", "datasets/", "probe/", "pixels", "Classifier.load()"):
        assert word in (alexnet.__doc__ or "")


def test_help_describes_the_classifier() -> None:
    text = pydoc.render_doc(alexnet, renderer=pydoc.plaintext)
    for word in ("class Classifier", "predict(self", "embed(self", "class Prediction", "class UserError"):
        assert word in text
