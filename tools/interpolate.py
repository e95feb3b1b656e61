"""A run's best weights, with a share of the weights that it started from: more accurate on both kinds of images.

    python -m tools.interpolate runs/robust 0.2

In: a run of `alexnet train --init`, whose initial weights hold all layers, and the share, 0 to 1. Out:
`interpolated.pt` in its folder, for `alexnet compress`. The fine-tuned network gets better on new kinds of images and
a little worse on the old ones; between both there are weights that are nearly as good as the better one on each
(https://arxiv.org/abs/2109.01903). Choose the share on validation images and development photos.
"""

import argparse
import dataclasses
import math
import sys
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from alexnet.errors import UserError
from training import checkpoint, networks
from training.networks import initial_weights
from training.networks.alexnet import AlexNet

FILE: Final = "interpolated.pt"


def interpolate(run: Path, share: float) -> Path:
    """Write the checkpoint; returns its path. Raises `UserError` where the initial weights cannot be had."""
    saved = checkpoint.load(run)
    start = _initial_weights(saved)
    model = {
        name: (share * start[name] + (1 - share) * value).to(value.dtype) if value.is_floating_point() else value
        for name, value in saved.model.items()
    }
    path = run / FILE
    checkpoint.save(path, dataclasses.replace(saved, model=model, init_share=share))
    return path


def _initial_weights(saved: checkpoint.Checkpoint) -> dict[str, Tensor]:
    """All weights that the run started from."""
    settings, init = saved.settings, Path(saved.settings.init)
    if settings.starts_from_run:
        return checkpoint.load(init).model
    model = networks.build(settings, len(saved.trained.classes))
    if not isinstance(model, AlexNet) or init.suffix != ".safetensors":
        raise UserError(f"--init of this run was {settings.init}: only AlexNet from a .pt or .safetensors file will do")
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, math.nan)
    initial_weights.load(model, settings.init)
    missing = [name for name, value in model.named_parameters() if value.isnan().any()]
    if missing:
        raise UserError(f"{init} does not hold {missing[0]}, so the run started it at random")
    return dict(model.state_dict())


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("share", type=float, help="of the initial weights, 0 to 1")
    options = parser.parse_args(arguments)
    if not 0 < options.share < 1:
        parser.error(f"share is {options.share}: give a number between 0 and 1")
    try:
        print(interpolate(options.run, options.share))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
