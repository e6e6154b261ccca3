"""The next-frame evaluation: errors worked out by brute force, of pixels and of latents."""

from __future__ import annotations

from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.data.datasets import load_clips
from harness.errors import HarnessError
from harness.evals.context import EvalContext
from harness.evals.next_frame import evaluate_next_frame
from harness.planning.eval_spec import NextFrameEval
from harness.planning.shapes import shape_of
from harness.planning.spec import TrainSpec
from harness.protocol import Descent, Single, VideoBatch
from harness.records import Measurement
from harness.registry import adapter as find_adapter
from tests.data.pixels.made_videos import drawn, write_frames
from tests.training.tiny import CPU, build, spec_of

DIGITS = "builtin/moving-digits"
Found = dict[tuple[str, int | None], Measurement]


def context_of(spec: TrainSpec, cache: Path, model: Any = None) -> EvalContext:
    record = find_adapter(spec.adapter)
    config = record.config.model_validate(spec.config)
    model = build(spec) if model is None else model
    return EvalContext(model, record, config, shape_of(spec.task), spec, CPU, cache)


def evaluation(thinking: Any, **changes: Any) -> NextFrameEval:
    given = {"data": DIGITS, "split": "validation", "timing_repeats": 1} | changes
    return NextFrameEval(thinking=thinking, **given)


def evaluated(spec: NextFrameEval, context: EvalContext, folder: Path) -> Found:
    found = evaluate_next_frame(spec, context, folder)
    assert len({(m.name, m.noise_seed) for m in found}) == len(found)
    return {(m.name, m.noise_seed): m for m in found}


def frame_errors(guess: Any, truth: Any) -> dict[str, float]:
    """Of one frame, by hand: smooth L1, MSE, and squared error and PSNR of clamped levels."""
    gap = np.abs(np.asarray(guess, np.float64) - truth)
    return {
        "loss": float(np.where(gap < 1, gap**2 / 2, gap - 0.5).mean()),
        "mse": float((gap**2).mean()),
    } | pixel_errors(guess, truth)


def pixel_errors(guess: Any, truth: Any) -> dict[str, float]:
    levels = [np.clip((np.asarray(f, np.float64) + 1) * 127.5, 0, 255) for f in (guess, truth)]
    squared = float(((levels[0] - levels[1]) ** 2).mean())
    each = float("inf") if squared == 0 else 10 * log10(255**2 / squared)
    return {"squared_levels": squared, "psnr_per_frame": each}


def mean(errors: list[dict[str, float]], name: str) -> float:
    return float(np.mean([each[name] for each in errors]))


def predicted(context: EvalContext, frames: Any, row: int, thinking: Any, seed: int) -> Any:
    """One row alone, (context, C, H, W)."""
    batch = VideoBatch(torch.from_numpy(np.array(frames)[None]), torch.tensor([row]))
    noise = context.noise(seed, f"{DIGITS}/validation")
    return context.adapter.predict(batch, thinking, noise).value[0].numpy()


def windows_of(name: str, length: int, rows: int, **given: Any) -> list[Any]:
    """The first rows' frames, in order of clips and of windows that overlap by one frame."""
    clips = np.asarray(load_clips(name, "validation", **given).pixels[:rows], np.float32)
    each = (clips.shape[1] - 1) // length
    found = []
    for row in range(rows):
        clip, window = divmod(row, each)
        found.append(clips[clip, window * length : (window + 1) * length + 1])
    return found


@pytest.mark.parametrize(
    ("name", "thinking"),
    [("transformer_pp_video", Single()), ("ebt_video", Descent(steps=3, samples=2))],
)
def test_errors_are_means_over_every_predicted_frame(
    name: str, thinking: Any, tmp_path: Path
) -> None:
    context = context_of(spec_of(name), tmp_path)
    length = context.spec.task.context
    spec = evaluation(thinking, limit=5, batch_size=2, noise_seeds=(0, 7))
    found = evaluated(spec, context, tmp_path)
    assert len(found) == 4 * 2 + 4

    windows = windows_of(DIGITS, length, 5)
    for seed in (0, 7):
        ours, copied = [], []
        for row, frames in enumerate(windows):
            guesses = predicted(context, frames, row, thinking, seed)
            for position in range(length):
                ours.append(frame_errors(guesses[position], frames[position + 1]))
                copied.append(frame_errors(frames[position], frames[position + 1]))
        for prefix, errors, key in (("", ours, seed), ("copy_last_", copied, None)):
            for metric in ("loss", "mse", "psnr_per_frame"):
                measured = found[prefix + metric, key]
                assert measured.value == pytest.approx(mean(errors, metric), rel=1e-5)
                assert measured.n == len(errors) == 5 * length
            pooled = 10 * log10(255**2 / mean(errors, "squared_levels"))
            assert found[prefix + "psnr", key].value == pytest.approx(pooled, rel=1e-6)
    assert found["psnr", 0].higher_is_better
    assert found["psnr", 0].unit == "dB"
    assert not found["copy_last_loss", None].cost
    cost, record = found["loss", 0].cost, context.record
    formula = record.prediction_flops(context.config, context.shape, thinking).total / length
    assert cost["flops"] == pytest.approx(formula, rel=0.01)
    assert cost["nfe"] == (6 if name == "ebt_video" else 1)


