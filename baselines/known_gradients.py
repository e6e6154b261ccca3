"""Losses whose gradients are computed with them, not by whoever calls backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: A loss (), and its gradient by each parameter, None where it has none.
Computed = tuple[Tensor, list[Tensor | None]]


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
        if gradients is None:
            raise RuntimeError("the loss has been differentiated, and its gradients are gone")
        if d_loss.device.type != "cpu" or d_loss != 1:  # a pass over all of them
            torch._foreach_mul_([g for g in gradients if g is not None], d_loss)
        return None, *gradients
