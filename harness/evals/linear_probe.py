"""Multinomial logistic regression with an L2 penalty, on all examples at once or by minibatches.

The objective is the mean cross-entropy in nats plus l2 / 2 times the squared norm of the weights of
standardised features; biases are free. A penalty so means the same for any number of examples.

Both solvers work along the features' principal directions, each scaled by the bound of its
curvature: features are so alike that L-BFGS takes up to ten times as many passes without. All at
once it is L-BFGS (scipy's, which scikit-learn uses too, but on the run's device) in float64, from
the largest penalty to the smallest, each from the solution before. By minibatches, Adam in float32
fits all penalties side by side, with a learning rate that falls to 0 as a cosine.

Whether either came to the minimum is judged by the objective: where classes are nearly apart its
gradient is small long before. How far it would still fall is found from gradient and curvature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from harness.data.keyed import row_order
from harness.evals.probe_examples import Basis, Examples, Scale

MAX_ITERATIONS = 1000
#: Largest component of the gradient where L-BFGS ends.
TOLERANCE = 3e-5
#: Of a fit that came to the minimum: nats that its objective may still fall by, or the share of
#: itself and of what it lies below the entropy of the classes' frequencies.
NEAR, NEAR_SHARE = 1e-4, 0.01
#: Passes over all examples that look for how far it falls; 5 find 0.8 of what hundreds would.
CURVATURE_PASSES = 5
#: Most and fewest rows of a minibatch, and the steps that few images take by smaller ones.
MINIBATCH_ROWS, FEWEST_ROWS, FEW_STEPS = 256, 16, 1000
MINIBATCH_LR = 0.03


@dataclass(frozen=True, eq=False)
class Classifier:
    """`weights` (D, C) and `bias` (C,), float64, of features standardised by `scale`.

    `gradient` is the largest component of the objective's gradient, in the scaled coordinates it
    was minimised in; `excess` the nats by which the objective would still fall, were its curvature
    the same on the way, so about half of what it would where classes are nearly apart. `converged`:
    that is little beside the objective and beside what was learnt.
    """

    weights: Tensor
    bias: Tensor
    scale: Scale
    l2: float
    gradient: float
    excess: float
    converged: bool

    def scores(self, features: Tensor) -> Tensor:
        """Unnormalised log probabilities (b, C) of features (b, D)."""
        return self.scale.apply(features) @ self.weights + self.bias


def fit_full_batch(
    examples: Examples, penalties: Sequence[float], device: torch.device
) -> list[Classifier]:
    """A classifier for each penalty, in their order."""
    basis = Basis.of(examples, device)
    inputs = _coordinates(examples, basis, device)
    labels = torch.from_numpy(examples.targets).to(device)
    table = torch.zeros((basis.rank + 1, examples.classes), dtype=torch.float64, device=device)
    before = torch.ones((basis.rank, 1), dtype=torch.float64, device=device)
    found: dict[float, Classifier] = {}
    for l2 in sorted(penalties, reverse=True):
        stiffness = basis.stiffness(l2)
        inputs *= (before / stiffness).T
        table[:-1] *= stiffness
        table = _minimum(table, inputs, labels, l2 / stiffness.square())
        found[l2] = _classifier(table, _Objective(examples, basis, l2))
        table[:-1] /= stiffness
        before = stiffness
    return [found[l2] for l2 in penalties]


def _minimum(start: Tensor, inputs: Tensor, labels: Tensor, penalties: Tensor) -> Tensor:
    """Weights and bias (r + 1, C) from `start` on, `penalties` (r, 1) along each coordinate."""
    from scipy.optimize import minimize  # imported here: it takes half a second

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[Any]]:
        table = torch.from_numpy(flat).view_as(start).to(start.device)
        value, gradient = _cross_entropy(table, inputs, labels)
        pull = penalties * table[:-1]
        value += 0.5 * float((pull * table[:-1]).sum())
        gradient[:-1] += pull
        return value, gradient.flatten().cpu().numpy()

    end = minimize(
        objective,
        start.flatten().cpu().numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "gtol": TOLERANCE, "ftol": 1e-15},
    )
    return torch.from_numpy(end.x).view_as(start).to(start.device)


def _coordinates(examples: Examples, basis: Basis, device: torch.device) -> Tensor:
    """All examples along the basis's directions (n, r), float64."""
    found = torch.empty((len(examples), basis.rank), dtype=torch.float64, device=device)
    done = 0
    for features, labels in examples.chunks():
        found[done : done + len(labels)] = basis.apply(features)
        done += len(labels)
    return found


