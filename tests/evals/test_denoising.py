"""The denoising evaluation: qualities and filters by brute force, shared passes, what is kept."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from math import log10, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from harness.data.datasets import load_images
from harness.data.images import ImageRows, Images
from harness.data.pixels.array_shards import open_shards, publish, shards_folder, write_part
from harness.errors import HarnessError
from harness.evals import denoising as evaluator
from harness.evals import image_filters, kept, noisy_images
from harness.evals.denoising import EXAMPLES, PER_IMAGE, evaluate_denoising
from harness.evals.image_filters import FILTERS, Filter
from harness.evals.image_quality import structural_similarity
from harness.evals.noisy_images import add_noise, signal_share
from harness.evals.shared_passes import shared_passes
from harness.planning.eval_spec import DenoisingEval
from harness.planning.spec import thinking_label
from harness.protocol import (
    Descent,
    Diffusion,
    ImageShape,
    NoisyBatch,
    OnState,
    Passes,
    Prediction,
    Single,
)
from harness.records import EvalFolder, Measurement
from tests.evals.test_evaluators import context_of, denoising, value, values
from tests.training.tiny import spec_of

Floats = NDArray[np.float64]
PHOTOS = {"data": "builtin/photos"}


def photos_context(tmp_path: Path, adapter: Any) -> Any:
    """A context on patches of photographs, 3 x 16 x 16."""
    spec = spec_of("dit_image", config={"patch_size": 4})
    task = spec.task.model_copy(update=PHOTOS)
    return context_of(spec.model_copy(update={"task": task}), tmp_path, adapter)


def photos(**changes: Any) -> DenoisingEval:
    given = {"limit": 12, "batch_size": 5} | changes
    return denoising([Diffusion(steps=1)], **given).model_copy(update=PHOTOS)


class Fader(nn.Module):
    """Multiplies by a factor; what it was handed is kept."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.batches: list[NoisyBatch] = []

    def predict(
        self, batch: NoisyBatch, thinking: Any, noise: Any, on_state: OnState | None = None
    ) -> Prediction:
        self.batches.append(batch)
        return Prediction(batch.noisy * self.factor, None, Passes(1, 1, 0))


# --- qualities -------------------------------------------------------------------------------


def similarity(one: Floats, other: Floats) -> float:
    """SSIM of (C, H, W) levels by its definition, a window to each pixel (Wang et al., 2004)."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(weights, weights) / weights.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = []
    for channels in zip(one, other, strict=True):
        padded = [np.pad(channel, 5, mode="reflect") for channel in channels]
        p, q = (np.lib.stride_tricks.sliding_window_view(each, (11, 11)) for each in padded)

        def mean(values: Floats) -> Floats:
            return (window * values).sum((2, 3))

        mp, mq = mean(p), mean(q)
        both = mean((p - mp[..., None, None]) * (q - mq[..., None, None]))
        spread = mean((p - mp[..., None, None]) ** 2) + mean((q - mq[..., None, None]) ** 2)
        means = (2 * mp * mq + c1) / (mp**2 + mq**2 + c1)
        found.append((means * (2 * both + c2) / (spread + c2)).mean())
    return float(np.mean(found))


def levels(images: Tensor) -> Floats:
    return np.clip((images.double().numpy() + 1) * 127.5, 0, 255)


def noisy_pair(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, *size, generator=generator) * 2 - 1
    return clean, clean + 0.4 * torch.randn(clean.shape, generator=generator)


@pytest.mark.parametrize("size", [(11, 11), (13, 16)])
def test_similarity_is_ssim_of_clamped_levels(size: tuple[int, int]) -> None:
    clean, noisy = noisy_pair(size)
    found = structural_similarity(noisy, clean)
    assert found is not None
    expected = [similarity(*map(levels, pair)) for pair in zip(noisy, clean, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=2e-5)
    perfect = structural_similarity(clean, clean)
    assert perfect is not None
    assert perfect.tolist() == pytest.approx([1, 1])


def test_similarity_is_that_of_torchmetrics_own_class() -> None:
    from torchmetrics.image import StructuralSimilarityIndexMeasure

    clean, noisy = noisy_pair((16, 16))
    metric = StructuralSimilarityIndexMeasure(data_range=255.0)
    theirs = metric(torch.from_numpy(levels(noisy)), torch.from_numpy(levels(clean)))
    with torch.autocast("cpu", torch.bfloat16):
        found = structural_similarity(noisy.bfloat16().float(), clean)
    assert found is not None
    assert float(found.mean()) == pytest.approx(float(theirs), abs=2e-3)
    exact = structural_similarity(noisy, clean)
    assert exact is not None
    assert float(exact.mean()) == pytest.approx(float(theirs), abs=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (10, 16), (16, 5)])
def test_images_smaller_than_the_window_have_no_similarity(size: tuple[int, int]) -> None:
    assert structural_similarity(*noisy_pair(size)) is None


def test_qualities_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    context = photos_context(tmp_path, Fader())
    spec = photos(noise_seeds=(0, 3))
    found = evaluate_denoising(spec, context, tmp_path)
    clean = torch.from_numpy(load_images("builtin/photos", "validation").pixels[:12].copy())
    rows = torch.arange(12)
    for index, seed in enumerate(spec.noise_seeds):
        source = context.noise(seed, "builtin/photos/validation")
        noise = source.normal(rows, clean.shape[1:], purpose="noising", step=99)
        noisy = add_noise(clean, noise, 99, context.shape)
        for kind, images in (("noisy", noisy), ("diffusion", noisy * 0.5)):
            errors = ((levels(images) - levels(clean)) ** 2).reshape(12, -1).mean(1)
            decibels = [10 * log10(255**2 / e) for e in errors]
            ssim = [similarity(*map(levels, pair)) for pair in zip(images, clean, strict=True)]
            expected = {
                "mse": errors.mean(),
                "psnr": 10 * log10(255**2 / errors.mean()),
                "psnr_per_image": np.mean(decibels),
                "psnr_per_image_sd": np.std(decibels, ddof=1),
                "ssim": np.mean(ssim),
                "ssim_sd": np.std(ssim, ddof=1),
            }
            own = [m for m in found if m.noise_seed == seed and m.tags["kind"] == kind]
            assert {m.name for m in own} == expected.keys()
            for m in own:
                assert m.value == pytest.approx(expected[m.name], abs=2e-4), m.name
                assert m.n == 12
            name = "noisy" if kind == "noisy" else "diffusion 1 x1 trained"
            with np.load(tmp_path / PER_IMAGE) as stored:
                assert stored[f"mse/{name}"].dtype == np.float32
                assert stored[f"mse/{name}"].shape == (2, 12)
                np.testing.assert_allclose(stored[f"mse/{name}"][index], errors, rtol=1e-5)
                np.testing.assert_allclose(stored[f"ssim/{name}"][index], ssim, atol=2e-5)


def test_small_images_keep_no_similarities(tmp_path: Path) -> None:
    context = context_of(spec_of("dit_image"), tmp_path, Fader())
    found = evaluate_denoising(denoising([Diffusion(steps=1)]), context, tmp_path)
    assert {m.value for m in found if m.name.startswith("ssim")} == {None}
    with np.load(tmp_path / PER_IMAGE) as stored:
        assert {name.partition("/")[0] for name in stored.files} == {"mse", "rows"}


@pytest.mark.parametrize("worst", [float("nan"), float("inf")])
def test_what_diverges_is_missing_and_costs_no_other(tmp_path: Path, worst: float) -> None:
    class Diverges(Fader):
        def predict(self, *given: Any) -> Prediction:
            found = super().predict(*given)
            found.value[given[0].rows == 3] *= worst
            return found

    context = photos_context(tmp_path, Diverges())
    found = evaluate_denoising(photos(), context, tmp_path)
    bad = {m.name: m.value for m in found if m.tags["kind"] == "diffusion"}
    if worst != worst:
        assert set(bad.values()) == {None}
    else:  # pixels are clamped: an infinite one is as wrong as black or white can be
        assert bad["mse"] is not None
    assert None not in {m.value for m in found if m.tags["kind"] != "diffusion"}
    EvalFolder(tmp_path / "evaluation").write({}, found, provenance={})


def test_a_perfect_image_has_no_finite_psnr(tmp_path: Path) -> None:
    class Knows(Fader):
        def predict(self, batch: NoisyBatch, *given: Any) -> Prediction:
            clean = ImageRows(load_images("builtin/photos", "validation")).get(batch.rows.numpy())
            value = torch.from_numpy(clean)
            value[batch.rows > 0] += 0.1
            return Prediction(value, None, Passes(1, 1, 0))

    found = evaluate_denoising(photos(), photos_context(tmp_path, Knows()), tmp_path)
    own = {m.name: m.value for m in found if m.tags["kind"] == "diffusion"}
    assert own["psnr_per_image"] is None
    assert own["psnr_per_image_sd"] is None
    assert own["psnr"] is not None


# --- filters ---------------------------------------------------------------------------------


def filtered_by_hand(image: Floats, each: Filter) -> Floats:
    """One channel, a pixel at a time, mirrored at its borders."""
    gaussian = each.kind == "gaussian filter"
    reach = int(4 * each.width + 0.5) if gaussian else int(each.width) // 2
    padded = np.pad(image, reach, mode="symmetric")
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets**2) / (2 * each.width**2))
    window = np.outer(weights, weights) / weights.sum() ** 2
    found = np.empty_like(image)
    side = 2 * reach + 1
    for y, x in np.ndindex(*image.shape):
        seen = padded[y : y + side, x : x + side]
        found[y, x] = (window * seen).sum() if gaussian else np.median(seen)
    return found


@pytest.mark.parametrize(
    "each", [Filter("gaussian filter", 0.8), Filter("median filter", 5)], ids=lambda f: f.kind
)
def test_filters_by_hand(each: Filter) -> None:
    noisy = torch.randn(2, 3, 9, 12, generator=torch.Generator().manual_seed(2))
    found = each(noisy, 0.81).numpy()
    for image, channel in np.ndindex(2, 3):
        expected = filtered_by_hand(noisy[image, channel].double().numpy() / 0.9, each)
        np.testing.assert_allclose(found[image, channel], expected, atol=1e-5)


def test_the_best_width_is_chosen_and_named(tmp_path: Path) -> None:
    context = photos_context(tmp_path, Fader())
    found = evaluate_denoising(photos(), context, tmp_path)
    images = noisy_images.noisy_images(photos(), context)
    clean, batch = images.batch(0, 12, 0)
    share = signal_share(99, context.shape)
    errors: dict[Filter, float] = {}
    for each in FILTERS:
        error = (levels(each(batch.noisy, share)) - levels(clean)) ** 2
        errors[each] = float(error.mean())
    for kind in ("gaussian filter", "median filter"):
        best = min((f for f in FILTERS if f.kind == kind), key=errors.__getitem__)
        own = [m for m in found if m.tags["kind"] == kind]
        assert {m.tags["filter_width"] for m in own} == {best.width}
        assert value(own, "mse") == pytest.approx(errors[best], rel=1e-5)
        assert value(own, "mse") < value(found, "mse", kind="noisy")
        assert all(m.cost == {} for m in own)
    with np.load(tmp_path / EXAMPLES) as stored:
        assert stored["median filter"].shape == (3, 3, 16, 16)


def test_a_flat_image_takes_the_widest_filter() -> None:
    noise = torch.randn(4, 1, 24, 24, generator=torch.Generator().manual_seed(0))

    class Flat:
        signal_share = 1.0

        def batches(self, *_: Any, **__: Any) -> Any:
            yield torch.zeros_like(noise), NoisyBatch(0.3 * noise, 99, torch.arange(4))

    images: Any = Flat()
    best = image_filters.best_filters(images, batch_size=4, seed=0)
    assert {kind: each.width for kind, each in best.items()} == {
        "gaussian filter": 6.0,
        "median filter": 9,
    }


def test_filters_are_tried_on_the_first_images_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (image_filters, evaluator):
        monkeypatch.setattr(module, "FILTERED", 7)
    found = evaluate_denoising(photos(), photos_context(tmp_path, Fader()), tmp_path)
    count = {m.tags["kind"]: m.n for m in found}
    assert count == {"noisy": 12, "gaussian filter": 7, "median filter": 7, "diffusion": 12}
    with np.load(tmp_path / PER_IMAGE) as stored:
        assert stored["mse/median filter"].shape == (1, 7)
    few = evaluate_denoising(photos(limit=7), photos_context(tmp_path, Fader()), tmp_path)
    for kind in ("gaussian filter", "median filter"):
        assert value(found, "mse", kind=kind) == pytest.approx(value(few, "mse", kind=kind))


def test_filters_are_chosen_once_for_all_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not again for another model, a restart or other batches; but for other images or noise."""
    chosen = 0
    choose = image_filters.best_filters

    def counted(*given: Any, **settings: Any) -> dict[str, Filter]:
        nonlocal chosen
        chosen += 1
        return choose(*given, **settings)

    monkeypatch.setattr(image_filters, "best_filters", counted)

    def run(name: str, adapter: Any = None, **changes: Any) -> dict[Any, float | None]:
        context = photos_context(tmp_path, adapter or Fader())
        found = evaluate_denoising(photos(**changes), context, tmp_path / name)
        filtered = [m for m in found if "filter" in m.tags["kind"]]
        return {(m.name, m.tags["kind"], m.tags["filter_width"]): m.value for m in filtered}

    first = run("first")
    assert chosen == 1
    again = run("again", Fader(0.9), batch_size=7)
    assert again.keys() == first.keys()
    assert [again[key] for key in first] == pytest.approx(list(first.values()))
    assert chosen == 1
    for count, changes in enumerate(({"limit": 11}, {"level": 0.2}, {"noise_seeds": (3,)}), 2):
        run(f"other {count}", **changes)
        assert chosen == count
    monkeypatch.setattr(kept, "source_digest", lambda: "other")
    run("other source")
    assert chosen == 5


