"""Images in memory to a trained checkpoint: the loop that fits, validates and saves.

In: `Settings`, training and validation `Images`. Out: a run folder with `config.json` (settings and provenance),
`metrics.csv` (a row per epoch, as it ends), `last.pt` (all that resuming needs) and `best.pt` (the weights of the epoch
with the highest validation accuracy: the moving average where the settings ask for one).

The data set stays in memory, on the device, as uint8; a batch is one tensor index. All randomness of an epoch (order,
changes of the images, dropout) is seeded by the run's seed and the epoch's number, so that a resumed run draws what the
uninterrupted one would have drawn. Under `torchrun` each process computes its part of every batch (processes.py), and
the first one writes.
"""

import copy
import ctypes
import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from alexnet import datasets, environment, files
from alexnet.datasets import Dataset, Fingerprint, Images, Split, is_imbalanced
from alexnet.errors import UserError
from training import distributed, loop
from training.background import Background
from training.distributed import Processes
from training.loop import Tensors, Training
from training.networks.alexnet import AlexNet, load_initial_weights
from training.networks.teacher import Teacher
from training.optim import optimise
from training.settings import Settings

_WHITENING_IMAGES: Final = 2_000
_LAST_LAYER: Final = ("network.classifier.6.weight", "network.classifier.6.bias")


def _nobody(_: Path) -> None:
    """Who watches a run by default."""


@dataclass(frozen=True)
class Row:
    """One epoch: losses are means in nats per image, accuracies from 0 to 1.

    The training figures are means over the epoch while the weights move and dropout is on, of the loss that is
    minimised (with smoothed labels and a teacher where the settings ask for them) and of the images as changed; the
    validation figures are the plain cross-entropy and accuracy of the epoch's last weights, or of their moving
    average, over the validation images alone. The learning rate is that of the last step, unknown (None) of epochs that
    an earlier version trained.
    """

    epoch: int
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float
    learning_rate: float | None = None


@dataclass
class _Run:
    folder: Path
    settings: Settings
    model: AlexNet | Teacher
    optimizer: torch.optim.SGD
    rows: list[Row]
    group: Processes
    trained: Fingerprint
    average: AlexNet | Teacher | None = None
    teacher: Teacher | None = None
    watch: Callable[[Path], None] = _nobody
    background: Background = field(default_factory=Background)

    @property
    def answering(self) -> AlexNet | Teacher:
        """The weights that are validated and saved as the run's result."""
        return self.average or self.model

    @property
    def best_accuracy(self) -> float:
        return max((row.validation_accuracy for row in self.rows), default=-1.0)


def start(
    settings: Settings,
    data_root: Path,
    folder: Path,
    watch: Callable[[Path], None] = _nobody,
    *,
    exactly: bool = True,
) -> Path:
    """Train from the first weights into the new `folder`; returns it.

    The first process calls `watch` with the folder when its files are there and after every epoch. Of an image
    folder, `settings.validation_images` are the most that are held out, or that many `exactly`.
    Raises `UserError` when the folder is taken, the device is not there, weights or data cannot be read, or one of
    several processes is lost.
    """
    device = _device(settings)
    with distributed.joined("nccl" if device.type == "cuda" else "gloo") as group:
        return _start(settings, data_root, group.agree(folder), device, group, watch, exactly)


def _start(
    settings: Settings,
    data_root: Path,
    folder: Path,
    device: torch.device,
    group: Processes,
    watch: Callable[[Path], None],
    exactly: bool,
) -> Path:
    _check_free(folder)
    _keep_freed_memory()
    torch.manual_seed(settings.seed)
    data = datasets.open(data_root)
    model = _network(settings, len(data.classes))
    if isinstance(model, AlexNet) and not settings.starts_from_run:
        load_initial_weights(model, settings.init)
    _prepare(data, group)
    parts = data.split(settings.validation_images, settings.seed, exact=exactly)
    settings = settings.replace(validation_images=len(parts.validation))
    if settings.starts_from_run:
        _load_weights_of_run(model, settings, data.fingerprint)
    teacher = _load_teacher(settings, data.fingerprint, device)
    if isinstance(model, Teacher):
        model.whiten(torch.from_numpy(parts.training.pixels[:_WHITENING_IMAGES]))
    model.to(device).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model) if settings.ema_decay else None
    optimizer = optimise.optimizer(model, settings)
    run = _Run(folder, settings, model, optimizer, [], group, data.fingerprint, average, teacher, watch)
    group.agree(None)  # nothing is written before all have looked
    if group.first:
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / "config.json", _config(run, device))
        _print_sizes(data, parts, settings)
    _save(run)
    return _fit(run, parts, device)


