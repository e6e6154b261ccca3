"""A thinking_ablation section: every model's gains, and their difference to the whole one's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.analysis.exhibits.document_sums import DocumentSums, load_document_sums
from harness.analysis.exhibits.magnitudes import shift_rows
from harness.analysis.exhibits.thinking import (
    DRAWN_AS,
    ThinkingRow,
    loss_gains,
    lost_settings,
    perplexity_gain,
    perplexity_gains,
    setting_rows,
)
from harness.analysis.frame import SuiteFrame
from harness.analysis.resampling import MIN_DOCUMENTS, Floats, joint_losses, percentiles
from harness.errors import HarnessError
from harness.planning.sections import ThinkingAblationSection
from harness.planning.spec import thinking_label

Way = Literal["longer", "verify"]

WAYS: tuple[Way, ...] = ("longer", "verify")


@dataclass(frozen=True)
class Difference:
    """A model's gain minus the full one's, of the same documents and of the seeds both have.

    Intervals are None for fewer than `MIN_DOCUMENTS` documents; perplexity's also where a gain is
    beyond what a float holds.
    """

    loss: float
    loss_interval: tuple[float, float] | None
    perplexity: float | None
    perplexity_interval: tuple[float, float] | None
    seeds: int

    @property
    def excludes_zero(self) -> bool:
        """By perplexity, the paper's measure."""
        interval = self.perplexity_interval
        return interval is not None and not interval[0] <= 0 <= interval[1]


@dataclass(frozen=True)
class AblationRow:
    """One model on one set: its trained point, and by way its setting and difference to full.

    A difference is None for the full model itself, and where no seed is shared or a loss of the
    full one is not finite.
    """

    adapter: str
    label: str
    data: str
    full: bool
    trained: ThinkingRow
    ways: dict[Way, ThinkingRow]
    differences: dict[Way, Difference | None]


@dataclass(frozen=True)
class ThinkingAblationExhibit:
    """Rows by set in order of growing bigram loss, by point, the full model first.

    `lost` as in `ThinkingExhibit`.
    """

    section: ThinkingAblationSection
    rows: tuple[AblationRow, ...]
    device: tuple[str, ...]
    lost: tuple[str, ...] = ()


def thinking_ablation_exhibit(
    section: ThinkingAblationSection, frame: SuiteFrame
) -> ThinkingAblationExhibit:
    """Gather one thinking_ablation section; models that do not think that way are left out."""
    rows = frame.of(section.experiment, section.evaluation) if len(frame.rows) else frame.rows
    losses = rows[rows["metric"] == "loss"] if len(rows) else rows
    found: list[AblationRow] = []
    for data in [s.data for s in shift_rows(rows)]:
        for _, point in losses[losses["data"] == data].groupby("point", sort=False):
            of_full = point[point["adapter"] == section.full]
            names = [section.full, *(a for a in dict.fromkeys(point["adapter"]))]
            for adapter in dict.fromkeys(names):
                own = point[point["adapter"] == adapter]
                row = _row(section, own, of_full) if len(own) else None
                found += [] if row is None else [row]
    devices = sorted(set(losses["device"])) if len(losses) else []
    return ThinkingAblationExhibit(section, tuple(found), tuple(devices), lost_settings(losses))


def _row(
    section: ThinkingAblationSection, own: pd.DataFrame, of_full: pd.DataFrame
) -> AblationRow | None:
    labels: dict[Way, str] = {way: thinking_label(getattr(section, way).descent) for way in WAYS}
    settings = {row.setting: row for row in setting_rows(own)}
    if not all(label in settings for label in labels.values()):
        return None
    first = own.iloc[0]
    full = first["adapter"] == section.full
    return AblationRow(
        adapter=str(first["adapter"]),
        label=str(first["point"]),
        data=str(first["data"]),
        full=full,
        trained=next(row for row in settings.values() if row.trained),
        ways={way: settings[label] for way, label in labels.items()},
        differences={
            way: None if full else _difference(own, of_full, label) for way, label in labels.items()
        },
    )


def _difference(own: pd.DataFrame, of_full: pd.DataFrame, setting: str) -> Difference | None:
    shared = sorted(set(own["seed"]) & set(of_full["seed"]))
    if not shared:
        return None
    mine, full = (_of_seeds(rows, shared) for rows in (own, of_full))
    if not np.array_equal(mine.n, full.n):
        raise HarnessError(
            "models of one set were evaluated on different documents",
            where=", ".join(dict.fromkeys([*own["folder"], *of_full["folder"]])),
        )
    chosen = [_pair(each, setting) for each in (mine, full)]
    # (seeds, 4, documents): both models' trained setting and this one, drawn together.
    sums = np.concatenate(chosen, axis=1)
    losses = sums.sum(2).mean(0) / mine.n.sum()
    if not np.isfinite(losses).all():
        return None
    gain, of_whole = (
        float((trained - loss) / trained) for trained, loss in (losses[:2], losses[2:])
    )
    draws = None
    if len(mine.n) >= MIN_DOCUMENTS:
        draws = joint_losses(sums, mine.n, models=DRAWN_AS)
    return Difference(
        loss=gain - of_whole,
        loss_interval=None if draws is None else _apart(draws, loss_gains),
        perplexity=_perplexity_apart(losses),
        perplexity_interval=None if draws is None else _apart(draws, perplexity_gains),
        seeds=len(shared),
    )


def _of_seeds(rows: pd.DataFrame, seeds: list[int]) -> DocumentSums:
    folders = rows.groupby("seed")["folder"].first()
    return load_document_sums([str(folders[seed]) for seed in seeds])


def _pair(documents: DocumentSums, setting: str) -> NDArray[np.float64]:
    index = documents.settings.index(setting)
    return documents.sums[:, [0, index]]


def _apart(
    draws: Floats, gains: Callable[[Floats, int], Floats | None]
) -> tuple[float, float] | None:
    """Of losses (B, 4), both models' trained and other one: the interval of gain minus gain."""
    mine, full = gains(draws[:, :2], 1), gains(draws[:, 2:], 1)
    return None if mine is None or full is None else percentiles(mine - full)


def _perplexity_apart(losses: Floats) -> float | None:
    mine, full = (perplexity_gain(float(b - a)) for a, b in (losses[:2], losses[2:]))
    return None if mine is None or full is None else mine - full
