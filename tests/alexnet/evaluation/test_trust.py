"""What an earlier metrics.json says is kept where it is still true, and only there."""

import json
from pathlib import Path
from typing import Any

import pytest

from alexnet.evaluation import trust


def report(sha256: str = "a", split: str = "test", **sections: Any) -> dict[str, Any]:
    return {"model": {"sha256": sha256}, "data": {"split": split}, "accuracy": 0.9, **sections}


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_what_is_not_measured_this_time_is_kept(tmp_path: Path) -> None:
    earlier = report(
        accuracy=0.1, corruptions={"mean": 0.5}, parity={"http": 1}, unknown={"share": 0.1, "against": {"noise": 1}}
    )
    path = write(tmp_path / "metrics.json", earlier)
    kept = trust.keep(path, report(parity={"torch": 2}, unknown={"share": 0.2}))
    assert kept == report(
        corruptions={"mean": 0.5}, parity={"http": 1, "torch": 2}, unknown={"share": 0.2, "against": {"noise": 1}}
    )


def test_what_is_measured_again_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics.json", report(corruptions={"mean": 0.5}, parity={"http": 1}))
    assert trust.keep(path, report(corruptions={"mean": 0.6}, parity={"http": 2})) == report(
        corruptions={"mean": 0.6}, parity={"http": 2}
    )


@pytest.mark.parametrize("other", [report("b"), report(split="validation")])
def test_nothing_of_another_model_or_of_other_images_is_kept(tmp_path: Path, other: dict[str, Any]) -> None:
    path = write(tmp_path / "metrics.json", {**other, "corruptions": {"mean": 0.5}})
    assert trust.keep(path, report()) == report()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": 1}', '{"model": {"sha256": "a"}}'])
def test_a_file_that_is_none_of_ours_changes_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metrics.json"
    assert trust.keep(path, report()) == report()
    path.write_text(content)
    assert trust.keep(path, report()) == report()
