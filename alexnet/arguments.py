"""The flags of the `alexnet` command and its help, nothing of which runs anything.

In: argparse's words. Out: the parser; `options.command` is the name of the command that was given.
"""

import argparse
import typing
from pathlib import Path
from typing import Any, Final, NoReturn

import shtab

from alexnet.paths import MODEL
from training.recipes import RECIPES
from training.settings import Settings

DATA: Final = Path("data")
SHIPPED: Final = "default: the shipped model"
OUTPUT: Final = Path("models/alexnet/model.onnx")  # where a new model ships from
PUBLISHED: Final = Path("docs/runs/published")


_JOURNEY: Final = """\
the usual journey:
  alexnet doctor                                             what is here, and what is missing
  alexnet train --download --epochs 1 --output runs/first    CIFAR-10 to checkpoints
  alexnet export runs/first --output runs/first/model.onnx   a checkpoint to one ONNX file, proven equal
  alexnet evaluate runs/first/model.onnx                     its accuracy and F1 on the test images
  alexnet predict cat.png --model runs/first/model.onnx      what it sees in a picture, or in millions
  ALEXNET_MODEL=runs/first/model.onnx bentoml serve          its answers over HTTP, on port 3000

`alexnet COMMAND --help` tells more; README.md and docs/ tell the rest.
"""
_SHELLS: Final = ("bash", "zsh", "fish")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose complaint is one line, and whose help keeps the lines of its examples."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> Parser:
    """All commands and their flags."""
    about = "AlexNet on CIFAR-10: train it, export it to ONNX, measure it."
    whole = Parser(prog="alexnet", description=about, epilog=_JOURNEY)
    about = f"print the completion of this command for {', '.join(_SHELLS)}"
    shtab.add_argument_to(whole, "--print-completion", help=about)
    whole._option_string_actions["--print-completion"].choices = _SHELLS
    commands = whole.add_subparsers(title="commands", required=True, dest="command", metavar="COMMAND")
    for add in (
        _add_train,
        _add_export,
        _add_compress,
        _add_evaluate,
        _add_card,
        _add_compare,
        _add_predict,
        _add_report,
        _add_doctor,
    ):
        _complete_paths(add(commands))
    return whole


def _add_train(commands: Any) -> Parser:
    about = "train a network, or continue a run"
    train = _command(commands, "train", about, "alexnet train --epochs 1 --data data --output runs/first")
    _add_data(train)
    train.add_argument("--output", type=Path, metavar="DIR", help="folder of the new run (default: runs/<time>)")
    train.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    train.add_argument("--tensorboard", action="store_true", help="write TensorBoard's events into the run's folder")
    _add_mlflow(train, "track the run there: a server's address or sqlite:///mlflow.db")
    about = "settings under a name; a flag that is given too wins (default: published)"
    train.add_argument("--recipe", choices=tuple(RECIPES), help=about)
    _add_settings(train)
    return train


def _add_export(commands: Any) -> Parser:
    about = "write a checkpoint as one ONNX file, proven equal to it"
    export = _command(commands, "export", about, "alexnet export runs/first --output runs/first/model.onnx")
    _add_checkpoint(export)
    return export


def _add_compress(commands: Any) -> Parser:
    about = "write a checkpoint as the small ONNX file that ships, and show what each step gains and costs"
    compress = _command(commands, "compress", about, "alexnet compress runs/first --output runs/first/small.onnx")
    _add_checkpoint(compress)
    about = "of the two large linear layers; auto takes the lowest that is good enough (default: auto)"
    compress.add_argument("--rank", type=rank, metavar="auto|R", help=about)
    about = "points of macro F1 that may be lost on the validation images (default: %(default)s)"
    compress.add_argument("--max-drop", type=float, default=0.2, metavar="POINTS", help=about)
    about = "int8, fp16 for CUDA, or fp32 (default: %(default)s)"
    compress.add_argument("--precision", choices=("int8", "fp16", "fp32"), default="int8", help=about)
    about = "steps of distillation from the whole network (default: %(default)s)"
    compress.add_argument("--fine-tune-steps", type=int, default=0, metavar="N", help=about)
    about = "ranks of the second convolution (Tucker-2); auto takes the lowest that are good enough (default: none)"
    compress.add_argument("--conv-ranks", type=conv_ranks, metavar="none|auto|R1,R2", help=about)
    about = "take ranks, temperature and OOD threshold from this file, for a run that held out no images"
    compress.add_argument("--calibration-from", type=Path, metavar="FILE", help=about)
    about = "also write a float16 ONNX file for GPUs, and the weights for `train --init` as .safetensors"
    compress.add_argument("--release", action="store_true", help=about)
    about = "measure the latency of each step, beside AlexNet at 224 pixels"
    compress.add_argument("--latency", action="store_true", help=about)
    compress.add_argument("--threads", type=int, metavar="N", help="for the latency (default: as served)")
    return compress


