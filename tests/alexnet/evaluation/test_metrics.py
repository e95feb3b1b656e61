"""metrics.json: what is written is what is read; what an earlier file says is kept where it is still true."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet.errors import UserError
from alexnet.evaluation.evaluate import keep
from alexnet.evaluation.metrics import Metrics, Ood, OodSet, OtherTestSet, Parity, Proportion

PARITY = Parity(images=2, different_classes=0, largest_difference=0.0, environment={})
OOD_SET = OodSet(
    images=3,
    auroc=0.9,
    auroc_interval_95=(0.8, 1.0),
    fpr_at_95_tpr=0.4,
    fpr_at_95_tpr_interval_95=(0.3, 0.5),
    refused=0.5,
)
OTHER = OtherTestSet(sha256="c" * 64, accuracy=Proportion.of(np.array([True, False])))


def metrics(sha256: str = "a", split: str = "test", **sections: Any) -> Metrics:
    """Those of a model of one class, with some more sections."""
    content = {
        "model": {"name": "tiny", "sha256": sha256, "bytes": 1, "run": None},
        "data": {"split": split, "images": 2, "sha256": {}},
        "accuracy": 1,
        "accuracy_interval_95": [0.5, 1],
        "macro_f1": 1,
        "weighted_f1": 1,
        "classes": {"cat": {"accuracy": 1, "precision": 1, "f1": 1, "support": 2}},
        "confusion": [[2]],
        "calibration": {"expected_calibration_error": 0.1, "negative_log_likelihood": 0.2},
        "environment": {"python": "3.11"},
    }
    return Metrics.model_validate({**content, **sections})


def test_what_is_written_is_read_and_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    written = metrics(ood=Ood(refused=0.1, sets={"noise": OOD_SET}), parity={"http": PARITY}, cifar10_1=OTHER)
    path = written.write(tmp_path)
    assert Metrics.read(tmp_path, "") == written
    assert "photos" not in path.read_text()
    assert "null" not in path.read_text().replace('"run": null', "")


def test_a_proportion_has_wilsons_interval() -> None:
    found = Proportion.of(np.arange(263) < 81)
    assert (found.images, found.value) == (263, 81 / 263)
    assert found.interval_95 == pytest.approx((0.2553, 0.3662), abs=0.00005)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"model": 1}'])
def test_a_file_that_is_not_one_of_ours_is_one_line(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(UserError, match=r"metrics\.json: .*; measure it") as caught:
        Metrics.read(tmp_path, "measure it")
    assert "\n" not in str(caught.value)
    assert Metrics.find(tmp_path, "a") is None


def test_those_of_another_model_are_not_found(tmp_path: Path) -> None:
    metrics("a").write(tmp_path)
    assert Metrics.find(tmp_path, "a") == metrics("a")
    assert Metrics.find(tmp_path, "b") is None


def test_what_is_not_measured_this_time_is_kept() -> None:
    earlier = metrics(cifar10_1=OTHER, parity={"http": PARITY}, ood=Ood(refused=0.1, sets={"noise": OOD_SET}))
    now = metrics(parity={"torch": PARITY}, ood=Ood(refused=0.2, sets={"flat": OOD_SET}))
    assert keep(earlier, now) == metrics(
        cifar10_1=OTHER,
        parity={"http": PARITY, "torch": PARITY},
        ood=Ood(refused=0.2, sets={"noise": OOD_SET, "flat": OOD_SET}),
    )


def test_what_is_measured_again_takes_the_place_of_the_old() -> None:
    newer = PARITY.model_copy(update={"different_classes": 1})
    assert keep(metrics(parity={"http": PARITY}), metrics(parity={"http": newer})).parity == {"http": newer}


@pytest.mark.parametrize("earlier", [None, metrics("b", cifar10_1=OTHER), metrics("a", "validation", cifar10_1=OTHER)])
def test_nothing_of_another_model_or_of_other_images_is_kept(earlier: Metrics | None) -> None:
    assert keep(earlier, metrics()) == metrics()
