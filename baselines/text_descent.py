"""Energy descent over next-token distributions, as pure functions of an energy network.

One optimization step from logits l (paper sections 2 and 3; the update acts on the softmaxed
distribution, as in the authors' code):

    p = softmax(l);  e = W p;  g = dE/de;  l' = p - alpha * W^T g        (W^T g = dE/dp)

The inner gradient stops at the D-wide e, so no second-order graph reaches the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from baselines.ebt import EnergyNetwork, KeysValues

#: The learned step size never falls below this (authors' code).
MIN_STEP_SIZE = 1e-4


@dataclass(frozen=True)
class Objective:
    """Sums over valid targets: S1's loss (mean over steps), and what to watch while training."""

    loss: Tensor
    loss_last: Tensor
    energy_first: Tensor
    energy_last: Tensor


def s1_objective(
    network: EnergyNetwork, tokens: Tensor, mask: Tensor, start: Tensor, *, steps: int
) -> Objective:
    """S1 training (paper section 2, "System 1"): cross-entropy after every step, mean over steps.

    `tokens` (B, S + 1), `mask` (B, S), `start` logits (B, S, V). The prediction is detached between
    steps, so each step is differentiated through its own energy gradient only. Memory is linear in
    `steps`: one (B, S, V) distribution and one graph of the prediction stream each.
    """
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    alpha = network.alpha.clamp(min=MIN_STEP_SIZE)
    weight = network.vocab_to_embed.weight
    distribution = start.softmax(dim=-1)
    projected = network.project(distribution)  # (B, S, D)
    observed: dict[int, list[KeysValues]] = {}
    losses, energies = [], []
    for step in range(steps):
        landscape = min(step, network.config.landscapes - 1)
        if landscape not in observed:
            observed[landscape] = network.context(inputs, landscape)
        energy = network.energies(projected[:, None], observed[landscape])[:, 0]  # (B, S)
        (slope,) = torch.autograd.grad(energy.sum(), projected, create_graph=True)
        loss, projected, distribution = _StepLoss.apply(
            slope, weight, alpha, distribution, targets, mask
        )
        losses.append(loss)
        energies.append((energy.detach() * mask).sum())
    return Objective(torch.stack(losses).mean(), losses[-1].detach(), energies[0], energies[-1])


class _StepLoss(torch.autograd.Function):
    """l' = p - alpha * g W, its summed cross-entropy, and p' = softmax(l') projected by W.

    One function, because the backward of the loss is almost free beside the forward: with c the
    incoming gradient of the loss and y the target, dL/dg = -alpha * c * (W p' - W[y]) needs only
    the projection that the next step wants anyway, and W's gradients from l' and from W p' share
    the product over p'. Three products of size (B*S, V, D) a step instead of five or six, and one
    (B, S, V) tensor kept. The prediction is detached between steps: p' carries no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        slope: Tensor,
        weight: Tensor,
        alpha: Tensor,
        distribution: Tensor,
        targets: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`slope` g (B, S, D), `weight` (D, V): loss (), projection (B, S, D), p' (B, S, V)."""
        shape, flat = slope.shape, targets.reshape(-1)
        compute = _product_dtype(weight)
        g = slope.reshape(-1, shape[-1])
        w = weight.to(compute)
        with torch.autocast(slope.device.type, enabled=False):
            logits = ((-alpha * g).to(compute) @ w).to(distribution.dtype)  # (B*S, V)
            logits += distribution.reshape(logits.shape)
            after = logits.log_softmax(dim=-1)
            del logits
            nats = -after.gather(1, flat[:, None])[:, 0]
            after.exp_()
            projected = (after.to(compute) @ w.t()).to(weight.dtype)  # (B*S, D)
        valid = mask.reshape(-1).to(nats.dtype)
        ctx.save_for_backward(g, weight, alpha, after, projected, flat, valid)
        ctx.compute = compute
        loss = (nats * valid).sum()
        out = projected.view(shape), after.view(distribution.shape)
        ctx.mark_non_differentiable(out[1])
        return loss, *out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor, d_projected: Tensor, _: Tensor) -> tuple[Any, ...]:
        """Gradients of g, W and alpha."""
        g, weight, alpha, after, projected, flat, valid = ctx.saved_tensors
        scale = (d_loss * valid)[:, None]  # (B*S, 1)
        surprise = scale * (projected - weight.index_select(1, flat).t())  # (B*S, D)
        d_alpha = -(surprise * g).sum()
        pulled = scale * alpha * g
        through = d_projected.reshape(g.shape) - pulled
        d_weight = after.t().to(ctx.compute) @ through.to(ctx.compute)  # (V, D)
        d_weight.index_add_(0, flat, pulled.to(ctx.compute))
        d_slope = (-alpha * surprise).view(d_projected.shape)
        return d_slope, d_weight.t().to(weight.dtype), d_alpha, None, None, None


@dataclass(frozen=True)
class Point:
    """Logits (B, m, S, V) after `step` steps; their energy (B, m, S) where one was computed."""

    step: int
    logits: Tensor
    energy: Tensor | None


def trajectory(
    network: EnergyNetwork,
    observed: Mapping[int, Sequence[KeysValues]],
    start: Tensor,
    *,
    alpha: float,
    schedule: Sequence[int],
    spend: frozenset[int] = frozenset(),
) -> Iterator[Point]:
    """Descend from `start` (B, m, S, V), one landscape a step; yields steps 0..len(schedule).

    The energy of point k is read under the landscape of step k (of step 1 for the start), which is
    where a run of k steps would end. It is free when step k + 1 descends on the same landscape;
    else it is an extra forward pass, made for the points in `spend` only.
    """
    logits, last = start, len(schedule)
    for step in range(last + 1):
        own = schedule[max(step - 1, 0)]
        following = schedule[step] if step < last else None
        energy = slope = distribution = None
        if following is not None or step in spend:
            distribution = logits.softmax(dim=-1)
            projected = network.project(distribution)  # (B, m, S, D)
            if following is not None:
                value, slope = _energy_and_slope(network, projected, observed[following])
                energy = value if following == own else None
            if energy is None and step in spend:
                energy = network.energies(projected, observed[own])
        yield Point(step, logits, energy)
        if distribution is not None and slope is not None:
            logits = distribution.sub_(_to_vocabulary(network, alpha * slope))


def _energy_and_slope(
    network: EnergyNetwork, projected: Tensor, observed: Sequence[KeysValues]
) -> tuple[Tensor, Tensor]:
    """Energies (B, m, S) and their gradient (B, m, S, D) at `projected`, without a graph."""
    with torch.enable_grad():
        point = projected.detach().requires_grad_()
        energy = network.energies(point, observed)
        (slope,) = torch.autograd.grad(energy.sum(), point)
    return energy.detach(), slope


def _to_vocabulary(network: EnergyNetwork, slope: Tensor) -> Tensor:
    """dE/dp (..., V) from dE/de (..., D)."""
    return (slope @ network.vocab_to_embed.weight).to(slope.dtype)


def _product_dtype(weight: Tensor) -> torch.dtype:
    device = weight.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype
