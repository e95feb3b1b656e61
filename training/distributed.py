"""Data-parallel training in several processes, on one machine or more.

In: the environment that `torchrun` sets. Out: a `Processes`; gradients are averaged by torch's DistributedDataParallel,
over NCCL between GPUs and over gloo between CPUs. Without `torchrun` all of it does nothing.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# Far more than an epoch adds to a seed, so that no process draws another's dropout.
_SEED_STRIDE = 2**40


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count`, and number `local_rank` of those on its machine."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def together(self, model: nn.Module) -> nn.Module:
        """`model` with gradients that are averaged over all processes."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model)

    def share(self, batch: Tensor) -> tuple[Tensor, float]:
        """This process's part of the indices `batch` int64 [N], and the weight that makes a mean of means exact.

        The weight is that of the part's mean loss: n * processes / N for a part of n images; zero where there are more
        processes than images (such a process computes on one image, to no effect).
        """
        if self.count == 1:
            return batch, 1.0
        part = batch[self.rank :: self.count]
        if len(part) == 0:
            return batch[:1], 0.0
        return part, len(part) * self.count / len(batch)

    def seed_dropout(self, seed: int) -> None:
        """Seed torch so that every process drops other inputs; the first one as if it were alone."""
        torch.manual_seed(seed + self.rank * _SEED_STRIDE)

    def add_up(self, *numbers: Tensor) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.count > 1:
            for number in numbers:
                dist.all_reduce(number)

    def agree(self, value: Any) -> Any:
        """The first process's `value`, in all of them; a barrier, too."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]


def is_first() -> bool:
    """Whether this process is the first of those that torchrun started, or alone; known before they have met."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined(backend: str) -> Iterator[Processes]:
    """Join the process group of `torchrun`; `backend` is `gloo` or `nccl`. Nothing to join for a lone process."""
    if not dist.is_torchelastic_launched():
        yield Processes()
        return
    # torchrun ends all processes when one is lost; an exception leaves time to say so.
    signal.signal(signal.SIGTERM, _stopped)
    local_rank = int(os.environ["LOCAL_RANK"])
    if backend == "nccl":
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend)
    yield Processes(dist.get_rank(), dist.get_world_size(), local_rank)
    dist.destroy_process_group()  # not after an error: it would wait for processes that are gone


def _stopped(*_: object) -> NoReturn:
    raise RuntimeError("torchrun stopped this process")
