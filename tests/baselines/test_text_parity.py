"""The text networks and S1 descent against numbers from the authors' implementation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from baselines.ebt import EnergyNetwork
from baselines.text_descent import s1_objective, trajectory
from baselines.text_records import EBTTextConfig, TransformerPPTextConfig, landscape_schedule
from baselines.transformer import Transformer
from harness.protocol import Descent

REPO = Path(__file__).resolve().parents[2]
PARITY = REPO / os.environ.get("HARNESS_SHARED", "../shared") / "data" / "parity"
FORWARD, GRADIENT = 5e-5, 1e-3

pytestmark = pytest.mark.skipif(
    not PARITY.is_dir(), reason="no parity fixtures: HARNESS_SHARED is not there"
)


class Case:
    """One fixture folder."""

    def __init__(self, name: str) -> None:
        folder = PARITY / name
        self.given: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.weights = load_file(folder / "weights.safetensors")
        self.case = load_file(folder / "case.safetensors")
        grads = folder / "grads.safetensors"
        self.grads = load_file(grads) if grads.exists() else {}

    def sizes(self) -> dict[str, Any]:
        """What every text config needs."""
        given = self.given
        return {
            "depth": given["num_layers"],
            "width": given["dim"],
            "heads": given["num_heads"],
            "ffn_width": given["ffn_width"],
            "rope_theta": given["rope_theta"],
            "norm_eps": given["norm_eps"],
        }

    def ebt(self) -> EnergyNetwork:
        """The energy network with the fixture's weights."""
        given = self.given
        conditioning = {"time_embed": "time_embed", "default": "none"}[given["step_conditioning"]]
        config = EBTTextConfig(
            **self.sizes(),
            step_conditioning=conditioning,
            steps=given["num_landscapes"],
            step_size=given["alpha"],
        )
        network = EnergyNetwork(config, given["vocab_size"])
        network.load_state_dict(self.weights)
        return network


def close(ours: Tensor, theirs: Tensor, tolerance: float, what: str) -> None:
    """Relative error in the norm of the whole tensor."""
    error = float((ours.detach() - theirs).norm() / theirs.norm())
    assert error <= tolerance, f"{what}: relative error {error:.2e}"


def gradients_match(network: torch.nn.Module, case: Case) -> None:
    """Every parameter's gradient, and no parameter without one."""
    assert {name for name, _ in network.named_parameters()} == set(case.grads)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        close(parameter.grad, case.grads[name], GRADIENT, name)


def test_transformer_pp() -> None:
    fixture = Case("transformer_pp")
    network = Transformer(TransformerPPTextConfig(**fixture.sizes()), fixture.given["vocab_size"])
    network.load_state_dict(fixture.weights)
    ids = fixture.case["ids"]
    logits = network(ids[:, :-1]).log_softmax(dim=-1)
    close(logits, fixture.case["logits"], FORWARD, "logits")
    targets = ids[:, 1:]
    loss = torch.nn.functional.nll_loss(
        logits.flatten(0, 1), targets.flatten(), ignore_index=fixture.given["pad_id"]
    )
    close(loss, fixture.case["loss"], FORWARD, "loss")
    loss.backward()
    gradients_match(network, fixture)


@pytest.mark.parametrize("name", ["ebt_text_s1", "ebt_text_s1_no_step_embedding"])
def test_ebt_s1_training(name: str) -> None:
    fixture = Case(name)
    network, case = fixture.ebt(), fixture.case
    ids, start = case["ids"], case["draw.0.randn"]
    mask = ids[:, 1:] != fixture.given["pad_id"]
    steps = fixture.given["steps_taken"]
    sums = s1_objective(network, ids, mask, start, steps=steps)
    (sums.loss / mask.sum()).backward()
    close(sums.loss / mask.sum(), case["loss"], FORWARD, "loss")
    close(sums.loss_last / mask.sum(), case["final_step_loss"], FORWARD, "final step loss")
    close(sums.energy_first, (case["energy.0"] * mask).sum(), FORWARD, "energy 0")
    close(sums.energy_last, (case["energy.1"] * mask).sum(), FORWARD, "energy 1")
    gradients_match(network, fixture)
    schedule = landscape_schedule(network.config, Descent(steps=steps))
    for step, logits, _, energy in walk(network, ids[:, :-1], start, schedule):
        if step > 0:
            close(logits, case[f"logits.{step - 1}"], FORWARD, f"logits {step}")
        if step < steps:
            close(energy, case[f"energy.{step}"], FORWARD, f"energy {step}")


def test_ebt_s1_thinking_beyond_training() -> None:
    """Two steps on each of two landscapes: every energy listed, and the final logits."""
    fixture = Case("ebt_text_think_s1")
    network, case, given = fixture.ebt(), fixture.case, fixture.given
    steps = given["num_landscapes"] * given["infer_steps_per_landscape"]
    schedule = landscape_schedule(network.config, Descent(steps=steps, extra_steps="every"))
    assert schedule == [0, 0, 1, 1]
    points = walk(network, case["ids"], case["draw.0.randn"], schedule)
    for step, _, free, energy in points:
        close(energy, case[f"energy.{step}"][:, 0], FORWARD, f"energy {step}")
        if free is not None:
            close(free, case[f"energy.{step}"], FORWARD, f"free energy {step}")
    # Rounding grows about tenfold a step: float64 itself is 4.8e-4 from these float32 logits, all
    # of it at two of 36 positions. The median position keeps the tolerance.
    logits, chosen = points[-1][1], case["chosen_logits"]
    close(logits, chosen, 1e-3, "chosen logits")
    errors = (logits - chosen).norm(dim=-1) / chosen.norm(dim=-1)
    assert errors.median() <= FORWARD


def walk(
    network: EnergyNetwork, tokens: Tensor, start: Tensor, schedule: list[int]
) -> list[tuple[int, Tensor, Tensor | None, Tensor]]:
    """(step, logits, free energy if any, energy under the landscape of the next step)."""
    with torch.no_grad():
        observed = {k: network.context(tokens, k) for k in set(schedule)}
        found = []
        path = trajectory(
            network, observed, start[:, None], alpha=float(network.alpha), schedule=schedule
        )
        for point in path:
            landscape = schedule[min(point.step, len(schedule) - 1)]
            projected = network.project(point.logits.softmax(dim=-1))
            energy = network.energies(projected, observed[landscape])[:, 0]
            found.append((point.step, point.logits[:, 0], point.energy, energy))
    return found
