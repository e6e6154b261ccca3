"""Recorded steps give what unrecorded ones do. On CPU a step runs on copies of its inputs, which
shows that it depends on nothing else; `tests/cuda` replays real graphs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from baselines.adapters.text import EBTText, TransformerPPText
from baselines.step_graphs import StepGraphs, loss_with_gradients, recordable
from baselines.text_records import EBTTextConfig, TransformerPPTextConfig
from harness.cost import FlopCounter
from harness.noise import NoiseSource
from harness.protocol import TextBatch, TextShape

VOCAB, LENGTH, ROWS = 23, 9, 4
SIZES: dict[str, Any] = {"depth": 2, "width": 16, "heads": 2}
EBTS: list[dict[str, Any]] = [
    {"step_size": 2.0},
    {"step_size": 2.0, "random_step_size": 2.0, "step_conditioning": "adaln"},
    {"variant": "s2", "step_size": 0.5, "replay_records": 6},
]


def models(given: dict[str, Any] | None) -> list[Any]:
    """The same model twice, the second one recording."""
    built: list[Any] = []
    for _ in range(2):
        torch.manual_seed(0)
        shape = TextShape(VOCAB, LENGTH)
        model: Any = (
            TransformerPPText(TransformerPPTextConfig(**SIZES), shape)
            if given is None
            else EBTText(EBTTextConfig(**(SIZES | given)), shape)
        )
        built.append(model.double())
    built[1].graphs = StepGraphs()
    return built


@pytest.mark.parametrize("given", [None, *EBTS])
def test_a_recorded_step_has_the_same_loss_and_gradients(given: dict[str, Any] | None) -> None:
    """Over three steps, with the weights moved between them, so that a replay buffer is used."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(VOCAB, (ROWS, LENGTH + 1), generator=generator)
    batch = TextBatch(tokens, tokens[:, 1:] > 3, torch.arange(ROWS))
    plain, recording = models(given)
    for step in range(3):
        noise = NoiseSource(1).within(step)
        for model in (plain, recording):
            model.zero_grad()
            (2 * model.training_loss(batch, noise).loss_sum).backward()
        for (name, one), other in zip(
            plain.named_parameters(), recording.parameters(), strict=True
        ):
            if one.requires_grad:
                torch.testing.assert_close(other.grad, one.grad, rtol=1e-9, atol=1e-12, msg=name)
                with torch.no_grad():
                    one -= 1e-3 * one.grad
                    other.copy_(one)


def test_a_step_whose_operators_are_counted_is_not_replayed() -> None:
    assert recordable()
    with FlopCounter():
        assert not recordable()
    with torch.no_grad():
        assert not recordable()


def test_known_gradients_are_scaled_by_what_comes_in() -> None:
    weight = torch.ones(3, requires_grad=True)
    unused = torch.ones(2, requires_grad=True)
    known = [torch.tensor([1.0, 2.0, 3.0]), None]
    loss = loss_with_gradients(lambda: (torch.tensor(5.0), known), [weight, unused])
    (3 * loss).backward()
    assert torch.equal(weight.grad, torch.tensor([3.0, 6.0, 9.0]))
    assert unused.grad is None
