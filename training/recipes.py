"""Named recipes: the values that `alexnet train --recipe NAME` sets. A flag given beside it wins.

`published` is the run that docs/development/reproduction.md compares with; `improved` is distilled from what `teacher`
trains; `robust` fine-tunes that for images from elsewhere; `small` halves the arithmetic of what `robust` trains;
`custom` is for photos at their own size.
Teachers, initial weights, extra images and outliers are the user's to give.
docs/development/training.md shows the recipes side by side.
"""

from typing import Any, Final

from training.settings import Settings

_ROBUST: Final = Settings(
    epochs=5,
    batch_size=128,
    learning_rate=0.005,
    lr_schedule="cosine",
    warmup_epochs=0.1,
    nesterov=True,
    weight_decay=5e-4,
    ema_decay=0.998,
    label_smoothing=0.05,
    horizontal_flip=True,
    random_crop=4,
    cutout=6,
    degraded=0.4,
    fractals=0.1,
    teacher_views="clean",
    distill_weight=0.6,
    input_size=160,
    validation_images=5_000,
)
_SMALL: Final = Settings(
    **{
        **_ROBUST.model_dump(exclude_unset=True),
        "fused_stem": True,
        "conv_rank": 0.625,
        "epochs": 12,
        "learning_rate": 0.0015,
        "warmup_epochs": 0.2,
        "dropout": 0.0,
        "degraded": 0.3,
        "extra_share": 0.35,
        "teacher_views": "augmented",
        "teacher_corrected": True,
        "distill_weight": 0.9,
        "extra_distill_weight": 0.3,
    }
)

RECIPES: Final = {
    "published": Settings(),
    "improved": Settings(
        epochs=96,
        batch_size=128,
        learning_rate=0.015,
        lr_schedule="cosine",
        warmup_epochs=0.852,  # 300 steps of 128 of the 45,000 images
        nesterov=True,
        weight_decay=5e-4,
        ema_decay=0.998,
        label_smoothing=0.1,
        horizontal_flip=True,
        random_crop=4,
        cutout=8,
        mixup=0.5,
        input_size=160,
        validation_images=5_000,
    ),
    "robust": _ROBUST,
    "small": _SMALL,
    "custom": Settings(
        network="pooled",
        image_size=224,
        epochs=10,
        batch_size=64,
        learning_rate=2e-4,  # of the linear layer, whose inputs are large
        backbone_lr_scale=25.0,
        lr_schedule="cosine",
        warmup_epochs=0.5,
        nesterov=True,
        weight_decay=5e-4,
        ema_decay=0.99,
        label_smoothing=0.05,
        dropout=0.2,
        horizontal_flip=True,
        resized_crop=0.5,
        patience=4,
        validation_images=5_000,
    ),
    "teacher": Settings(
        network="teacher",
        epochs=60,
        batch_size=256,
        learning_rate=0.2,
        norm_bias_lr_scale=64.0,
        lr_schedule="cosine",
        warmup_epochs=3.409,  # 600 steps of 256 of the 45,000 images
        nesterov=True,
        weight_decay=1.5e-3,
        ema_decay=0.99,
        label_smoothing=0.1,
        horizontal_flip=True,
        random_crop=4,
        cutout=12,
        input_size=32,
        init="none",
        validation_images=5_000,
    ),
}


def settings(recipe: str, given: dict[str, Any]) -> Settings:
    """Those of `recipe`, with what was `given` by flags. Raises `UserError` on values out of bounds."""
    return Settings.from_dict({**RECIPES[recipe].model_dump(exclude_unset=True), **given})