# --- shared passes ---------------------------------------------------------------------------

RECURSIVE: dict[str, list[Any]] = {
    "dit_image": [
        *(Diffusion(steps=4, recursions=r) for r in (1, 2, 3)),
        *(Diffusion(steps=4, recursions=r, sampler="ddpm") for r in (1, 2)),
        *(Diffusion(steps=4, recursions=r, start="matched") for r in (1, 2)),
        Diffusion(steps=2),
    ],
    "ebt_image": [
        *(Descent(steps=k) for k in (1, 2, 3)),
        *(Descent(steps=1, recursions=r) for r in (2, 3)),
        *(Descent(steps=2, recursions=r) for r in (2, 4)),
        *(Descent(steps=2, recursions=r, noise="none") for r in (1, 2)),
        Descent(steps=5),
    ],
}
PASSES = {"dit_image": 4, "ebt_image": 4}


@pytest.mark.parametrize("start", ["noisy", "noise"])
@pytest.mark.parametrize("name", RECURSIVE)
def test_shared_passes_give_what_separate_ones_give(name: str, start: str, tmp_path: Path) -> None:
    config = {"step_size": 50.0, "start": start, "langevin_noise": 0.1} if "ebt" in name else {}
    context = context_of(spec_of(name, config=config), tmp_path)
    spec = denoising(RECURSIVE[name], limit=3, level=0.2)
    together = evaluate_denoising(spec, context, tmp_path)
    for setting in spec.thinking:
        alone = evaluate_denoising(denoising([setting], limit=3, level=0.2), context, tmp_path)
        tags = setting.model_dump(mode="json")
        found = [m for m in together if m.name == "mse" and _same(m, tags)]
        assert len(found) == 1
        expected = value(alone, "mse", kind=setting.kind)
        assert found[0].value == pytest.approx(expected, rel=1e-6), thinking_label(setting)
    errors = {m.value for m in together if m.name == "mse" and m.cost}
    # From the noisy image, 2 and 3 recursions of one step are as many steps.
    assert len(errors) == len(RECURSIVE[name]) - 2 * (name == "ebt_image" and start == "noisy")


