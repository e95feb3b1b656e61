"""The settings of a training run: every value that can change its numbers, and nothing else.

In: command-line flags (each is derived from a field below), a named recipe (recipes.py), or the settings in a
checkpoint. Out: one frozen `Settings`. Where data and runs lie is no setting: the commands take those as paths.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from alexnet.errors import UserError
from alexnet.inference.metadata import name_of

_SMALLEST_ALEXNET: Final = 63  # pixels; below, nothing is left for the last pooling
_CIFAR10: Final = 32  # pixels a side
_SMALLEST_SCALE: Final = 3  # below, the outputs of a fused stem would see two pixels before an image


class Settings(BaseModel):
    """The defaults are the published fine-tuning run.

    `from_dict` and `replace` raise `UserError` on a value out of bounds; the constructor raises pydantic's own error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    network: Literal["alexnet", "pooled", "teacher"] = Field(
        "alexnet",
        description="AlexNet; pooled: its convolutions and one linear layer; or the network it is distilled from",
    )
    image_size: int = Field(
        _CIFAR10, ge=32, le=1024, description="side in pixels to which images of a folder are decoded"
    )
    width: float = Field(
        1.0, gt=0, le=1, description="multiplies all channels and hidden units; less than 1 is for tests"
    )
    batch_norm: bool = Field(False, description="batch normalisation after each convolution; export folds it")
    fused_stem: bool = Field(
        False,
        description="compute resize and first convolution as one, and pad before them; always so at four times",
    )
    stem_kernel: int = Field(
        4, ge=4, le=6, multiple_of=2, description="kernel of the first convolution at four times the image's size"
    )
    conv_rank: float = Field(
        1.0,
        gt=0,
        le=1,
        description="ranks of the second to fifth convolution as a share of their channels (Tucker-2), fitted to the "
        "initial weights; 1 leaves them whole",
    )
    epochs: int = Field(30, ge=1, description="passes over the training images")
    batch_size: int = Field(32, ge=1, description="training images per step")
    validation_batch_size: int = Field(64, ge=1, description="validation images per step; does not change any result")
    learning_rate: float = Field(0.001, ge=0, description="learning rate of SGD")
    backbone_lr_scale: float = Field(1.0, ge=0, description="multiplies the learning rate of the convolutions")
    norm_bias_lr_scale: float = Field(
        1.0, ge=0, description="multiplies the learning rate of the biases of batch normalisation"
    )
    lr_schedule: Literal["constant", "cosine"] = Field("constant", description="LR schedule; cosine ends at zero")
    warmup_epochs: float = Field(0.0, ge=0, description="epochs in which the learning rate rises linearly from zero")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    nesterov: bool = Field(False, description="Nesterov momentum")
    weight_decay: float = Field(0.0, ge=0, description="weight decay (L2) on weights, not on biases")
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay per step of the exponential moving average of the weights, which is then what is validated "
        "and saved; 0 turns it off",
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
    class_weights: bool = Field(False, description="weight the loss so that each class counts the same")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout before the two large linear layers")
    horizontal_flip: bool = Field(False, description="flip every other training image")
    random_crop: int = Field(0, ge=0, lt=32, description="reflected padding in pixels before a random crop")
    cutout: int = Field(0, ge=0, lt=32, description="side in pixels of the square that cutout masks")
    mixup: float = Field(0.0, ge=0, le=1, description="probability that a training image is mixed with another")
    resized_crop: float = Field(1.0, gt=0, le=1, description="smallest area of a random resized crop; 1 turns it off")
    degraded: float = Field(
        0.0, ge=0, le=1, description="part of the images that is resampled, blurred, recoloured, compressed at random"
    )
    fractals: float = Field(0.0, ge=0, le=1, description="part of the images that is mixed with fractals (PixMix)")
    extra: str | None = Field(None, description="folder of more training images, in folders of their classes, any size")
    extra_share: float = Field(0.2, gt=0, lt=1, description="share of extra images among those of their classes")
    outliers: str | None = Field(None, description="folder of images of none of the classes, for outlier exposure")
    outlier_images: int = Field(32, ge=1, description="outliers beside each batch")
    outlier_weight: float = Field(0.5, ge=0, description="weight of outlier exposure: uniform probabilities for them")
    teacher: tuple[str, ...] = Field((), description="checkpoints or ONNX files to distil from, as an ensemble")
    teacher_views: Literal["augmented", "clean"] = Field(
        "augmented", description="what teachers see: each augmented image, or once each image as it is"
    )
    teacher_corrected: bool = Field(
        False,
        description="exchange, where a teacher mistakes an image, the probabilities of its label and of the mistake",
    )
    distill_weight: float = Field(
        0.9, ge=0, le=1, description="weight of the distillation loss; the rest is the labels'"
    )
    extra_distill_weight: float | None = Field(
        None, ge=0, le=1, description="the same for extra images, where it differs; with clean views they have none"
    )
    distill_temperature: float = Field(2.0, ge=0.01, description="temperature of both softmaxes in that loss")
    input_size: int = Field(224, ge=32, description="side in pixels of the network's input; AlexNet needs 63")
    validation_images: int = Field(
        10_000,
        ge=0,
        description="training images held out to choose the best epoch (of an image folder, a fifth by default); with "
        "0 the last epoch counts as the best",
    )
    init: str = Field(
        "imagenet",
        description="initial weights: imagenet (torchvision's), none, a .safetensors file, or the .pt of another run; "
        "pooled takes a .onnx",
    )
    patience: int = Field(
        0, ge=0, description="end after so many epochs without a higher validation accuracy; 0 turns it off"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the split, new layers, order, augmentation and dropout")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="device to train on")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16 is autocast; auto chooses it where it is the faster one"
    )

    @model_validator(mode="after")
    def _fits_alexnet(self) -> Self:
        if self.network == "alexnet" and self.input_size < _SMALLEST_ALEXNET:
            raise ValueError(f"--input-size is {self.input_size}: AlexNet needs {_SMALLEST_ALEXNET} or more")
        if self.network == "pooled" and self.image_size < _SMALLEST_ALEXNET:
            raise ValueError(f"--image-size is {self.image_size}: --network pooled needs {_SMALLEST_ALEXNET} or more")
        if self.conv_rank < 1 and (self.network != "alexnet" or self.batch_norm):
            raise ValueError(f"--conv-rank is {self.conv_rank:g}: only AlexNet without --batch-norm has low ranks")
        if self.network == "teacher" and self.image_size != _CIFAR10:
            raise ValueError(f"--image-size is {self.image_size}: a teacher sees images of {_CIFAR10} pixels")
        if self.fused_stem and (self.network != "alexnet" or not self._enlarges_wholly):
            raise ValueError(
                f"--fused-stem: only AlexNet has one, at an --input-size of three or more times the image's size "
                f"({self.image_size}), which four divides"
            )
        if self.image_size != _CIFAR10 and (self.extra or self.outliers):
            raise ValueError(f"--extra and --outliers are for images of {_CIFAR10} pixels")
        return self

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From flags, a recipe or a checkpoint. Raises `UserError` on unknown names and values out of bounds."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise UserError(_explain(error)) from error

    def replace(self, **changes: Any) -> Self:
        """These settings with some `changes`. Raises `UserError` on unknown names and values out of bounds."""
        return self.from_dict({**self.model_dump(), **changes})

    @property
    def _enlarges_wholly(self) -> bool:
        """Whether a fused stem can enlarge the images."""
        scale, rest = divmod(self.input_size, self.image_size)
        return scale >= _SMALLEST_SCALE and rest == 0 and self.image_size % 4 == 0

    @property
    def starts_from_run(self) -> bool:
        """Whether the initial weights are those of a checkpoint."""
        return self.init.endswith(".pt")

    def without_paths(self) -> dict[str, Any]:
        """All values for publication, files by their names alone."""
        names = {name: value and name_of(value) for name, value in (("extra", self.extra), ("outliers", self.outliers))}
        teachers = [name_of(teacher) for teacher in self.teacher]
        return {**self.model_dump(mode="json"), **names, "init": name_of(self.init), "teacher": teachers}


def _explain(error: ValidationError) -> str:
    """The first problem in one line."""
    problem = error.errors()[0]
    if not problem["loc"]:
        return str(problem["ctx"]["error"])
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return f"{name} is not a training setting; `alexnet train --help` lists them"
    return (
        f"--{name.replace('_', '-')} is {problem['input']}: {problem['msg'].replace('Input should be', 'it must be')}"
    )