def test_copies_have_the_psnr_of_differences_between_frames(tmp_path: Path) -> None:
    """In [-1, 1] the squared error of levels is 127.5^2 times that of the numbers."""
    context = context_of(spec_of("transformer_pp_video"), tmp_path)
    found = evaluated(evaluation(Single(), limit=9), context, tmp_path)
    mse = found["copy_last_mse", None].value
    assert mse is not None
    psnr = 10 * log10(255**2 / (127.5**2 * mse))
    assert found["copy_last_psnr", None].value == pytest.approx(psnr, rel=1e-9)


def test_sums_of_clips_add_up_whatever_the_batches(tmp_path: Path) -> None:
    context = context_of(spec_of("ebt_video"), tmp_path)
    length = context.spec.task.context
    thinking = Descent(steps=2)
    kept = {}
    for size in (3, 32):
        spec = evaluation(thinking, limit=8, batch_size=size, noise_seeds=(1, 2))
        found = evaluated(spec, context, tmp_path / str(size))
        kept[size] = dict(np.load(tmp_path / str(size) / "per_clip.npz"))
    sums = kept[32]
    windows = (16 - 1) // length
    assert sums["n"].tolist() == [windows * length, windows * length, (8 - 2 * windows) * length]
    for index, seed in enumerate((1, 2)):
        for metric in ("loss", "mse", "psnr_per_frame"):
            assert sums[metric].shape == (2, 3)
            assert sums[metric].dtype == np.float64
            value = sums[metric][index].sum() / sums["n"].sum()
            assert found[metric, seed].value == pytest.approx(value, rel=1e-12)
    assert not np.array_equal(sums["loss"][0], sums["loss"][1]), "noise seeds differ"
    value = sums["copy_last_loss"].sum() / sums["n"].sum()
    assert found["copy_last_loss", None].value == pytest.approx(value, rel=1e-12)
    for name, array in sums.items():
        np.testing.assert_allclose(array, kept[3][name], rtol=1e-5)


def test_clips_of_a_folder_are_kept_with_their_video(tmp_path: Path) -> None:
    for begin, split in enumerate(("train", "val")):
        for video in range(3):
            frames = drawn(12, seed=10 * begin + video)
            write_frames(tmp_path / split / f"{video}", frames)
    data = f"file:{tmp_path}/{{split}}?size=8&frames=5"
    context = context_of(spec_of("transformer_pp_video", task={"data": data}), tmp_path / "cache")
    evaluated(evaluation(Single(), data=data, limit=5), context, tmp_path / "kept")
    with np.load(tmp_path / "kept" / "per_clip.npz") as kept:
        assert kept["video"].tolist() == [0, 0, 1, 1, 2]
        assert len(kept["n"]) == 5
    context = context_of(spec_of("transformer_pp_video"), tmp_path)
    evaluated(evaluation(Single(), limit=5), context, tmp_path / "generated")
    with np.load(tmp_path / "generated" / "per_clip.npz") as kept:
        assert "video" not in kept.files


def test_frames_that_do_not_move_leave_the_psnr_of_copies_missing(tmp_path: Path) -> None:
    still = np.tile(load_clips(DIGITS, "validation").pixels[:3, :1], (1, 9, 1, 1, 1))
    np.save(tmp_path / "train.npy", -still)
    np.save(tmp_path / "validation.npy", still)
    data = f"file:{tmp_path}/{{split}}.npy"
    context = context_of(spec_of("transformer_pp_video", task={"data": data}), tmp_path)
    found = evaluated(evaluation(Single(), data=data), context, tmp_path)
    assert found["copy_last_loss", None].value == 0
    assert found["copy_last_psnr", None].value is None
    assert found["copy_last_psnr_per_frame", None].value is None
    assert found["psnr", 0].value is not None


def test_a_diverged_model_has_no_loss_and_a_record_all_the_same(tmp_path: Path) -> None:
    context = context_of(spec_of("transformer_pp_video"), tmp_path)
    with torch.no_grad():
        for parameter in context.adapter.parameters():  # type: ignore[attr-defined]
            parameter.fill_(float("nan"))
    found = evaluated(evaluation(Single(), limit=2), context, tmp_path)
    assert all(found[name, 0].value is None for name in ("loss", "mse", "psnr", "psnr_per_frame"))
    assert found["copy_last_loss", None].value is not None


# --- latents ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained AutoencoderKL for 1 x 16 x 16 frames: latents of 2 x 8 x 8."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    model = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=2,
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    folder = tmp_path_factory.mktemp("autoencoder")
    model.save_pretrained(folder)
    return str(folder)


