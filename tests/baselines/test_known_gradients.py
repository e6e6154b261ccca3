"""A loss that comes with its gradients."""

from __future__ import annotations

import torch

from baselines.known_gradients import loss_with_gradients


def test_known_gradients_are_scaled_by_what_comes_in() -> None:
    weight = torch.ones(3, requires_grad=True)
    unused = torch.ones(2, requires_grad=True)
    known = [torch.tensor([1.0, 2.0, 3.0]), None]
    loss = loss_with_gradients(lambda: (torch.tensor(5.0), known), [weight, unused])
    (3 * loss).backward()
    assert torch.equal(weight.grad, torch.tensor([3.0, 6.0, 9.0]))
    assert unused.grad is None
