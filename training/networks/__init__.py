"""The networks that can be trained: AlexNet, which ships, and a teacher that it is distilled from."""

from training.networks.alexnet import AlexNet
from training.networks.teacher import Teacher
from training.settings import Settings

Network = AlexNet | Teacher


def build(settings: Settings, classes: int) -> Network:
    """The network of `settings` with fresh weights."""
    if settings.network == "teacher":
        return Teacher(classes, settings.input_size, settings.width)
    return AlexNet(
        classes, settings.input_size, settings.dropout, settings.width, settings.batch_norm, settings.stem_kernel
    )
