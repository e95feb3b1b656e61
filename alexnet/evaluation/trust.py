"""How far a model's answers can be trusted: its calibration, and what it says about things that it does not know.

In: a model file's answers to test images, and to images of unknown things. Out: what `metrics.json` says about both.
Torch is not needed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alexnet import files
from alexnet.errors import UserError
from alexnet.evaluation import calibration, unknowns
from alexnet.evaluation.calibration import Reliability, Temperature
from alexnet.inference.classifier import Classifier, Outputs

Ask = Callable[[npt.NDArray[np.uint8]], Outputs]

_MADE: Final = 5_000  # images of noise, and as many flat ones
_ON_DEMAND: Final = ("unknown", "corruptions", "parity")  # `unknown` for what it says of images of unknown things
_DIGITS: Final = 6  # what follows depends on the batch size, by float32's rounding
_SEED: Final = 1  # not that of the images on which the score was chosen


def temperature_of(classifier: Classifier) -> Temperature | None:
    """The temperature by which the file was calibrated, where it was."""
    found = classifier.metadata
    return None if found.temperature is None else Temperature(found.temperature, found.temperature_slope)


def calibrate(answers: Outputs, labels: npt.NDArray[np.int64], temperature: Temperature | None) -> dict[str, Any]:
    """Calibration error and negative log likelihood of the file as it is and, where `temperature` is known, before it
    was calibrated by that.
    """
    base, slope = (temperature.base, temperature.slope) if temperature else (None, None)
    found: dict[str, Any] = {"temperature": base, "temperature_slope": slope, **_errors(answers.probabilities, labels)}
    if temperature is not None:
        found["before"] = _errors(calibration.cool(answers.probabilities, temperature), labels)
    return found


def curves(answers: Outputs, labels: npt.NDArray[np.int64], temperature: Temperature | None) -> dict[str, Reliability]:
    """The reliability of the file, and of the network before it was calibrated, for a diagram."""
    found = {"the file": calibration.reliability(answers.probabilities, labels)}
    if temperature is not None:
        found["before calibration"] = calibration.reliability(
            calibration.cool(answers.probabilities, temperature), labels
        )
    return found


def examine_unknowns(ask: Ask, known: Outputs, path: Path | None) -> dict[str, Any]:
    """What the score makes of the images at `path`, of noise and of flat images, against the test images' own.

    Without a `path`, the share of the measured images that are called unknown. Raises `UserError` where the file has no
    score.
    """
    if known.ood_score is None or known.is_ood is None:
        if path is None:
            return {}
        raise UserError("--unknowns: the model gives no score for unknown things; make one with `alexnet compress RUN`")
    found: dict[str, Any] = {"share_of_these_images": float(known.is_ood.mean())}
    if path is None:
        return found
    read = unknowns.read(path)
    sets = {path.name: read, "noise": unknowns.noise(_MADE, _SEED), "flat": unknowns.flat(_MADE, _SEED)}
    found["against"] = {name: _separate(known.ood_score, ask(pixels)) for name, pixels in sets.items()}
    found["against"][path.name]["sha256"] = _sha256(path)
    return found


def keep(path: Path, report: dict[str, Any]) -> dict[str, Any]:
    """`report` and, of the sections that are measured on demand, what the one at `path` has beyond it.

    Only where that is of the same model file and the same images; what is measured again takes the place of the old.
    """
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        same = earlier["model"]["sha256"] == report["model"]["sha256"] and earlier["data"] == report["data"]
        kept = {name: {**earlier.get(name, {}), **report.get(name, {})} for name in _ON_DEMAND} if same else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or none of ours
        kept = {}
    return {**report, **{name: section for name, section in kept.items() if section}}


def _errors(probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> dict[str, float]:
    return {
        "expected_calibration_error": round(calibration.reliability(probabilities, labels).error, _DIGITS),
        "negative_log_likelihood": round(calibration.negative_log_likelihood(probabilities, labels), _DIGITS),
    }


def _separate(known: npt.NDArray[np.float32], answers: Outputs) -> dict[str, Any]:
    assert answers.ood_score is not None
    assert answers.is_ood is not None
    return {
        "images": len(answers.ood_score),
        "auroc": round(calibration.auroc(known, answers.ood_score), _DIGITS),
        "false_positive_rate_at_95": calibration.false_positive_rate(known, answers.ood_score),
        "called_unknown": float(answers.is_ood.mean()),
    }


def _sha256(path: Path) -> str | dict[str, str]:
    if path.is_file():
        return files.sha256(path)
    return {str(file.relative_to(path)): files.sha256(file) for file in sorted(path.rglob("*")) if file.is_file()}
