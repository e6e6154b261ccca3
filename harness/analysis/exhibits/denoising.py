"""A denoising section: quality against cost at each noise level, and equal-quality ratios."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.frame import SuiteFrame
from harness.analysis.intervals import SeedMean, over_seeds
from harness.planning.sections import DenoisingSection
from harness.planning.spec import descent_variant
from harness.quantities import counted

EXAMPLES = "examples.npz"
NOISY = "noisy input"


@dataclass(frozen=True)
class DenoisingRow:
    """One model's thinking at one level, over training seeds. Costs are per image.

    `adapter` is the model's name: the adapter's label, with its place on the axes if there are any.

    `psnr` is of the mean MSE over all images (the paper's), `psnr_per_image` the mean of each
    image's (None where an image is perfect). The noisy input itself has no cost. `variant` is how a
    descent differs from the trained one besides steps and samples.
    """

    adapter: str
    family: str
    level: float
    setting: str
    recursions: int | None
    start: str | None
    psnr: SeedMean
    psnr_per_image: SeedMean | None
    mse: SeedMean
    nfe: float | None
    flops: float | None
    seconds: float | None
    images: int
    noise_seeds: int
    samples: int = 1
    variant: str = ""


#: Settings this close to an adapter's best PSNR count as equal to it, so that the cheapest of them
#: is compared and not the one that wins by a rounding.
TOLERANCE_DB = 0.1


@dataclass(frozen=True)
class EqualQuality:
    """A model's cheapest setting within `TOLERANCE_DB` of its best, and the cheapest setting of
    model `against` that is at least as good within that tolerance; ratios are other over row.
    """

    row: DenoisingRow
    against: str
    other: DenoisingRow | None

    def ratio(self, cost: str) -> float | None:
        own = getattr(self.row, cost)
        theirs = None if self.other is None else getattr(self.other, cost)
        return None if own is None or theirs is None else float(theirs) / float(own)


@dataclass(frozen=True)
class DenoisingExhibit:
    """Rows in order of level, adapter and NFE; the noisy input first at each level."""

    section: DenoisingSection
    rows: tuple[DenoisingRow, ...]
    device: tuple[str, ...]
    examples: tuple[tuple[str, float, Path], ...]

    @property
    def levels(self) -> list[float]:
        return sorted({row.level for row in self.rows})

    def equal_quality(self) -> list[EqualQuality]:
        """At each level, each adapter's best row against the cheapest equal of every other."""
        found = []
        for level in self.levels:
            at = [r for r in self.rows if r.level == level and r.nfe is not None]
            adapters = list(dict.fromkeys(r.adapter for r in at))
            for adapter in adapters:
                own = [r for r in at if r.adapter == adapter]
                top = max(r.psnr.value for r in own)
                best = _cheapest(own, top)
                assert best is not None
                found += [
                    EqualQuality(best, other, _cheapest([r for r in at if r.adapter == other], top))
                    for other in adapters
                    if other != adapter
                ]
        return found


def _cheapest(rows: list[DenoisingRow], quality: float) -> DenoisingRow | None:
    equal = [r for r in rows if r.psnr.value >= quality - TOLERANCE_DB]
    return min(equal, key=lambda r: r.flops or 0.0, default=None)


def denoising_exhibit(section: DenoisingSection, frame: SuiteFrame) -> DenoisingExhibit:
    """Gather one denoising section from a suite's records."""
    rows = frame.of(section.experiment, section.evaluation) if len(frame.rows) else frame.rows
    if not len(rows):
        return DenoisingExhibit(section, (), (), ())
    named = rows.assign(
        setting=[_setting(record) for _, record in rows.iterrows()],
        adapter=(rows["adapter"] + " " + rows["point"]).str.strip(),
    )
    found: list[DenoisingRow] = []
    for _, at in named.groupby("level"):
        # The noisy input is no model's: one run's copy of it says all.
        noisy = at[(at["kind"] == "noisy") & (at["run"] == at["run"].iloc[0])]
        found.append(_row(noisy, adapter=NOISY, family=NOISY))
        settings = [
            _row(own, adapter=str(adapter), family=str(own["family"].iloc[0]))
            for (adapter, _), own in at[at["kind"] != "noisy"].groupby(
                ["adapter", "setting"], sort=False
            )
        ]
        found += sorted(settings, key=lambda r: (r.adapter, r.start or "", r.nfe or 0))
    return DenoisingExhibit(
        section, tuple(found), tuple(sorted(set(rows["device"]))), tuple(_examples(named))
    )


def _setting(record: pd.Series) -> str:
    """How people call a setting: `3 steps`, `100 calls x 2, start matched`."""
    kind = record["kind"]
    if kind == "noisy":
        return ""
    if kind == "descent":
        descent = record["thinking"]
        samples = counted(descent.samples, "sample") if descent.samples > 1 else ""
        said = (counted(descent.steps, "step"), samples, descent_variant(descent))
        return ", ".join(filter(None, said))
    calls = counted(record["steps"], "call")
    times = f" × {record['recursions']}" if record["recursions"] > 1 else ""
    return f"{calls}{times}" + (", matched start" if record["start"] == "matched" else "")


def _row(own: pd.DataFrame, *, adapter: str, family: str) -> DenoisingRow:
    first = own.iloc[0]

    def values(metric: str) -> list[float]:
        found = own[own["metric"] == metric].groupby("seed")["value"].mean()
        return [float(v) for v in found.dropna()]

    per_image = values("psnr_per_image")

    return DenoisingRow(
        adapter=adapter,
        family=family,
        level=float(first["level"]),
        setting=str(first["setting"]),
        recursions=None if pd.isna(first["recursions"]) else int(first["recursions"]),
        start=None if pd.isna(first["start"]) else str(first["start"]),
        psnr=over_seeds(values("psnr")),
        psnr_per_image=over_seeds(per_image) if per_image else None,
        mse=over_seeds(values("mse")),
        nfe=_mean(own["nfe"]),
        flops=_mean(own["flops"]),
        seconds=None if own["seconds"].isna().all() else float(own["seconds"].median()),
        images=int(first["n"]),
        noise_seeds=int(own["noise_seed"].nunique()),
        samples=first["thinking"].samples if first["kind"] == "descent" else 1,
        variant=descent_variant(first["thinking"]) if first["kind"] == "descent" else "",
    )


def _mean(costs: pd.Series) -> float | None:
    return None if costs.isna().all() else float(costs.mean())


def _examples(rows: pd.DataFrame) -> list[tuple[str, float, Path]]:
    """(adapter, level, file) of the lowest training seed's example images."""
    found = []
    for (adapter, level), own in rows.groupby(["adapter", "level"], sort=False):
        folder = own.sort_values("seed")["folder"].iloc[0]
        path = Path(str(folder)) / EXAMPLES
        if path.exists():
            found.append((str(adapter), float(str(level)), path))
    return found


def load_examples(path: Path) -> dict[str, NDArray[np.float32]]:
    """Setting -> images (N, C, H, W) in [-1, 1]; `clean` and `noisy` among them."""
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}
