"""The `alexnet` command: `alexnet train`, `alexnet evaluate`, `alexnet predict`, `alexnet serve`, ...

In: the words of a command line. Out: an exit code, and on a user's mistake one line on standard error. Each command is
a function in alexnet.commands, whose module is imported when the command is given.
"""

import codecs
import contextlib
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Final, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import UnusedCliTokensError

from alexnet import __version__
from alexnet.errors import UserError, explain_invalid, printable

# Of each command: where its function is, what it does, and an example.
_COMMANDS: Final = {
    "fit": (
        "fit",
        "Fit a model to your own photos in a minute, measure it, and write its card.",
        "fit photos --output runs/photos",
    ),
    "train": ("train", "Train a network, or resume a run.", "train --epochs 1 --output runs/first"),
    "export": (
        "export",
        "Write a checkpoint as one ONNX file, and check that its outputs are the same.",
        "export runs/first --output runs/first/model.onnx",
    ),
    "compress": (
        "export",
        "Write a checkpoint as a small, calibrated ONNX file; shows size and accuracy after each step.",
        "compress runs/first --output runs/first/small.onnx",
    ),
    "evaluate": (
        "evaluate",
        "Measure a model: accuracy, F1, calibration; on demand OOD detection, corruptions and more.",
        "evaluate runs/first/model.onnx --predictions",
    ),
    "card": ("evaluate", "Write the model card, from a model file and its metrics.json.", "card models/alexnet"),
    "compare": (
        "evaluate",
        "Compare two models on the same images by McNemar's test: is one better, or is it chance?",
        "compare models/alexnet/model.onnx runs/first/model.onnx",
    ),
    "predict": (
        "predict",
        "Classify images: in the terminal, or to a CSV or Parquet table of any length.",
        "predict photos shards/*.parquet --output predictions.csv",
    ),
    "serve": (
        "serve",
        "Start the HTTP service, as `bentoml serve` does; environment variables set the rest (docs/guide/api.md).",
        "serve --model runs/first/model.onnx --port 3001",
    ),
    "report": (
        "export",
        "Compare a run with the published one, from their files.",
        "report runs/first --output runs/first",
    ),
    "doctor": (
        "doctor",
        "Check the machine, packages, settings, data and model, and say how to fix what is wrong.",
        "doctor runs/first/model.onnx --json",
    ),
}
_JOURNEY: Final = """\
With photos of your own, in a folder for each class:
  alexnet fit photos
  alexnet serve --model runs/photos

With CIFAR-10:
  alexnet doctor
  alexnet train --download --epochs 1 --output runs/first
  alexnet export runs/first --output runs/first/model.onnx
  alexnet evaluate runs/first/model.onnx
  alexnet predict cat.png --model runs/first/model.onnx
  alexnet serve --model runs/first/model.onnx

`alexnet COMMAND --help` tells more; README.md and docs/ tell the rest.
"""
# The extra that has a package which is not installed.
_EXTRAS: Final = {
    "httpx": "evaluate",
    "jinja2": "evaluate",
    "matplotlib": "evaluate",
    "scipy": "evaluate",
    "onnxscript": "train",
    "safetensors": "train",
    "torch": "train",
    "torchvision": "train",
    "training": "train",
    "bentoml": "serve",
    "circus": "serve",
    "httptools": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "serving": "serve",
    "starlette": "serve",
    "pyarrow": "parquet",
    "ray": "ray",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "alembic": "mlflow",
    "pandas": "mlflow",
    "sqlalchemy": "mlflow",
}

app = App(
    name="alexnet",
    help="AlexNet on CIFAR-10 or your own images: train it, export it to ONNX, measure it, use it.",
    help_format="plaintext",
    help_epilogue=_JOURNEY,
    version=__version__,
    suppress_keyboard_interrupt=False,  # main says it
    # Of a flag that is given twice the last one counts, so that a script can add to a command.
    default_parameter=Parameter(negative_iterable="", allow_repeating=True),
)
for _name, (_module, _about, _example) in _COMMANDS.items():
    _place = f"alexnet.commands.{_module}:{_name}"
    app.command(_place, name=_name, help=_about, help_epilogue=f"Example:\n  alexnet {_example}")


@app.command(name="--print-completion")
def print_completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion of this command for a shell."""
    script = app.generate_completion(prog_name="alexnet", shell=shell)
    if shell == "zsh":  # else it is only for a file in zsh's fpath
        script += f"\ncompdef {re.findall(r'^(_[a-z_]+)[(]', script, re.MULTILINE)[0]} alexnet\n"
    print(script)


def check(words: Sequence[str]) -> dict[str, Any]:
    """The flags of a command line by name, without running it. Raises `CycloptsError` on one that is not understood."""
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    return dict(bound.arguments)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for what a user can fix and for the command's own, 2 for flags that
    are not understood, 130 when interrupted.
    """
    _escape_what_cannot_be_encoded()
    if not sys.warnoptions:  # Pillow's warnings do not say which file they are about
        warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        command = " ".join(["alexnet", *(error.command_chain or ())])
        return _fail(f"{_explain(error)}; see {command} --help", 2, command)
    except UserError as error:
        return _fail(str(error))
    except ImportError as error:
        return _fail(_explain_missing(error))
    except BrokenPipeError:  # of `| head`, which has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        return 0
    except OSError as error:
        return _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part is not None))
    except MemoryError:
        return _fail("out of memory")
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    return code or 0


def _fail(message: str, code: int = 1, command: str = "alexnet") -> int:
    """Print `message` as one line, whatever names it holds; returns `code`."""
    print(f"{command}: {printable(message)}", file=sys.stderr)
    return code


def _explain(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected {' '.join(error.unused_tokens or [])}"
    return explain_invalid(error.__cause__) or str(error).rstrip(".")


def _explain_missing(error: ImportError) -> str:
    cause: BaseException | None = error
    while cause and not (isinstance(cause, ModuleNotFoundError) and cause.name):
        cause = cause.__cause__
    name = cause.name.partition(".")[0] if isinstance(cause, ModuleNotFoundError) and cause.name else ""
    if name in _EXTRAS:
        return f"this needs {name}: pip install 'alexnet-cifar10[{_EXTRAS[name]}]'"
    if name:  # what every installation has, but that of a service
        return f"this needs {name}: pip install alexnet-cifar10"
    return f"a package cannot be imported ({error}); install it again"


def _escape_what_cannot_be_encoded() -> None:
    """Let both standard streams take any text: as `\\uXXXX`, which JSON reads, where their encoding has no letter."""
    codecs.register_error("alexnet.escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # not a file, or closed
            stream.reconfigure(errors="alexnet.escape")  # type: ignore[union-attr]


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


if __name__ == "__main__":
    sys.exit(main())