def _same(found: Measurement, tags: dict[str, Any]) -> bool:
    """The tags of exactly this setting: a field at its default may be left out."""
    own = {k: v for k, v in found.tags.items() if k not in ("data", "split", "level")}
    return own == tags


@pytest.mark.parametrize("name", RECURSIVE)
def test_as_few_passes_as_can_be(name: str) -> None:
    passes = shared_passes([*RECURSIVE[name], Single()])
    assert len(passes) == PASSES[name] + 1
    served = [s for each in passes for s in each.settings.values()]
    assert sorted(map(str, served)) == sorted(map(str, RECURSIVE[name]))
    for each in passes:
        for place, setting in each.settings.items():
            assert place == setting.steps * setting.recursions
            assert place <= getattr(each.longest, "steps", 0) * each.longest.recursions


# --- data ------------------------------------------------------------------------------------


@dataclass
class Stored:
    """Photographs' pixels as uint8 shards in two parts."""

    folder: Path

    def images(self, split: str) -> Images:
        real = load_images("builtin/photos", split)
        pixels = np.rint((np.asarray(real.pixels) + 1) * 127.5).astype(np.uint8)[:12]
        building = self.folder / f"building-{split}"
        building.mkdir(parents=True)
        parts = [building / "0.part", building / "1.part"]
        for path, own in zip(parts, (pixels[:5], pixels[5:]), strict=True):
            write_part(path, own, made_of="test", extra={})
        folder = shards_folder(self.folder, {"split": split})
        publish(building, folder, parts, {})
        shards = open_shards(folder)
        assert shards is not None
        return Images(real.name, split, shards, None, real.digest, "", "")


