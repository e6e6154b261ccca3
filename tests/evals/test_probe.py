"""The probe evaluation: against scikit-learn, whatever the batches; what it keeps and refuses."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, top_k_accuracy_score
from torch import Tensor, nn

from harness.data.datasets import load_images
from harness.data.images import ImageRows, Images
from harness.errors import HarnessError
from harness.evals import kept, probe, probe_features, probe_pixels
from harness.evals.context import EvalContext
from harness.evals.probe import ANSWERS, evaluate_probe, probed_images
from harness.evals.probe_features import gather_features, model_features
from harness.planning.eval_spec import ProbeEval
from harness.protocol import ImageBatch
from harness.provenance import package_folder
from harness.records import Measurement
from tests.evals.test_evaluators import context_of, value
from tests.training.tiny import spec_of

#: What the toy's features are: the digits, which are not centred, times this.
MIXING = np.random.default_rng(4).normal(size=(64, 20)).astype(np.float32)


class Linear(nn.Module):
    """Features are a fixed product of the pixels; what it is handed is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.from_numpy(MIXING))
        self.rows: list[int] = []

    def features(self, batch: ImageBatch) -> Tensor:
        self.rows += batch.rows.tolist()
        return batch.images.flatten(1) @ self.mixing


def probe_eval(**changes: Any) -> ProbeEval:
    given = {"data": "builtin/digits", "split": "validation", "l2": (1e-3, 1e-1)} | changes
    return ProbeEval(timing_repeats=1, **given)


@pytest.fixture
def context(tmp_path: Path) -> EvalContext:
    return context_of(spec_of("dit_image"), tmp_path / "data", Linear())


def numbers(found: list[Measurement]) -> dict[str, float | None]:
    return {m.name: m.value for m in found}


