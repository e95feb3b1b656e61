"""The teacher: it whitens, learns through the one trainer, resumes, and teaches without having seen too much."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from alexnet.cli import main
from alexnet.datasets import Images
from alexnet.errors import UserError
from tests.conftest import VALIDATION_IMAGES, WIDTH
from training import checkpoint, loop, trainer
from training.distillation import Teachers
from training.export import onnx_export
from training.networks.teacher import Teacher
from training.settings import Settings

TEACHER = Settings(
    network="teacher",
    width=WIDTH,
    epochs=2,
    batch_size=10,
    learning_rate=0.05,
    lr_schedule="cosine",
    warmup_epochs=0.2,
    nesterov=True,
    ema_decay=0.5,
    horizontal_flip=True,
    random_crop=2,
    cutout=4,
    input_size=32,
    validation_images=VALIDATION_IMAGES,
    device="cpu",
    precision="fp32",
)


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Path:
    return trainer.start(TEACHER, data_root, tmp_path_factory.mktemp("teacher") / "run")


def test_its_first_layer_whitens_patches(fixture_images: Images) -> None:
    teacher, pixels = Teacher(10, 32), torch.from_numpy(fixture_images.pixels)
    teacher.whiten(pixels)
    with torch.no_grad():
        answers = teacher.whitening(teacher.preprocess(pixels)).permute(1, 0, 2, 3).flatten(1)
    assert torch.equal(answers[:12], -answers[12:])
    power = (answers[:12] @ answers[:12].T / answers.shape[1]).numpy()
    off_diagonal = power - power.diagonal() * torch.eye(12).numpy()
    assert abs(off_diagonal).max() < 1e-3
    assert power.diagonal().max() < 1.001
    assert power.diagonal()[-1] > 0.99, "the direction that varies most comes out with variance one"


def test_a_stopped_run_resumes_bit_for_bit_with_its_average(
    tmp_path: Path, data_root: Path, teacher_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated = []

    def stop_in_the_second_epoch(*given: object) -> tuple[float, float]:
        validated.append(given)
        if len(validated) == 2:
            raise KeyboardInterrupt
        return validate(*given)  # type: ignore[arg-type]

    validate = loop.validate
    monkeypatch.setattr(loop, "validate", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        trainer.start(TEACHER, data_root, tmp_path / "run")
    monkeypatch.undo()
    assert len(checkpoint.load(tmp_path / "run" / "last.pt").epochs) == 1
    trainer.resume(tmp_path / "run", data_root)
    found, wanted = (checkpoint.load(run / "last.pt") for run in (tmp_path / "run", teacher_run))
    assert all(torch.equal(found.model[name], value) for name, value in wanted.model.items())
    assert found.ema is not None
    assert wanted.ema is not None
    assert all(torch.equal(found.ema[name], value) for name, value in wanted.ema.items())
    assert found.optimizer is not None
    assert wanted.optimizer is not None
    assert found.optimizer["param_groups"] == wanted.optimizer["param_groups"]


def test_what_is_saved_as_the_best_is_the_moving_average(tmp_path: Path, data_root: Path) -> None:
    run = trainer.start(TEACHER.replace(epochs=1), data_root, tmp_path / "run")
    best, last = checkpoint.load(run), checkpoint.load(run / "last.pt")
    assert last.ema is not None
    assert all(torch.equal(best.model[name], value) for name, value in last.ema.items())
    assert not torch.equal(last.ema["head.weight"], last.model["head.weight"])


def test_alexnet_learns_its_answers(
    tmp_path: Path, data_root: Path, teacher_run: Path, small_settings: Settings
) -> None:
    settings = small_settings.replace(epochs=1, teacher=[str(teacher_run / "best.pt")], distill_weight=1.0)
    run = trainer.start(settings, data_root, tmp_path / "run")
    alone = trainer.start(settings.replace(teacher=[]), data_root, tmp_path / "alone")
    taught, untaught = (checkpoint.load(folder / "last.pt").epochs[0] for folder in (run, alone))
    assert taught.training_loss != untaught.training_loss


def test_one_teacher_sees_both_views_and_of_several_every_other_one_sees_mirror_images() -> None:
    def left_column(pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, 0, 0].float()

    pixels = torch.arange(2 * 4 * 4 * 3).view(2, 4, 4, 3)
    left, right = pixels[:, 0, 0].float(), pixels[:, 0, 3].float()

    def ask(count: int, flipped: bool) -> list[torch.Tensor]:
        return list(Teachers([left_column] * count, flipped, recordable=False)(pixels))

    assert torch.equal(torch.stack(ask(1, flipped=True)), (left + right)[None] / 2)
    assert torch.equal(torch.stack(ask(3, flipped=True)), torch.stack([left, right, left]))
    assert torch.equal(torch.stack(ask(2, flipped=False)), torch.stack([left, left]))


def test_a_teacher_that_saw_the_validation_images_is_refused(
    tmp_path: Path, data_root: Path, teacher_run: Path, small_settings: Settings
) -> None:
    settings = small_settings.replace(teacher=[str(teacher_run / "best.pt")], seed=1)
    with pytest.raises(UserError, match="trained on images that this run validates on; train one with --seed 1"):
        trainer.start(settings, data_root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_is_not_exported(tmp_path: Path, data_root: Path, teacher_run: Path) -> None:
    with pytest.raises(UserError, match="a teacher is not exported"):
        onnx_export.export(teacher_run, data_root, tmp_path / "model.onnx")


def test_its_end_tells_how_to_learn_from_it(
    teacher_run: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", str(teacher_run), "--data", str(data_root)]) == 0
    told = f"done: {teacher_run}; next: alexnet train --recipe improved --teacher {teacher_run}/best.pt"
    assert f"{told} --data {data_root}\n" in capsys.readouterr().out


def test_its_logits_are_those_of_an_untrained_network_at_first(fixture_images: Images) -> None:
    teacher, pixels = Teacher(10, 32).eval(), torch.from_numpy(fixture_images.pixels)
    teacher.whiten(pixels)
    with torch.no_grad():
        loss = F.cross_entropy(teacher(pixels), torch.from_numpy(fixture_images.labels)).item()
    assert loss == pytest.approx(2.303, abs=0.2)
