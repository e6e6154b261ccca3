"""Images and clips that are trained on: left out and counted where the evaluation says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.data.images import Images
from harness.errors import HarnessError
from harness.evals import noisy_images, probe
from harness.evals.context import EvalContext
from harness.evals.denoising import PER_IMAGE, evaluate_denoising
from harness.evals.energy import evaluate_energy
from harness.evals.next_frame import EXAMPLES, PER_CLIP, evaluate_next_frame
from harness.evals.probe import ANSWERS, evaluate_probe
from harness.planning.eval_spec import (
    DenoisingEval,
    EnergyEval,
    NextFrameEval,
    ProbeEval,
)
from harness.protocol import Descent
from harness.records import Measurement
from tests.evals.test_evaluators import context_of
from tests.evals.test_next_frame import context_of as video_context
from tests.training.tiny import spec_of

OTHER = "of others"
#: Places in the test set, which are in the data that the model is trained on, and fitted on.
TRAINED, FITTED = (1, 4, 17), (4, 20)
KEPT = [place for place in range(40) if place not in TRAINED]


def noise(count: int, seed: int) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.normal(size=(count, 1, 8, 8)).clip(-1, 1).astype(np.float32)
    labels = np.arange(count) % 4
    pixels[np.arange(count), 0, labels, 0] = 1
    return Images("", "", pixels, labels, str(seed), "", "")


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Images]:
    """Sets by name and split: the digits' and others', apart until a test plants something."""
    names = [("builtin/digits", "train"), (OTHER, "train"), (OTHER, "test")]
    found = {name: noise(count, count) for name, count in zip(names, (50, 120, 40), strict=True)}
    for module in (noisy_images, probe):
        monkeypatch.setattr(module, "load_images", lambda name, split, **_: found[name, split])
    return found


def plant(of: Images, into: Images, places: tuple[int, ...]) -> None:
    into.pixels[: len(places)] = of.pixels[list(places)]


def image_context(tmp_path: Path) -> EvalContext:
    return context_of(spec_of("ebt_image"), tmp_path / "data")


def tags(found: list[Measurement], name: str) -> set[Any]:
    return {m.tags.get(name) for m in found}


# --- images ----------------------------------------------------------------------------------


def denoised(context: EvalContext, folder: Path, **given: Any) -> list[Measurement]:
    spec = DenoisingEval(
        data=OTHER,
        split="test",
        level=0.1,
        thinking=(Descent(steps=1),),
        timing_repeats=1,
        **{"batch_size": 7} | given,
    )
    return evaluate_denoising(spec, context, folder)


def errors(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    with np.load(folder / PER_IMAGE) as stored:
        return stored["rows"], stored["mse/1x1"][0]


def test_the_others_are_denoised_under_the_same_noise(images: Any, tmp_path: Path) -> None:
    found = denoised(image_context(tmp_path), tmp_path / "all")
    assert tags(found, "dropped") == {None}
    plant(images[OTHER, "test"], images["builtin/digits", "train"], TRAINED)
    context = image_context(tmp_path)
    dropping = denoised(context, tmp_path / "others", overlap="drop")
    assert (tags(dropping, "dropped"), {m.n for m in dropping}) == ({3}, {37})
    rows, whole = errors(tmp_path / "all")
    assert rows.tolist() == list(range(40))
    rows, others = errors(tmp_path / "others")
    assert rows.tolist() == KEPT
    np.testing.assert_allclose(others, whole[KEPT], rtol=1e-4)
    few = denoised(context, tmp_path / "few", overlap="drop", limit=10)
    assert (tags(few, "dropped"), {m.n for m in few}) == ({3}, {10})
    assert errors(tmp_path / "few")[0].tolist() == KEPT[:10], "limit counts what is left"
    with pytest.raises(HarnessError, match=r"3 of 40 images(.|\n)*overlap: drop"):
        denoised(context, tmp_path / "refused")


def test_examples_and_filters_go_by_place(
    images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("denoising", "image_filters"):
        monkeypatch.setattr(f"harness.evals.{module}.FILTERED", 12)
    plant(images[OTHER, "test"], images["builtin/digits", "train"], TRAINED)
    found = denoised(image_context(tmp_path), tmp_path, overlap="drop", examples=4)
    assert {m.n for m in found if "filter" in str(m.tags["kind"])} == {12}
    with np.load(tmp_path / "examples.npz") as stored:
        pixels = images[OTHER, "test"].pixels
        np.testing.assert_array_equal(stored["clean"], pixels[np.array(KEPT)[[0, 3, 6, 9]]])
        assert {stored[name].shape[0] for name in stored.files} == {4}


def probed(context: EvalContext, folder: Path, **given: Any) -> list[Measurement]:
    spec = ProbeEval(data=OTHER, split="test", l2=(0.1,), timing_repeats=1, **given)
    return evaluate_probe(spec, context, folder)


def test_a_probe_does_without_what_model_or_classifier_saw(images: Any, tmp_path: Path) -> None:
    test = images[OTHER, "test"]
    plant(test, images["builtin/digits", "train"], TRAINED)
    plant(test, images[OTHER, "train"], FITTED)
    context = image_context(tmp_path)
    found = probed(context, tmp_path / "others", overlap="drop")
    assert (tags(found, "dropped"), tags(found, "train_images")) == ({4}, {120})
    left = [place for place in KEPT if place not in FITTED]
    with np.load(tmp_path / "others" / ANSWERS) as kept:
        assert kept["rows"].tolist() == left
        right = dict(zip(left, kept["top1"], strict=True))
    few = probed(context, tmp_path / "few", overlap="drop", limit=10)
    assert (tags(few, "dropped"), {m.n for m in few if m.name == "top1"}) == ({4}, {10})
    with np.load(tmp_path / "few" / ANSWERS) as kept:
        assert set(kept["rows"]) <= set(left)
        assert [right[row] for row in kept["rows"]] == kept["top1"].tolist()
    with pytest.raises(HarnessError, match=r"2 of 40 images(.|\n)*overlap: drop"):
        probed(context, tmp_path / "refused")


def test_pixels_are_answered_for_the_images_that_are_left(images: Any, tmp_path: Path) -> None:
    """What is kept for all models is not taken for one that is tested on other images."""
    plant(images[OTHER, "test"], images["builtin/digits", "train"], TRAINED)
    first = probed(image_context(tmp_path), tmp_path / "a", overlap="drop")
    images["builtin/digits", "train"] = noise(50, 50)
    plant(images[OTHER, "test"], images["builtin/digits", "train"], (3, 9, 30))
    second = probed(image_context(tmp_path), tmp_path / "b", overlap="drop")
    assert len(list((tmp_path / "data" / "probes").glob("*.json"))) == 2
    for found, name in ((first, "a"), (second, "b")):
        with np.load(tmp_path / name / ANSWERS) as kept:
            (mean,) = [m.value for m in found if m.name == "pixels_top1"]
            assert mean == kept["pixels_top1"].mean()
    images["builtin/digits", "train"] = noise(50, 50)
    third, fourth = (
        probed(image_context(tmp_path), tmp_path / mode, overlap=mode)
        for mode in ("refuse", "drop")
    )
    assert len(list((tmp_path / "data" / "probes").glob("*.json"))) == 3, "no other images"
    assert (tags(third, "dropped"), tags(fourth, "dropped")) == ({None}, {0})


# --- clips -----------------------------------------------------------------------------------


def clip_files(tmp_path: Path, shared: list[int]) -> Any:
    """Six clips of two windows each to evaluate on, of which training has `shared`."""
    folder = tmp_path / f"sets-{len(shared)}"
    folder.mkdir()
    random = np.random.default_rng(0)
    train, own = random.uniform(-1, 1, (2, 6, 9, 1, 4, 4)).astype(np.float32)
    np.save(folder / "train.npy", np.concatenate([train, own[shared]]))
    np.save(folder / "validation.npy", own)
    data = f"file:{folder}/{{split}}.npy"
    spec = spec_of("ebt_video", task={"data": data, "context": 4})
    return data, video_context(spec, tmp_path)


def framed(given: Any, folder: Path, **changes: Any) -> list[Measurement]:
    data, context = given
    spec = NextFrameEval(
        data=data, split="validation", thinking=Descent(steps=2), timing_repeats=1, **changes
    )
    return evaluate_next_frame(spec, context, folder)


def test_the_frames_of_the_other_clips_are_predicted(tmp_path: Path) -> None:
    shared = [0, 3]
    framed(clip_files(tmp_path, []), tmp_path / "all")
    given = clip_files(tmp_path, shared)
    found = framed(given, tmp_path / "others", overlap="drop", examples=3)
    assert (tags(found, "dropped"), {m.n for m in found}) == ({2}, {4 * 8})
    with np.load(tmp_path / "all" / PER_CLIP) as all_, np.load(tmp_path / "others" / PER_CLIP) as o:
        assert o["n"].tolist() == [0, 8, 8, 0, 8, 8]
        for name in ("copy_last_loss", "copy_last_psnr_per_frame"):
            np.testing.assert_allclose(o[name], np.where(o["n"] > 0, all_[name], 0), rtol=1e-6)
        loss = o["loss"].sum() / o["n"].sum()
    (value,) = [m.value for m in found if m.name == "loss"]
    assert value == pytest.approx(loss)
    with np.load(tmp_path / "others" / EXAMPLES) as examples:
        assert examples["rows"].tolist() == [2, 4, 9], (
            "spread over the rows of the clips that are left"
        )
    few = framed(given, tmp_path / "few", overlap="drop", limit=3)
    assert ({m.n for m in few}, tags(few, "dropped")) == ({3 * 4}, {2})
    with np.load(tmp_path / "few" / PER_CLIP) as kept:
        assert kept["n"].tolist() == [0, 8, 4], "limit counts what is left"
    with pytest.raises(HarnessError, match=r"2 of 6 clips(.|\n)*overlap: drop"):
        framed(given, tmp_path / "refused")


def test_clips_that_are_left_have_the_same_noise(tmp_path: Path) -> None:
    data, context = clip_files(tmp_path, [0, 3])
    framed((data, context), tmp_path / "others", overlap="drop", batch_size=3)
    own = np.load(tmp_path / "sets-2" / "train.npy")
    np.save(tmp_path / "sets-2" / "train.npy", own[:6])
    context.shared.clear()
    framed((data, context), tmp_path / "all")
    with np.load(tmp_path / "all" / PER_CLIP) as all_, np.load(tmp_path / "others" / PER_CLIP) as o:
        np.testing.assert_allclose(o["loss"], np.where(o["n"] > 0, all_["loss"], 0), rtol=1e-4)


def test_energies_of_such_clips_are_refused(tmp_path: Path) -> None:
    data, context = clip_files(tmp_path, [0, 3])
    framed((data, context), tmp_path / "others", overlap="drop")
    spec = EnergyEval(data=data, split="validation", thinking=Descent(steps=2))
    with pytest.raises(HarnessError, match="2 of 6 clips"):
        evaluate_energy(spec, context, tmp_path / "energy")
