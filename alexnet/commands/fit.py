"""`alexnet fit`: a folder of photos to a model that is measured and ready to serve."""

import importlib.util
import shlex
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from alexnet.commands.flags import RUNS
from alexnet.errors import UserError

if TYPE_CHECKING:
    from alexnet.evaluation.metrics import Split
    from alexnet.probe.fit import Fitted

_FEWEST: Final = 2_000  # training images, below which fine-tuning is not tried by itself
_TRAIN_EXTRA: Final = ("torch", "torchvision", "safetensors")


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
    epochs: Annotated[
        int | None,
        Parameter(
            validator=Number(gte=0),
            help="epochs of fine-tuning; by default 10 where torch is installed and there are 2,000 training images "
            "or more; 0 leaves it at the linear probe",
        ),
    ] = None,
    seed: Annotated[
        int, Parameter(validator=Number(gte=0), help="draws the folds of the cross-validation, and the images held out")
    ] = 0,
    license_name: Annotated[
        str | None,
        Parameter(name="--license", help="licence of the photos and of the model, for its card, like cc-by-4.0"),
    ] = None,
) -> None:
    """Make a model of your own photos in a minute: fit it, export it, measure it, describe it."""
    from alexnet.evaluation import evaluate, model_card
    from alexnet.inference.classifier import Classifier
    from alexnet.probe import fit as probe

    start = time.perf_counter()
    missing = [name for name in _TRAIN_EXTRA if importlib.util.find_spec(name) is None]
    if epochs and missing:
        raise UserError(f"--epochs needs {missing[0]}: pip install 'alexnet-cifar10[train]'")
    folder = output or RUNS / photos.resolve().name
    fitted = probe.fit(photos, folder, image_size, seed, license_name)
    if epochs is None and (missing or len(fitted.labels) < _FEWEST):
        epochs = 0
    if epochs == 0:
        print(f"chosen: the linear probe, accuracy {fitted.accuracy:.3f} in cross-validation")
    else:
        given = {"image_size": image_size, "seed": seed, **({} if epochs is None else {"epochs": epochs})}
        _fine_tune(fitted, photos, folder, given)
    model_card.write_config(folder, Classifier(fitted.model))
    if split := _measured_split(photos):
        evaluate.evaluate(evaluate.Request(fitted.model, photos, folder, split=split, batch_size=16))
        _write_card(folder, photos)
    else:
        place = f"{shlex.quote(str(folder))} --data {shlex.quote(str(photos))}"
        print(f"not measured on test images: put some into {photos}/test/<class>/, then: alexnet evaluate {place}")
    print(
        f"done in {time.perf_counter() - start:.0f} s: {folder}; next: alexnet serve --model {shlex.quote(str(folder))}"
    )


def _fine_tune(fitted: "Fitted", photos: Path, folder: Path, given: dict[str, int]) -> None:
    """Train the whole network; it takes the probe's place where it is right more often on the images held out."""
    from training.fine_tuning import choose

    found = choose.fine_tune(fitted, photos, folder / "fine-tuning", given)
    if found.better:
        shutil.copyfile(found.model, fitted.model)
    name = "the fine-tuned network" if found.better else "the linear probe"
    print(
        f"chosen: {name}; of {found.images} images held out, fine-tuning has {found.fine_tuned:.3f} right, "
        f"the probe {found.probe:.3f}"
    )


def _measured_split(photos: Path) -> "Split | None":
    """The test images; without `test/` those in `validation/`; None where there are neither."""
    from alexnet.datasets import ImageFolder, folders
    from alexnet.datasets import open as open_dataset

    dataset = open_dataset(photos)
    assert isinstance(dataset, ImageFolder)
    if not dataset.parts or folders.TEST in dataset.parts:
        return "test"
    return "validation" if folders.VALIDATION in dataset.parts else None


def _write_card(folder: Path, photos: Path) -> None:
    from alexnet.evaluation import model_card

    try:
        print(f"card: {model_card.card(folder, photos)}")
    except ImportError as error:
        name = (error.name or "").partition(".")[0]
        print(f"no card: it needs {name}: pip install 'alexnet-cifar10[evaluate]'")
