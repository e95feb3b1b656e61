"""Training: it learns, counts right, and loses nothing when it is stopped in any way."""

import csv
import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alexnet import datasets, files
from alexnet.datasets import Fingerprint, Images, cifar10
from alexnet.errors import UserError
from alexnet.paths import ROOT
from tests.conftest import write_binary
from training import checkpoint, initialization, loop, networks, trainer
from training.checkpoint import Checkpoint
from training.networks import stem
from training.networks.alexnet import AlexNet, Variant
from training.settings import Settings

_ENDLESS = 10_000  # epochs of a run that a test stops


def test_a_few_images_can_be_overfitted(tmp_path: Path, fixture_images: Images, small_settings: Settings) -> None:
    few = fixture_images.take(np.tile(np.arange(10), 64))  # one epoch sees each about 60 times
    write_binary(tmp_path, few, few)
    settings = small_settings.replace(epochs=1, batch_size=20, learning_rate=0.004, dropout=0.0, validation_images=40)
    trainer.start(settings, tmp_path, tmp_path / "run")
    (row,) = _rows(tmp_path / "run")
    assert row["validation_accuracy"] == 1.0
    assert row["validation_loss"] < 0.1


def test_two_epochs_and_two_more_equal_four_bit_for_bit(
    tmp_path: Path, data_root: Path, small_run: Path, small_settings: Settings
) -> None:
    whole = trainer.start(small_settings.replace(epochs=4), data_root, tmp_path / "whole")
    parts = trainer.resume(_copy(small_run, tmp_path / "parts"), data_root, epochs=4)
    assert len(_rows(whole)) == 4
    _assert_same_run(parts, whole)
    assert (parts / "config.json").read_text() == (whole / "config.json").read_text().replace(
        '"whole"', f'"{small_run.name}"'
    )


def test_a_run_killed_in_mid_epoch_continues_as_if_nothing_had_been(
    tmp_path: Path, data_root: Path, small_settings: Settings
) -> None:
    folder = tmp_path / "run"
    with _training(folder, data_root, small_settings.replace(epochs=_ENDLESS)) as process:
        _wait_for(process, lambda: _lines(folder / "metrics.csv") >= 2)
        process.kill()
    assert process.wait() == -signal.SIGKILL
    _assert_resumes_as_if_never_stopped(folder, data_root, small_settings)


def test_a_run_killed_while_it_writes_a_checkpoint_keeps_the_one_before(
    tmp_path: Path, data_root: Path, small_settings: Settings
) -> None:
    folder = tmp_path / "run"

    def is_stopped_while_it_writes() -> bool:
        if not any(folder.glob(".last.pt.*")):
            return False
        process.send_signal(signal.SIGSTOP)
        if any(folder.glob(".last.pt.*")):
            return True
        process.send_signal(signal.SIGCONT)
        return False

    with _training(folder, data_root, small_settings.replace(epochs=_ENDLESS)) as process:
        _wait_for(process, lambda: _lines(folder / "metrics.csv") >= 2)
        _wait_for(process, is_stopped_while_it_writes, pause=0)
        process.kill()
    process.wait()
    _assert_resumes_as_if_never_stopped(folder, data_root, small_settings)
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["best.pt", "config.json", "last.pt", "metrics.csv"]
    assert not list(folder.glob(".*.part"))


def test_ctrl_c_leaves_a_run_that_can_be_resumed_and_says_how(
    tmp_path: Path, data_root: Path, small_settings: Settings
) -> None:
    folder = tmp_path / "run"
    with _training(folder, data_root, small_settings.replace(epochs=_ENDLESS)) as process:
        _wait_for(process, lambda: _lines(folder / "metrics.csv") >= 2)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"resume with: alexnet train --resume {folder}" in output
    assert errors.endswith("alexnet: interrupted\n")
    assert "Traceback" not in errors
    _assert_resumes_as_if_never_stopped(folder, data_root, small_settings)


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_old_one_whole(
    tmp_path: Path, data_root: Path, small_run: Path
) -> None:
    folder = _copy(small_run, tmp_path / "run")
    before = {path.name: files.sha256(path) for path in folder.iterdir()}
    with _files_limited_to(1_000_000), pytest.raises(UserError) as caught:
        trainer.resume(folder, data_root, epochs=3)
    assert "could not be written" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path.name: files.sha256(path) for path in folder.iterdir()} == before


