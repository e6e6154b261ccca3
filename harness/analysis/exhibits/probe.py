"""A probe section: every model's accuracies per set, beside the pixels' and those of guessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.exhibits.downstream import Comparison, Verdict
from harness.analysis.exhibits.measures import Measure
from harness.analysis.exhibits.samples import Interval, Sample, within
from harness.analysis.frame import SuiteFrame
from harness.analysis.resampling import in_groups
from harness.arrays import stored_arrays
from harness.errors import HarnessError
from harness.planning.sections import ProbeSection

ANSWERS = "answers.npz"
PIXELS, MAJORITY = "pixels_", "majority_"
#: The accuracies, in the order they are shown.
TOPS = (
    Measure("top-1", "top1", "", True, "fraction"),
    Measure("top-5", "top5", "", True, "fraction"),
)


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers; `comparison` is it less the baseline's."""

    value: float
    interval: Interval | None
    comparison: Comparison | None = None


@dataclass(frozen=True)
class ProbeScore:
    """One model on one set; `top5` is None of five classes or fewer. FLOPs and seconds are of one
    image's features, `fit_seconds` of all fits.

    `l2` are the penalties chosen, one per training seed; `at_edge` counts those with none tried
    beyond them, `unconverged` the fits that ended before their minimum.
    """

    model: str
    adapter: str
    family: str
    label: str
    top1: Accuracy
    top5: Accuracy | None
    cross_entropy: float | None
    width: int
    l2: tuple[float, ...]
    at_edge: int
    unconverged: int
    seeds: int
    flops: float | None
    seconds: float | None
    fit_seconds: float | None

    def top(self, measure: Measure) -> Accuracy | None:
        return self.top1 if measure is TOPS[0] else self.top5


@dataclass(frozen=True)
class Reference:
    """What no model is needed for: the pixels, or the commonest classes.

    `at_edge` and `converged` are of a fit, as those of a model.
    """

    name: str
    top1: Accuracy | None
    top5: Accuracy | None
    cross_entropy: float | None = None
    width: int | None = None
    l2: float | None = None
    at_edge: bool = False
    converged: bool = True

    def top(self, measure: Measure) -> Accuracy | None:
        return self.top1 if measure is TOPS[0] else self.top5


@dataclass(frozen=True)
class ProbeSet:
    """One labelled set; `pixels` has no accuracies where they were too large to fit."""

    data: str
    split: str
    images: int
    train_images: int
    classes: int
    scores: tuple[ProbeScore, ...]
    pixels: Reference
    majority: Reference

    def chance(self, measure: Measure) -> float | None:
        """What guessing any class gives; None of as few classes as there are guesses."""
        guesses = 1 if measure is TOPS[0] else 5
        return guesses / self.classes if self.classes > guesses else None

    @property
    def measures(self) -> list[Measure]:
        return [measure for measure in TOPS if self.chance(measure) is not None]


@dataclass(frozen=True)
class ProbeExhibit:
    """Sets in the order of the evaluation's data; models in that of the suite, baseline first."""

    section: ProbeSection
    sets: tuple[ProbeSet, ...]
    device: tuple[str, ...]

    @property
    def adapters(self) -> list[tuple[str, str]]:
        """(adapter, family), each once."""
        return list(dict.fromkeys((score.adapter, score.family) for score in self.scores))

    @property
    def scores(self) -> list[ProbeScore]:
        return [score for one in self.sets for score in one.scores]


def probe_exhibit(section: ProbeSection, frame: SuiteFrame) -> ProbeExhibit:
    """Gather one probe section from a suite's records."""
    rows = frame.of(section.experiment, section.evaluation)
    if not len(rows):
        return ProbeExhibit(section, (), ())
    rows = rows.assign(model=(rows["adapter"] + " " + rows["point"]).str.strip())
    sets = [_set(own, section.baseline) for _, own in rows.groupby(["data", "split"], sort=False)]
    return ProbeExhibit(section, tuple(sets), tuple(sorted(set(map(str, rows["device"])))))


def _set(rows: pd.DataFrame, baseline: str | None) -> ProbeSet:
    first = rows.iloc[0]
    models = sorted(
        dict.fromkeys(map(str, rows["model"])),
        key=lambda m: rows[rows["model"] == m]["adapter"].iloc[0] != baseline,
    )
    samples = {
        (model, measure.source): _sample(rows[rows["model"] == model], measure.source)
        for model in models
        for measure in TOPS
    }
    # The references are no model's: one run's copy of them says all.
    one = rows[(rows["run"] == first["run"]) & (rows["eval_id"] == first["eval_id"])]
    return ProbeSet(
        data=str(first["data"]),
        split=str(first["split"]),
        images=int(rows[rows["metric"] == "top1"]["n"].iloc[0]),
        train_images=int(first["train_images"]),
        classes=int(first["classes"]),
        scores=tuple(_score(rows[rows["model"] == model], samples, baseline) for model in models),
        pixels=_reference("pixels", PIXELS, one),
        majority=_reference("commonest classes", MAJORITY, one),
    )