def conv_ranks(given: str) -> tuple[int, int] | str | None:
    """What `--conv-ranks` says; None for `none`. argparse names this function in its complaint."""
    if given in ("none", "auto"):
        return None if given == "none" else given
    first, second = (int(part) for part in given.split(","))
    return first, second


def rank(given: str) -> int | None:
    """What `--rank` of `compress` says; None for `auto`. argparse names this function in its complaint."""
    return None if given == "auto" else int(given)


def _add_evaluate(commands: Any) -> Parser:
    about = "measure a model, on the test images unless told otherwise"
    evaluate = _command(commands, "evaluate", about, "alexnet evaluate runs/first/model.onnx --predictions")
    evaluate.add_argument("model", type=Path, nargs="?", default=MODEL, metavar="MODEL", help=SHIPPED)
    _add_data(evaluate)
    evaluate.add_argument("--output", type=Path, metavar="DIR", help="default: the folder of the model")
    evaluate.add_argument("--batch-size", type=int, default=256, metavar="N", help="changes no result (default: 256)")
    about = "test, or the training images that the model's run held out (default: test)"
    evaluate.add_argument("--split", choices=("test", "validation"), default="test", help=about)
    evaluate.add_argument("--predictions", action="store_true", help="write predictions.parquet too, a row per image")
    _add_trust(evaluate)
    return evaluate


def _add_card(commands: Any) -> Parser:
    about = "write the page of a model for people, from its file and its metrics.json"
    card = _command(commands, "card", about, "alexnet card models/alexnet")
    about = "folder with model.onnx and metrics.json, and for the page (default: %(default)s)"
    card.add_argument("folder", type=Path, nargs="?", default=MODEL.parent, metavar="DIR", help=about)
    _add_data(card)
    return card


def _add_trust(evaluate: Parser) -> None:
    about = "folder of images of none of the classes: measure how well the OOD score detects them; may be repeated"
    evaluate.add_argument("--ood", type=Path, action="append", default=[], metavar="DIR", help=about)
    about = "folder with photos in a folder for each class and in none/: accuracy, calibration and OOD detection"
    evaluate.add_argument("--photos", type=Path, metavar="DIR", help=about)
    about = "accuracy under the fifteen common corruptions: full (75 x all images), quick (45 x 2,000), or the folder "
    about += "of CIFAR-10-C's .npy files"
    evaluate.add_argument("--corruptions", metavar="full|quick|DIR", help=about)
    about = "folder with CIFAR-10.1's .npy files: accuracy on them"
    evaluate.add_argument("--cifar10-1", type=Path, metavar="DIR", help=about)
    about = "file of labels that most people back, cifar10h-counts.npy or cifar10_mturk.json: accuracy against them"
    evaluate.add_argument("--labels", type=Path, metavar="FILE", help=about)
    about = "ask a running service too and count what differs; it may need a key, taken from ALEXNET_API_KEYS"
    evaluate.add_argument("--url", metavar="URL", help=about)
    about = "ask torch too, with the run's folder or checkpoint that the model was made of, and count what differs"
    evaluate.add_argument("--checkpoint", type=Path, metavar="RUN|CHECKPOINT", help=about)


def _add_compare(commands: Any) -> Parser:
    about = "compare two models on the same images by McNemar's test: is one better, or is it chance?"
    compare = _command(commands, "compare", about, "alexnet compare models/alexnet/model.onnx runs/first/model.onnx")
    compare.add_argument("first", type=Path, metavar="A", help="a model file")
    compare.add_argument("second", type=Path, metavar="B", help="another one of the same classes")
    _add_data(compare)
    about = "test, or the training images that the runs of both held out (default: test)"
    compare.add_argument("--split", choices=("test", "validation"), default="test", help=about)
    compare.add_argument("--batch-size", type=int, default=256, metavar="N", help="changes no result (default: 256)")
    compare.add_argument("--json", action="store_true", help="for programs")
    return compare


