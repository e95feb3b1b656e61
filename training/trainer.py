"""Training: images in memory to the checkpoints of a run.

In: `Settings` and a data set. Out: the folder of a run (run_folder.py). The data set stays in memory, on the device, as
uint8. All randomness of an epoch is seeded by the run's seed and the epoch's number, so that a resumed run draws what
an uninterrupted one would have drawn. Under `torchrun` each process computes its part of every batch (distributed.py),
and the first one writes.
"""

import copy
import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch

from alexnet import datasets, files
from alexnet.datasets import Cifar10, Dataset, Fingerprint, Images, cifar10
from alexnet.errors import UserError
from training import checkpoint, device, distributed, initialization, loop, networks, progress, run_folder
from training.checkpoint import LAST, BackgroundWriter, Checkpoint, EpochMetrics
from training.distillation import Teachers
from training.distributed import Processes
from training.loop import Training
from training.networks import Network
from training.optim import schedule
from training.settings import Settings
from training.tracking.run_log import RunLog
from training.training_set import TrainingSet

_TEACHER_LOGITS: Final = "teacher_logits.npy"


@dataclass
class _Run:
    folder: Path
    settings: Settings
    trained: Fingerprint
    model: Network
    ema: Network | None
    optimizer: torch.optim.SGD
    epochs: list[EpochMetrics]
    teachers: Teachers | None
    where: torch.device
    group: Processes
    log: RunLog
    writer: BackgroundWriter = field(default_factory=BackgroundWriter)

    def state(self) -> Checkpoint:
        return Checkpoint(
            self.model.state_dict(),
            self.settings,
            self.trained,
            tuple(self.epochs),
            self.optimizer.state_dict(),
            self.ema.state_dict() if self.ema else None,
        )

    def is_best(self) -> bool:
        """Whether the last epoch has the highest validation accuracy, or there is none to compare by."""
        *before, last = (epoch.validation_accuracy for epoch in self.epochs)
        return last is None or all(other is None or last > other for other in before)

    def has_no_more_patience(self) -> bool:
        """Whether the validation accuracy has not risen for as many epochs as the settings allow."""
        found = [epoch.validation_accuracy or 0.0 for epoch in self.epochs]
        return bool(found) and 0 < self.settings.patience <= len(found) - 1 - found.index(max(found))


def start(
    settings: Settings, data_root: Path, folder: Path, log: RunLog | None = None, *, exactly: bool = True
) -> Path:
    """Train from the initial weights into the new `folder`; returns it.

    Of an image folder, `settings.validation_images` are the most that are held out, or that many `exactly`.
    Raises `UserError` when the folder is taken, the device is not there, weights or data cannot be read, the loss is
    not finite, or one of several processes is lost.
    """
    where = device.choose(settings)
    device.keep_freed_memory()
    with distributed.joined("nccl" if where.type == "cuda" else "gloo") as group:
        folder = group.agree(folder)
        run_folder.check_free(folder)
        torch.manual_seed(settings.seed)
        data = _open(data_root, settings)
        model = networks.build(settings, len(data.classes))
        initialization.load(model, settings, data.classes)
        _prepare(data, group)
        parts = data.split(settings.validation_images, settings.seed, exact=exactly)
        settings = settings.replace(validation_images=len(parts.validation))
        initialization.adapt(model, settings, data.fingerprint, parts.training)
        run = _assemble(folder, settings, data.fingerprint, model, where, group, log or RunLog())
        training_set = TrainingSet(parts.training, data.classes, settings, where)
        group.agree(None)  # nothing is written before all have looked
        with run_folder.locked(folder) if group.first else nullcontext():
            if group.first:
                config = run_folder.describe(folder, settings, where)
                config.write(folder)
                run.log.begin(folder, config, epochs_before=0)
                progress.print_sizes(parts, data, settings)
            _save(run)
            return _fit(run, training_set, parts.validation)


def resume(folder: Path, data_root: Path, epochs: int | None = None, log: RunLog | None = None) -> Path:
    """Continue the run in `folder` after its last whole epoch, to `epochs` when given; returns the folder.

    On the CPU the result is bit for bit that of a run that was never interrupted, in one process; another number of
    processes may continue it. Raises `UserError` when `folder` holds no run, or one of more epochs already.
    """
    device.keep_freed_memory()
    saved = checkpoint.load(folder / LAST)
    settings, done = saved.settings if epochs is None else saved.settings.replace(epochs=epochs), len(saved.epochs)
    if settings.epochs < done:
        raise UserError(f"{folder} has {done} epochs already; give --epochs {done} or more")
    where = device.choose(settings)
    with distributed.joined("nccl" if where.type == "cuda" else "gloo") as group:
        data = _open(data_root, settings)
        data.check(saved.trained, folder)
        model = networks.build(settings, len(data.classes))
        run = _assemble(folder, settings, saved.trained, model, where, group, log or RunLog())
        model.load_state_dict(saved.model)
        if run.ema and saved.ema:
            run.ema.load_state_dict(saved.ema)
        assert saved.optimizer is not None
        schedule.restore(run.optimizer, saved.optimizer)
        run.epochs = list(saved.epochs)
        _prepare(data, group)
        parts = data.split_again(saved.trained, settings.validation_images, settings.seed, folder)
        training_set = TrainingSet(parts.training, data.classes, settings, where)
        with run_folder.locked(folder) if group.first else nullcontext():
            if group.first:
                run_folder.remove_partial(folder)
                run_folder.write_metrics(folder, saved.epochs)
                run.log.begin(folder, run_folder.ensure_config(folder, settings, where), epochs_before=done)
            return _fit(run, training_set, parts.validation)


