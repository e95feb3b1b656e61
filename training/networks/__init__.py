"""The networks that can be trained: AlexNet, which ships, a smaller one of its convolutions, and a teacher."""

from training.networks.alexnet import AlexNet, PooledAlexNet
from training.networks.teacher import Teacher
from training.settings import Settings

Network = AlexNet | PooledAlexNet | Teacher


def build(settings: Settings, classes: int) -> Network:
    """The network of `settings` with fresh weights."""
    if settings.network == "teacher":
        return Teacher(classes, settings.input_size, settings.width)
    if settings.network == "pooled":
        return PooledAlexNet(classes, settings.image_size, settings.dropout, settings.width)
    return AlexNet(
        classes,
        settings.input_size,
        settings.dropout,
        settings.width,
        settings.batch_norm,
        settings.stem_kernel,
        settings.conv_rank,
        settings.image_size,
    )
