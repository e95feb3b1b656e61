"""The `alexnet` command: `alexnet train`, `alexnet export`, `alexnet evaluate`, `alexnet predict`, ...

Each command imports what it needs when it runs, so that `evaluate` works where torch is not installed.
"""

import argparse
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from alexnet import arguments, datasets
from alexnet.errors import UserError
from training import recipes
from training.settings import Settings

RUNS = Path("runs")


def main(given: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a `UserError`, an unusable file or the command's own, 130 when
    interrupted.
    """
    options = arguments.parser().parse_args(given)
    try:
        if getattr(options, "download", False):
            datasets.open(options.data, download=True)
        code = _COMMANDS[options.command](options)
    except UserError as error:
        print(f"alexnet: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"alexnet: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("alexnet: interrupted", file=sys.stderr)
        return 130
    return code or 0


def _train(options: argparse.Namespace) -> None:
    from training import trainer
    from training.tracking import run_log

    given = {name: value for name in Settings.model_fields if (value := getattr(options, name, None)) is not None}
    if options.resume:
        fixed = sorted(given.keys() - {"epochs"})
        if fixed or options.output or options.recipe:
            name = fixed[0].replace("_", "-") if fixed else "output" if options.output else "recipe"
            raise UserError(f"--{name} cannot change when a run is resumed; only --epochs, --data and tracking can")
        folder = options.resume
    else:
        folder = options.output or RUNS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    place = "" if options.data == arguments.DATA else f" --data {shlex.quote(str(options.data))}"
    try:
        with run_log.following(tensorboard=options.tensorboard, mlflow=options.mlflow) as watch:
            if options.resume:
                folder = trainer.resume(folder, options.data, given.get("epochs"), watch)
            else:
                settings = recipes.settings(options.recipe or "published", given)
                exactly = "validation_images" in given
                folder = trainer.start(settings, options.data, folder, watch, exactly=exactly)
    except KeyboardInterrupt:
        if (folder / "last.pt").exists():
            print(f"\nstopped after the last whole epoch; continue with: alexnet train --resume {folder}{place}")
        raise
    if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts, one speaks
        print(f"done: {folder}; next: alexnet {_after_training(folder, place)}")


def _after_training(folder: Path, place: str) -> str:
    """The command that a finished run is for; `place` is the flag of its data, or nothing."""
    config = folder / "config.json"  # a run can be gone on with from its checkpoint alone
    if config.exists() and json.loads(config.read_text(encoding="utf-8"))["settings"]["network"] == "teacher":
        return f"train --recipe improved --teacher {folder}/best.pt{place}"
    return f"export {folder}{place and f'{place} --output {folder}/model.onnx'}"


def _export(options: argparse.Namespace) -> None:
    from training.export import onnx_export
    from training.tracking import run_log

    log = run_log.model_log(options.checkpoint, options.mlflow, options.register)
    log(onnx_export.export(options.checkpoint, options.data, options.output))


def _compress(options: argparse.Namespace) -> None:
    from training.export import compress
    from training.tracking import run_log

    log = run_log.model_log(options.checkpoint, options.mlflow, options.register)
    names = [item.name for item in dataclasses.fields(compress.Request)]
    log(compress.compress(compress.Request(**{name: getattr(options, name) for name in names})))


def _evaluate(options: argparse.Namespace) -> None:
    from alexnet.evaluation import evaluate
    from alexnet.evaluation.corruptions import Protocol

    ask_torch = None
    if options.checkpoint:
        try:
            from training.export import torch_parity
        except ImportError as error:
            raise UserError(f"--checkpoint needs {error.name}: pip install 'alexnet-cifar10[train]'") from error
        ask_torch = partial(torch_parity.ask_torch, options.checkpoint)
    request = evaluate.Request(
        options.model,
        options.data,
        options.output or options.model.parent,
        split=options.split,
        batch_size=options.batch_size,
        predictions=options.predictions,
        ood=tuple(options.ood),
        photos=options.photos,
        corruptions=Protocol.of(options.corruptions) if options.corruptions else None,
        cifar10_1=options.cifar10_1,
        labels=options.labels,
        url=options.url,
        ask_torch=ask_torch,
    )
    evaluate.evaluate(request)


def _card(options: argparse.Namespace) -> None:
    from alexnet.evaluation import model_card

    print(model_card.card(options.folder, options.data))


def _compare(options: argparse.Namespace) -> None:
    from alexnet.evaluation import compare

    found = compare.compare(
        options.first, options.second, options.data, split=options.split, batch_size=options.batch_size
    )
    print(compare.to_json(found)) if options.json else compare.show(found)


def _predict(options: argparse.Namespace) -> int:
    from alexnet.batch import command

    request = command.Request(
        **{item.name: getattr(options, item.name) for item in dataclasses.fields(command.Request)}
    )
    try:
        errors = command.predict(request)
    except BrokenPipeError:  # of `| head`, which has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        return 0
    return 1 if errors and request.output is None else 0


def _report(options: argparse.Namespace) -> None:
    try:
        from training.reproduction import report
    except ImportError as error:
        raise UserError(f"the report needs {error.name}: pip install 'alexnet-cifar10[train]'") from error
    print(report.report(options.run, options.published, options.output))


def _doctor(options: argparse.Namespace) -> int:
    from alexnet import doctor

    findings = doctor.examine(options.model, options.data, RUNS)
    print(doctor.to_json(findings)) if options.json else doctor.show(findings)
    return 0 if doctor.is_healthy(findings) else 1


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int | None]]] = {
    "train": _train,
    "export": _export,
    "compress": _compress,
    "evaluate": _evaluate,
    "card": _card,
    "compare": _compare,
    "predict": _predict,
    "report": _report,
    "doctor": _doctor,
}


if __name__ == "__main__":
    sys.exit(main())