def test_latents_are_compared_decoded_with_the_true_frames(
    autoencoder: str, tmp_path: Path
) -> None:
    from diffusers import AutoencoderKL

    spec = spec_of("transformer_pp_video", task={"autoencoder": autoencoder})
    context = context_of(spec, tmp_path)
    length, rows = spec.task.context, 4
    asked = evaluation(Single(), limit=rows, batch_size=3, examples=2)
    found = evaluated(asked, context, tmp_path)
    kept = dict(np.load(tmp_path / "examples.npz"))

    model = AutoencoderKL.from_pretrained(autoencoder)
    ours, copied, ceiling = [], [], []
    for row, frames in enumerate(windows_of(DIGITS, length, rows)):
        with torch.no_grad():
            latents = model.encode(torch.from_numpy(frames.copy())).latent_dist.mean
            latents = latents.half().float()
            guesses = torch.from_numpy(predicted(context, latents.numpy(), row, Single(), 0))
            shown, known = (model.decode(some).sample.numpy() for some in (guesses, latents))
        for at in range(length):
            truth = frames[at + 1]
            in_latents = frame_errors(guesses[at], latents[at + 1].numpy())
            ours.append(in_latents | pixel_errors(shown[at], truth))
            copied.append(pixel_errors(known[at], truth))
            ceiling.append(pixel_errors(known[at + 1], truth))
        if row in (0, 2):
            for name, image in (
                ("last", known[-2]),
                ("truth", frames[-1]),
                ("predicted", shown[-1]),
                ("reconstruction", known[-1]),
            ):
                np.testing.assert_allclose(kept[name][row // 2], image, atol=1e-4)
    assert kept["rows"].tolist() == [0, 2], "spread over the rows"
    for metric in ("loss", "mse", "psnr_per_frame"):
        assert found[metric, 0].value == pytest.approx(mean(ours, metric), rel=1e-4)
    for prefix, errors in (("copy_last_", copied), ("reconstruction_", ceiling)):
        each = found[prefix + "psnr_per_frame", None].value
        assert each == pytest.approx(mean(errors, "psnr_per_frame"), rel=1e-4)
        pooled = 10 * log10(255**2 / mean(errors, "squared_levels"))
        assert found[prefix + "psnr", None].value == pytest.approx(pooled, rel=1e-4)
    assert ("reconstruction_loss", None) not in found


def test_examples_of_pixels_are_spread_over_the_set_and_are_no_more_than_it_has(
    tmp_path: Path,
) -> None:
    context = context_of(spec_of("transformer_pp_video"), tmp_path)
    length = context.spec.task.context
    for limit, examples, rows in ((10, 4, [0, 2, 5, 7]), (3, 8, [0, 1, 2])):
        asked = evaluation(Single(), limit=limit, examples=examples)
        evaluated(asked, context, tmp_path / str(limit))
        kept = dict(np.load(tmp_path / str(limit) / "examples.npz"))
        assert kept["rows"].tolist() == rows
        windows = windows_of(DIGITS, length, limit)
        for place, row in enumerate(rows):
            np.testing.assert_array_equal(kept["last"][place], windows[row][-2])
            np.testing.assert_array_equal(kept["truth"][place], windows[row][-1])
            guess = predicted(context, windows[row], row, Single(), 0)[-1]
            np.testing.assert_allclose(kept["predicted"][place], guess, atol=1e-5)
        assert "reconstruction" not in kept


@pytest.mark.parametrize(
    ("channels", "scale"), [(4, 1.0), (1, 3.0)], ids=["four channels", "beyond [-1, 1]"]
)
def test_latents_of_a_file_have_no_psnr(channels: int, scale: float, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    for split in ("train", "validation"):
        clips = scale * drawn.uniform(-1, 1, (2, 6, channels, 4, 4)).astype(np.float32)
        np.save(tmp_path / f"{split}.npy", clips)
    data = f"file:{tmp_path}/{{split}}.npy"
    context = context_of(spec_of("transformer_pp_video", task={"data": data}), tmp_path)
    found = evaluated(evaluation(Single(), data=data), context, tmp_path / "kept")
    assert {name for name, _ in found} == {"loss", "mse", "copy_last_loss", "copy_last_mse"}
    with np.load(tmp_path / "kept" / "per_clip.npz") as kept:
        assert "psnr_per_frame" not in kept.files
    assert not (tmp_path / "kept" / "examples.npz").exists()


def test_a_set_that_holds_training_clips_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", load_clips(DIGITS, "train").pixels[:4])
    np.save(tmp_path / "validation.npy", load_clips(DIGITS, "train").pixels[2:3])
    data = f"file:{tmp_path}/{{split}}.npy"
    context = context_of(spec_of("transformer_pp_video", task={"data": data}), tmp_path)
    with pytest.raises(HarnessError, match=r"1 of 1 clips of .* which is trained on"):
        evaluate_next_frame(evaluation(Single(), data=data), context, tmp_path)