def test_checkpoints_that_are_written_beside_the_training_are_the_same(
    tmp_path: Path, data_root: Path, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, whose weights move on while they are written."""
    plain = trainer.start(small_settings, data_root, tmp_path / "plain")
    writers, write = set(), checkpoint.save

    def watched(path: Path, state: Checkpoint) -> None:
        time.sleep(0.2)  # the next epoch starts meanwhile
        writers.add(threading.current_thread() is threading.main_thread())
        write(path, state)

    monkeypatch.setattr(trainer, "_trains_on", lambda _: True)
    monkeypatch.setattr(checkpoint, "save", watched)
    beside = trainer.start(small_settings, data_root, tmp_path / "beside")
    assert writers == {True, False}  # the first weights before the training, the others beside it
    for name in ("last.pt", "best.pt"):
        ours, theirs = (checkpoint.load(run / name) for run in (beside, plain))
        assert all(torch.equal(ours.model[key], value) for key, value in theirs.model.items()), name
        assert [row.epoch for row in ours.epochs] == [row.epoch for row in theirs.epochs]
    ours, theirs = (_momentum(run) for run in (beside, plain))
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
    assert not list(beside.glob(".*.part"))


def test_a_checkpoint_that_fails_beside_the_training_ends_it_with_the_remedy(
    tmp_path: Path, data_root: Path, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def full(content: dict[str, Any], path: Path) -> None:
        if content["epochs"]:
            raise OSError(28, "No space left on device")
        save(content, path)

    monkeypatch.setattr(trainer, "_trains_on", lambda _: True)
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="could not be written"):
        trainer.start(small_settings, data_root, tmp_path / "run")


def test_the_best_checkpoint_stays_when_a_resumed_epoch_is_worse(
    tmp_path: Path, data_root: Path, small_run: Path
) -> None:
    folder = _copy(small_run, tmp_path / "run")
    saved = torch.load(folder / "last.pt", weights_only=True)
    saved["epochs"][0]["validation_accuracy"] = 1.0
    with files.replacing(folder / "last.pt") as partial:
        torch.save(saved, partial)
    trainer.resume(folder, data_root, epochs=3)
    assert len(_rows(folder)) == 3
    assert files.sha256(folder / "best.pt") == files.sha256(small_run / "best.pt")
    assert files.sha256(folder / "last.pt") != files.sha256(small_run / "last.pt")


def test_training_and_validation_are_counted_separately(
    tmp_path: Path, data_root: Path, small_settings: Settings
) -> None:
    """With a learning rate of 0 the weights stay, so that what they predict is known for both parts."""
    shutil.copytree(data_root, tmp_path / "data")
    (tmp_path / "data" / cifar10.FOLDER / cifar10.TEST_FILES[0]).unlink()  # training has no use for the test images
    settings = small_settings.replace(epochs=1, learning_rate=0.0, dropout=0.0, batch_size=48, validation_batch_size=7)
    trainer.start(settings, tmp_path / "data", tmp_path / "run")
    (row,) = _rows(tmp_path / "run")
    model = _restore(tmp_path / "run" / "best.pt")
    split = datasets.open(data_root).split(settings.validation_images, settings.seed)
    (training_loss, training_hits), (validation_loss, validation_hits) = (
        _measure(model, part) for part in (split.training, split.validation)
    )
    assert training_hits / 130 != validation_hits / 170
    assert row["training_accuracy"] == training_hits / 130
    assert row["validation_accuracy"] == validation_hits / 170
    assert row["training_loss"] == pytest.approx(training_loss, rel=1e-5)
    assert row["validation_loss"] == pytest.approx(validation_loss, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 32, 1000])
def test_known_predictions_are_counted_by_image_whatever_the_batch_size(batch_size: int) -> None:
    written = torch.tensor([3] * 30 + [5] * 3)  # the last of two batches of 32 holds one image
    labels = torch.tensor([3] * 20 + [4] * 10 + [5] * 3)
    pixels = written.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 32, 32, 3)
    loss, accuracy = loop.validate(_Reader(), (pixels, labels), batch_size, _fp32(), lambda: None)
    assert accuracy == 23 / 33
    right, wrong = np.log(1 + 9 * np.exp(-4)), np.log(1 + 9 * np.exp(-4)) + 4
    assert loss == pytest.approx((23 * right + 10 * wrong) / 33, rel=1e-12)


def test_validation_does_not_depend_on_the_batch_size(small_run: Path, fixture_images: Images) -> None:
    model = _restore(small_run / "best.pt").train()  # as an epoch leaves it: validation has to turn dropout off
    some = fixture_images.take(np.arange(70))
    tensors = torch.from_numpy(some.pixels), torch.from_numpy(some.labels)
    results = [loop.validate(model, tensors, size, _fp32(), lambda: None) for size in (1, 32, 1000)]
    assert {accuracy for _, accuracy in results} == {results[0][1]}
    assert [loss for loss, _ in results] == pytest.approx([results[0][0]] * 3, rel=1e-6)


def test_checkpoints_hold_weights_and_plain_values_alone(small_run: Path, small_settings: Settings) -> None:
    for name in ("last.pt", "best.pt"):
        saved = torch.load(small_run / name, weights_only=True)
        assert saved["settings"] == small_settings.model_dump(mode="json")
        assert saved["classes"] == list(cifar10.CLASSES)
        assert {type(value) for row in saved["epochs"] for value in row.values()} == {int, float}
        assert all(value.dtype == torch.float32 for value in saved["model"].values())
    assert torch.load(small_run / "last.pt", weights_only=True)["optimizer"]["state"]


def test_a_run_describes_itself(small_run: Path, small_settings: Settings, init_file: Path) -> None:
    text = (small_run / "config.json").read_text()
    config = json.loads(text)
    assert config["run"] == "small"
    assert config["settings"] == {**small_settings.model_dump(mode="json"), "init": init_file.name}
    assert config["init_sha256"] == files.sha256(init_file)
    assert (config["device"], config["precision"]) == ("cpu", "fp32")
    assert config["environment"]["torch"] == torch.__version__.partition("+")[0]
    assert str(init_file.parent) not in text  # nothing of this machine's folders
    rows = _rows(small_run)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [dataclasses.asdict(epoch) for epoch in checkpoint.load(small_run / "last.pt").epochs] == rows


def test_bf16_computes_in_half_and_keeps_whole_weights(
    tmp_path: Path, fixture_images: Images, small_settings: Settings
) -> None:
    some = fixture_images.take(np.arange(40))
    write_binary(tmp_path, some, some)
    settings = small_settings.replace(epochs=1, precision="bf16", validation_images=8)
    trainer.start(settings, tmp_path, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["precision"] == "bf16"
    saved = checkpoint.load(tmp_path / "run" / "last.pt")
    assert {value.dtype for value in saved.model.values()} == {torch.float32}
    assert np.isfinite(saved.epochs[0].training_loss)


def test_a_finished_run_is_resumed_to_nothing_but_a_whole_table(
    tmp_path: Path, data_root: Path, small_run: Path
) -> None:
    folder = _copy(small_run, tmp_path / "run")
    (folder / "metrics.csv").unlink()  # as if killed after the checkpoint
    trainer.resume(folder, data_root)
    assert (folder / "metrics.csv").read_bytes() == (small_run / "metrics.csv").read_bytes()
    assert files.sha256(folder / "last.pt") == files.sha256(small_run / "last.pt")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"init": "absent.safetensors"}, "absent.safetensors: no such file"),
        ({"validation_images": 300}, "--validation-images is 300"),
        pytest.param(
            {"device": "cuda"},
            "--device cuda: torch finds no usable GPU here; give --device cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_anything_is_written(
    tmp_path: Path, data_root: Path, small_settings: Settings, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        trainer.start(small_settings.replace(**change), data_root, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_begins_with_the_weights_of_another(
    tmp_path: Path, data_root: Path, small_run: Path, small_settings: Settings
) -> None:
    first = str(small_run / "best.pt")
    settings = small_settings.replace(epochs=1, learning_rate=0.0, init=first)
    folder = trainer.start(settings, data_root, tmp_path / "run")
    begun, begin = (checkpoint.load(run / "best.pt").model for run in (folder, small_run))
    assert all(torch.equal(begun[name], value) for name, value in begin.items())
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["init"] == "small/best.pt"
    assert config["init_sha256"] == files.sha256(small_run / "best.pt")


def test_of_other_classes_the_last_layer_stays_fresh(
    small_run: Path, small_settings: Settings, fixture_images: Images
) -> None:
    settings = small_settings.replace(init=str(small_run / "best.pt"), seed=1)  # of other data: any seed
    model = AlexNet(3, settings.input_size, Variant(width=settings.width))
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    initialization.adapt(model, settings, Fingerprint(("a", "b", "c"), "0" * 64), fixture_images)
    saved = checkpoint.load(small_run / "best.pt").model
    for name, value in model.state_dict().items():
        assert torch.equal(value, fresh[name] if name.startswith("network.classifier.6.") else saved[name]), name


def test_a_run_of_another_input_size_begins_one_of_128_pixels(
    small_run: Path, small_settings: Settings, fixture_images: Images
) -> None:
    settings = small_settings.replace(init=str(small_run / "best.pt"))
    assert settings.input_size != 128
    model = AlexNet(10, 128, Variant(width=settings.width))
    initialization.adapt(model, settings, checkpoint.load(small_run / "best.pt").trained, fixture_images)
    saved, begun = checkpoint.load(small_run / "best.pt").model, model.state_dict()
    changed = {name for name, value in saved.items() if not torch.equal(value, begun[name])}
    assert changed == {"network.features.0.weight", "network.classifier.1.weight"}
    assert torch.equal(begun["network.features.0.weight"], stem.fuse(saved["network.features.0.weight"], 4))
    maps = torch.rand(2, begun["network.features.10.weight"].shape[0], 3, 3)
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps, 6)
    torch.testing.assert_close(
        maps.flatten(1) @ begun["network.classifier.1.weight"].T,
        pooled.flatten(1) @ saved["network.classifier.1.weight"].T,
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seed": 1}, "trained on images that this run validates on; train one with --seed 1"),
        ({"network": "teacher", "input_size": 32}, "only AlexNet can start from the weights of a run"),
    ],
)
def test_weights_of_a_run_that_do_not_do_are_refused(
    tmp_path: Path, data_root: Path, small_run: Path, small_settings: Settings, change: dict[str, Any], complaint: str
) -> None:
    settings = small_settings.replace(init=str(small_run / "best.pt"), **change)
    with pytest.raises(UserError, match=complaint):
        trainer.start(settings, data_root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_damaged_data_is_refused_before_anything_is_written(
    tmp_path: Path, data_root: Path, small_settings: Settings
) -> None:
    root = shutil.copytree(data_root, tmp_path / "data")
    (root / cifar10.FOLDER / "data_batch_5.bin").unlink()
    with pytest.raises(UserError, match=r"data_batch_5\.bin"):
        trainer.start(small_settings, root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_taken_is_left_alone(small_run: Path, data_root: Path, small_settings: Settings) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_run.iterdir()}
    with pytest.raises(UserError, match=f"continue it with --resume {small_run}, or give another --output"):
        trainer.start(small_settings, data_root, small_run)
    assert {path: path.stat().st_mtime_ns for path in small_run.iterdir()} == before


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path, data_root: Path, small_settings: Settings) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds other files: give another --output"):
        trainer.start(small_settings, data_root, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_stopped_before_its_first_checkpoint_can_start_again(
    tmp_path: Path, data_root: Path, small_settings: Settings
) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / ".last.pt.1.part").write_text("cut")
    trainer.start(small_settings.replace(epochs=1), data_root, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["settings"]["epochs"] == 1


def test_a_run_is_not_cut_back_to_fewer_epochs(small_run: Path, data_root: Path) -> None:
    with pytest.raises(UserError, match="has 2 epochs already; give --epochs 2 or more"):
        trainer.resume(small_run, data_root, epochs=1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_a_gpu_trains_and_resumes(tmp_path: Path, data_root: Path, small_settings: Settings) -> None:
    settings = small_settings.replace(epochs=1, device="auto", precision="auto")
    trainer.start(settings, data_root, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["device"] == "cuda"
    assert np.isfinite(_rows(tmp_path / "run")[0]["training_loss"])
    trainer.resume(tmp_path / "run", data_root, epochs=2)
    assert len(_rows(tmp_path / "run")) == 2


class _Reader(nn.Module):
    """Predicts the class that is written in an image's first value, with a logit of 4 against 0."""

    def forward(self, pixels: Tensor) -> Tensor:
        return 4.0 * nn.functional.one_hot(pixels[:, 0, 0, 0].long(), 10)


def _fp32() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=False)


