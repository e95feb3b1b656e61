"""The flags of the `alexnet` command and its help, nothing of which runs anything.

In: argparse's words. Out: the parser; `options.command` is the name of the command that was given.
"""

import argparse
import dataclasses
import typing
from pathlib import Path
from typing import Any, Final, NoReturn

from training.settings import Settings

DATA: Final = Path("data")
MODEL: Final = Path("models/alexnet/model.onnx")
PUBLISHED: Final = Path("docs/runs/published")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """All commands and their flags."""
    parser = Parser(prog="alexnet", description="AlexNet on CIFAR-10: train it, export it to ONNX, measure it.")
    commands = parser.add_subparsers(title="commands", required=True, dest="command", metavar="COMMAND")

    train = _command(commands, "train", "train a network, or continue a run")
    _add_data(train)
    train.add_argument("--output", type=Path, metavar="DIR", help="folder of the new run (default: runs/<time>)")
    train.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    _add_settings(train)

    export = _command(commands, "export", "write a checkpoint as one ONNX file, proven equal to it")
    export.add_argument(
        "checkpoint", type=Path, metavar="RUN|CHECKPOINT", help="a run's folder (its best.pt) or a file"
    )
    _add_data(export)
    export.add_argument("--output", type=Path, default=MODEL, metavar="FILE", help="default: %(default)s")
    export.add_argument("--rank", type=int, metavar="R", help="factorise the two large linear layers to this rank")

    evaluate = _command(commands, "evaluate", "measure a model, on the test images unless told otherwise")
    evaluate.add_argument("model", type=Path, nargs="?", default=MODEL, metavar="MODEL", help="default: %(default)s")
    _add_data(evaluate)
    evaluate.add_argument("--output", type=Path, metavar="DIR", help="default: the folder of the model")
    evaluate.add_argument("--batch-size", type=int, default=256, metavar="N", help="changes no result (default: 256)")
    about = "test, or the training images that the model's run held out (default: test)"
    evaluate.add_argument("--split", choices=("test", "validation"), default="test", help=about)
    evaluate.add_argument("--predictions", action="store_true", help="write predictions.csv too, a line per image")

    report = _command(commands, "report", "compare a run with the published one, from their files alone")
    about = "folder with config.json and metrics.csv of `train`, and what `evaluate --predictions` wrote of its model "
    about += "in test/ and validation/ (default: %(default)s)"
    report.add_argument("run", type=Path, nargs="?", default=PUBLISHED, metavar="RUN", help=about)
    about = "folder of the published run's files (default: %(default)s)"
    report.add_argument("--published", type=Path, default=PUBLISHED, metavar="DIR", help=about)
    about = "folder for reproduction.md and its pictures (default: %(default)s)"
    report.add_argument("--output", type=Path, default=Path("docs"), metavar="DIR", help=about)

    doctor = _command(commands, "doctor", "tell what is here, whether it fits together, and what to do where not")
    doctor.add_argument("model", type=Path, nargs="?", default=MODEL, metavar="MODEL", help="default: %(default)s")
    _add_data(doctor)
    doctor.add_argument("--json", action="store_true", help="for programs")
    return parser


def _command(commands: Any, name: str, about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about[0].upper() + about[1:])
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
