"""SGD on wide linear layers without writing their gradients: for small batches on a CPU.

In: a model with linear layers of millions of weights, and its SGD optimiser. Out: the same weights and momentum, to
rounding, for less than half of the memory traffic, which bounds the speed of AlexNet at batch size 32.

The gradient of a linear layer is a low-rank product, of the gradients [n, out] of its outputs and of its inputs
[n, in]. Both factors are kept for some steps, row under row, and not multiplied. The current weights are then a sum of
the weights and the momentum before these steps and of products of the kept rows, each with a coefficient. So is the
momentum, and a step of SGD changes the coefficients alone. Forward and backward pass follow from the same sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

_WIDE: Final = 2**22  # weights; of smaller layers the whole gradient is cheaper
_STEPS: Final = 16  # of the first one's size, kept before they are added up: more make the thin products dearer
_OLD: Final = 2  # the first two coefficients are those of the old weights and the old momentum


class LazyLayers:
    """The wide linear layers of `model`, which `optimizer` leaves alone meanwhile; they multiply in `dtype`.

    `step` must follow each step of the optimiser. `close` writes weights and momentum as the optimiser would have, and
    restores the model; until then it can only be trained.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.SGD, dtype: torch.dtype) -> None:
        wide = [part for part in model.modules() if isinstance(part, nn.Linear) and part.weight.numel() >= _WIDE]
        self._layers = [_Layer(linear, optimizer, dtype) for linear in wide]

    def step(self) -> None:
        """Apply the gradients of the last backward pass as the optimiser applies those of other layers."""
        for layer in self._layers:
            layer.step()

    def close(self) -> None:
        """Apply what is kept, and restore the layers."""
        for layer in self._layers:
            layer.settle()
            del layer.linear.forward  # the class's own again


@contextmanager
def wide_layers(model: nn.Module, optimizer: torch.optim.SGD, dtype: torch.dtype) -> Iterator[LazyLayers]:
    """`LazyLayers` for the time of a `with` block."""
    lazy = LazyLayers(model, optimizer, dtype)
    try:
        yield lazy
    finally:
        lazy.close()


class _Layer:
    """One layer. A row is an image of a step; `inputs` [rows, in] and `gradients` [rows, out] have room for more than
    the `held` ones, of which the first `stepped` have been part of a step.
    """

    def __init__(self, linear: nn.Linear, optimizer: torch.optim.SGD, dtype: torch.dtype) -> None:
        self.linear = linear
        self.dtype = dtype
        self._group = next(g for g in optimizer.param_groups if any(p is linear.weight for p in g["params"]))
        state = optimizer.state[linear.weight]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(linear.weight)
        self._momentum: Tensor = state["momentum_buffer"]
        self._inputs, self._gradients = (torch.empty(0, side, dtype=dtype) for side in linear.weight.shape[::-1])
        self._start()
        linear.forward = self  # type: ignore[method-assign,assignment]

    def _start(self) -> None:
        self._held = self._stepped = 0
        self._old_weight = self.linear.weight.detach().to(self.dtype)
        self._old_momentum = self._momentum.to(self.dtype)
        self._weight_factors = torch.tensor([1.0, 0.0], dtype=torch.float64)
        self._momentum_factors = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Inputs [n, in] to outputs [n, out] in the layer's `dtype`."""
        output: Tensor = _Product.apply(inputs, self.linear.bias, self)
        return output

    def forward(self, inputs: Tensor) -> Tensor:
        """Without the bias."""
        return self._multiply(inputs, self._old_weight.t(), self._old_momentum.t(), self._inputs, self._gradients)

    def backward(self, inputs: Tensor, gradients: Tensor) -> Tensor:
        """Keep both, [n, in] and [n, out], for the step; returns the gradient [n, in] of the inputs."""
        found = self._multiply(gradients, self._old_weight, self._old_momentum, self._gradients, self._inputs)
        self._keep(inputs, gradients)
        return found

    def _multiply(self, rows: Tensor, weight: Tensor, momentum: Tensor, near: Tensor, far: Tensor) -> Tensor:
        """`rows` times the current weights: `near` and `far` are the factors of the kept gradients near^T far."""
        found = rows @ weight
        if self._stepped:
            kept = slice(self._stepped)
            of_weight, of_momentum = self._weight_factors[:_OLD].tolist()
            shares = (rows @ near[kept].t()) * self._weight_factors[_OLD:].float()
            found.mul_(of_weight).addmm_(rows, momentum, alpha=of_momentum)
            found.addmm_(shares.to(self.dtype), far[kept])
        return found

    def _keep(self, inputs: Tensor, gradients: Tensor) -> None:
        end = self._held + len(inputs)
        if end > len(self._inputs):
            room = max(end, _STEPS * len(inputs)) - self._held
            self._inputs, self._gradients = (
                torch.cat([kept[: self._held], kept.new_empty(room, kept.shape[1])])
                for kept in (self._inputs, self._gradients)
            )
        self._inputs[self._held : end], self._gradients[self._held : end] = inputs, gradients
        self._held = end

    def step(self) -> None:
        """One step of https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html on the coefficients."""
        group = self._group
        new = torch.zeros(self._held - self._stepped, dtype=torch.float64)
        weight, momentum = torch.cat([self._weight_factors, new]), torch.cat([self._momentum_factors, new])
        gradient = group["weight_decay"] * weight
        gradient[_OLD + self._stepped :] += 1
        momentum = group["momentum"] * momentum + gradient
        moved = gradient + group["momentum"] * momentum if group["nesterov"] else momentum
        self._weight_factors, self._momentum_factors = weight - float(group["lr"]) * moved, momentum
        self._stepped = self._held
        if self._held + len(new) > len(self._inputs):
            self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Write the current weights and momentum."""
        if not self._stepped:
            return
        weight, momentum = self.linear.weight, self._momentum
        of_weight, of_momentum = self._weight_factors[:_OLD].tolist()
        decay, keep = self._momentum_factors[:_OLD].tolist()
        decayed = weight * decay if decay else None
        if of_weight != 1:
            weight.mul_(of_weight)
        weight.add_(momentum, alpha=of_momentum).add_(self._sum(self._weight_factors))
        momentum.mul_(keep).add_(self._sum(self._momentum_factors))
        if decayed is not None:
            momentum.add_(decayed)
        self._start()

    def _sum(self, factors: Tensor) -> Tensor:
        """The sum of the gradients of all rows, times their `factors`: [out, in]."""
        rows = slice(self._stepped)
        scaled = self._gradients[rows] * factors[_OLD:, None].float()
        return scaled.to(self.dtype).t() @ self._inputs[rows]


class _Product(torch.autograd.Function):
    """A `_Layer` for autograd: inputs [n, in] of any precision, bias float32 [out]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bias: Tensor, layer: _Layer) -> Tensor:
        ctx.layer, ctx.inputs_dtype = layer, inputs.dtype
        inputs = inputs.to(layer.dtype)
        ctx.save_for_backward(inputs)
        return layer.forward(inputs).add_(bias)

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (inputs,) = ctx.saved_tensors
        found = ctx.layer.backward(inputs, gradients)
        return found.to(ctx.inputs_dtype), gradients.sum(0, dtype=torch.float32), None
