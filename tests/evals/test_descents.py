"""Descents that differ in noise, acceptance, selection or stopping: apart, and each as if alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.cost import FlopCounter
from harness.evals.denoising import EXAMPLES, evaluate_denoising
from harness.evals.likelihood import evaluate_likelihood
from harness.evals.text_sets import text_set
from harness.evals.thinking import BY_DOCUMENT, evaluate_thinking
from harness.planning.spec import thinking_label, thinking_of
from harness.protocol import Descent, Diffusion, Noise, Passes, Prediction, Single, State, TextBatch
from harness.records import EvalFolder
from tests.evals.test_evaluators import context_of, denoising, likelihood, thinking_eval, value
from tests.training.tiny import spec_of

pytestmark = pytest.mark.usefixtures("corpus")
STEPS, SAMPLES = (1, 2, 4), (1, 3)
WAYS: dict[str, dict[str, Any]] = {
    "as trained": {},
    "size": {"step_size": 0.7},
    "first": {"noise": "first"},
    "none": {"noise": "none"},
    "std": {"noise_std": 0.4},
    "lower": {"accept": "lower"},
    "drop": {"select": "largest_drop"},
    "tolerant": {"tolerance": 0.05},
    "all": {"noise": "first", "accept": "lower", "select": "largest_drop", "tolerance": 0.05},
}
SETTINGS = [
    Descent(steps=k, samples=m, **way) for way in WAYS.values() for k in STEPS for m in SAMPLES
]


class Valley(nn.Module):
    """Descends the energy |y - target|^2 / 2 of one number per position, with Langevin noise.

    A position's logits are `y` times a random direction, so that losses tell all states apart.
    """

    def __init__(self, *, batch_hook: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.direction = nn.Parameter(torch.randn(257, generator=generator))
        self.passes = batch_hook

    def predict(
        self, batch: TextBatch, thinking: Descent, noise: Noise, on_state: Any = None
    ) -> Prediction:
        self.passes()
        kept: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        shape = batch.mask.shape[1:]
        for sample in range(thinking.samples):
            y = 2 * noise.normal(batch.rows, shape, purpose="start", sample=sample)
            start = energy = self.energy(y)
            going = torch.ones_like(y, dtype=torch.bool)
            used = torch.zeros_like(y)
            self.tell(on_state, 0, sample, y, energy)
            for step in range(1, thinking.steps + 1):
                after = self.step(y, thinking, step, sample, noise, batch.rows)
                moves = going.clone()
                if thinking.accept == "lower":
                    moves &= self.energy(after) < energy
                y = torch.where(moves, after, y)
                used += going
                change = (self.energy(y) - energy).abs()
                energy = self.energy(y)
                if thinking.tolerance is not None:
                    going = going & (change >= thinking.tolerance)
                self.tell(on_state, step, sample, y, energy)
            score = energy - start if thinking.select == "largest_drop" else energy
            kept.append((score, y, energy, used))
        scores, values, energies, steps = (torch.stack(part) for part in zip(*kept, strict=True))
        best = scores.argmin(0, keepdim=True)
        values, energies, steps = (t.gather(0, best)[0] for t in (values, energies, steps))
        nfe = float(sum(used.mean() for *_, used in kept))
        stops = thinking.tolerance is not None
        return Prediction(
            self.logits(values), energies, Passes(nfe, nfe, nfe), steps if stops else None
        )

    def step(
        self, y: Tensor, thinking: Descent, step: int, sample: int, noise: Noise, rows: Tensor
    ) -> Tensor:
        if thinking.noise == "every" or (thinking.noise == "first" and step == 1):
            std = 0.2 if thinking.noise_std is None else thinking.noise_std
            kick = noise.normal(rows, y.shape[1:], purpose="kick", step=step, sample=sample)
            y = y + std * kick
        return y - (thinking.step_size or 0.5) * (y - 1)

    def energy(self, y: Tensor) -> Tensor:
        return (y - 1).square() / 2

    def logits(self, y: Tensor) -> Tensor:
        return y[..., None] * self.direction

    def tell(self, on_state: Any, step: int, sample: int, y: Tensor, energy: Tensor) -> None:
        if on_state is not None:
            value = self.logits(y)[:, None]
            on_state(State(step, range(sample, sample + 1), value, energy[:, None]))


# --- text ------------------------------------------------------------------------------------


def test_every_way_of_descending_is_evaluated_as_if_alone(tmp_path: Path) -> None:
    calls: list[None] = []
    context = context_of(spec_of("ebt_text"), tmp_path, adapter=Valley())
    together = evaluate_thinking(thinking_eval(SETTINGS), context, tmp_path)
    losses: dict[Descent, float] = {}
    for setting in SETTINGS:
        alone = evaluate_likelihood(likelihood(setting, limit=12), context, context.cache)
        found = value(together, "loss", **setting.model_dump(mode="json"))
        assert found == pytest.approx(value(alone, "loss"), rel=1e-6), setting
        losses[setting] = found
    for name, way in WAYS.items():
        longest = [Descent(steps=max(STEPS), samples=max(SAMPLES), **w) for w in ({}, way)]
        assert name == "as trained" or losses[longest[0]] != losses[longest[1]], name

    adapter = Valley(batch_hook=lambda: calls.append(None))
    context = context_of(spec_of("ebt_text"), tmp_path, adapter=adapter)
    spec = thinking_eval(SETTINGS, batch_size=100)
    evaluate_thinking(spec, context, tmp_path)
    # A pass for each way, or each setting where predictions stop, and two for each setting's cost
    # (the trained one is among them).
    stopping = [s for s in SETTINGS if s.tolerance is not None]
    assert len(calls) == len(WAYS) - 2 + len(stopping) + 2 * len(SETTINGS)
    with np.load(tmp_path / BY_DOCUMENT) as stored:
        assert len(set(stored["settings"].tolist())) == len(SETTINGS)


def test_one_pass_of_the_real_adapter_serves_as_many_settings(tmp_path: Path) -> None:
    """Landscapes differ from step to step: energies are compared where the adapter does."""
    context = context_of(spec_of("ebt_text", config={"langevin_noise": 0.5}), tmp_path)
    settings = [
        Descent(steps=k, samples=m, **WAYS[name])
        for name in ("first", "lower", "drop", "all")
        for k, m in ((1, 3), (4, 1), (4, 3))
    ]
    together = evaluate_thinking(thinking_eval(settings), context, tmp_path)
    for setting in settings:
        alone = evaluate_likelihood(likelihood(setting, limit=12), context, context.cache)
        found = value(together, "loss", **setting.model_dump(mode="json"))
        assert found == pytest.approx(value(alone, "loss"), rel=1e-5), setting


def test_steps_used_are_a_cost_where_predictions_stop(tmp_path: Path) -> None:
    context = context_of(spec_of("ebt_text"), tmp_path, adapter=Valley())
    tolerances = (0.5, 0.05, 0.005)
    settings = [Descent(steps=9, noise="none", tolerance=t) for t in tolerances]
    found = evaluate_thinking(thinking_eval(settings), context, tmp_path)
    used = [m.cost["steps_used"] for m in found if m.tags.get("tolerance") in tolerances]
    assert all(1 <= a < b <= 9 for a, b in pairwise(used)), used
    for setting, steps in zip(settings, used, strict=True):
        measured = evaluate_likelihood(likelihood(setting, limit=12), context, context.cache)[0]
        # That counts on its first rows.
        assert measured.cost["steps_used"] == pytest.approx(steps, rel=0.05)
        assert measured.cost["nfe"] == pytest.approx(steps, rel=0.05), "padding included"
    plain = evaluate_likelihood(likelihood(Descent(steps=9), limit=12), context, context.cache)[0]
    assert plain.cost["steps_used"] is None


@pytest.mark.parametrize("size", [5, 32])
def test_what_stops_costs_its_mean_over_the_whole_set(size: int, tmp_path: Path) -> None:
    context = context_of(spec_of("ebt_text"), tmp_path)
    setting = Descent(steps=5, samples=2, tolerance=0.5)
    spec = thinking_eval([setting], limit=12, batch_size=size, windows="rolling")
    found = evaluate_thinking(spec, context, tmp_path)
    cost = next(m.cost for m in found if m.tags.get("tolerance") == 0.5)
    batch, _ = next(text_set(spec, context).batches(200, torch.device("cpu")))
    noise = context.noise(0, f"{spec.data}/{spec.split}")
    with context.inference(), FlopCounter() as counter:
        whole = context.adapter.predict(batch, setting, noise)
    assert whole.steps is not None
    assert 1 < float(whole.steps.double().mean()) < 5
    assert not batch.mask.all()
    used = whole.steps[batch.mask].double().mean()
    assert cost["steps_used"] == pytest.approx(float(used)), "of padding no one asks"
    asked = likelihood(setting, limit=12, windows="rolling")
    alone = evaluate_likelihood(asked, context, context.cache)[0]
    first = whole.steps[:8][batch.mask[:8]].double().mean()
    assert alone.cost["steps_used"] == pytest.approx(float(first))
    assert cost["nfe"] == pytest.approx(whole.passes.nfe)
    assert cost["backward"] == pytest.approx(whole.passes.backward)
    assert cost["forward"] == pytest.approx(whole.passes.forward)
    # Which positions are computed together depends a little on the batch.
    assert cost["flops"] == pytest.approx(counter.total / batch.mask.numel(), rel=0.05)
    steady = thinking_eval([Descent(steps=5, samples=2)], windows="rolling")
    fixed = evaluate_thinking(steady, context, tmp_path)
    flops = [m.cost["flops"] for m in fixed if m.tags.get("steps") == 5]
    assert cost["flops"] < flops[0], "whoever stopped costs nothing more"


class Overflows(Valley):
    """A third step that is not finite at the first position of row 0."""

    def step(
        self, y: Tensor, thinking: Descent, step: int, sample: int, noise: Noise, rows: Tensor
    ) -> Tensor:
        found = super().step(y, thinking, step, sample, noise, rows)
        if step == 3:
            found[0, 0] = torch.where(rows[0] == 0, torch.inf, found[0, 0])
        return found


def test_a_loss_that_is_not_finite_is_missing_and_costs_no_other(tmp_path: Path) -> None:
    context = context_of(spec_of("ebt_text"), tmp_path, adapter=Overflows())
    settings = [Descent(steps=k) for k in (1, 3)]
    found = evaluate_thinking(thinking_eval(settings), context, tmp_path)
    at = {m.tags["steps"]: m.value for m in found if m.name == "loss" and not m.tags["trained"]}
    assert at[3] is None
    assert at[1] is not None
    folder = EvalFolder(tmp_path / "evaluation")
    for setting in settings:
        alone = evaluate_likelihood(likelihood(setting, limit=12), context, context.cache)
        missing = {m.name: m.value is None for m in alone if m.noise_seed is not None}
        assert missing == dict.fromkeys(("loss", "perplexity", "bits_per_byte"), setting.steps == 3)
        folder.write({}, [*found, *alone], provenance={})
    assert len(folder.read()) == len(found) + len(alone)


# --- images ----------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["noisy", "noise"])
def test_every_way_of_denoising_is_evaluated_as_if_alone(start: str, tmp_path: Path) -> None:
    config = {"step_size": 50.0, "start": start, "langevin_noise": 0.1}
    context = context_of(spec_of("ebt_image", config=config), tmp_path)
    ways = [way for name, way in WAYS.items() if name not in ("tolerant", "size")]
    samples = (1, 2) if start == "noise" else (1,)
    settings = [Descent(steps=k, samples=m, **w) for w in ways for k in (1, 3) for m in samples]
    together = evaluate_denoising(denoising(settings, limit=3), context, tmp_path)
    with np.load(tmp_path / EXAMPLES) as stored:
        found = {name for name in stored.files if not name.endswith(" filter")}
        assert found == {"clean", "noisy", *map(thinking_label, settings)}
    for setting in settings:
        alone = evaluate_denoising(denoising([setting], limit=3), context, tmp_path)
        tags = setting.model_dump(mode="json")
        assert value(together, "mse", **tags) == pytest.approx(value(alone, "mse", **tags))


# --- labels ----------------------------------------------------------------------------------


def test_labels_are_unique_and_read_back_from_tags() -> None:
    close = [Descent(steps=1, step_size=s) for s in (1.0, 1.0 + 1e-9)]
    others = [Single(), *(Diffusion(steps=k, recursions=r) for k in (1, 11) for r in (1, 2))]
    settings = [*SETTINGS, *close, Descent(steps=1, extra_steps="every"), *others]
    assert len({thinking_label(s) for s in settings}) == len(settings)
    for setting in settings:
        tags = {"data": "builtin/docs", "trained": False, **setting.model_dump(mode="json")}
        assert thinking_of(tags) == setting
    assert thinking_label(SETTINGS[0]) == "1x1"
    every = Descent(steps=2, samples=3, **WAYS["all"])
    assert thinking_label(every) == "2x3 noise first lower largest drop tolerance 0.05"
    assert thinking_of({"kind": "noisy"}) is None
    assert thinking_of({}) is None
