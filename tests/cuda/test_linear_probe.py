"""A probe fitted on a GPU is the one that is fitted on a CPU."""

from __future__ import annotations

import pytest
import torch

from harness.evals.linear_probe import fit_full_batch, fit_minibatch
from tests.evals.test_linear_probe import CPU, objective, planted

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
GPU = torch.device("cuda")


def test_all_at_once() -> None:
    own = planted(400)
    for one, other in zip(
        fit_full_batch(own, [1e-3, 1e-1], CPU), fit_full_batch(own, [1e-3, 1e-1], GPU), strict=True
    ):
        assert other.converged
        assert other.weights.device.type == "cuda"
        assert torch.allclose(one.weights, other.weights.cpu(), atol=5e-3)


def test_minibatches() -> None:
    own = planted(400)
    (one,) = fit_full_batch(own, [1e-1], CPU)
    (other,) = fit_minibatch(own, [1e-1], GPU, epochs=20)
    scores = other.scores(torch.from_numpy(own.features)).cpu()
    labels = torch.from_numpy(own.targets)
    mean = float(torch.nn.functional.cross_entropy(scores, labels))
    found = mean + 0.05 * float(other.weights.square().sum())
    assert found == pytest.approx(objective(one, own), abs=2e-3)
