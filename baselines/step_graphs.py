"""Losses whose gradients are known with them, and training steps as CUDA graphs.

On a GPU a step of a small model is thousands of kernels of microseconds each, and the time goes
into launching them. Where a step's gradients are computed by the step itself, not by whoever calls
backward, all of it can be recorded once and replayed as one launch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._python_dispatch import _get_current_dispatch_mode

#: A loss (), and its gradient by each parameter, None where it has none.
Computed = tuple[Tensor, list[Tensor | None]]
#: From inputs to outputs: tensors of fixed shapes, no host in between, nothing kept.
Step = Callable[[list[Tensor]], list[Tensor | None]]


def loss_with_gradients(compute: Callable[[], Computed], parameters: Sequence[Tensor]) -> Tensor:
    """The loss of `compute`, differentiable once: backward scales the gradients it came with."""
    loss: Tensor = _Known.apply(compute, *parameters)
    return loss


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Callable[[], Computed], *parameters: Tensor) -> Tensor:
        loss, ctx.gradients = compute()
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Any, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        torch._foreach_mul_([g for g in gradients if g is not None], d_loss)
        return None, *gradients


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: list[Tensor | None]


class StepGraphs:
    """Steps recorded so far, by key; all use one memory pool, since their outputs are copied."""

    def __init__(self) -> None:
        self.captured: dict[Hashable, _Captured] = {}

    def run(self, key: Hashable, inputs: Sequence[Tensor], step: Step) -> list[Tensor | None]:
        """The outputs of `step` on copies of `inputs`, replayed from the second call of a key on.

        `key` tells apart what is not the same kernels on the same memory. On CPU nothing is
        recorded.
        """
        if inputs[0].device.type != "cuda":
            return step([t.clone() for t in inputs])
        found = self.captured.get(key)
        if found is None:
            found = self.captured[key] = self._capture(inputs, step)
        for own, given in zip(found.inputs, inputs, strict=True):
            own.copy_(given)
        found.graph.replay()
        kept = iter(torch._foreach_mul([t for t in found.outputs if t is not None], 1.0))
        return [None if t is None else next(kept) for t in found.outputs]

    def _capture(self, inputs: Sequence[Tensor], step: Step) -> _Captured:
        own = [t.clone() for t in inputs]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what is compiled or chosen on first use, outside the graph
            for _ in range(2):
                step([t.clone() for t in inputs])
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self.captured.values())).graph.pool() if self.captured else None
        with torch.cuda.graph(graph, pool=pool):
            outputs = step(own)
        return _Captured(graph, own, outputs)


def graphs_on(device: torch.device) -> StepGraphs | None:
    """Where steps are recorded: on a GPU only."""
    return StepGraphs() if device.type == "cuda" else None


def recordable() -> bool:
    """Whether a step may be replayed: someone who counts its operators must see them."""
    return torch.is_grad_enabled() and _get_current_dispatch_mode() is None


def uncached_autocast(device: torch.device) -> torch.autocast:
    """The autocast that is on, without its cache, whose weights would not follow their updates."""
    kind = device.type
    enabled = torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if enabled else None
    return torch.autocast(kind, dtype, enabled=enabled, cache_enabled=False)
