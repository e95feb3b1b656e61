"""Settings: the published run by default, refused when out of range."""

import dataclasses
import math

import pytest

from alexnet.errors import UserError
from training.settings import RECIPES, Settings


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
        ("validation_images", 0),
        ("features_rate", -1.0),
        ("warmup_steps", -1),
        ("average_decay", 1.0),
        ("label_smoothing", 1.0),
        ("crop", 32),
        ("cutout", -1),
        ("teacher_share", 1.1),
        ("teacher_temperature", 0.0),
        ("schedule", "linear"),
        ("network", "resnet"),
        ("seed", -1),
        ("seed", 2**64),
        ("device", "tpu"),
        ("precision", "fp8"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_flag(name: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        Settings(**{name: value})
    assert str(caught.value).startswith(f"--{name.replace('_', '-')} is {value}")
    assert "; give " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_survive_the_way_through_a_checkpoint() -> None:
    settings = Settings(epochs=3, device="cpu", init="none", dropout=0.25)
    assert Settings.from_dict(dataclasses.asdict(settings)) == settings


def test_settings_of_another_version_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="unknown settings warmup"):
        Settings.from_dict({"epochs": 3, "warmup": 5})


def test_every_setting_says_what_it_is() -> None:
    assert all(item.metadata["help"] for item in dataclasses.fields(Settings))


def test_every_recipe_is_made_of_settings() -> None:
    assert Settings(**RECIPES["published"]) == Settings()
    assert Settings(**RECIPES["improved"]).network == "alexnet"
    assert Settings(**RECIPES["teacher"]).network == "teacher"