def resume(folder: Path, data_root: Path, epochs: int | None = None, watch: Callable[[Path], None] = _nobody) -> Path:
    """Continue the run in `folder` after its last whole epoch, to `epochs` when given; returns the folder.

    The first process calls `watch` with the folder before the first new epoch and after each.
    On the CPU the result is bit for bit that of a run that was never interrupted, in one process; another number of
    processes may continue it. Raises `UserError` when `folder` holds no run, or one of more epochs already.
    """
    _keep_freed_memory()
    saved = load_checkpoint(folder / "last.pt")
    settings = Settings.from_dict(saved["settings"])
    if epochs is not None:
        settings = settings.replace(epochs=epochs)
    if settings.epochs < len(saved["rows"]):
        raise UserError(f"{folder} has {len(saved['rows'])} epochs already; give --epochs {len(saved['rows'])} or more")
    device = _device(settings)
    with distributed.joined("nccl" if device.type == "cuda" else "gloo") as group:
        return _resume(folder, data_root, saved, settings, device, group, watch)


def _resume(
    folder: Path,
    data_root: Path,
    saved: dict[str, Any],
    settings: Settings,
    device: torch.device,
    group: Processes,
    watch: Callable[[Path], None],
) -> Path:
    trained = Fingerprint.of(saved)
    data = datasets.open(data_root)
    data.check(trained, folder)
    model = _network(settings, len(trained.classes))
    model.to(device).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model) if settings.ema_decay else None
    model.load_state_dict(saved["model"])
    if average:
        average.load_state_dict(saved["average"])
    optimizer = optimise.optimizer(model, settings)
    optimise.restore(optimizer, saved["optimizer"])
    rows = [Row(**row) for row in saved["rows"]]
    teacher = _load_teacher(settings, trained, device)
    run = _Run(folder, settings, model, optimizer, rows, group, trained, average, teacher, watch)
    _prepare(data, group)
    parts = data.split_again(trained, settings.validation_images, settings.seed, folder)
    if group.first:
        for leftover in folder.glob(".*.part"):  # of a process killed while it wrote
            leftover.unlink()
        _write_metrics(run, rows)
    return _fit(run, parts, device)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read `last.pt` or `best.pt`: `model`, `settings`, `classes`, `rows` and, in `last.pt`, `optimizer`.

    Raises `UserError` when there is no such file or it is damaged.
    """
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the folder of a run or one of its .pt files") from error
    except Exception as error:  # torch raises many types for a damaged file
        raise UserError(
            f"{path}: not a whole checkpoint ({type(error).__name__}); give another, or train again"
        ) from error
    if not isinstance(saved, dict) or not {"model", "settings", "classes", "rows"} <= saved.keys():
        raise UserError(f"{path}: not a checkpoint of this project")
    return saved


def _check_free(folder: Path) -> None:
    """Refuse a folder that holds something; what a run leaves when stopped before its first checkpoint is nothing."""
    if (folder / "last.pt").exists():
        raise UserError(f"{folder} is there already: continue it with --resume {folder}, or give another --output")
    if folder.exists() and any(item.name != "config.json" and item.suffix != ".part" for item in folder.iterdir()):
        raise UserError(f"{folder} holds other files: give another --output")


def _fit(run: _Run, parts: Split, device: torch.device) -> Path:
    try:
        return _fit_epochs(run, parts.training, parts.validation, device)
    except RuntimeError as error:
        if run.group.count == 1:
            raise
        raise UserError(
            f"one of the {run.group.count} processes is gone ({str(error).splitlines()[0]}); "
            f"continue with the same torchrun, and train --resume {run.folder}"
        ) from error


def _fit_epochs(run: _Run, training: Images, validation: Images, device: torch.device) -> Path:
    settings = run.settings
    torch.backends.cudnn.benchmark = True  # batches of one size: the fastest way is worth looking for
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=_uses_bf16(settings, device))
    train_set, validation_set = Tensors.of(training, device), Tensors.of(validation, device)
    if settings.class_weights:
        train_set = train_set.weighted(len(run.trained.classes))
    work = Training(settings, run.model, run.optimizer, train_set, autocast, run.group, run.average, run.teacher)
    steps = [-(-len(training) // settings.batch_size), -(-len(validation) // settings.validation_batch_size)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("remaining"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    bar = Progress(*columns, console=Console(stderr=True), disable=not run.group.first)
    with run.background, bar as progress:
        done = len(run.rows) * sum(steps)
        task = progress.add_task("steps", total=settings.epochs * sum(steps), completed=done)
        for epoch in range(len(run.rows) + 1, settings.epochs + 1):
            progress.update(task, description=f"epoch {epoch}/{settings.epochs}")
            started = time.perf_counter()
            training_loss, training_accuracy = work.epoch(epoch, lambda: progress.advance(task))
            size = settings.validation_batch_size
            validation_loss, validation_accuracy = loop.validate(
                run.answering, validation_set, size, autocast, lambda: progress.advance(task), run.group
            )
            seconds = round(time.perf_counter() - started, 2)
            rate = settings.learning_rate * optimise.rate_factor(
                settings, epoch * steps[0] - 1, settings.epochs * steps[0]
            )
            row = Row(epoch, training_loss, training_accuracy, validation_loss, validation_accuracy, seconds, rate)
            improved = validation_accuracy > run.best_accuracy
            run.rows.append(row)
            _save(run, improved)
            if run.group.first:
                print(_row_text(row, settings.epochs), flush=True)
    return run.folder


def _network(settings: Settings, classes: int) -> AlexNet | Teacher:
    if settings.network == "teacher":
        return Teacher(classes, settings.input_size, settings.width)
    return AlexNet(classes, settings.input_size, settings.dropout, settings.width)


def _load_teacher(settings: Settings, trained: Fingerprint, device: torch.device) -> Teacher | None:
    """The teacher that the settings name. Raises `UserError` on one of other data than `trained`, or that has seen this
    run's validation images.
    """
    if not settings.teacher:
        return None
    (path,) = settings.teacher
    saved = load_checkpoint(Path(path))
    theirs = Settings.from_dict(saved["settings"])
    if theirs.network != "teacher":
        raise UserError(f"--teacher {path}: holds no teacher; train one with --recipe teacher")
    if Fingerprint.of(saved) != trained:
        raise UserError(
            f"--teacher {path}: it learnt other classes or images; train one on the same data with --recipe teacher"
        )
    _check_unseen("--teacher", path, theirs, settings)
    teacher = Teacher(len(saved["classes"]), theirs.input_size, theirs.width)
    teacher.load_state_dict(saved["model"])
    return teacher.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _load_weights_of_run(model: AlexNet | Teacher, settings: Settings, trained: Fingerprint) -> None:
    """Begin with the weights of the checkpoint `settings.init`; of other classes, with all but those of the last layer.

    Raises `UserError` on one of another network, or one that has seen this run's validation images.
    """
    saved = load_checkpoint(Path(settings.init))
    theirs = Settings.from_dict(saved["settings"])
    if theirs.network != settings.network or settings.network != "alexnet":
        raise UserError(f"--init {settings.init}: an AlexNet alone can begin with the weights of a run, of an AlexNet")
    found = Fingerprint.of(saved)
    if found == trained:
        _check_unseen("--init", settings.init, theirs, settings)
    weights = dict(saved["model"])
    if found.classes != trained.classes:
        weights |= {name: value for name, value in model.state_dict().items() if name in _LAST_LAYER}
    model.load_state_dict(weights)


def _check_unseen(flag: str, given: str, theirs: Settings, settings: Settings) -> None:
    """Refuse a checkpoint that learnt images which a run with `settings`, on the same data, validates on."""
    if theirs.seed != settings.seed or theirs.validation_images < settings.validation_images:
        raise UserError(
            f"{flag} {given}: it was trained on images that this run validates on; train one with "
            f"--seed {settings.seed} --validation-images {settings.validation_images}"
        )


def _save(run: _Run, improved: bool = False) -> None:
    """Best weights first: killed in between, the epoch is trained again and writes the same file once more.

    A GPU goes on as soon as its weights are copied: an epoch there takes about as long as writing them does.
    """
    if not run.group.first:
        return
    rows = list(run.rows)
    common = {
        "settings": run.settings.model_dump(mode="json"),
        **run.trained.to_dict(),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    last = {"model": run.model.state_dict(), "optimizer": run.optimizer.state_dict()}
    if run.average:
        last["average"] = run.average.state_dict()

    def write() -> None:
        if improved:
            _write_checkpoint(run.folder / "best.pt", {"model": last.get("average", last["model"]), **common})
        _write_checkpoint(run.folder / "last.pt", {**last, **common})
        _write_epochs(run.folder / "config.json", run.settings.epochs)
        _write_metrics(run, rows)

    if rows and _goes_on(run):
        last = _copy(last)
        run.background.do(write)
    else:
        write()


def _goes_on(run: _Run) -> bool:
    """Whether it trains on while checkpoints are written."""
    return next(run.model.parameters()).is_cuda


def _copy(content: Any) -> Any:
    """`content`, of dicts and lists, with copies of its tensors on the CPU."""
    if isinstance(content, Tensor):
        return content.to("cpu", copy=True)
    if isinstance(content, dict):
        return {key: _copy(value) for key, value in content.items()}
    return [_copy(value) for value in content] if isinstance(content, list) else content


def _write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    try:
        with files.replacing(path) as partial:
            torch.save(content, partial)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError when the disk is full
        raise UserError(
            f"{path}: could not be written (disk full?): make room, then continue with --resume {path.parent}"
        ) from error


def _write_metrics(run: _Run, rows: Sequence[Row]) -> None:
    header = [item.name for item in dataclasses.fields(Row)]
    files.write_csv(run.folder / "metrics.csv", header, [dataclasses.astuple(row) for row in rows])
    run.watch(run.folder)


def _write_epochs(path: Path, epochs: int) -> None:
    """Let `config.json`, where there is one, say how many epochs the run has by now; the rest is as it began."""
    if path.exists():
        config = json.loads(path.read_text(encoding="utf-8"))
        if config["settings"]["epochs"] != epochs:
            config["settings"]["epochs"] = epochs
            files.write_json(path, config)


def _config(run: _Run, device: torch.device) -> dict[str, Any]:
    init = Path(run.settings.init)
    return {
        "run": run.folder.name,
        "settings": run.settings.without_paths(),
        "init_sha256": files.sha256(init) if init.suffix in (".safetensors", ".pt") else None,
        "teacher_sha256": [files.sha256(Path(teacher)) for teacher in run.settings.teacher],
        "device": device.type,
        "precision": "bf16" if _uses_bf16(run.settings, device) else "fp32",
        "environment": environment.describe("torch", "torchvision", "numpy") | _gpu(device),
    }


def _gpu(device: torch.device) -> dict[str, str]:
    return {"gpu": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)} if device.type == "cuda" else {}


def _prepare(data: Dataset, group: Processes) -> None:
    """Have the data there for all: one process on each machine decodes."""
    if group.local_rank == 0:
        data.prepare()
    group.agree(None)


def _print_sizes(data: Dataset, parts: Split, settings: Settings) -> None:
    """Say how many images of an image folder there are, and what is to be watched where some classes have few."""
    if data.fingerprint.sha256 is None:
        return
    counts = np.bincount(parts.training.labels, minlength=len(data.classes))
    sizes = ", ".join(f"{name} {count}" for name, count in zip(data.classes, counts, strict=True))
    print(f"{len(parts.training)} images to train on ({sizes}), {len(parts.validation)} held out")
    if is_imbalanced(counts):
        advice = "" if settings.class_weights else "; --class-weights makes the small ones count as much"
        print(f"the classes are unequal: the number to watch is the macro F1 of `alexnet evaluate`{advice}")


def _device(settings: Settings) -> torch.device:
    available = torch.cuda.is_available()
    if settings.device == "cuda" and not available:
        raise UserError("--device cuda: torch finds no usable GPU here; give --device cpu, or mend the driver")
    return torch.device("cuda" if available and settings.device != "cpu" else "cpu")


def _uses_bf16(settings: Settings, device: torch.device) -> bool:
    return has_bf16(device) if settings.precision == "auto" else settings.precision == "bf16"


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16 by itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _row_text(row: Row, epochs: int) -> str:
    return (
        f"epoch {row.epoch}/{epochs}  training loss {row.training_loss:.3f} accuracy {row.training_accuracy:.4f}  "
        f"validation loss {row.validation_loss:.3f} accuracy {row.validation_accuracy:.4f}  {row.seconds:.0f} s"
    )


# glibc's mallopt parameters, from malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_MAX: Final = -4


def _keep_freed_memory() -> None:
    """Let glibc keep big freed blocks: handing them back after every step costs a third of it in page faults.

    Where Linux lays memory out in large pages for those who ask, torch shall: the weights alone are 55,000 small ones.
    It looks when it first needs memory, so this comes before all tensors.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # not glibc: the allocator stays as it is
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 512 * 2**20)
