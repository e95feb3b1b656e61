"""`--conv-rank`: a network whose convolutions have low ranks, from its initial weights to its file."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from alexnet.datasets import Images
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from training import checkpoint, initialization, networks, trainer
from training.export import compress
from training.export.multiply_adds import count_multiply_adds
from training.networks import initial_weights
from training.networks.alexnet import AlexNet, Variant
from training.settings import Settings


@pytest.fixture(scope="module")
def settings(small_settings: Settings, small_run: Path) -> Settings:
    return small_settings.replace(conv_rank=0.5, init=str(small_run / "best.pt"))


@pytest.fixture(scope="module")
def low_rank_run(tmp_path_factory: pytest.TempPathFactory, data_root: Path, settings: Settings) -> Path:
    return trainer.start(settings, data_root, tmp_path_factory.mktemp("runs") / "low_rank")


def begin(settings: Settings, run: Path, images: Images) -> AlexNet:
    """A network as a training with `settings` begins, on the data of `run`."""
    saved = checkpoint.load(run)
    model = networks.build(settings, len(saved.trained.classes))
    assert isinstance(model, AlexNet)
    initialization.load(model, settings, saved.trained.classes)
    initialization.adapt(model, settings, saved.trained, images)
    return model.eval()


def test_it_begins_as_the_network_whose_convolutions_it_reduces(
    settings: Settings, small_run: Path, fixture_images: Images
) -> None:
    whole = networks.build(settings.replace(conv_rank=1.0), 10).eval()
    whole.load_state_dict(checkpoint.load(small_run).model)
    pixels = torch.from_numpy(fixture_images.pixels)
    with torch.inference_mode():
        wanted = whole(pixels)
        errors = [
            (begin(settings.replace(conv_rank=rank), small_run, fixture_images)(pixels) - wanted).square().mean()
            for rank in (0.999, 0.5, 0.1)
        ]
    assert errors[0] < 1e-6
    assert errors[0] < errors[1] < errors[2]


def test_it_begins_from_weights_of_whole_convolutions_in_a_file(
    settings: Settings, small_settings: Settings, small_run: Path, fixture_images: Images
) -> None:
    found = begin(settings.replace(init=small_settings.init), small_run, fixture_images)
    whole = AlexNet(10, settings.input_size, Variant(width=settings.width))
    initial_weights.load(whole, small_settings.init)
    with torch.inference_mode():
        image = whole.preprocess(torch.from_numpy(fixture_images.pixels))
        ours, theirs = (model.network.features(image).flatten() for model in (found, whole))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9


def test_a_further_run_begins_with_its_very_weights_and_one_of_another_rank_is_refused(
    tmp_path: Path, settings: Settings, low_rank_run: Path, fixture_images: Images
) -> None:
    further = settings.replace(init=str(low_rank_run / "best.pt"))
    saved = checkpoint.load(low_rank_run).model
    begun = begin(further, low_rank_run, fixture_images).state_dict()
    assert all(torch.equal(begun[name], value) for name, value in saved.items())
    last = checkpoint.load(low_rank_run / "last.pt")
    averaged = dataclasses.replace(last, ema={name: value + 1 for name, value in last.model.items()})
    checkpoint.save(tmp_path / "averaged.pt", averaged)
    begun = begin(settings.replace(init=str(tmp_path / "averaged.pt")), low_rank_run, fixture_images).state_dict()
    layers = {name: value for name, value in averaged.weights.items() if name.startswith("network.")}
    assert all(torch.equal(begun[name], value) for name, value in layers.items()), "those that were validated"
    for rank in (0.25, 1.0):
        with pytest.raises(UserError, match=r"its layers differ; give the same --batch-norm, --conv-rank"):
            begin(further.replace(conv_rank=rank), low_rank_run, fixture_images)


def test_its_file_computes_less_and_the_weights_of_its_release_are_whole_again(
    tmp_path: Path, data_root: Path, settings: Settings, low_rank_run: Path, small_model: Path, fixture_images: Images
) -> None:
    request = compress.Request(low_rank_run, data_root, tmp_path / "model.onnx", max_drop=100, release=True)
    file = compress.compress(request)
    assert count_multiply_adds(onnx.load(file)) < 0.8 * count_multiply_adds(onnx.load(small_model))
    whole = AlexNet(10, settings.input_size, Variant(width=settings.width)).eval()
    initial_weights.load(whole, str(tmp_path / "model.safetensors"))
    with torch.inference_mode():
        found = whole(torch.from_numpy(fixture_images.pixels)).argmax(1).numpy()
    half = Classifier(tmp_path / "model-fp16.onnx")
    assert (found == half.run(fixture_images.pixels).probabilities.argmax(1)).mean() > 0.95


@pytest.mark.parametrize("change", [{"network": "teacher", "input_size": 32}, {"batch_norm": True}])
def test_other_networks_have_no_low_ranks(settings: Settings, change: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"--conv-rank is 0.5: only AlexNet without --batch-norm has low ranks"):
        settings.replace(**change)
