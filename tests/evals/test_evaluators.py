"""Evaluators: sums worked out by brute force, and nothing that depends on how they are batched."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.data.text import TextRows, prepare_text
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.denoising import EXAMPLES, evaluate_denoising
from harness.evals.image_quality import psnr, squared_error
from harness.evals.likelihood import evaluate_likelihood
from harness.evals.noisy_images import add_noise
from harness.evals.thinking import BY_DOCUMENT, evaluate_thinking
from harness.planning.eval_spec import DenoisingEval, LikelihoodEval, ThinkingEval
from harness.planning.shapes import shape_of
from harness.planning.spec import TrainSpec
from harness.protocol import (
    Descent,
    Diffusion,
    ImageShape,
    Passes,
    Prediction,
    Single,
    State,
    TextBatch,
)
from harness.records import Measurement
from harness.registry import adapter as find_adapter
from tests.training.tiny import CORPUS, CPU, build, spec_of

pytestmark = pytest.mark.usefixtures("corpus")
GRID = tuple(Descent(steps=k, samples=m) for k in (1, 2, 3) for m in (1, 2))


def context_of(spec: TrainSpec, cache: Path, adapter: Any = None) -> EvalContext:
    record = find_adapter(spec.adapter)
    return EvalContext(
        adapter=livened(build(spec)) if adapter is None else adapter,
        record=record,
        config=record.config.model_validate(spec.config),
        shape=shape_of(spec.task),
        spec=spec,
        device=CPU,
        cache=cache,
    )


def livened(adapter: Any) -> Any:
    """Perturb every weight: networks that start at zero would make every setting agree."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in adapter.named_parameters():
            if "alpha" not in name:
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return adapter


def likelihood(thinking: Any, **changes: Any) -> LikelihoodEval:
    return LikelihoodEval(data=CORPUS, split="validation", thinking=thinking, **changes)


def thinking_eval(settings: Sequence[Any], **changes: Any) -> ThinkingEval:
    given = {"limit": 12, "timing_repeats": 1} | changes
    return ThinkingEval(data=CORPUS, split="validation", thinking=tuple(settings), **given)


def denoising(settings: Sequence[Any], **changes: Any) -> DenoisingEval:
    given = {"limit": 7, "level": 0.1, "timing_repeats": 1, "examples": 3} | changes
    return DenoisingEval(
        data="builtin/digits", split="validation", thinking=tuple(settings), **given
    )


def values(found: Sequence[Measurement]) -> dict[tuple[Any, ...], float | None]:
    """Value by name, seed and setting; costs depend on the machine and stay out."""
    return {(m.name, m.noise_seed, *sorted(map(str, m.tags.items()))): m.value for m in found}


def value(found: Sequence[Measurement], name: str, **tags: Any) -> float:
    chosen = [m.value for m in found if m.name == name and tags.items() <= m.tags.items()]
    assert len(chosen) == 1, (name, tags)
    assert chosen[0] is not None
    return chosen[0]


# --- text ------------------------------------------------------------------------------------


def test_likelihood_is_the_token_weighted_mean_over_the_whole_set(tmp_path: Path) -> None:
    context = context_of(spec_of("transformer_pp_text"), tmp_path)
    found = evaluate_likelihood(likelihood(Single(), batch_size=5), context, tmp_path)

    rows = TextRows(
        prepare_text(CORPUS, "validation", tokenizer="bytes", cache=tmp_path), context=16
    )
    total, n, text_bytes = 0.0, 0, 0
    for row in range(len(rows)):
        tokens, mask = (torch.from_numpy(a) for a in rows.get(np.array([row])))
        with torch.no_grad():
            logits = context.adapter.network(tokens[:, :-1])
        chances = logits.double().log_softmax(-1)
        for place in range(16):
            if mask[0, place]:
                target = int(tokens[0, place + 1])
                total -= float(chances[0, place, target])
                n += 1
                text_bytes += target < 256  # the one other token is the end of a document
    assert not mask.all()
    by_name = {m.name: m for m in found}
    assert by_name["loss"].n == n == rows.target_count()
    assert by_name["loss"].value == pytest.approx(total / n, rel=1e-6)
    assert by_name["perplexity"].value == pytest.approx(exp(total / n), rel=1e-6)
    assert by_name["bits_per_byte"].value == pytest.approx(total / log(2) / text_bytes, rel=1e-6)
    assert by_name["unigram_loss"].n == n


def test_a_set_that_overlaps_training_is_refused(tmp_path: Path) -> None:
    """The same documents under another name: data that were trained on are no validation."""
    words = " ".join(f"word{number}" for number in range(60))
    (tmp_path / "train.txt").write_text(words)
    (tmp_path / "other.txt").write_text(f"unlike the beginning, but then: {words}")
    spec = spec_of("transformer_pp_text")
    task = spec.task.model_copy(update={"data": f"file:{tmp_path}/train.txt"})
    context = context_of(spec.model_copy(update={"task": task}), tmp_path)
    other = likelihood(Single()).model_copy(update={"data": f"file:{tmp_path}/other.txt"})
    with pytest.raises(HarnessError, match="not disjoint"):
        evaluate_likelihood(other, context, context.cache)


