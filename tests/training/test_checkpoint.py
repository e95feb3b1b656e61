"""Checkpoints as files, and writing in the background: in order, one at a time, and no failure is lost."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from alexnet.errors import UserError
from training import checkpoint
from training.checkpoint import BackgroundWriter


def test_work_is_done_in_order_beside_the_caller_and_is_done_at_the_end() -> None:
    go, done = threading.Event(), []

    def first() -> None:
        assert go.wait(10)
        done.append((1, threading.current_thread() is threading.main_thread()))

    with BackgroundWriter() as writer:
        writer.submit(first)
        assert done == [], "the caller continues"
        go.set()
        writer.submit(lambda: done.append((2, threading.current_thread() is threading.main_thread())))
    assert done == [(1, False), (2, False)]


def test_a_failure_is_raised_where_the_next_work_is_given_and_only_once() -> None:
    def fail() -> None:
        raise ValueError("full")

    done = []
    with BackgroundWriter() as writer:
        writer.submit(fail)
        with pytest.raises(ValueError, match="full"):
            writer.submit(lambda: done.append(1))
        writer.submit(lambda: done.append(2))
    assert done == [2]


def test_the_failure_of_the_last_work_is_raised_at_the_end() -> None:
    def fail() -> None:
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"), BackgroundWriter() as writer:
        writer.submit(fail)


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, small_run: Path) -> None:
    with (small_run / "best.pt").open("rb") as file:
        (tmp_path / "cut.pt").write_bytes(file.read(1_000))
    (tmp_path / "text.pt").write_text("weights")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign.pt")
    complaints = {
        "absent.pt": "no such file",
        "cut.pt": "damaged",
        "text.pt": "damaged",
        "foreign.pt": "not a checkpoint of `alexnet train`",
    }
    for name, complaint in complaints.items():
        with pytest.raises(UserError) as caught:
            checkpoint.load(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {complaint}")
        assert "\n" not in str(caught.value)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Intruder:
        def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"model": Intruder(), "settings": {}, "classes": [], "epochs": []}, tmp_path / "foreign.pt")
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load(tmp_path / "foreign.pt")
    assert not (tmp_path / "ran").exists()