def _restore(path: Path) -> networks.Network:
    saved = checkpoint.load(path)
    model = networks.build(saved.settings, 10)
    model.load_state_dict(saved.model)
    return model.eval()


@torch.inference_mode()
def _measure(model: nn.Module, images: Images) -> tuple[float, int]:
    """Mean loss and number of right answers, in one batch."""
    logits, labels = model(torch.from_numpy(images.pixels)), torch.from_numpy(images.labels)
    return nn.functional.cross_entropy(logits, labels).item(), int((logits.argmax(1) == labels).sum())


def _rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def _copy(run: Path, target: Path) -> Path:
    """A run to resume: linked, since a run's files are replaced and never changed."""
    return shutil.copytree(run, target, copy_function=os.link)


def _assert_resumes_as_if_never_stopped(folder: Path, data_root: Path, settings: Settings) -> None:
    """The stopped run in `folder`, resumed for one more epoch, is a run of so many epochs."""
    epochs = len(checkpoint.load(folder / "last.pt").epochs) + 1
    assert epochs > 1
    trainer.resume(folder, data_root, epochs=epochs)
    whole = trainer.start(settings.replace(epochs=epochs), data_root, folder.with_name("whole"))
    _assert_same_run(folder, whole)


def _assert_same_run(found: Path, wanted: Path) -> None:
    for name in ("last.pt", "best.pt"):
        a, b = checkpoint.load(found / name), checkpoint.load(wanted / name)
        assert a.model.keys() == b.model.keys()
        for key in a.model:
            assert torch.equal(a.model[key], b.model[key]), f"{name}: {key}"
        timeless = [[dataclasses.replace(epoch, seconds=0) for epoch in run.epochs] for run in (a, b)]
        assert timeless[0] == timeless[1]
    a, b = (checkpoint.load(run / "last.pt").optimizer for run in (found, wanted))
    assert a["param_groups"] == b["param_groups"]
    ours, theirs = _momentum(found), _momentum(wanted)
    for key, value in theirs.items():
        assert torch.equal(ours[key], value), key
    assert [_without_seconds(row) for row in _rows(found)] == [_without_seconds(row) for row in _rows(wanted)]


