"""The settings of a training run: every value that can change its numbers, and nothing else.

In: command-line flags (each is derived from a field below), a named recipe, or the `config.json` of an earlier run.
Out: one frozen `Settings`. Where data and runs lie is not a setting: those are paths that the commands take.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from alexnet.errors import UserError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]
Network = Literal["alexnet", "teacher"]
Schedule = Literal["constant", "cosine"]

_SMALLEST_ALEXNET: Final = 63  # below, nothing is left for the last pooling


def _field(default: Any, about: str, *, minimum: float | None = None, below: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"help": about, "minimum": minimum, "below": below})


@dataclass(frozen=True)
class Settings:
    """The published fine-tuning run is what the defaults say.

    Raises `UserError` on a value out of range, before anything is written.
    """

    network: Network = _field("alexnet", "what is trained: AlexNet, or the small network that can teach it")
    epochs: int = _field(30, "passes over the training images", minimum=1)
    batch_size: int = _field(32, "training images per step", minimum=1)
    validation_batch_size: int = _field(64, "validation images per step; changes no result", minimum=1)
    learning_rate: float = _field(0.001, "step size of SGD", minimum=0, below=math.inf)
    features_rate: float = _field(1.0, "share of the step size for the convolution layers", minimum=0, below=math.inf)
    norm_bias_rate: float = _field(
        1.0, "times the step size for the biases of batch normalisation", minimum=0, below=math.inf
    )
    schedule: Schedule = _field("constant", "course of the step size; cosine ends at zero")
    warmup_steps: int = _field(0, "steps in which the step size grows from zero", minimum=0)
    momentum: float = _field(0.9, "momentum of SGD", minimum=0, below=1)
    nesterov: bool = _field(False, "Nesterov's momentum")
    weight_decay: float = _field(0.0, "L2 penalty of SGD on weights, not on biases", minimum=0, below=math.inf)
    average_decay: float = _field(
        0.0,
        "keep by step of the moving average of the weights that is validated and saved; 0 is off",
        minimum=0,
        below=1,
    )
    label_smoothing: float = _field(0.0, "share of the target that goes to all classes alike", minimum=0, below=1)
    class_weights: bool = _field(False, "weigh images in the loss so that each class counts the same")
    dropout: float = _field(0.5, "share of inputs that the two large linear layers drop", minimum=0, below=1)
    flip: bool = _field(False, "mirror every other training image, at random")
    crop: int = _field(0, "pixels by which a training image is moved at most, its edge reflected", minimum=0, below=32)
    cutout: int = _field(0, "side of the square that is painted over in a training image", minimum=0, below=32)
    mixup: float = _field(
        0.0, "share of training images that are mixed with another, as are their labels", minimum=0, below=1.0001
    )
    teacher: str = _field("none", "none, or the checkpoint of a network whose answers are learnt too")
    teacher_share: float = _field(0.9, "share of the teacher's answers in the loss", minimum=0, below=1.0001)
    teacher_temperature: float = _field(2.0, "temperature of both softmaxes there", minimum=0.01, below=math.inf)
    input_size: int = _field(224, "pixels a side that the network sees; AlexNet takes 63 or more", minimum=32)
    validation_images: int = _field(
        10_000,
        "training images held out to choose the best epoch; of your own pictures a fifth, where this is not given",
        minimum=1,
    )
    init: str = _field(
        "imagenet", "first weights: imagenet (torchvision's), none, a .safetensors file, or the .pt of another run"
    )
    seed: int = _field(0, "drives the split, the fresh layers, the order and the dropout", minimum=0, below=2**32)
    device: Device = _field("auto", "where to compute")
    precision: Precision = _field("auto", "bf16 is autocast; auto takes it where the hardware has it")

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value, minimum, below = getattr(self, item.name), item.metadata["minimum"], item.metadata["below"]
            flag = "--" + item.name.replace("_", "-")
            if minimum is not None and not value >= minimum:
                raise UserError(f"{flag} is {value}; give {minimum} or more")
            if below is not None and not value < below:
                raise UserError(f"{flag} is {value}; give less than {below}")
            choices = typing.get_args(item.type)
            if choices and value not in choices:
                raise UserError(f"{flag} is {value}; give {' or '.join(choices)}")
        if self.network == "alexnet" and self.input_size < _SMALLEST_ALEXNET:
            raise UserError(f"--input-size is {self.input_size}; give {_SMALLEST_ALEXNET} or more")

    @property
    def starts_from_run(self) -> bool:
        """Whether the first weights are those of a checkpoint."""
        return self.init.endswith(".pt")

    @property
    def init_name(self) -> str:
        """`init` for those who have not this machine's folders: the file's name, of a checkpoint its run's too."""
        path = Path(self.init)
        return f"{path.parent.name}/{path.name}" if self.starts_from_run else path.name

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read back what `dataclasses.asdict` wrote. Raises `UserError` on a name that is no setting."""
        unknown = sorted(values.keys() - {item.name for item in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f"unknown settings {', '.join(unknown)}: the run was made by another version")
        return cls(**values)


# What `--recipe` sets. A flag that is given too wins. `improved` says teacher=none: its path is the user's to give.
RECIPES: Final[dict[str, dict[str, Any]]] = {
    "published": {},
    "improved": {
        "epochs": 96,
        "batch_size": 128,
        "learning_rate": 0.015,
        "schedule": "cosine",
        "warmup_steps": 300,
        "nesterov": True,
        "weight_decay": 5e-4,
        "average_decay": 0.998,
        "label_smoothing": 0.1,
        "flip": True,
        "crop": 4,
        "cutout": 8,
        "mixup": 0.5,
        "input_size": 160,
        "validation_images": 5_000,
    },
    "teacher": {
        "network": "teacher",
        "epochs": 60,
        "batch_size": 256,
        "learning_rate": 0.2,
        "norm_bias_rate": 64.0,
        "schedule": "cosine",
        "warmup_steps": 600,
        "nesterov": True,
        "weight_decay": 1.5e-3,
        "average_decay": 0.99,
        "label_smoothing": 0.1,
        "flip": True,
        "crop": 4,
        "cutout": 12,
        "input_size": 32,
        "init": "none",
        "validation_images": 5_000,
    },
}
