"""The text networks and S1 descent against numbers from the authors' implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.adapters.descending import Best
from baselines.descent import descend
from baselines.descent_plan import landscape_schedule, plan_of
from baselines.ebt import TextEnergy
from baselines.packing import PackedRows
from baselines.text_descent import Rows, TextLandscapes, plain_objective
from baselines.text_schedule import scheduled_objective
from baselines.text_settings import EBTTextConfig, TransformerPPTextConfig
from baselines.training_descent import Objective, Steps
from baselines.transformer import Transformer
from harness.protocol import Descent
from tests.baselines.parity import (
    FORWARD,
    Case,
    assert_close,
    assert_gradients_match,
    needs_fixtures,
)

pytestmark = needs_fixtures


def sizes_of(fixture: Case) -> dict[str, Any]:
    """What every text config needs."""
    return fixture.sizes | {name: fixture.given[name] for name in ("rope_theta", "norm_eps")}


def energy_network(fixture: Case) -> TextEnergy:
    """The energy network with the fixture's weights."""
    given = fixture.given
    conditioning = {"time_embed": "time_embed", "default": "none"}[given["step_conditioning"]]
    landscapes = given["num_landscapes"] if conditioning != "none" else 1
    truncate = given.get("truncate", False)
    config = EBTTextConfig(
        **sizes_of(fixture),
        step_conditioning=conditioning,
        landscapes=landscapes,
        steps=max(given.get("steps_taken", 1), landscapes),
        between_steps="truncate" if truncate else "detach",
        loss_on="last" if truncate else "every",
        step_size=given["alpha"],
        step_size_learned=given.get("alpha_learned", True),
    )
    network = TextEnergy(config, given["vocab_size"])
    network.load_state_dict(fixture.weights)
    return network


def test_transformer_pp() -> None:
    fixture = Case("transformer_pp")
    network = Transformer(TransformerPPTextConfig(**sizes_of(fixture)), fixture.given["vocab_size"])
    network.load_state_dict(fixture.weights)
    ids = fixture.case["ids"]
    logits = network(ids[:, :-1]).log_softmax(dim=-1)
    assert_close(logits, fixture.case["logits"], FORWARD, "logits")
    targets = ids[:, 1:]
    loss = torch.nn.functional.nll_loss(
        logits.flatten(0, 1), targets.flatten(), ignore_index=fixture.given["pad_id"]
    )
    assert_close(loss, fixture.case["loss"], FORWARD, "loss")
    loss.backward()
    assert_gradients_match(network, fixture)


TRAINING = [
    "ebt_text_s1",
    "ebt_text_s1_no_step_embedding",
    "ebt_text_s2_two_steps",
    "ebt_text_s2_three_steps",
]


@pytest.mark.parametrize("objective", [plain_objective, scheduled_objective])
@pytest.mark.parametrize("name", TRAINING)
def test_ebt_training(name: str, objective: Any) -> None:
    fixture = Case(name)
    network, case, given = energy_network(fixture), fixture.case, fixture.given
    ids, count = case["ids"], given["steps_taken"]
    mask = ids[:, 1:] != given["pad_id"]
    steps, start = _drawn(network, fixture)
    sums: Objective = objective(network, Rows(ids, mask, start.clone()), steps)
    (sums.loss / mask.sum()).backward()
    assert_close(sums.loss / mask.sum(), case["loss"], FORWARD, "loss")
    assert_close(sums.loss_last / mask.sum(), case["final_step_loss"], FORWARD, "final step loss")
    assert_close(sums.energy_first, (case["energy.0"] * mask).sum(), FORWARD, "energy 0")
    assert_close(
        sums.energy_last, (case[f"energy.{count - 1}"] * mask).sum(), FORWARD, "last energy"
    )
    assert_gradients_match(network, fixture)


def _drawn(network: TextEnergy, fixture: Case) -> tuple[Steps, Tensor]:
    """The fixture's draws: the steps, and the initial logits."""
    case, given = fixture.case, fixture.given
    alpha = network.step_size()
    if not given["truncate"]:
        return Steps(given["steps_taken"], alpha, None), case["draw.0.randn"]
    scale = given["alpha_random_scale"]
    alpha = alpha * (1 / scale + case["draw.0.rand_like"] * (scale - 1 / scale))
    std = given["noise_std"]
    noise = lambda step, room=None: case[f"draw.{step + 1}.randn_like"]  # noqa: E731
    return Steps(given["steps_taken"], alpha, noise, std), case["draw.1.randn"]


