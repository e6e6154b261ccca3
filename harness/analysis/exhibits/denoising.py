"""A denoising section: quality against cost at each noise level, beside what is not learnt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.exhibits.image_sums import (
    Drawn,
    Floats,
    ImageErrors,
    interval_of,
    load_image_errors,
)
from harness.analysis.exhibits.samples import Interval
from harness.analysis.frame import SuiteFrame
from harness.analysis.intervals import SeedMean, over_seeds
from harness.analysis.paper.numbers import PaperNumber
from harness.analysis.resampling import GROUPS, SEEDS_STRETCHED
from harness.arrays import stored_arrays
from harness.planning.sections import DenoisingSection
from harness.planning.spec import descent_variant, thinking_label
from harness.protocol import Descent, Diffusion, Single
from harness.quantities import counted

EXAMPLES = "examples.npz"
NOISY = "noisy input"
#: What is no model's, by the kind under which it is measured.
REFERENCES = {
    "noisy": NOISY,
    "gaussian filter": "Gaussian filter",
    "median filter": "median filter",
}

Over = Literal["", "seeds", "images", "seeds and images"]


@dataclass(frozen=True)
class Quality:
    """Mean over training seeds with its 95 % interval, None where there is none."""

    value: float
    interval: Interval | None = None

    @property
    def low(self) -> float | None:
        return None if self.interval is None else self.interval[0]

    @property
    def high(self) -> float | None:
        return None if self.interval is None else self.interval[1]

    @property
    def half_width(self) -> float | None:
        return None if self.interval is None else (self.interval[1] - self.interval[0]) / 2


@dataclass(frozen=True)
class Place:
    """A set and a noise level; `trained` says whether it is the one of training, if all agree."""

    data: str
    level: float
    trained: bool | None = None

    @property
    def within(self) -> str:
        """`in distribution`, `out of distribution`; empty where models differ."""
        return {True: "in distribution", False: "out of distribution", None: ""}[self.trained]


@dataclass(frozen=True)
class DenoisingRow:
    """One model's thinking at one place, over training seeds. Costs are per image.

    `adapter` is the model's name: the adapter's label, with its place on the axes if there are any;
    or what is no model (`REFERENCES`), which has no thinking and no cost, and is one run's copy.

    `psnr` is of the mean MSE over all images (the paper's), `psnr_per_image` the mean of each
    image's (None where an image is perfect). `by_seed`: training seed -> PSNR, mean over noise
    seeds. `over` is what the intervals resample; `each` are the images' errors, where kept.
    """

    adapter: str
    family: str
    place: Place
    thinking: Single | Descent | Diffusion | None
    setting: str
    psnr: Quality
    psnr_per_image: Quality | None
    mse: float
    ssim: Quality | None
    nfe: float | None
    flops: float | None
    seconds: float | None
    images: int
    by_seed: Mapping[int, float]
    noise_seeds: int
    over: Over = ""
    each: ImageErrors | None = field(default=None, repr=False, compare=False)

    @property
    def seeds(self) -> int:
        """How many training seeds; 1 of what nobody trained."""
        return len(self.by_seed)

    @property
    def label(self) -> str:
        """The setting's name in records."""
        return "" if self.thinking is None else thinking_label(self.thinking)

    @property
    def recursions(self) -> int:
        return getattr(self.thinking, "recursions", 1)

    @property
    def start(self) -> str | None:
        return getattr(self.thinking, "start", None)

    @property
    def sampler(self) -> str | None:
        return getattr(self.thinking, "sampler", None)


@dataclass(frozen=True)
class Example:
    """Where the example images of one model at one place are: its lowest training seed's."""

    adapter: str
    place: Place
    path: Path


@dataclass(frozen=True)
class DenoisingExhibit:
    """Rows in order of set, level, adapter and NFE; at each place what is not learnt comes first.

    `lost` are settings left out since some seed's error is not finite; `paper` are the numbers of
    the paper that the section names.
    """

    section: DenoisingSection
    rows: tuple[DenoisingRow, ...]
    device: tuple[str, ...]
    examples: tuple[Example, ...]
    lost: tuple[str, ...] = ()
    paper: tuple[PaperNumber, ...] = ()

    @property
    def places(self) -> list[Place]:
        return list(dict.fromkeys(row.place for row in self.rows))

    @property
    def models(self) -> list[DenoisingRow]:
        return [row for row in self.rows if row.thinking is not None]

    def at(self, place: Place) -> list[DenoisingRow]:
        """The models' rows at one place."""
        return [row for row in self.models if row.place == place]

    def references(self, place: Place) -> list[DenoisingRow]:
        """The noisy input and the filters at one place."""
        return [row for row in self.rows if row.place == place and row.thinking is None]

    def place_name(self, place: Place) -> str:
        """`noise level 0.1`, with the set's name where there are several."""
        several = len({each.data for each in self.places}) > 1
        return (f"{place.data}, " if several else "") + f"noise level {place.level:g}"


def denoising_exhibit(section: DenoisingSection, frame: SuiteFrame) -> DenoisingExhibit:
    """Gather one denoising section from a suite's records."""
    rows = frame.of(section.experiment, section.evaluation) if len(frame.rows) else frame.rows
    if not len(rows):
        return DenoisingExhibit(section, (), (), ())
    named = rows.assign(adapter=(rows["adapter"] + " " + rows["point"]).str.strip())
    found: list[DenoisingRow] = []
    examples: list[Example] = []
    lost: list[str] = []
    for (data, level), at in named.groupby(["data", "level"]):
        place = Place(str(data), float(str(level)), _trained(at, float(str(level))))
        found += _references(at, place)
        models = [
            (str(adapter), own)
            for (adapter, _), own in at[at["thinking"].notna()].groupby(
                ["adapter", at["thinking"].map(_label)], sort=False
            )
        ]
        bad = [(adapter, own) for adapter, own in models if _lost(own)]
        lost += [f"{name}, {_setting(own['thinking'].iloc[0])} at {level:g}" for name, own in bad]
        settings = [
            _row(own, adapter, str(own["family"].iloc[0]), place)
            for adapter, own in models
            if not _lost(own)
        ]
        found += sorted(settings, key=_order)
        examples += _examples(at, place)
    devices = tuple(sorted(set(rows["device"])))
    return DenoisingExhibit(section, tuple(found), devices, tuple(examples), tuple(lost))


def _order(row: DenoisingRow) -> tuple[object, ...]:
    return row.adapter, row.sampler or "", row.start == "matched", row.nfe or 0.0


def _label(thinking: Single | Descent | Diffusion | None) -> str:
    return "" if thinking is None else thinking_label(thinking)


def _trained(rows: pd.DataFrame, level: float) -> bool | None:
    levels = set(rows["train_level"].dropna())
    return levels == {level} if len(levels) == 1 else None


def _references(rows: pd.DataFrame, place: Place) -> list[DenoisingRow]:
    """The noisy input and the filters: no model's, so one run's copy of them says all."""
    own = rows[(rows["run"] == rows["run"].iloc[0]) & rows["thinking"].isna()]
    found = [(name, own[own["kind"] == kind]) for kind, name in REFERENCES.items()]
    return [_row(of, name, name, place) for name, of in found if len(of) and not _lost(of)]


def _lost(own: pd.DataFrame) -> bool:
    return bool(own[own["metric"] == "psnr"]["value"].isna().any())


def _setting(thinking: Single | Descent | Diffusion) -> str:
    """How people call a setting: `3 steps`, `100 calls × 2, DDPM, matched start`."""
    if isinstance(thinking, Single):
        return "one pass"
    times = f" × {thinking.recursions}" if thinking.recursions > 1 else ""
    if isinstance(thinking, Descent):
        samples = counted(thinking.samples, "sample") if thinking.samples > 1 else ""
        once = descent_variant(thinking.model_copy(update={"recursions": 1}))
        said = [counted(thinking.steps, "step") + times, samples, once]
    else:
        ddpm = "DDPM" if thinking.sampler == "ddpm" else ""
        matched = "matched start" if thinking.start == "matched" else ""
        said = [counted(thinking.steps, "call") + times, ddpm, matched]
    return ", ".join(filter(None, said))


def _width(first: pd.Series) -> str:
    """`σ = 0.8 px` or `3 × 3 px`; empty of the noisy input."""
    if first["kind"] == "noisy":
        return ""
    width = f"{first['filter_width']:g}"
    return f"σ = {width} px" if first["kind"] == "gaussian filter" else f"{width} × {width} px"


def _row(own: pd.DataFrame, adapter: str, family: str, place: Place) -> DenoisingRow:
    first = own.iloc[0]
    thinking = None if pd.isna(first["thinking"]) else first["thinking"]
    runs = own.sort_values("seed").drop_duplicates("run")
    folders = {int(s): Path(str(f)) for s, f in zip(runs["seed"], runs["folder"], strict=True)}
    each = load_image_errors(folders, _label(thinking) or str(first["kind"]))
    if each is not None and thinking is None:
        each = replace(each, seeds=None)
    drawn = None if each is None else each.drawn()
    by_seed = _values(own, "psnr")
    psnr = _quality(by_seed, None if drawn is None else drawn.psnr)
    assert psnr is not None, "no value is missing"
    return DenoisingRow(
        adapter=adapter,
        family=family,
        place=place,
        thinking=thinking,
        setting=_width(first) if thinking is None else _setting(thinking),
        psnr=psnr,
        psnr_per_image=_quality(
            _values(own, "psnr_per_image"), None if drawn is None else drawn.per_image
        ),
        mse=float(np.mean(list(_values(own, "mse").values()))),
        ssim=_quality(_values(own, "ssim"), None if drawn is None else drawn.ssim),
        nfe=_mean(own["nfe"]),
        flops=_mean(own["flops"]),
        seconds=None if own["seconds"].isna().all() else float(own["seconds"].median()),
        images=int(first["n"]),
        by_seed=by_seed,
        noise_seeds=int(own["noise_seed"].nunique()),
        over=_over(len(by_seed), drawn),
        each=each,
    )


def _values(own: pd.DataFrame, metric: str) -> dict[int, float]:
    """Training seed -> mean over noise seeds; empty where one of them is missing."""
    rows = own[own["metric"] == metric]
    if rows["value"].isna().any():
        return {}
    means = rows.groupby("seed")["value"].mean()
    return {int(seed): float(value) for seed, value in zip(means.index, means, strict=True)}


def _quality(by_seed: Mapping[int, float], draws: Floats | None) -> Quality | None:
    if not by_seed:
        return None
    mean: SeedMean = over_seeds(list(by_seed.values()))
    if draws is not None:
        return Quality(mean.value, interval_of(draws))
    bounds = None if mean.low is None or mean.high is None else (mean.low, mean.high)
    return Quality(mean.value, bounds)


def _over(seeds: int, drawn: Drawn | None) -> Over:
    if drawn is not None:
        return "seeds and images" if seeds > 1 else "images"
    return "seeds" if seeds > 1 else ""


def intervals_over(rows: Sequence[DenoisingRow]) -> str:
    """What the intervals of rows resample, in words; empty where none has one."""
    over = {row.over for row in rows} - {""}
    groups = f", in {GROUPS:,} groups" if any(row.images > GROUPS for row in rows) else ""
    said = {
        "seeds and images": f"training seeds ({SEEDS_STRETCHED}), then images{groups}",
        "images": f"images{groups} (one training seed: of other trainings they say nothing)",
        "seeds": "training seeds (Student's t)",
    }
    return "; or ".join(text for name, text in said.items() if name in over)


def _mean(costs: pd.Series) -> float | None:
    return None if costs.isna().all() else float(costs.mean())


def _examples(rows: pd.DataFrame, place: Place) -> Iterable[Example]:
    """The lowest training seed's example images of each model."""
    for adapter, own in rows.groupby("adapter", sort=False):
        path = Path(str(own.sort_values("seed")["folder"].iloc[0])) / EXAMPLES
        if path.exists():
            yield Example(str(adapter), place, path)


def load_examples(path: Path) -> dict[str, NDArray[np.float32]]:
    """Setting -> images (N, C, H, W) in [-1, 1]; `clean`, `noisy` and the filters among them."""
    with stored_arrays(path) as stored:
        return {name: stored[name] for name in stored.files}