def _momentum(run: Path) -> dict[int, Tensor]:
    optimizer = checkpoint.load(run / "last.pt").optimizer
    assert optimizer is not None
    return {key: state["momentum_buffer"] for key, state in optimizer["state"].items()}


def _without_seconds(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "seconds"}


def _flag(name: str, value: object) -> str:
    if isinstance(value, bool):
        return name if value else name.replace("--", "--no-", 1)
    return f"{name}={value}"


@contextmanager
def _training(folder: Path, data_root: Path, settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A real `alexnet train`, killed at the latest when the block ends."""
    flags = [
        _flag("--" + name.replace("_", "-"), value)
        for name, value in settings.model_dump().items()
        if value not in ((), None)
    ]
    command = [sys.executable, "-m", "alexnet", "train", f"--data={data_root}", f"--output={folder}", *flags]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and its children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _wait_for(process: subprocess.Popen[str], condition: Callable[[], bool], pause: float = 0.005) -> None:
    started = time.monotonic()
    while not condition():
        assert process.poll() is None, f"ended early: {process.communicate()[1]}"
        assert time.monotonic() - started < 120, "nothing in two minutes"
        time.sleep(pause)


@contextmanager
def _files_limited_to(size: int) -> Iterator[None]:
    """What a full disk does: a write beyond `size` bytes fails. Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
