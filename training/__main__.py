"""The `alexnet` command: `alexnet train`, `alexnet export`, `alexnet evaluate`, `alexnet report`.

Each command imports what it needs when it runs, so that `evaluate` works where torch is not installed.
"""

import argparse
import dataclasses
import sys
import typing
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from serving.errors import UserError
from training.settings import Settings

DATA = Path("data")
RUNS = Path("runs")
MODEL = Path("models/alexnet/model.onnx")
PUBLISHED = Path("docs/runs/published")


class _Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a `UserError` or an unusable file, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
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
    return 0


def _train(options: argparse.Namespace) -> None:
    from training import trainer

    given = {
        item.name: value
        for item in dataclasses.fields(Settings)
        if (value := getattr(options, item.name, None)) is not None
    }
    if options.resume:
        fixed = sorted(given.keys() - {"epochs"})
        if fixed or options.output:
            name = fixed[0].replace("_", "-") if fixed else "output"
            raise UserError(f"--{name} cannot change when a run is resumed; only --epochs and --data can")
        folder = options.resume
    else:
        folder = options.output or RUNS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    try:
        if options.resume:
            trainer.resume(folder, options.data, given.get("epochs"))
        else:
            trainer.start(Settings(**given), options.data, folder)
    except KeyboardInterrupt:
        if (folder / "last.pt").exists():
            print(f"\nstopped after the last whole epoch; continue with: alexnet train --resume {folder}")
        raise
    print(f"done: {folder}; next: alexnet export {folder}")


def _export(options: argparse.Namespace) -> None:
    from training import export

    export.export(options.checkpoint, options.data, options.output, rank=options.rank)


def _evaluate(options: argparse.Namespace) -> None:
    from training import evaluate

    evaluate.evaluate(
        options.model,
        options.data,
        options.output or options.model.parent,
        split=options.split,
        predictions=options.predictions,
        batch_size=options.batch_size,
    )


def _report(options: argparse.Namespace) -> None:
    try:
        from training import report
    except ImportError as error:
        raise UserError(f"the report needs {error.name}: pip install 'alexnet-cifar10[train]'") from error
    print(report.report(options.run, options.published, options.output))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="alexnet", description="AlexNet on CIFAR-10: train it, export it to ONNX, measure it.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = _command(commands, "train", _train, "train a network, or continue a run")
    _add_data(train)
    train.add_argument("--output", type=Path, metavar="DIR", help="folder of the new run (default: runs/<time>)")
    train.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    _add_settings(train)

    export = _command(commands, "export", _export, "write a checkpoint as one ONNX file, proven equal to it")
    export.add_argument(
        "checkpoint", type=Path, metavar="RUN|CHECKPOINT", help="a run's folder (its best.pt) or a file"
    )
    _add_data(export)
    export.add_argument("--output", type=Path, default=MODEL, metavar="FILE", help="default: %(default)s")
    export.add_argument("--rank", type=int, metavar="R", help="factorise the two large linear layers to this rank")

    evaluate = _command(commands, "evaluate", _evaluate, "measure a model, on the test images unless told otherwise")
    evaluate.add_argument("model", type=Path, nargs="?", default=MODEL, metavar="MODEL", help="default: %(default)s")
    _add_data(evaluate)
    evaluate.add_argument("--output", type=Path, metavar="DIR", help="default: the folder of the model")
    evaluate.add_argument("--batch-size", type=int, default=256, metavar="N", help="changes no result (default: 256)")
    about = "test, or the training images that the model's run held out (default: test)"
    evaluate.add_argument("--split", choices=("test", "validation"), default="test", help=about)
    evaluate.add_argument("--predictions", action="store_true", help="write predictions.csv too, a line per image")

    report = _command(commands, "report", _report, "compare a run with the published one, from their files alone")
    about = "folder with config.json and metrics.csv of `train`, and what `evaluate --predictions` wrote of its model "
    about += "in test/ and validation/ (default: %(default)s)"
    report.add_argument("run", type=Path, nargs="?", default=PUBLISHED, metavar="RUN", help=about)
    about = "folder of the published run's files (default: %(default)s)"
    report.add_argument("--published", type=Path, default=PUBLISHED, metavar="DIR", help=about)
    about = "folder for reproduction.md and its pictures (default: %(default)s)"
    report.add_argument("--output", type=Path, default=Path("docs"), metavar="DIR", help=about)
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], about: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about[0].upper() + about[1:])
    parser.set_defaults(command=run)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    about = "folder with cifar-10-batches-bin/, downloaded when absent (default: %(default)s)"
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=about)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each field of `Settings`. A flag that is not given stays out of the result: the default is there."""
    group = parser.add_argument_group("settings (the defaults are the published run)")
    for item in dataclasses.fields(Settings):
        group.add_argument(
            "--" + item.name.replace("_", "-"),
            type=str if typing.get_origin(item.type) else typing.cast(type, item.type),
            choices=typing.get_args(item.type) or None,
            default=argparse.SUPPRESS,
            help=f"{item.metadata['help']} (default: {item.default})",
        )


if __name__ == "__main__":
    sys.exit(main())