def _score(
    own: pd.DataFrame, samples: dict[tuple[str, str], Sample | None], baseline: str | None
) -> ProbeScore:
    first = own[own["metric"] == "top1"].iloc[0]
    model = str(first["model"])
    other = f"{baseline} {first['point']}".strip()

    def accuracy(measure: Measure) -> Accuracy | None:
        sample = samples[model, measure.source]
        if sample is None:
            return None
        against = (
            None if baseline is None or other == model else samples.get((other, measure.source))
        )
        return _accuracy(sample, other, against)

    top1 = accuracy(TOPS[0])
    assert top1 is not None, "every probe measures it"
    runs = own[own["metric"] == "top1"].sort_values("seed")
    return ProbeScore(
        model=model,
        adapter=str(first["adapter"]),
        family=str(first["family"]),
        label=str(first["point"]),
        top1=top1,
        top5=accuracy(TOPS[1]),
        cross_entropy=_mean(own[own["metric"] == "cross_entropy"]["value"]),
        width=int(first["features"]),
        l2=tuple(map(float, runs["l2"])),
        at_edge=int(runs["l2_at_edge"].sum()),
        unconverged=int((~runs["converged"].astype(bool)).sum()),
        seeds=int(own["seed"].nunique()),
        flops=_mean(runs["flops"]),
        seconds=_median(runs["seconds"]),
        fit_seconds=_median(runs["fit_seconds"]),
    )


def _reference(name: str, prefix: str, one: pd.DataFrame) -> Reference:
    """Of one run, whose seed says nothing: the interval is over images alone."""

    def accuracy(measure: Measure) -> Accuracy | None:
        sample = _sample(one, f"{prefix}{measure.source}")
        return None if sample is None else _accuracy(sample, "", None)

    losses = one[one["metric"] == f"{prefix}cross_entropy"]
    fitted = len(losses) > 0
    return Reference(
        name,
        top1=accuracy(TOPS[0]),
        top5=accuracy(TOPS[1]),
        cross_entropy=_mean(losses["value"]),
        width=int(losses["features"].iloc[0]) if fitted else None,
        l2=float(losses["l2"].iloc[0]) if fitted else None,
        at_edge=fitted and bool(losses["l2_at_edge"].iloc[0]),
        converged=not fitted or bool(losses["converged"].iloc[0]),
    )


def _accuracy(sample: Sample, name: str, other: Sample | None) -> Accuracy:
    interval = within(sample.interval(), 0.0, 1.0)
    difference = None if other is None else sample.minus(other)
    if difference is None:
        return Accuracy(sample.value, interval)
    verdicts: dict[int, Verdict] = {-1: "worse", 0: "undecided", 1: "better"}
    difference = replace(difference, interval=within(difference.interval, -1.0, 1.0))
    comparison = Comparison(name, difference, verdicts[difference.sign])
    return Accuracy(sample.value, interval, comparison)


def _sample(own: pd.DataFrame, metric: str) -> Sample | None:
    """One model's accuracy per seed and group of images; None where it was not measured."""
    rows = own[own["metric"] == metric].dropna(subset=["value"])
    if not len(rows):
        return None
    by_seed = {int(s): float(v) for s, v in zip(rows["seed"], rows["value"], strict=True)}
    folders = [Path(str(folder)) for folder in rows["folder"]]
    kept = [_answers(folder, metric) for folder in folders]
    found = [each for each in kept if each is not None]
    if len(found) < len(kept):
        return Sample(by_seed)
    images = found[0][0]
    if not all(np.array_equal(images, each[0]) for each in found):
        raise HarnessError(
            "runs of one model were probed on different images",
            where=", ".join(map(str, folders)),
            hint="remove the evaluations' folders to redo them",
        )
    sums = {seed: in_groups(right) for seed, (_, right) in zip(by_seed, found, strict=True)}
    return Sample(by_seed, sums, in_groups(np.ones(len(images))), images)


def _answers(folder: Path, metric: str) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """The images' rows, and whether each was answered right; None where that is not kept."""
    path = folder / ANSWERS
    if not path.exists():
        return None
    with stored_arrays(path) as stored:
        return stored["rows"], np.asarray(stored[metric], np.float64)


def _mean(values: pd.Series) -> float | None:
    return None if values.isna().all() else float(values.mean())


def _median(values: pd.Series) -> float | None:
    return None if values.isna().all() else float(values.median())


def unfitted(sets: Sequence[ProbeSet]) -> list[str]:
    """The sets whose pixels were too large to fit."""
    return [one.data for one in sets if one.pixels.top1 is None]
