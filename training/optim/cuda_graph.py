"""A step of training as one CUDA graph: at batch 32 a GPU is done sooner than Python has asked for its kernels.

In: a step that takes the indices of its images. Out: the same step, launched as a whole. What it reads and moves stays
where it is: after https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture, the first steps run as
they are, on a stream of their own, so that all that is made once is there; then one is recorded and from then on
replayed. Torch's own generator of random numbers goes on from step to step in a replay too.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

_FIRST_STEPS: Final = 3


class CapturedStep:
    """`step` for batches of `size` on the GPU `device`; those of another size run as they are.

    Nothing in `step` may depend on a number that Python holds and that changes from call to call.
    """

    def __init__(self, step: Callable[[Tensor], None], size: int, device: torch.device) -> None:
        self._step = step
        self._indices = torch.zeros(size, dtype=torch.int64, device=device)
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._done = 0

    def __call__(self, indices: Tensor) -> None:
        """Do the step with `indices` int64 [n]."""
        if len(indices) != len(self._indices):
            self._step(indices)
        elif self._done < _FIRST_STEPS:
            self._run_first(indices)
        else:
            self._indices.copy_(indices)
            if self._graph is None:
                self._graph = self._record()
            self._graph.replay()

    def _run_first(self, indices: Tensor) -> None:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._step(indices)
        current.wait_stream(self._stream)
        self._done += 1

    def _record(self) -> torch.cuda.CUDAGraph:
        """What a step does, without doing it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._step(self._indices)
        return graph