def _cross_entropy(table: Tensor, inputs: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Its mean, and the gradient (r + 1, C) to weights and bias, which `table` holds."""
    error = torch.addmm(table[-1], inputs, table[:-1]).log_softmax(1)
    value = float(F.nll_loss(error, labels))
    error.exp_()
    error[torch.arange(len(labels), device=labels.device), labels] -= 1
    error /= len(labels)
    return value, torch.cat([inputs.T @ error, error.sum(0, keepdim=True)])


def fit_minibatch(
    examples: Examples, penalties: Sequence[float], device: torch.device, *, epochs: int
) -> list[Classifier]:
    """A classifier for each penalty, in their order; a chunk of the features is in memory at once.

    Rows come in the same order for every model, a new one each epoch.
    """
    basis = Basis.of(examples, device)
    stiffness = torch.stack([basis.stiffness(l2).T for l2 in penalties]).float()  # (P, 1, r)
    l2 = torch.tensor(penalties, device=device)[:, None, None] / stiffness.mT.square()
    shape = (len(penalties), basis.rank, examples.classes)
    weights = torch.zeros(shape, device=device, requires_grad=True)
    bias = torch.zeros((shape[0], 1, shape[2]), device=device, requires_grad=True)
    optimizer = torch.optim.Adam([weights, bias])
    rows = min(max(epochs * len(examples) // FEW_STEPS, FEWEST_ROWS), MINIBATCH_ROWS)
    steps = max(1, epochs * len(examples) // rows)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = MINIBATCH_LR * 0.5 * (1 + cos(pi * step / steps))
        features, labels = examples.batch(
            row_order(len(examples), batch_size=rows, seed=0, step=step)
        )
        inputs = basis.apply(features).float() / stiffness  # (P, b, r)
        with torch.enable_grad():
            scores = torch.baddbmm(bias, inputs, weights).flatten(0, 1)
            targets = labels.to(device).repeat(len(penalties))
            # The penalties share no parameter: the gradient of their sum is each one's own.
            loss = F.cross_entropy(scores, targets, reduction="sum") / rows
            (loss + 0.5 * (l2 * weights.square()).sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    tables = torch.cat([weights.detach(), bias.detach()], 1).double()
    return [
        _classifier(table, _Objective(examples, basis, each))
        for table, each in zip(tables, penalties, strict=True)
    ]


# --- how near the minimum --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Objective:
    """Of all examples, which the last minibatch does not know; a chunk is in memory at once.

    Tables (r + 1, C) hold weights along the basis's scaled directions, with the bias below them.
    """

    examples: Examples
    basis: Basis
    l2: float

    @property
    def stiffness(self) -> Tensor:
        return self.basis.stiffness(self.l2)

    @property
    def penalties(self) -> Tensor:
        """Of each scaled direction (r, 1)."""
        return self.l2 / self.stiffness.square()

    def slope(self, table: Tensor) -> tuple[float, Tensor]:
        """The objective, and its gradient (r + 1, C)."""
        value, gradient = 0.0, torch.zeros_like(table)
        for inputs, labels in self._chunks():
            own, slope = _cross_entropy(table, inputs, labels)
            share = len(labels) / len(self.examples)
            value, gradient = value + own * share, gradient + slope * share
        pull = self.penalties * table[:-1]
        gradient[:-1] += pull
        return value + 0.5 * float((pull * table[:-1]).sum()), gradient

    def bend(self, table: Tensor, along: Tensor) -> Tensor:
        """The product (r + 1, C) of the objective's second derivatives and a step `along`."""
        found = torch.zeros_like(table)
        for inputs, _ in self._chunks():
            chances = torch.addmm(table[-1], inputs, table[:-1]).softmax(1)
            moved = chances * torch.addmm(along[-1], inputs, along[:-1])
            moved -= chances * moved.sum(1, keepdim=True)
            found += torch.cat([inputs.T @ moved, moved.sum(0, keepdim=True)])
        found /= len(self.examples)
        found[:-1] += self.penalties * along[:-1]
        return found

    def fall(self, table: Tensor, gradient: Tensor) -> float:
        """By how much a Newton step lowers it, from below: half the product of gradient and step,
        the step by so many iterations of conjugate gradients.
        """
        step, left, along = torch.zeros_like(gradient), gradient.clone(), gradient.clone()
        for _ in range(CURVATURE_PASSES):
            bent = self.bend(table, along)
            curvature, before = float((along * bent).sum()), float(left.square().sum())
            if curvature <= 0:
                break
            step += before / curvature * along
            left -= before / curvature * bent
            along = left + float(left.square().sum()) / before * along
        return 0.5 * float((gradient * step).sum())

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Scaled coordinates (b, r), float64, and labels (b,)."""
        stiffness = self.stiffness.T
        for features, labels in self.examples.chunks():
            yield self.basis.apply(features) / stiffness, labels.to(stiffness.device)


def _classifier(table: Tensor, minimised: _Objective) -> Classifier:
    """Of weights along the basis's scaled directions, with the bias below them."""
    value, gradient = minimised.slope(table)
    excess = minimised.fall(table, gradient)
    learnt = _entropy(minimised.examples) - value
    basis = minimised.basis
    return Classifier(
        weights=basis.directions @ (table[:-1] / minimised.stiffness),
        bias=table[-1].clone(),
        scale=basis.scale,
        l2=minimised.l2,
        gradient=float(gradient.abs().max()),
        excess=excess,
        converged=excess <= max(NEAR, NEAR_SHARE * min(value, learnt)),
    )


def _entropy(examples: Examples) -> float:
    """Of the classes' frequencies, in nats: the least loss without a feature."""
    shares = np.unique(examples.targets, return_counts=True)[1] / len(examples)
    return float(-(shares * np.log(shares)).sum())
