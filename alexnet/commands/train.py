"""`alexnet train`: data to a run folder."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import create_model

from alexnet.commands.flags import DEFAULT_DATA, RUNS, Data, Download, Mlflow, fetch
from alexnet.errors import UserError
from training.settings import Settings

if TYPE_CHECKING:
    Flags = Settings
else:  # without the checks of several settings together: a recipe may set the others
    Flags = create_model(
        "Flags",
        __config__=Settings.model_config,
        **{name: (field.annotation, field) for name, field in Settings.model_fields.items()},
    )
_PUBLISHED = Flags()


def train(
    *,
    data: Data = DEFAULT_DATA,
    download: Download = False,
    output: Annotated[Path | None, Parameter(help="folder of the new run; by default runs/<time>")] = None,
    resume: Annotated[Path | None, Parameter(help="resume the run in this folder")] = None,
    recipe: Annotated[
        Literal["published", "improved", "robust", "small", "custom", "teacher"] | None,
        Parameter(
            help="named set of settings, which other flags override; by default published for CIFAR-10, custom for an "
            "image folder"
        ),
    ] = None,
    tensorboard: Annotated[bool, Parameter(negative="", help="write TensorBoard's events into the run folder")] = False,
    mlflow: Mlflow = None,
    settings: Annotated[Flags, Parameter(name="*", group="Training settings")] = _PUBLISHED,
) -> None:
    """Train a network, or resume a run."""
    from training import distributed, recipes, trainer
    from training.tracking import run_log

    given = settings.model_dump(exclude_unset=True)
    if resume:
        _check_resumed(given, output, recipe)
    fetch(data, download)
    folder = resume or output or RUNS / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    place = "" if data == DEFAULT_DATA else f" --data {shlex.quote(str(data))}"
    try:
        with run_log.tracking(tensorboard=tensorboard, mlflow=mlflow) as log:
            if resume:
                folder = trainer.resume(folder, data, given.get("epochs"), log)
            else:
                chosen = recipes.settings(recipe or _default_recipe(data), given)
                folder = trainer.start(chosen, data, folder, log, exactly="validation_images" in given)
    except KeyboardInterrupt:
        if (folder / "last.pt").exists():
            print(f"\nstopped after the last whole epoch; resume with: alexnet train --resume {folder}{place}")
        raise
    if distributed.is_first():
        print(f"done: {folder}; next: alexnet {_next_command(folder, place)}")


def _default_recipe(data: Path) -> str:
    """That of the kind of data; says so where it is an image folder."""
    from alexnet import datasets

    if not isinstance(datasets.open(data), datasets.ImageFolder):
        return "published"
    print("recipe: custom, for an image folder; others see 32 x 32 pixels without --image-size", flush=True)
    return "custom"


def _check_resumed(given: dict[str, Any], output: Path | None, recipe: str | None) -> None:
    fixed = [name for name in sorted(given) if name != "epochs"]
    fixed += ["output"] * (output is not None) + ["recipe"] * (recipe is not None)
    if fixed:
        flag = fixed[0].replace("_", "-")
        raise UserError(f"--{flag} cannot change when a run is resumed; only --epochs, --data and tracking can")


def _next_command(folder: Path, place: str) -> str:
    """What a finished run is for; `place` is the flag of its data, or nothing."""
    from training import run_config

    if run_config.read(folder).settings["network"] == "teacher":
        return f"train --recipe improved --teacher {folder}/best.pt{place}"
    return f"export {folder}{place and f'{place} --output {folder}/model.onnx'}"
