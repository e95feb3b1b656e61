"""A training step as one CUDA graph: at batch size 32 a GPU computes faster than Python launches its kernels.

In: a step that takes the indices of its images. Out: the same step, launched as a whole. As in
https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture, the first steps run eagerly on a side
stream, so that everything that is allocated once exists; then a step is captured, and replayed from then on. A replay
advances torch's own random number generator as a step does.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

_FIRST_STEPS: Final = 3


class CapturedStep:
    """`step` for batches of `size` on the GPU `device`; batches of another size run eagerly.

    `step` must not depend on a Python number that changes from call to call: its value would be captured.
    """

    def __init__(self, step: Callable[[Tensor], None], size: int, device: torch.device) -> None:
        self._step = step
        self._indices = torch.zeros(size, dtype=torch.int64, device=device)
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._done = 0

    def __call__(self, indices: Tensor) -> None:
        """Run the step with `indices` int64 [n]."""
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
        """Capture a step; it does not run."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._step(self._indices)
        return graph
