"""The fixtures: numbers from the authors' implementation, and how closely we hold to them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

REPO = Path(__file__).resolve().parents[2]
PARITY = REPO / os.environ.get("HARNESS_SHARED", "../shared") / "data" / "parity"
#: Relative errors that the fixtures' README allows.
FORWARD, GRADIENT = 5e-5, 1e-3

needs_fixtures = pytest.mark.skipif(
    not PARITY.is_dir(), reason="no parity fixtures: HARNESS_SHARED is not there"
)


class Case:
    """One fixture folder: its settings, weights, numbers and gradients, if it has any."""

    def __init__(self, name: str) -> None:
        folder = PARITY / name
        self.given: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.weights = load_file(folder / "weights.safetensors")
        self.case = load_file(folder / "case.safetensors")
        grads = folder / "grads.safetensors"
        self.grads = load_file(grads) if grads.exists() else {}

    @property
    def sizes(self) -> dict[str, Any]:
        """What every config needs."""
        given = self.given
        return {
            "depth": given["num_layers"],
            "width": given["dim"],
            "heads": given["num_heads"],
            "ffn_width": given.get("ffn_width", given.get("mlp_width")),
        }


def assert_close(ours: Tensor, theirs: Tensor, tolerance: float, what: str) -> None:
    """Relative error in the norm of the whole tensor."""
    gap = float((ours.detach() - theirs).norm())
    assert gap <= tolerance * float(theirs.norm()), f"{what}: off by {gap:.2e}"


def assert_gradients_match(network: torch.nn.Module, case: Case) -> None:
    """Every trainable parameter's gradient, and no parameter without one."""
    trainable = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert set(trainable) == set(case.grads)
    for name, parameter in trainable.items():
        assert parameter.grad is not None, name
        assert_close(parameter.grad, case.grads[name], GRADIENT, name)
