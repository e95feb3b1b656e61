"""What many tests need and what is dear to make, made once per session: images, a data folder, a run, a model.

All of it is real: 200 images of CIFAR-10's test split, a run that `trainer` trained on them, a file that `export` made.
The network is AlexNet with an eighth of its channels, so that a run takes a second and a few MB.
"""

import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

# One thread: a batch of one gains nothing from a second, and waiting for it on a busy machine costs ten times the work.
# Set before torch is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from alexnet.datasets import Images, cifar10
from tests.models import write_model
from training.settings import Settings

FIXTURE = Path(__file__).parent / "data" / "cifar10"
TRAINING_IMAGES = 300  # export proves itself on 256 of them
VALIDATION_IMAGES = 170
WIDTH = 1 / 8
# The convolutions of AlexNet at that width: place, outputs, inputs, side of the kernel.
CONVOLUTIONS = ((0, 8, 3, 11), (3, 24, 8, 5), (6, 48, 24, 3), (8, 32, 48, 3), (10, 32, 32, 3))


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """pytest's own, and empty again afterwards."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def session_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that goes when the session ends."""
    path = tmp_path_factory.mktemp("session")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def fixture_images() -> Images:
    """200 test images of CIFAR-10, 20 of each class, in the order of their names in the test split."""
    files = sorted(FIXTURE.glob("*/*.png"), key=lambda path: path.name)
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    labels = np.array([cifar10.CLASSES.index(file.parent.name) for file in files])
    return Images(pixels, labels)


@pytest.fixture(scope="session")
def data_root(session_path: Path, fixture_images: Images) -> Path:
    """A folder with `cifar-10-batches-bin/`: the 200 images to test on; they and 100 mirrored ones to train on."""
    mirrored = Images(fixture_images.pixels[:, :, ::-1], fixture_images.labels).take(np.arange(100))
    pixels = np.concatenate([fixture_images.pixels, mirrored.pixels])
    labels = np.concatenate([fixture_images.labels, mirrored.labels])
    root = session_path / "data"
    write_binary(root, Images(pixels, labels), fixture_images)
    return root


@pytest.fixture(scope="session")
def init_file(session_path: Path) -> Path:
    """Convolution layers with He's initialisation: unlike torchvision's own, they can be trained in a dozen steps."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for place, outputs, inputs, side in CONVOLUTIONS:
        weight = torch.empty(outputs, inputs, side, side)
        torch.nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        tensors[f"features.{place}.weight"] = weight
        tensors[f"features.{place}.bias"] = torch.zeros(outputs)
    path = session_path / "init.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="session")
def small_settings(init_file: Path) -> Settings:
    """A run of seconds: the smallest network input and five steps an epoch."""
    return Settings(
        width=WIDTH,
        epochs=2,
        batch_size=30,
        learning_rate=0.002,
        dropout=0.1,
        validation_images=VALIDATION_IMAGES,
        input_size=63,
        init=str(init_file),
        device="cpu",
        precision="fp32",
    )


@pytest.fixture(scope="session")
def small_run(session_path: Path, data_root: Path, small_settings: Settings) -> Path:
    """The folder of a finished run of two epochs, not to be changed."""
    from training import trainer

    return trainer.start(small_settings, data_root, session_path / "small")


@pytest.fixture(scope="session")
def small_model(session_path: Path, data_root: Path, small_run: Path) -> Path:
    """The ONNX file that `export` made of `small_run`, alone in its folder."""
    from training.export import onnx_export

    return onnx_export.export(small_run, data_root, session_path / "model" / "small.onnx")


@pytest.fixture(scope="session")
def tiny_model(session_path: Path) -> Path:
    """An ONNX file with the signature of ours, that answers at once."""
    return write_model(session_path / "tiny.onnx")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be downloaded: the way out is a port where nobody listens."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of its first use


def write_binary(root: Path, training: Images, test: Images) -> None:
    """Write `cifar-10-batches-bin/` in its published layout: a label byte, then the red, green and blue planes."""
    folder = root / cifar10.FOLDER
    folder.mkdir(parents=True)
    records = np.concatenate([_records(training), _records(test)])
    parts = np.array_split(records[: len(training)], len(cifar10.TRAIN_FILES))
    for name, part in zip(cifar10.TRAIN_FILES, parts, strict=True):
        part.tofile(folder / name)
    records[len(training) :].tofile(folder / cifar10.TEST_FILES[0])


def _records(images: Images) -> npt.NDArray[np.uint8]:
    planes = images.pixels.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([images.labels[:, np.newaxis].astype(np.uint8), planes], axis=1)
