"""The lines of a scaling figure: fitted power laws with their bands, or straight in log-log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from harness.analysis.exhibits.scaling import RunLoss, ScalingExhibit
from harness.analysis.figures.page import DataRow
from harness.analysis.figures.style import signed
from harness.analysis.rates.power_law import PowerLawFit, Rows, log_slopes

_CURVE_POINTS = 61


@dataclass(frozen=True)
class Curve:
    """A family's line through its points: fitted curve with band, or straight in log-log."""

    adapter: str
    label: str
    x: NDArray[np.float64]
    loss: NDArray[np.float64]
    low: NDArray[np.float64] | None
    high: NDArray[np.float64] | None


def fitted_curves(exhibit: ScalingExhibit, seeds: Sequence[RunLoss]) -> list[Curve]:
    """Candidate's and baseline's line; none where the exhibit says there is no rate."""
    rate, section = exhibit.rate, exhibit.section
    if rate is None:
        return []
    draws = (None, None) if rate.draws is None else (rate.draws.candidate, rate.draws.baseline)
    return [
        _fitted(adapter, fit, rows) if fit.identified else _straight(adapter, fit, exhibit, seeds)
        for adapter, fit, rows in zip(
            (section.candidate, section.baseline), rate.fits, draws, strict=True
        )
    ]


def _fitted(adapter: str, fit: PowerLawFit, rows: Rows | None) -> Curve:
    law = fit.law
    assert law is not None
    x = np.geomspace(fit.low, fit.high, _CURVE_POINTS)
    low = high = None
    if rows is not None:
        low, high = np.quantile(rows.predict(x[:, None]), [0.025, 0.975], axis=1)
    floor = f"{law.floor:.2f}" if law.floor >= 1 else f"{law.floor:.3g}"
    label = f"{adapter}: $L = {floor} + A\\,x^{{-{law.exponent:.3f}}}$"
    return Curve(adapter, label, x, np.array([law.predict(v) for v in x]), low, high)


def _straight(
    adapter: str, fit: PowerLawFit, exhibit: ScalingExhibit, seeds: Sequence[RunLoss]
) -> Curve:
    """The least-squares line of mean log loss, as the rate's apparent slopes are; where single
    runs are not given, of the log of the mean."""
    own = [r for r in exhibit.rows if r.adapter == adapter]
    xs = np.array([r.x for r in own])
    logs = [[log(s.loss) for s in seeds if (s.adapter, s.x) == (adapter, r.x)] for r in own]
    mean_log = np.array(
        [np.mean(at) if at else log(r.loss.value) for at, r in zip(logs, own, strict=True)]
    )
    slope = float(log_slopes(xs, mean_log=mean_log[None])[0])
    x = np.array([fit.low, fit.high])
    line = np.exp(mean_log.mean() - slope * (np.log(x) - np.log(xs).mean()))
    return Curve(adapter, f"{adapter}: apparent slope {signed(-slope, 3)}", x, line, None, None)


def line_data(exhibit: ScalingExhibit, curves: Sequence[Curve]) -> list[DataRow]:
    """The reference lines and every curve, point by point."""
    found: list[DataRow] = [
        {"part": "reference", "model": name, "loss": loss}
        for name, (loss, _) in exhibit.references.items()
    ]
    for curve in curves:
        for index, x in enumerate(curve.x):
            found.append(
                {
                    "part": "line",
                    "model": curve.adapter,
                    "label": curve.label,
                    "x": float(x),
                    "loss": float(curve.loss[index]),
                    "low": None if curve.low is None else float(curve.low[index]),
                    "high": None if curve.high is None else float(curve.high[index]),
                }
            )
    return found