def test_shards_of_bytes_are_denoised_as_the_floats_they_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = photos_context(tmp_path, Fader())
    floats = values(evaluate_denoising(photos(), context, tmp_path / "a"))
    stored = Stored(tmp_path / "shards")
    shards = {split: stored.images(split) for split in ("train", "validation")}
    asked: list[int] = []
    get = ImageRows.get

    def counted(rows: ImageRows, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        asked.append(len(ids))
        return get(rows, ids)

    monkeypatch.setattr(noisy_images, "load_images", lambda _, split, **__: shards[split])
    context = photos_context(tmp_path, Fader())
    monkeypatch.setattr(ImageRows, "get", counted)
    found = values(evaluate_denoising(photos(limit=None), context, tmp_path / "b"))
    assert found.keys() == floats.keys()
    assert all(found[key] == pytest.approx(floats[key], rel=1e-5) for key in floats)
    assert max(asked) == 5, "never more than a batch"


def test_a_whole_set_is_read_where_there_is_no_limit(tmp_path: Path) -> None:
    context = context_of(spec_of("dit_image"), tmp_path, Fader())
    whole = denoising([Diffusion(steps=1)], limit=None, batch_size=64)
    images = noisy_images.noisy_images(whole, context)
    assert len(images) == len(load_images("builtin/digits", "validation").pixels)
    seen = [row for _, batch in images.batches(64, 0) for row in batch.rows.tolist()]
    assert seen == list(range(len(images)))


def test_an_image_that_was_trained_on_is_refused(tmp_path: Path) -> None:
    sheet = np.zeros((4, 3, 16, 16), np.uint8)
    sheet[:] = np.arange(4).reshape(4, 1, 1, 1)
    for name, pixels in (("train", sheet), ("validation", sheet[::-1][:2] + 2)):
        folder = tmp_path / name
        folder.mkdir()
        for number, image in enumerate(pixels):
            Image.fromarray(np.moveaxis(image, 0, -1)).save(folder / f"{number}.png")
    context = photos_context(tmp_path, Fader())
    data = f"file:{tmp_path}/{{split}}?size=16"
    spec = photos(batch_size=2).model_copy(update={"data": data})
    task = context.spec.task.model_copy(update={"data": data})
    context = replace(context, spec=context.spec.model_copy(update={"task": task}))
    own = evaluate_denoising(spec.model_copy(update={"split": "train"}), context, tmp_path / "own")
    assert value(own, "mse", kind="noisy") > 0, "the training split itself"
    assert {m.n for m in own} == {4}
    evaluate_denoising(spec, context, tmp_path / "apart")
    shutil.copy(tmp_path / "train" / "2.png", tmp_path / "validation" / "x.png")
    context = replace(context, shared={}, cache=tmp_path / "again")
    with pytest.raises(HarnessError, match="trained on"):
        evaluate_denoising(spec, context, tmp_path / "shared")


def test_examples_are_spread_over_the_set(tmp_path: Path) -> None:
    context = photos_context(tmp_path, Fader())
    evaluate_denoising(photos(limit=12, examples=4), context, tmp_path)
    pixels = load_images("builtin/photos", "validation").pixels
    with np.load(tmp_path / EXAMPLES) as stored:
        assert np.array_equal(stored["clean"], pixels[[0, 3, 6, 9]])
        assert {stored[name].shape for name in stored.files} == {(4, 3, 16, 16)}
        np.testing.assert_allclose(
            stored["diffusion 1 x1 trained"], stored["noisy"] * 0.5, atol=1e-6
        )
    assert evaluator.example_rows(10, 4, filtered=1000) == [0, 2, 5, 7]
    assert evaluator.example_rows(3, 8, filtered=1000) == [0, 1, 2]
    assert max(evaluator.example_rows(10**6, 8, filtered=1000)) < 1000, "filtered too"
    assert evaluator.example_rows(10, 0, filtered=1000) == []


def test_signal_share_is_that_of_diffusers() -> None:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    kept = DDIMScheduler(1000, 1e-4, 2e-2, "linear").alphas_cumprod
    shape = ImageShape(1, 8, 8, train_timesteps=100)
    for timestep in (0, 99, 199, 999):
        assert signal_share(timestep, shape) == pytest.approx(float(kept[timestep]), rel=1e-4)
        assert sqrt(signal_share(timestep, shape)) < 1
