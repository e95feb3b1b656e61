"""The weights that a run starts from: what `--init` says, and what follows from the training images.

In: a network with fresh weights, `Settings` and the training images. Out: the same network, ready to be trained.
"""

from pathlib import Path
from typing import Final

import torch

from alexnet.datasets import Fingerprint, Images
from alexnet.errors import UserError
from training import checkpoint, networks
from training.checkpoint import Checkpoint
from training.distillation import check_unseen
from training.networks import Network, batch_norm, initial_weights, low_rank, probe_weights
from training.networks.alexnet import AlexNet, PooledAlexNet
from training.networks.teacher import Teacher
from training.settings import Settings

_WHITENING_IMAGES: Final = 2_000
_CALIBRATION_IMAGES: Final = 2_000
_FACTORISED_IMAGES: Final = 512  # to which layers of low rank are fitted
_LAYERS: Final = "network."  # before the names of the layers in a checkpoint


def load(model: Network, settings: Settings, classes: tuple[str, ...]) -> None:
    """Give `model`, for `classes`, the weights of a file. Raises `UserError` where they cannot be had or do not fit."""
    if isinstance(model, PooledAlexNet):
        probe_weights.load(model, settings.init, classes)
    elif isinstance(model, AlexNet) and not settings.starts_from_run and settings.conv_rank == 1:
        initial_weights.load(model, settings.init)


def adapt(model: Network, settings: Settings, trained: Fingerprint, images: Images) -> None:
    """What of the initial weights depends on the training images, or on another run of the same data `trained`."""
    pixels = torch.from_numpy(images.pixels)
    if isinstance(model, PooledAlexNet):
        if settings.init != "none" and not model.head.weight.any():
            probe_weights.fit_head(model, images)
    elif isinstance(model, AlexNet) and settings.conv_rank < 1 and settings.init != "none":
        _load_low_rank(model, settings, trained, images)
    elif settings.starts_from_run:
        _load_weights_of_run(model, settings, trained, checkpoint.load(Path(settings.init)))
    elif isinstance(model, Teacher):
        model.whiten(pixels[:_WHITENING_IMAGES])
    elif settings.batch_norm and settings.init != "none":
        batch_norm.calibrate(model, pixels[:_CALIBRATION_IMAGES])


def _load_low_rank(model: AlexNet, settings: Settings, trained: Fingerprint, images: Images) -> None:
    """Start with the initial weights of low rank, or of whole convolutions, which are factorised."""
    if settings.starts_from_run:
        saved = checkpoint.load(Path(settings.init))
        if saved.settings.conv_rank == settings.conv_rank:
            _load_weights_of_run(model, settings, trained, saved)
            return
    whole_settings = settings.replace(conv_rank=1.0)
    whole = networks.build(whole_settings, model.classes)
    assert isinstance(whole, AlexNet)
    load(whole, whole_settings, trained.classes)
    adapt(whole, whole_settings, trained, images)
    sample = whole.preprocess(torch.from_numpy(images.pixels[:_FACTORISED_IMAGES]))
    whole.network.features = low_rank.factorise_convolutions(whole.network.features, sample, settings.conv_rank)
    model.load_state_dict(whole.state_dict())


def _load_weights_of_run(model: Network, settings: Settings, trained: Fingerprint, saved: Checkpoint) -> None:
    """Start with the weights of `saved`, the checkpoint `settings.init`; of other classes, without its last layer.

    Raises `UserError` on one of another network, or one that has seen this run's validation images.
    """
    if not isinstance(model, AlexNet) or saved.settings.network != "alexnet":
        raise UserError(f"--init {settings.init}: only AlexNet can start from the weights of a run, of an AlexNet")
    if saved.trained == trained:
        check_unseen("--init", settings.init, saved.settings, settings)
    fresh = model.network.state_dict()
    layers = {name.removeprefix(_LAYERS): value for name, value in saved.weights.items() if name.startswith(_LAYERS)}
    weights = initial_weights.fit(layers, fresh)
    if saved.trained.classes != trained.classes:
        weights |= {name: fresh[name] for name in initial_weights.LAST_LAYER}
    if {name: value.shape for name, value in weights.items()} != {name: value.shape for name, value in fresh.items()}:
        raise UserError(
            f"--init {settings.init}: its layers differ; give the same --batch-norm, --conv-rank, --stem-kernel "
            "and --width as that run, and the same --input-size unless yours is 128"
        )
    model.network.load_state_dict(weights)
