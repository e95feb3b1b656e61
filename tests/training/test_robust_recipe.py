"""The recipe for images from elsewhere: extra images, outliers, teachers, batch normalisation, all images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet.datasets import Images
from alexnet.datasets.cifar10 import CLASSES
from alexnet.errors import UserError
from alexnet.inference.classifier import Classifier
from training import checkpoint, distillation, extra_images, loop, networks, recipes, trainer
from training.export import compress
from training.export.folding import FoldedAlexNet
from training.extra_images import OUTLIER, ExtraImages
from training.networks import initial_weights
from training.optim import losses
from training.settings import Settings
from training.training_set import TrainingSet

CPU = torch.device("cpu")
CAT, DOG = CLASSES.index("cat"), CLASSES.index("dog")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, fixture_images: Images) -> Path:
    """`extra/` with four cats and two dogs, `outliers/` with five of any sizes and a text file."""
    root = tmp_path_factory.mktemp("folders")
    random = np.random.default_rng(0)

    def write(path: Path, height: int, width: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)

    for number in range(4):
        write(root / "extra" / "cat" / f"{number}.png", 64, 64)
    for number in range(2):
        write(root / "extra" / "dog" / f"{number}.jpg", 90, 120)
    for number in range(5):
        write(root / "outliers" / "any" / f"{number}.png", 20 + 30 * number, 64)
    (root / "outliers" / "readme.txt").write_text("no image")
    return root


@pytest.fixture(scope="module")
def robust(small_settings: Settings, folders: Path, small_model: Path) -> Settings:
    keep = ("width", "batch_size", "validation_images", "init", "device", "precision")
    given = {name: getattr(small_settings, name) for name in keep}
    given |= {"extra": str(folders / "extra"), "outliers": str(folders / "outliers"), "outlier_images": 7}
    # The network whose first convolution sees the image itself.
    given |= {"input_size": 128, "batch_norm": True, "resized_crop": 0.6}
    return recipes.settings("robust", {**given, "epochs": 2, "teacher": [str(small_model)]})


def test_the_recipe_trains_and_resumes_bit_for_bit(
    tmp_path: Path, data_root: Path, robust: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer.start(robust, data_root, tmp_path / "whole")
    validate, validated = loop.validate, []

    def stop_in_the_second_epoch(*given: object) -> tuple[float, float]:
        validated.append(given)
        if len(validated) == 2:
            raise KeyboardInterrupt
        return validate(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "validate", stop_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        trainer.start(robust, data_root, tmp_path / "stopped")
    monkeypatch.undo()
    monkeypatch.setattr(distillation.Teachers, "ask_once", None)  # asked once in the life of a run
    trainer.resume(tmp_path / "stopped", data_root)
    found, wanted = checkpoint.load(tmp_path / "stopped" / "last.pt"), checkpoint.load(whole / "last.pt")
    assert [dataclasses.replace(epoch, seconds=0) for epoch in found.epochs] == [
        dataclasses.replace(epoch, seconds=0) for epoch in wanted.epochs
    ]
    assert all(torch.equal(found.model[name], value) for name, value in wanted.model.items())
    assert "network.features.norm0.running_mean" in wanted.model
    assert np.load(whole / "teacher_logits.npy").shape == (1, 130, 10)


def test_export_folds_the_network_and_its_release_starts_another(
    tmp_path: Path, data_root: Path, robust: Settings, fixture_images: Images
) -> None:
    run = trainer.start(robust.replace(epochs=1, teacher=[]), data_root, tmp_path / "run")
    request = compress.Request(
        run, data_root, tmp_path / "model.onnx", precision="fp32", rank=32, max_drop=100, release=True
    )
    model = Classifier(compress.compress(request))
    assert model.metadata.input_size == 128
    saved = checkpoint.load(run)
    network = networks.build(saved.settings, 10).eval()
    network.load_state_dict(saved.model)
    folded = FoldedAlexNet(network)
    pixels = torch.from_numpy(fixture_images.pixels[:20])
    with torch.inference_mode():
        assert torch.allclose(folded(pixels)[0], network(pixels), atol=1e-4)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    other = networks.build(robust, 3)
    initial_weights.load(other, str(tmp_path / "model.safetensors"))
    stem = other.network.features[0].weight
    assert torch.allclose(stem, folded.features[0].weight * network.preprocess.std.view(1, 3, 1, 1), atol=1e-3)


def test_an_epoch_has_as_many_images_of_each_class_as_ever(folders: Path, fixture_images: Images) -> None:
    settings = Settings(batch_size=30, extra=str(folders / "extra"), extra_share=0.25, outliers=None)
    images = TrainingSet(fixture_images, CLASSES, settings, CPU)
    torch.manual_seed(0)
    order, outliers = images.draw(3)
    assert outliers is None
    assert torch.bincount(images.labels[order]).tolist() == [20] * 10
    assert len(order.unique()) == len(order) == 200
    extra = order[order >= 200]
    assert sorted(images.labels[extra].tolist()) == [CAT] * 5 + [DOG] * 5
    first = images.pixels[200:].clone()
    torch.manual_seed(0)
    assert torch.equal(images.draw(3)[0], order)
    assert torch.equal(images.pixels[200:], first)
    images.draw(4)
    assert not torch.equal(images.pixels[200:], first)


def test_each_step_has_its_outliers(folders: Path, fixture_images: Images) -> None:
    settings = Settings(batch_size=30, outliers=str(folders / "outliers"), outlier_images=8)
    images = TrainingSet(fixture_images, CLASSES, settings, CPU)
    _, outliers = images.draw(1)
    assert outliers is not None
    assert outliers.shape == (7, 8)
    assert set(images.labels[outliers.flatten()].tolist()) == {OUTLIER}
    assert images.pixels[outliers.flatten()].float().std() > 20
    first = images.pixels[outliers].clone()
    images.draw(1)
    assert torch.equal(images.pixels[outliers], first)
    images.draw(2)
    assert (images.pixels[outliers] != first).flatten(2).any(2).all(), "noise has other places too"


def test_noise_has_grains_of_four_sizes_and_colors_that_differ() -> None:
    drawn = extra_images.noise(41, torch.Generator().manual_seed(0))
    assert drawn.shape == (41, 32, 32, 3)
    assert drawn.dtype == torch.uint8
    for grain, images in zip((1, 2, 4, 8), drawn.tensor_split(4), strict=True):
        first = images[:, ::grain, ::grain].repeat_interleave(grain, 1).repeat_interleave(grain, 2)
        assert torch.equal(first, images)
        assert not torch.equal(images[:, grain:], images[:, :-grain])
    assert drawn.float().mean((1, 2)).std(0).min() > 30
    assert len(extra_images.noise(2, torch.Generator().manual_seed(0))) == 2


def test_extra_images_are_chosen_as_often_as_each_other(folders: Path) -> None:
    extra = ExtraImages.of_classes(folders / "extra", CLASSES)
    assert extra.labels.tolist() == [CAT] * 4 + [DOG] * 2
    chosen = extra.choose(CAT, 10, torch.Generator().manual_seed(0))
    assert sorted(torch.bincount(chosen).tolist()) == [2, 2, 3, 3]
    assert extra.crops(chosen, torch.Generator().manual_seed(0)).shape == (10, 32, 32, 3)


@pytest.mark.parametrize(
    ("given", "weight"),
    [
        ({"teacher_views": "augmented"}, 0.6),
        ({"teacher_views": "augmented", "extra_distill_weight": 0.1}, 0.1),
        ({"teacher_views": "clean", "extra_distill_weight": 0.1}, 0),
    ],
)
def test_extra_images_have_their_own_weight_of_distillation(
    tmp_path: Path,
    data_root: Path,
    robust: Settings,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, object],
    weight: float,
) -> None:
    divergence = 1_000  # beside which the other losses are nothing
    monkeypatch.setattr(losses, "distillation", lambda logits, *_: logits.sum(1) * 0 + divergence)
    settings = robust.replace(epochs=1, extra_share=0.5, outliers=None, **given)
    run = trainer.start(settings, data_root, tmp_path / "run")
    share = 2 * round(0.5 * 13) / 130  # of 13 cats and 13 dogs among 130 images
    wanted = divergence * ((1 - share) * settings.distill_weight + share * weight)
    assert checkpoint.load(run / "last.pt").epochs[0].training_loss == pytest.approx(wanted, abs=5)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"extra": "absent"}, "absent: no such folder"),
        ({"outliers": "absent"}, "--outliers absent: no such folder"),
        ({"teacher": ["absent.onnx"]}, "absent.onnx: No such file"),
        ({"seed": 1}, "trained on images that this run validates on; train one with --seed 1"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    tmp_path: Path, data_root: Path, robust: Settings, change: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        trainer.start(robust.replace(**change), data_root, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_class_is_refused(tmp_path: Path, folders: Path) -> None:
    (tmp_path / "pizza").mkdir()
    with pytest.raises(UserError, match="has the class pizza, which is not among"):
        ExtraImages.of_classes(tmp_path, CLASSES)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no image that can be read"):
        ExtraImages.of_none(tmp_path / "none")


def test_all_images_can_be_trained_on(tmp_path: Path, data_root: Path, small_settings: Settings) -> None:
    run = trainer.start(small_settings.replace(validation_images=0), data_root, tmp_path / "run")
    best = checkpoint.load(run)
    assert [epoch.validation_accuracy for epoch in best.epochs] == [None, None]
    assert best.settings.validation_images == 0
    last = checkpoint.load(run / "last.pt")
    assert all(torch.equal(best.model[name], value) for name, value in last.model.items()), "the last epoch is the best"
    trainer.resume(run, data_root, epochs=3)
    assert (run / "metrics.csv").read_text().splitlines()[3].split(",")[3:5] == ["", ""]


def test_two_trainings_of_one_folder_are_one(
    tmp_path: Path, data_root: Path, small_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def start_another(*given: object) -> tuple[float, float]:
        with pytest.raises(UserError, match="another training is writing it; give another --output") as caught:
            trainer.resume(tmp_path / "run", data_root)
        refused.append(str(caught.value))
        return validate(*given)  # type: ignore[arg-type]

    validate = loop.validate
    monkeypatch.setattr(loop, "validate", start_another)
    trainer.start(small_settings.replace(epochs=1), data_root, tmp_path / "run")
    assert len(refused) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_saved(
    tmp_path: Path, data_root: Path, small_settings: Settings, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    run = trainer.start(small_settings.replace(epochs=1), data_root, tmp_path / "run")
    before = (run / "best.pt").read_bytes(), (run / "last.pt").read_bytes()
    monkeypatch.setattr(loop, "validate", lambda *_: (value, 0.99))
    complaint = r"diverged in epoch 2: the loss is not finite\..* smaller --learning-rate"
    with pytest.raises(UserError, match=complaint) as caught:
        trainer.resume(run, data_root, epochs=2)
    assert "\n" not in str(caught.value)
    assert ((run / "best.pt").read_bytes(), (run / "last.pt").read_bytes()) == before
