"""Multinomial logistic regression with an L2 penalty, on all examples at once or by minibatches.

The objective is the mean cross-entropy in nats plus l2 / 2 times the squared norm of the weights of
standardised features; biases are free. A penalty so means the same for any number of examples.

Both solvers work along the features' principal directions, each scaled by the bound of its
curvature: features are so alike that L-BFGS takes up to ten times as many passes without. All at
once it is L-BFGS (scipy's, which scikit-learn uses too, but on the run's device) in float64, from
the largest penalty to the smallest, each from the solution before. By minibatches, Adam in float32
fits all penalties side by side, with a learning rate that falls to 0 as a cosine.
"""

from __future__ import annotations

from collections.abc import Sequence
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
#: Largest component of the gradient at what counts as the minimum.
TOLERANCE = 1e-4
#: The same of minibatches, which end where their noise leaves them.
MINIBATCH_TOLERANCE = 3e-3
#: Most and fewest rows of a minibatch, and the steps that few images take by smaller ones.
MINIBATCH_ROWS, FEWEST_ROWS, FEW_STEPS = 256, 16, 1000
MINIBATCH_LR = 0.03


@dataclass(frozen=True, eq=False)
class Classifier:
    """`weights` (D, C) and `bias` (C,), float64, of features standardised by `scale`.

    `gradient` is the largest component of the objective's gradient, in the scaled coordinates it
    was minimised in; `converged`: that is within the solver's tolerance.
    """

    weights: Tensor
    bias: Tensor
    scale: Scale
    l2: float
    gradient: float
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
    table = torch.zeros((examples.width + 1, examples.classes), dtype=torch.float64, device=device)
    before = torch.ones((examples.width, 1), dtype=torch.float64, device=device)
    found: dict[float, Classifier] = {}
    for l2 in sorted(penalties, reverse=True):
        stiffness = basis.stiffness(l2)
        inputs *= (before / stiffness).T
        table[:-1] *= stiffness
        table, gradient = _minimum(table, inputs, labels, l2 / stiffness.square())
        table[:-1] /= stiffness
        before = stiffness
        found[l2] = _classifier(table, basis, l2, gradient, TOLERANCE)
    return [found[l2] for l2 in penalties]


def _minimum(
    start: Tensor, inputs: Tensor, labels: Tensor, penalties: Tensor
) -> tuple[Tensor, float]:
    """Weights and bias (D + 1, C) from `start` on, with `penalties` (D, 1) along each coordinate;
    and the largest component of the gradient there.
    """
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
    found = torch.from_numpy(end.x).view_as(start).to(start.device)
    return found, float(np.abs(end.jac).max())


def _coordinates(examples: Examples, basis: Basis, device: torch.device) -> Tensor:
    """All examples along the basis's directions (n, D), float64."""
    found = torch.empty((len(examples), examples.width), dtype=torch.float64, device=device)
    done = 0
    for features, labels in examples.chunks():
        found[done : done + len(labels)] = basis.apply(features)
        done += len(labels)
    return found


def _cross_entropy(table: Tensor, inputs: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Its mean, and the gradient (D + 1, C) to weights and bias, which `table` holds."""
    error = torch.addmm(table[-1], inputs, table[:-1]).log_softmax(1)
    value = float(F.nll_loss(error, labels))
    error.exp_()
    error[torch.arange(len(labels), device=labels.device), labels] -= 1
    error /= len(labels)
    return value, torch.cat([inputs.T @ error, error.sum(0, keepdim=True)])


def _classifier(
    table: Tensor, basis: Basis, l2: float, gradient: float, tolerance: float
) -> Classifier:
    """Of weights along the basis's directions, with the bias below them."""
    weights = basis.directions @ table[:-1]
    bias = table[-1].clone()
    return Classifier(weights, bias, basis.scale, l2, gradient, gradient <= tolerance)


def fit_minibatch(
    examples: Examples, penalties: Sequence[float], device: torch.device, *, epochs: int
) -> list[Classifier]:
    """A classifier for each penalty, in their order; a chunk of the features is in memory at once.

    Rows come in the same order for every model, a new one each epoch.
    """
    basis = Basis.of(examples, device)
    stiffness = torch.stack([basis.stiffness(l2).T for l2 in penalties]).float()  # (P, 1, D)
    l2 = torch.tensor(penalties, device=device)[:, None, None] / stiffness.mT.square()
    shape = (len(penalties), examples.width, examples.classes)
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
        inputs = basis.apply(features).float() / stiffness  # (P, b, D)
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
        _measured(table, examples, basis, each)
        for table, each in zip(tables, penalties, strict=True)
    ]


def _measured(table: Tensor, examples: Examples, basis: Basis, l2: float) -> Classifier:
    """With the gradient over all examples, which the last minibatch does not know."""
    stiffness = basis.stiffness(l2)
    gradient = torch.zeros_like(table)
    for features, labels in examples.chunks():
        inputs = basis.apply(features) / stiffness.T
        _, own = _cross_entropy(table, inputs, labels.to(table.device))
        gradient += own * (len(labels) / len(examples))
    gradient[:-1] += l2 * table[:-1] / stiffness.square()
    table = torch.cat([table[:-1] / stiffness, table[-1:]])
    return _classifier(table, basis, l2, float(gradient.abs().max()), MINIBATCH_TOLERANCE)
