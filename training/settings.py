"""The settings of a training run: every value that can change its numbers, and nothing else.

In: command-line flags (each is derived from a field below) or the `config.json` of an earlier run.
Out: one frozen `Settings`. Where data and runs lie is not a setting: those are paths that the commands take.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Any, Literal, Self

from serving.errors import UserError

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]


def _field(default: Any, about: str, *, minimum: float | None = None, below: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"help": about, "minimum": minimum, "below": below})


@dataclass(frozen=True)
class Settings:
    """The published fine-tuning run is what the defaults say.

    Raises `UserError` on a value out of range, before anything is written.
    """

    epochs: int = _field(30, "passes over the training images", minimum=1)
    batch_size: int = _field(32, "training images per step", minimum=1)
    validation_batch_size: int = _field(64, "validation images per step; changes no result", minimum=1)
    learning_rate: float = _field(0.001, "step size of SGD", minimum=0, below=math.inf)
    momentum: float = _field(0.9, "momentum of SGD", minimum=0, below=1)
    weight_decay: float = _field(0.0, "L2 penalty of SGD", minimum=0, below=math.inf)
    dropout: float = _field(0.5, "share of inputs that the two large linear layers drop", minimum=0, below=1)
    input_size: int = _field(224, "pixels a side that the network sees, at least 63", minimum=63)
    validation_images: int = _field(10_000, "training images held out to choose the best epoch", minimum=1)
    init: str = _field("imagenet", "first weights: imagenet (torchvision's), none, or a .safetensors file")
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

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read back what `dataclasses.asdict` wrote. Raises `UserError` on a name that is no setting."""
        unknown = sorted(values.keys() - {item.name for item in dataclasses.fields(cls)})
        if unknown:
            raise UserError(f"unknown settings {', '.join(unknown)}: the run was made by another version")
        return cls(**values)