@pytest.mark.parametrize("name", ["transformer_pp_text", "ebt_text"])
def test_batch_size_does_not_change_text_results(name: str, tmp_path: Path) -> None:
    context = context_of(spec_of(name), tmp_path)
    trained = context.record.trained_thinking(context.config)
    settings = [s for s in (Single(), *GRID) if s.kind in context.record.thinking]
    results = []
    for size in (2, 7):
        found = evaluate_likelihood(
            likelihood(trained, batch_size=size, limit=12, noise_seeds=(0, 1)), context, tmp_path
        )
        found += evaluate_thinking(thinking_eval(settings, batch_size=size), context, tmp_path)
        results.append(values(found))
    assert results[0].keys() == results[1].keys()
    for key, first in results[0].items():
        assert first == pytest.approx(results[1][key], rel=1e-5), key


def test_one_pass_over_the_grid_gives_what_separate_runs_give(tmp_path: Path) -> None:
    context = context_of(spec_of("ebt_text"), tmp_path)
    together = evaluate_thinking(thinking_eval(GRID), context, tmp_path)
    losses = set()
    for setting in GRID:
        alone = evaluate_likelihood(likelihood(setting, limit=12), context, context.cache)
        tags = {"steps": setting.steps, "samples": setting.samples}
        losses.add(value(together, "loss", **tags))
        assert value(together, "loss", **tags) == pytest.approx(value(alone, "loss"), rel=1e-5)
    assert len(losses) == len(GRID)


def test_documents_sum_to_the_loss(tmp_path: Path) -> None:
    context = context_of(spec_of("ebt_text"), tmp_path)
    found = evaluate_thinking(thinking_eval(GRID, noise_seeds=(0, 5)), context, tmp_path)
    with np.load(tmp_path / BY_DOCUMENT) as stored:
        sums, n, names = stored["sums"], stored["n"], stored["settings"].tolist()
    assert names[0] == "2x1", "the trained setting comes first"
    for m in found:
        if m.name == "loss":
            index = names.index(f"{m.tags['steps']}x{m.tags['samples']}")
            seed = (0, 5).index(m.noise_seed)
            assert m.n == n.sum()
            assert m.value == pytest.approx(sums[index, seed].sum() / n.sum(), rel=1e-12)
    assert not np.allclose(sums[:, 0], sums[:, 1]), "noise seeds differ"


def test_predictions_never_see_later_tokens_through_the_evaluators(tmp_path: Path) -> None:
    """Only the last token of every row changes: only the last position's logits may."""
    for name in ("transformer_pp_text", "ebt_text"):
        context = context_of(spec_of(name), tmp_path)
        shards = prepare_text(CORPUS, "validation", tokenizer="bytes", cache=tmp_path)
        tokens, mask = TextRows(shards, context=16).get(np.arange(3))
        changed = tokens.copy()
        changed[:, 15] = (changed[:, 15] + 1) % 256
        thinking = context.record.trained_thinking(context.config)
        with context.inference():
            one, other = (
                context.adapter.predict(
                    TextBatch(torch.from_numpy(t), torch.from_numpy(mask), torch.arange(3)),
                    thinking,
                    context.noise(0, "causal"),
                ).value
                for t in (tokens, changed)
            )
        torch.testing.assert_close(one[:, :15], other[:, :15])
        assert not torch.allclose(one[:, 15], other[:, 15]), name


# --- images ----------------------------------------------------------------------------------

IMAGE_SETTINGS: dict[str, list[Any]] = {
    "dit_image": [
        Diffusion(steps=1),
        Diffusion(steps=4, recursions=2),
        Diffusion(steps=4, start="matched"),
    ],
    "ebt_image": [Descent(steps=1), Descent(steps=3), Descent(steps=2, step_size=5.0)],
}


@pytest.mark.parametrize("name", IMAGE_SETTINGS)
def test_batch_size_does_not_change_denoising(name: str, tmp_path: Path) -> None:
    context = context_of(
        spec_of(name, config={"step_size": 50.0} if "ebt" in name else {}), tmp_path
    )
    results, strips = [], []
    for size in (2, 5):
        spec = denoising(IMAGE_SETTINGS[name], batch_size=size)
        found = evaluate_denoising(spec, context, tmp_path)
        results.append(values(found))
        with np.load(tmp_path / EXAMPLES) as stored:
            strips.append({k: stored[k] for k in stored.files})
    # Beside the settings, the noisy input and two filters.
    assert len({v for k, v in results[0].items() if k[0] == "mse"}) == len(IMAGE_SETTINGS[name]) + 3
    for key, first in results[0].items():
        missing = key[0] in ("ssim", "ssim_sd")  # of 8 x 8 pixels
        assert first == (None if missing else pytest.approx(results[1][key], rel=1e-4)), key
    assert strips[0].keys() == strips[1].keys()
    for key, images in strips[0].items():
        assert images.shape == (3, 1, 8, 8), key
        np.testing.assert_allclose(images, strips[1][key], atol=1e-4)