@pytest.mark.parametrize("name", TRAINING)
def test_ebt_trajectories(name: str) -> None:
    """Every logit and energy that the fixtures list, step by step."""
    fixture = Case(name)
    network, case = energy_network(fixture), fixture.case
    steps, value = _drawn(network, fixture)
    view = network.view(value.shape[1])
    with torch.no_grad():
        for step in range(1, steps.count + 1):
            context = network.context(case["ids"][:, :-1], network.config.landscape(step))
            noisy = value
            if steps.noise is not None:
                noisy = value + steps.noise_std * steps.noise(step, None)
            distribution = noisy.softmax(-1)
            energy, slope = network.slope(network.project(distribution), context, view)
            value = distribution - steps.alpha * network.to_vocabulary(slope)
            assert_close(energy, case[f"energy.{step - 1}"], FORWARD, f"energy {step}")
            assert_close(value, case[f"logits.{step - 1}"], FORWARD, f"logits {step}")


def _think(
    network: TextEnergy, fixture: Case, thinking: Descent, starts: Tensor, draw: Any
) -> tuple[list[tuple[Tensor, Tensor]], Best, tuple[int, int, int]]:
    """Points (logits, energy) of a descent from `starts` (B, S, m, V), and the best sample."""
    ids = fixture.case["ids"]
    assert network.config.landscapes is not None
    schedule = landscape_schedule(network.config.landscapes, thinking)
    plan = plan_of(thinking, trained_noise=fixture.given["noise_std"], schedule=schedule)
    size = (len(ids), ids.shape[1], thinking.samples)
    best, points = Best(thinking.select), []
    with torch.no_grad():
        contexts = {k: network.context(ids, k) for k in set(schedule)}
        alpha = float(network.step_size())
        rows = PackedRows(network, contexts, size)
        noise = lambda step, at: draw(step).flatten(0, 2)  # noqa: E731
        landscapes = TextLandscapes(network, rows, alpha, noise)
        listen = lambda step, value, energy: points.append((value, energy))  # noqa: E731
        best.offer(descend(landscapes, plan, starts.flatten(0, 2), listen), size)
    return points, best, size


def test_ebt_s1_thinking_beyond_training() -> None:
    """Two steps on each of two landscapes: every energy listed, and the final logits."""
    fixture = Case("ebt_text_think_s1")
    network, case, given = energy_network(fixture), fixture.case, fixture.given
    steps = given["num_landscapes"] * given["infer_steps_per_landscape"]
    thinking = Descent(steps=steps, extra_steps="every")
    points, _, size = _think(network, fixture, thinking, case["draw.0.randn"][:, :, None], None)
    # A point's energy is that under its last step's landscape; the fixture lists the next one's.
    for step in (0, 1, 3, 4):
        energy = points[step][1].view(size)[..., 0]
        assert_close(energy, case[f"energy.{step}"][:, 0], FORWARD, f"energy {step}")
    # Rounding grows about tenfold a step: float64 itself is 4.8e-4 from these float32 logits, all
    # of it at two of 36 positions. The median position keeps the tolerance.
    logits, chosen = points[-1][0].view(*size, -1)[:, :, 0], case["chosen_logits"]
    assert_close(logits, chosen, 1e-3, "chosen logits")
    errors = (logits - chosen).norm(dim=-1) / chosen.norm(dim=-1)
    assert errors.median() <= FORWARD


def test_ebt_s2_thinking_selects_by_energy() -> None:
    """Three noisy steps of four samples: the energies at the end, and the chosen logits."""
    fixture = Case("ebt_text_think")
    network, case, given = energy_network(fixture), fixture.case, fixture.given
    samples, steps = given["samples"], given["infer_steps_per_landscape"]
    batch, length = case["ids"].shape
    starts = case["draw.1.randn"].view(batch, samples, length, -1).transpose(1, 2)
    drawn = [case[f"draw.{2 + i}.randn_like"] for i in range(samples * steps)]
    # Drawn per chunk of B of the B * M rows, whose samples are adjacent.
    rows = torch.stack([torch.cat(drawn[step::steps]) for step in range(steps)])
    noise = rows.view(steps, batch, samples, length, -1).transpose(2, 3) * given["noise_std"]
    thinking = Descent(steps=steps, samples=samples)
    points, best, size = _think(network, fixture, thinking, starts, lambda step: noise[step - 1])
    energy = points[-1][1].view(size).transpose(1, 2)
    assert_close(energy, case[f"energy.{steps}"], FORWARD, "final energy")
    lowest = case[f"energy.{steps}"].topk(2, dim=1, largest=False).values
    clear = (lowest[:, 1] - lowest[:, 0]) > 1e-3
    assert clear.float().mean() > 0.5
    assert_close(best.value[clear], case["chosen_logits"][clear], FORWARD, "chosen logits")
