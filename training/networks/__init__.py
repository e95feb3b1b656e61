"""The networks that can be trained: AlexNet, which ships, a smaller one of its convolutions, and a teacher."""

from training.networks.alexnet import AlexNet, PooledAlexNet, Variant
from training.networks.teacher import Teacher
from training.settings import Settings

Network = AlexNet | PooledAlexNet | Teacher


def build(settings: Settings, classes: int) -> Network:
    """The network of `settings` with fresh weights."""
    if settings.network == "teacher":
        return Teacher(classes, settings.input_size, settings.width)
    if settings.network == "pooled":
        return PooledAlexNet(classes, settings.image_size, settings.dropout, settings.width)
    variant = Variant(
        image_size=settings.image_size,
        width=settings.width,
        dropout=settings.dropout,
        batch_norm=settings.batch_norm,
        fused_stem=settings.fused_stem,
        stem_kernel=settings.stem_kernel,
        conv_rank=settings.conv_rank,
    )
    return AlexNet(classes, settings.input_size, variant)