def images_of(labels: NDArray[np.int64], split: str, *, size: int = 8) -> Images:
    """Bright squares whose place says the class, in noise that differs from image to image."""
    random = np.random.default_rng(len(labels) + (split == "train"))
    pixels = random.normal(size=(len(labels), 1, size, size)).astype(np.float32) * 0.3
    pixels[np.arange(len(labels)), 0, labels % size, labels // size] += 2
    return Images("planted", split, pixels, labels, split, "made up", "none")


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Any:
    """plant(train=labels, validation=labels): the images that every name then stands for."""

    def make(**labels: Any) -> None:
        sets = {split: images_of(np.asarray(own), split) for split, own in labels.items()}
        monkeypatch.setattr(probe, "load_images", lambda name, split, *, cache: sets[split])

    return make


# --- numbers ---------------------------------------------------------------------------------


def test_it_is_scikit_learns_answer_on_the_penalty_that_does_best_held_out(
    context: EvalContext, tmp_path: Path
) -> None:
    spec = probe_eval(l2=(10.0, 1e-3, 1.0))
    found = evaluate_probe(spec, context, tmp_path)
    train, test = (load_images("builtin/digits", split) for split in ("train", "validation"))
    held_out = probed_images(spec, context).held_out
    assert 0.05 < held_out.mean() < 0.15

    def features(images: Images) -> NDArray[np.float64]:
        pixels = np.asarray(images.pixels).reshape(len(images.pixels), -1)
        return (pixels @ MIXING).astype(np.float64)

    def fitted(rows: NDArray[np.bool_], l2: float) -> Any:
        own, labels = features(train)[rows], train.labels
        assert labels is not None
        mean, sd = own.mean(0), own.std(0)
        peer = LogisticRegression(C=1 / (rows.sum() * l2), tol=1e-6, max_iter=5000)
        peer.fit((own - mean) / sd, labels[rows])
        return lambda images: peer.predict_proba((features(images) - mean) / sd)

    assert train.labels is not None
    assert test.labels is not None
    accuracy = {}
    for l2 in spec.l2:
        right = fitted(~held_out, l2)(train).argmax(1) == train.labels
        accuracy[l2] = right[held_out].mean()
    chosen = max(accuracy, key=lambda l2: accuracy[l2])
    assert value(found, "holdout_top1") == pytest.approx(accuracy[chosen], abs=0.01)
    own = next(m for m in found if m.name == "top1")
    assert own.tags["l2"] == chosen == 1e-3
    assert own.tags["l2_at_edge"] is True, "no smaller one was tried"
    assert own.tags["converged"] is True
    assert 0 <= own.tags["excess"] < 1e-3, "nats that the fit would still fall by"
    chances = fitted(np.ones(len(held_out), bool), chosen)(test)
    for top in (1, 5):
        expected = top_k_accuracy_score(test.labels, chances, k=top)
        assert value(found, f"top{top}") == pytest.approx(expected, abs=0.004)
    assert value(found, "cross_entropy") == pytest.approx(log_loss(test.labels, chances), abs=2e-3)
    assert own.n == len(test.labels)
    assert own.cost["flops"] == 2 * MIXING.size
    assert own.tags["features"] == 20
    assert own.tags["chance"] == 0.1


def test_batches_and_the_kind_of_memory_change_nothing(
    context: EvalContext, tmp_path: Path
) -> None:
    one, other = (
        numbers(evaluate_probe(probe_eval(batch_size=size), context, tmp_path)) for size in (7, 64)
    )
    assert one == pytest.approx(other, abs=5e-3)
    read = model_features(ImageRows(load_images("builtin/digits", "validation")), context)
    ids = np.array([5, 2, 90, 17, 4])
    held = gather_features(read, ids, batch_size=2, disk=None)
    mapped = gather_features(read, ids, batch_size=2, disk=tmp_path)
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(held, mapped)
    assert np.array_equal(held[3:4], read(np.array([17])))


@pytest.mark.parametrize("name", ["dit_image", "ebt_image"])
def test_the_adapters_are_probed_alike_by_both_solvers(name: str, tmp_path: Path) -> None:
    context = context_of(spec_of(name), tmp_path / "data")
    spec = probe_eval(limit=60, train_limit=300, batch_size=50)
    whole = evaluate_probe(spec, context, tmp_path)
    small = evaluate_probe(
        spec.model_copy(update={"solver": "minibatch", "epochs": 30}), context, tmp_path
    )
    assert value(whole, "top1") > 0.3
    assert value(small, "top1") == pytest.approx(value(whole, "top1"), abs=0.1)
    assert value(whole, "top1") != value(whole, "pixels_top1")


def test_what_is_kept_of_each_image_adds_up(context: EvalContext, tmp_path: Path) -> None:
    found = evaluate_probe(probe_eval(limit=50), context, tmp_path)
    with np.load(tmp_path / ANSWERS) as kept:
        assert len(kept["rows"]) == len(set(kept["rows"])) == 50
        for prefix in ("", "pixels_", "majority_"):
            for top in (1, 5):
                mean = kept[f"{prefix}top{top}"].mean()
                assert value(found, f"{prefix}top{top}") == pytest.approx(mean)


def test_the_commonest_classes_are_those_of_training(
    context: EvalContext, tmp_path: Path, plant: Any
) -> None:
    plant(train=[3] * 9 + [1] * 30 + [0] * 20, validation=[1, 0, 0, 3, 3, 3])
    found = evaluate_probe(probe_eval(train_limit=None, holdout=0.3), context, tmp_path)
    assert value(found, "majority_top1") == pytest.approx(1 / 6)
    names = {m.name for m in found}
    assert "top5" not in names, "of four classes five guesses hold the right one"
    assert {m.tags["classes"] for m in found} == {4}


def test_limits_draw_images_of_every_class(
    context: EvalContext, tmp_path: Path, plant: Any
) -> None:
    ordered = np.repeat(np.arange(6), 100)
    plant(train=ordered, validation=ordered[::2])
    found = evaluate_probe(probe_eval(train_limit=150, limit=80), context, tmp_path)
    own = next(m for m in found if m.name == "pixels_top1")
    assert own.n == 80
    assert own.tags["train_images"] == 150
    assert own.value is not None
    assert own.value > 0.9, "the first 150 are of two classes"


def test_shuffled_labels_are_not_learnt(context: EvalContext, tmp_path: Path, plant: Any) -> None:
    random = np.random.default_rng(0)
    plant(train=np.repeat(np.arange(5), 200), validation=np.repeat(np.arange(5), 100))
    for rows in (probe.load_images("", split, cache=None) for split in ("train", "validation")):
        assert rows.labels is not None
        rows.labels[:] = random.permutation(rows.labels)
    found = evaluate_probe(probe_eval(), context, tmp_path)
    error = np.sqrt(0.2 * 0.8 / 500)
    for name in ("top1", "pixels_top1"):
        assert abs(value(found, name) - 0.2) < 5 * error, "five standard errors of chance"


# --- pixels ----------------------------------------------------------------------------------


def test_pixels_are_fitted_once_for_all_models(
    context: EvalContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[int] = []
    inner = probe.answers
    monkeypatch.setattr(
        probe, "answers", lambda own, *given: fits.append(own.width) or inner(own, *given)
    )
    first = evaluate_probe(probe_eval(limit=40), context, tmp_path)
    second = evaluate_probe(probe_eval(limit=40, batch_size=5), context, tmp_path)
    third = evaluate_probe(probe_eval(limit=41), context, tmp_path)
    assert fits == [20, 64, 20, 20, 64], "another test set is another classifier"
    assert value(first, "pixels_top1") == value(second, "pixels_top1")
    assert value(first, "pixels_cross_entropy") == value(second, "pixels_cross_entropy")
    assert len(third) == len(first)


def test_pixels_are_fitted_again_by_other_source_code(
    context: EvalContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tmp_path / "engine"
    for folder in ("data", "evals", "analysis"):
        own = package_folder("harness") / folder
        shutil.copytree(own, engine / folder, ignore=shutil.ignore_patterns("snapshots"))
    monkeypatch.setattr(kept, "package_folder", lambda name: engine)

    def fitted() -> int:
        kept.source_digest.cache_clear()
        before = set((context.cache / "probes").glob("*.json"))
        evaluate_probe(probe_eval(limit=40, train_limit=200), context, tmp_path)
        return len(set((context.cache / "probes").glob("*.json")) - before)

    assert [fitted(), fitted()] == [1, 0]
    for file in ("evals/linear_probe.py", "evals/probe_answers.py", "data/keyed.py"):
        with (engine / file).open("a") as source:
            source.write("# changed\n")
        assert [fitted(), fitted()] == [1, 0], file
    (engine / "analysis" / "frame.py").write_text("")
    assert fitted() == 0, "it changes no number"
    kept.source_digest.cache_clear()


def test_pixels_too_many_to_fit_are_missing(
    context: EvalContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_pixels, "MAX_NUMBERS", 63)
    found = evaluate_probe(probe_eval(limit=40), context, tmp_path)
    assert numbers(found)["pixels_top1"] is None
    assert numbers(found)["top1"] is not None
    assert "pixels_top1" not in np.load(tmp_path / ANSWERS).files
    assert not (tmp_path / "data" / "probes").exists()


# --- the file of features --------------------------------------------------------------------


def test_features_on_disk_have_no_name_and_so_outlive_no_process(tmp_path: Path) -> None:
    seen = []

    def read(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        seen.append(list(tmp_path.iterdir()))
        return np.repeat(ids[:, None], 3, axis=1).astype(np.float32)

    mapped = gather_features(read, np.arange(10), batch_size=4, disk=tmp_path)
    assert seen == [[], [], []]
    assert list(tmp_path.iterdir()) == []
    assert mapped[:, 1].tolist() == list(range(10))
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 1


def test_a_full_disk_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, features: NDArray[np.float32]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(probe_features, "_append", full)
    with pytest.raises(HarnessError, match="cannot keep the features: No space left") as caught:
        gather_features(
            lambda ids: np.ones((len(ids), 2), np.float32),
            np.arange(9),
            batch_size=4,
            disk=tmp_path,
        )
    assert "train_limit" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# --- what is refused -------------------------------------------------------------------------


def refused(spec: ProbeEval, context: EvalContext, folder: Path) -> str:
    with pytest.raises(HarnessError) as caught:
        evaluate_probe(spec, context, folder)
    return str(caught.value)


def test_a_model_without_features(context: EvalContext, tmp_path: Path) -> None:
    without = replace(context, adapter=nn.Linear(1, 1))
    with pytest.raises(HarnessError, match="offers no features"):
        model_features(ImageRows(load_images("builtin/digits", "train")), without)


def test_features_that_are_not_finite(context: EvalContext, tmp_path: Path) -> None:
    class Broken(Linear):
        def features(self, batch: ImageBatch) -> Tensor:
            found = super().features(batch)
            found[batch.rows == 5] = float("nan")
            return found

    message = refused(probe_eval(), replace(context, adapter=Broken()), tmp_path)
    assert "features of image 5 are not finite" in message


def test_images_without_labels(context: EvalContext, tmp_path: Path) -> None:
    message = refused(probe_eval(data="builtin/photos"), context, tmp_path)
    assert "have no labels" in message


def test_an_image_to_fit_on_and_to_test_on(
    context: EvalContext, tmp_path: Path, plant: Any
) -> None:
    plant(train=np.arange(60) % 3, validation=np.arange(30) % 3)
    train, test = (probe.load_images("", split, cache=None) for split in ("train", "validation"))
    train.pixels[7] = test.pixels[4]
    assert "the first is image 5" in refused(probe_eval(), context, tmp_path)


def test_too_few_images_to_choose_by_or_of_one_class(
    context: EvalContext, tmp_path: Path, plant: Any
) -> None:
    plant(train=np.arange(60) % 3, validation=np.arange(30) % 3)
    message = refused(probe_eval(holdout=1e-9), context, tmp_path)
    assert "no training image of builtin/digits is held out, of 60" in message
    plant(train=np.zeros(60, np.int64), validation=np.zeros(30, np.int64))
    assert "are all of one class" in refused(probe_eval(), context, tmp_path)