def test_step_counts_of_one_descent_equal_separate_runs(tmp_path: Path) -> None:
    context = context_of(spec_of("ebt_image", config={"step_size": 50.0}), tmp_path)
    together = evaluate_denoising(
        denoising([Descent(steps=k) for k in (1, 2, 3)]), context, tmp_path
    )
    for steps in (1, 2, 3):
        alone = evaluate_denoising(denoising([Descent(steps=steps)]), context, tmp_path)
        assert value(together, "mse", steps=steps) == pytest.approx(
            value(alone, "mse", steps=steps), rel=1e-6
        )


def test_all_adapters_see_the_same_noisy_images(tmp_path: Path) -> None:
    noisy = []
    for name, settings in IMAGE_SETTINGS.items():
        evaluate_denoising(denoising(settings), context_of(spec_of(name), tmp_path), tmp_path)
        with np.load(tmp_path / EXAMPLES) as stored:
            noisy.append(stored["noisy"])
    assert np.array_equal(*noisy)


@pytest.mark.parametrize(
    ("mse", "decibel"), [(142.98, 26.58), (122.55, 27.25), (718.7, 19.56), (305.2, 23.29)]
)
def test_psnr_of_the_mean_error_reproduces_table_4(mse: float, decibel: float) -> None:
    assert psnr(mse) == pytest.approx(decibel, abs=0.01)


def test_squared_error_is_of_clamped_pixel_levels() -> None:
    clean = torch.tensor([[-1.0, 1.0], [0.0, 0.0]]).view(2, 1, 1, 2)
    predicted = torch.tensor([[-3.0, 0.0], [0.2, 0.0]]).view(2, 1, 1, 2)
    expected = torch.tensor([127.5**2 / 2, 25.5**2 / 2], dtype=torch.float64)
    torch.testing.assert_close(squared_error(predicted, clean), expected, rtol=1e-6, atol=0)
    assert psnr(0.0) is None


@pytest.mark.parametrize("timestep", [0, 9, 99, 999])
def test_noising_is_that_of_diffusers(timestep: int) -> None:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    images, noise = torch.randn(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler = DDIMScheduler(1000, 1e-4, 2e-2, "linear")
    theirs = scheduler.add_noise(images, noise, torch.full((3,), timestep))
    ours = add_noise(images, noise, timestep, ImageShape(1, 8, 8, train_timesteps=100))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


# --- all -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["transformer_pp_text", "ebt_text", *IMAGE_SETTINGS])
def test_no_evaluation_changes_the_model_or_draws_elsewhere(name: str, tmp_path: Path) -> None:
    context = context_of(spec_of(name), tmp_path)
    adapter: Any = context.adapter
    before = {k: v.clone() for k, v in adapter.state_dict().items()}
    generators = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    if name in IMAGE_SETTINGS:
        found = evaluate_denoising(denoising(IMAGE_SETTINGS[name]), context, tmp_path)
    else:
        trained = context.record.trained_thinking(context.config)
        found = evaluate_likelihood(likelihood(trained, limit=6), context, context.cache)
        found += evaluate_thinking(thinking_eval([trained]), context, tmp_path)
    assert found
    assert all(torch.equal(v, before[k]) for k, v in adapter.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in adapter.parameters())
    assert adapter.training
    assert torch.equal(torch.random.get_rng_state(), generators[0])
    assert np.array_equal(np.random.get_state()[1], generators[1])


class Best(nn.Module):
    """Sample 1 always has the lower energy, and logits that know nothing; sample 0 knows all."""

    def predict(
        self, batch: TextBatch, thinking: Descent, noise: Any, on_state: Any = None
    ) -> Prediction:
        sure = torch.nn.functional.one_hot(batch.tokens[:, 1:], 257) * 100.0
        logits = torch.stack([sure, torch.zeros_like(sure)], 1)[:, : thinking.samples]
        energy = torch.tensor([1.0, 0.0])[None, :, None].expand(len(sure), 2, sure.shape[1])
        for step in range(1, thinking.steps + 1):
            for sample in range(thinking.samples):  # chunk by chunk
                chunk = slice(sample, sample + 1)
                state = State(step, range(sample, sample + 1), logits[:, chunk], energy[:, chunk])
                if on_state is not None:
                    on_state(state)
        return Prediction(logits[:, -1], energy[:, -1], Passes(1, 1, 1))


def test_the_lowest_energy_wins_even_when_it_is_the_worse_prediction(
    tmp_path: Path,
) -> None:
    context = context_of(spec_of("ebt_text"), tmp_path, adapter=Best())
    found = evaluate_thinking(thinking_eval(GRID), context, tmp_path)
    assert value(found, "loss", steps=2, samples=1) == pytest.approx(0.0, abs=1e-6)
    assert value(found, "loss", steps=2, samples=2) == pytest.approx(log(257))