def _add_predict(commands: Any) -> Parser:
    about = "tell what is in images: in the terminal, or as a table of any length"
    predict = _command(commands, "predict", about, "alexnet predict photos shards/*.parquet --output predictions.csv")
    about = "image, folder, Parquet file with a column of images, or glob in quotes"
    predict.add_argument("inputs", nargs="+", metavar="INPUT", help=about)
    about = "table to write, .csv or .parquet (default: bars in the terminal)"
    predict.add_argument("--output", type=Path, metavar="FILE", help=about)
    predict.add_argument("--json", action="store_true", help="a line of JSON for each image, on standard output")
    predict.add_argument("--model", type=Path, default=MODEL, metavar="MODEL", help=SHIPPED)
    predict.add_argument("--top-k", type=int, metavar="K", help="classes for each image (default: 5, or all if fewer)")
    about = "of Parquet files: bytes, or structs of bytes and path (default: image, or the only one)"
    predict.add_argument("--column", metavar="NAME", help=about)
    predict.add_argument("--resume", action="store_true", help="go on with what a run that was killed left")
    predict.add_argument("--overwrite", action="store_true", help="begin anew, whatever is there")
    about = "images that are kept together: the most that a kill can cost (default: 1024)"
    predict.add_argument("--part", type=int, default=1024, metavar="N", help=about)
    predict.add_argument("--threads", type=int, metavar="N", help="threads of ONNX Runtime (default: the usable CPUs)")
    about = "what to do with a GPU, as ALEXNET_GPU of the service (default: never)"
    predict.add_argument("--gpu", choices=("never", "prefer", "require"), default="never", help=about)
    about = "compute on Ray, here or on the cluster at HOST:PORT (auto: of this machine); write it after the inputs"
    predict.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help=about)
    return predict


def _add_report(commands: Any) -> Parser:
    about = "compare a run with the published one, from their files alone"
    report = _command(commands, "report", about, "alexnet report runs/first --output runs/first")
    about = "folder with config.json and metrics.csv of `train`, and what `evaluate --predictions` wrote of its model "
    about += "in test/ and validation/ (default: %(default)s)"
    report.add_argument("run", type=Path, nargs="?", default=PUBLISHED, metavar="RUN", help=about)
    about = "folder of the published run's files (default: %(default)s)"
    report.add_argument("--published", type=Path, default=PUBLISHED, metavar="DIR", help=about)
    about = "folder for reproduction.md and its pictures (default: %(default)s)"
    report.add_argument("--output", type=Path, default=Path("docs"), metavar="DIR", help=about)
    return report


def _add_doctor(commands: Any) -> Parser:
    about = "tell what is here, whether it fits together, and what to do where it does not"
    doctor = _command(commands, "doctor", about, "alexnet doctor runs/first/model.onnx --json")
    doctor.add_argument("model", type=Path, nargs="?", default=MODEL, metavar="MODEL", help=SHIPPED)
    about = "folder that is looked at for cifar-10-batches-bin/ (default: %(default)s)"
    doctor.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=about)
    doctor.add_argument("--json", action="store_true", help="for programs")
    return doctor


def _command(commands: Any, name: str, about: str, example: str) -> Parser:
    description, epilog = about[0].upper() + about[1:], f"example:\n  {example}"
    parser: Parser = commands.add_parser(name, help=about, description=description, epilog=epilog)
    return parser


def _complete_paths(parser: Parser) -> None:
    """Let shells offer folders or files for each path."""
    for action in parser._actions:
        if action.type is Path or action.dest == "inputs":
            offered = shtab.DIRECTORY if action.metavar in ("DIR", "RUN") else shtab.FILE
            action.complete = offered  # type: ignore[attr-defined]


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """What becomes a model file, and where that goes."""
    about = "a run's folder (its best.pt) or a file"
    parser.add_argument("checkpoint", type=Path, metavar="RUN|CHECKPOINT", help=about)
    _add_data(parser)
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="default: %(default)s")
    _add_mlflow(parser, "put the file into the run's MLflow run there, with its signature")
    about = "make it the next version of this model in MLflow's registry"
    parser.add_argument("--register", metavar="NAME", help=about)


def _add_mlflow(parser: argparse.ArgumentParser, about: str) -> None:
    parser.add_argument("--mlflow", metavar="URI", help=about)


def _add_data(parser: argparse.ArgumentParser) -> None:
    about = "folder with CIFAR-10, or with your own images in train/CLASS/ and test/CLASS/ (default: %(default)s)"
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help=about)
    about = "download CIFAR-10 (170 MB) into the folder of --data where there is no data set"
    parser.add_argument("--download", action="store_true", help=about)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each field of `Settings`. A flag that is not given stays out of the result: the default is there."""
    group = parser.add_argument_group("settings (the defaults are the published run)")
    for name, field in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        default = "none" if field.default == () else field.default
        about = f"{field.description} (default: {default})"
        kind = typing.get_origin(field.annotation)
        if field.annotation is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=about)
            continue
        group.add_argument(
            flag,
            type=str if kind else typing.cast(type, field.annotation),
            nargs="+" if kind is tuple else None,
            choices=typing.get_args(field.annotation) if kind is typing.Literal else None,
            default=argparse.SUPPRESS,
            help=about,
        )