def _open(root: Path, settings: Settings) -> Dataset:
    data = datasets.open(root, side=settings.image_size)
    if isinstance(data, Cifar10) and settings.image_size != cifar10.SIDE:
        raise UserError(f"{root} has CIFAR-10, whose images have {cifar10.SIDE} pixels a side: leave out --image-size")
    return data


def _assemble(
    folder: Path,
    settings: Settings,
    trained: Fingerprint,
    model: Network,
    where: torch.device,
    group: Processes,
    log: RunLog | None,
) -> _Run:
    model.to(where).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model) if settings.ema_decay else None
    teachers = Teachers.load(settings, trained, where)
    optimizer = schedule.sgd(model, settings)
    return _Run(folder, settings, trained, model, average, optimizer, [], teachers, where, group, log or RunLog())


def _fit(run: _Run, training_set: TrainingSet, validation: Images) -> Path:
    try:
        _fit_epochs(run, training_set, validation)
    except RuntimeError as error:
        if run.group.count == 1:
            raise
        raise UserError(
            f"one of the {run.group.count} processes is gone ({str(error).splitlines()[0]}); "
            f"continue with the same torchrun, and train --resume {run.folder}"
        ) from error
    return run.folder


def _fit_epochs(run: _Run, training_set: TrainingSet, validation: Images) -> None:
    settings = run.settings
    torch.backends.cudnn.benchmark = True  # batches have one size: it pays to look for the fastest kernels
    autocast = device.autocast(settings, run.where)
    held_out = torch.from_numpy(validation.pixels).to(run.where), torch.from_numpy(validation.labels).to(run.where)
    teachers = run.teachers
    if teachers and settings.teacher_views == "clean":
        training_set.teacher_logits = _ask_once(run, teachers, training_set, autocast)
        teachers = None
    work = Training(settings, run.model, run.optimizer, training_set, autocast, run.group, run.ema, teachers)
    steps = training_set.steps + -(-len(validation) // settings.validation_batch_size)
    with run.writer, progress.bar(hidden=not run.group.first) as bar:
        task = bar.add_task("steps", total=settings.epochs * steps, completed=len(run.epochs) * steps)

        def advance() -> None:
            bar.advance(task)

        for epoch in range(len(run.epochs) + 1, settings.epochs + 1):
            if run.has_no_more_patience():  # also of a run that has ended and is resumed
                break
            bar.update(task, description=f"epoch {epoch}/{settings.epochs}")
            started = time.perf_counter()
            training = work.epoch(epoch, advance)
            measured: tuple[float | None, float | None] = (None, None)
            if len(validation):
                measured = loop.validate(
                    run.ema or run.model, held_out, settings.validation_batch_size, autocast, advance, run.group
                )
            _check_finite(run, epoch, training[0], measured[0])
            last_step, all_steps = epoch * training_set.steps - 1, settings.epochs * training_set.steps
            rate = settings.learning_rate * schedule.factor(settings, last_step, all_steps)
            seconds = round(time.perf_counter() - started, 2)
            run.epochs.append(EpochMetrics(epoch, *training, *measured, seconds, rate))
            _save(run)
            if run.group.first:
                print(progress.describe(run.epochs[-1], settings.epochs), flush=True)


def _ask_once(run: _Run, teachers: Teachers, training_set: TrainingSet, autocast: torch.autocast) -> torch.Tensor:
    """The teachers' logits for the images as they are; kept in the run's folder, since they cost minutes on a CPU."""
    path = run.folder / _TEACHER_LOGITS
    if path.exists():
        return torch.from_numpy(np.load(path)).to(run.where)
    logits = teachers.ask_once(training_set.pixels[: training_set.count], autocast)
    if run.group.first:
        with files.replacing(path) as partial, partial.open("wb") as file:
            np.save(file, logits.cpu().numpy())
    return logits


def _check_finite(run: _Run, epoch: int, *losses: float | None) -> None:
    if not all(loss is None or math.isfinite(loss) for loss in losses):
        raise UserError(
            f"training diverged in epoch {epoch}: the loss is not finite. {run.folder} keeps the epochs before; start "
            f"a new run with a smaller --learning-rate than {run.settings.learning_rate}"
        )


def _save(run: _Run) -> None:
    """Write the state of the run; a GPU trains on meanwhile, since an epoch there may take no longer than writing."""
    if not run.group.first:
        return
    is_best = bool(run.epochs) and run.is_best()
    state = run.state()

    def write() -> None:
        run_folder.save(run.folder, state, is_best=is_best)
        if state.epochs:
            run.log.log(state.epochs[-1])

    if run.epochs and _trains_on(run):
        state = state.copied()
        run.writer.submit(write)
    else:
        write()


def _trains_on(run: _Run) -> bool:
    """Whether training continues while checkpoints are written."""
    return run.where.type == "cuda"


def _prepare(data: Dataset, group: Processes) -> None:
    """Have the data there for all: one process on each machine decodes."""
    if group.local_rank == 0:
        data.prepare()
    group.agree(None)
