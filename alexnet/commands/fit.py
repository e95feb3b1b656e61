"""`alexnet fit`: a folder of photos to a model that is measured and ready to serve."""

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from alexnet.commands.flags import RUNS


def fit(
    photos: Annotated[
        Path, Parameter(help="folder with a folder of images for each class, or train/ and test/ of them")
    ],
    /,
    *,
    output: Annotated[
        Path | None, Parameter(help="folder for the model, its metrics and its card; by default runs/<photos>")
    ] = None,
    image_size: Annotated[
        int, Parameter(validator=Number(gte=63, lte=1024), help="pixels a side at which the model sees an image")
    ] = 224,
    seed: Annotated[int, Parameter(validator=Number(gte=0), help="draws the folds of the cross-validation")] = 0,
) -> None:
    """Fit a model to your own photos in a minute, measure it, and write its card."""
    from alexnet.evaluation import evaluate
    from alexnet.probe import fit as probe

    folder = output or RUNS / photos.resolve().name
    fitted = probe.fit(photos, folder, image_size, seed)
    if _has_test(photos):
        evaluate.evaluate(evaluate.Request(fitted.model, photos, folder, batch_size=16))
        _write_card(folder, photos)
    else:
        place = f"{shlex.quote(str(folder))} --data {shlex.quote(str(photos))}"
        print(f"not measured on test images: put some into {photos}/test/<class>/, then: alexnet evaluate {place}")
    print(f"done: {folder}; next: alexnet serve --model {shlex.quote(str(folder))}")


def _has_test(photos: Path) -> bool:
    from alexnet.datasets import ImageFolder, folders
    from alexnet.datasets import open as open_dataset

    dataset = open_dataset(photos)
    return isinstance(dataset, ImageFolder) and (not dataset.parts or folders.TEST in dataset.parts)


def _write_card(folder: Path, photos: Path) -> None:
    from alexnet.errors import UserError
    from alexnet.evaluation import model_card

    try:
        print(f"card: {model_card.card(folder, photos)}")
    except UserError as error:  # without the extra `evaluate`
        print(f"no card: {error}")
