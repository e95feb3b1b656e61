"""Settings: the published run by default, refused when out of range."""

import math

import pytest

from alexnet.errors import UserError
from training import recipes
from training.recipes import RECIPES
from training.settings import Settings


def test_the_defaults_are_the_published_run() -> None:
    settings = Settings()
    assert (settings.epochs, settings.batch_size, settings.validation_batch_size) == (30, 32, 64)
    assert (settings.learning_rate, settings.momentum, settings.weight_decay) == (0.001, 0.9, 0.0)
    assert (settings.input_size, settings.validation_images, settings.init) == (224, 10_000, "imagenet")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("validation_batch_size", -1),
        ("learning_rate", -0.001),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-9),
        ("weight_decay", math.inf),
        ("dropout", 1.0),
        ("input_size", 62),
        ("validation_images", -1),
        ("backbone_lr_scale", -1.0),
        ("warmup_epochs", -1),
        ("ema_decay", 1.0),
        ("label_smoothing", 1.0),
        ("random_crop", 32),
        ("cutout", -1),
        ("distill_weight", 1.1),
        ("stem_kernel", 5),
        ("resized_crop", 0.0),
        ("degraded", 1.1),
        ("distill_temperature", 0.0),
        ("lr_schedule", "linear"),
        ("network", "resnet"),
        ("seed", -1),
        ("seed", 2**64),
        ("device", "tpu"),
        ("precision", "fp8"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_flag(name: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        Settings.from_dict({name: value})
    assert str(caught.value).startswith(f"--{name.replace('_', '-')} is {value}: ")
    assert "\n" not in str(caught.value)


def test_settings_survive_the_way_through_a_checkpoint() -> None:
    settings = Settings(epochs=3, device="cpu", init="none", dropout=0.25)
    assert Settings.from_dict(settings.model_dump(mode="json")) == settings


def test_settings_of_another_version_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="warmup is not a training setting"):
        Settings.from_dict({"epochs": 3, "warmup": 5})


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_every_recipe_is_made_of_settings() -> None:
    assert recipes.settings("published", {}) == Settings()
    assert recipes.settings("improved", {"epochs": 5}) == RECIPES["improved"].replace(epochs=5)
    assert recipes.settings("teacher", {}).network == "teacher"
