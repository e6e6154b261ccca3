"""Figure of a scaling section: loss along its axis, and along the other costs of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from harness.analysis.exhibits.scaling import (
    FINAL_CHECKPOINT,
    NATS,
    SMOOTH_L1,
    RunLoss,
    ScalingExhibit,
    ScalingRow,
)
from harness.analysis.figures.axes import Span, log_cost, loss_axis, span
from harness.analysis.figures.curves import Curve, fitted_curves, line_data
from harness.analysis.figures.page import (
    DataRow,
    Drawing,
    Frame,
    label_right,
    panels,
    surround,
)
from harness.analysis.figures.paper_marks import Guide, rate_guide
from harness.analysis.figures.style import (
    REFERENCE,
    REFERENCE_LINE,
    Mark,
    marks,
    signed,
    theme,
    tint,
)
from harness.quantities import si

#: Section axis -> its label and kind of ticks.
AXES = {
    "data": ("training tokens", "si"),
    "parameters": ("non-embedding parameters", "si"),
    "flops": ("training FLOPs (formula)", "si"),
    "seconds": ("training time", "seconds"),
    "depth": ("depth (blocks)", "plain"),
    "width": ("width (features)", "plain"),
    "batch": ("batch size (rows per step)", "plain"),
}
_COSTS = {
    "training_flops": ("training FLOPs (measured)", "si"),
    "training_seconds": ("training time", "seconds"),
}
_HEIGHT = 2.25


def scaling_figure(exhibit: ScalingExhibit, *, missing: str = "") -> Drawing | None:
    """Loss against the axis, with curves, and against the costs of training; None without points.

    Each run is a dot where there are several seeds. The axis' own cost is not drawn twice: tokens,
    or frames of video, take its place where they differ.
    """
    if not exhibit.rows:
        return None
    section = exhibit.section
    single = all(len(row.seeds) < 2 for row in exhibit.rows)
    seeds = () if single else exhibit.runs
    by = marks((row.adapter, row.family) for row in exhibit.rows)
    curves = fitted_curves(exhibit, seeds)
    guide = rate_guide(exhibit)
    limits = _loss_limits(exhibit, seeds)
    references = {
        name: loss
        for name, (loss, _) in exhibit.references.items()
        if limits.low <= loss <= limits.high
    }
    # Seconds of different devices are no axis to compare on.
    timed = ("training_seconds",) if len(exhibit.device) < 2 else ()
    costs = [c for c in ("training_flops", *timed) if c != f"training_{section.x}"]
    differ = all(row.seen for row in exhibit.rows) and _seen_alike(exhibit) is None
    if section.x in ("flops", "seconds") and differ:
        costs = ["seen", *costs]
    with theme():
        figure, grid = panels(1, 1 + len(costs), share_y="all")
        for axes, key in zip(grid[0], ["x", *costs], strict=True):
            label, kind = _axis(exhibit, key)
            _panel(axes, exhibit, seeds, by, key)
            for loss in references.values():
                axes.axhline(
                    loss, color=REFERENCE, linestyle=REFERENCE_LINE, linewidth=0.8, zorder=1
                )
            xs = [_x(row, key) for row in exhibit.rows] + [_x(s, key) for s in seeds]
            log_cost(axes, xs, label, kind=kind)
            loss_axis(axes, limits, "")
        _draw_curves(grid[0][0], curves, by)
        if guide is not None:
            guide.draw(grid[0][0])
        split = "validation loss" if exhibit.data.endswith("(validation)") else "loss"
        grid[0][0].set_ylabel(f"{split} ({exhibit.unit.full})")
        _titles(grid[0], exhibit, costs)
        lines = [(loss, _named(exhibit, name, loss)) for name, loss in references.items()]
        label_right(grid[0][-1], lines, color=REFERENCE)
        frame = Frame(
            f"{section.title}: {section.candidate} and {section.baseline} on {exhibit.data}",
            _verdict(exhibit),
            [*_handles(exhibit, curves, by, seeds, references), *_paper_handles(guide)],
            _notes(exhibit, curves, limits, missing),
        )
        surround(figure, frame, height=_HEIGHT)
    data = (*_point_data(exhibit), *_seed_data(exhibit, seeds), *line_data(exhibit, curves))
    data += () if guide is None else tuple(guide.data)
    return Drawing(f"scaling-{section.x}", frame.title, figure, data)


def _axis(exhibit: ScalingExhibit, key: str) -> tuple[str, str]:
    """Label and kind of ticks of a panel: the section's own `x`, or a cost of training."""
    x = exhibit.section.x
    if key == "seen" or (key, x) == ("x", "data"):
        return f"training {exhibit.unit.seen}", "si"
    return AXES[x] if key == "x" else _COSTS[key]


def _named(exhibit: ScalingExhibit, name: str, loss: float) -> str:
    return f"{name} {loss:.2f}" if exhibit.unit is NATS else f"{name}\n{loss:.3g}"


def _x(row: ScalingRow | RunLoss, key: str) -> float:
    return float(getattr(row, key))


def _panel(
    axes: Axes, exhibit: ScalingExhibit, seeds: Sequence[RunLoss], by: dict[str, Mark], key: str
) -> None:
    for adapter, mark in by.items():
        own = sorted((r for r in exhibit.rows if r.adapter == adapter), key=lambda r: _x(r, key))
        dots = [s for s in seeds if s.adapter == adapter]
        side = 4.5 if adapter == exhibit.section.candidate else -4.5
        aside = offset_copy(axes.transData, axes.get_figure(root=True), x=side, units="points")
        axes.plot(
            [_x(s, key) for s in dots],
            [s.loss for s in dots],
            linestyle="",
            marker="o",
            markersize=2.2,
            color=tint(mark.color, 0.25),
            markeredgewidth=0,
            zorder=4,
            transform=aside,
        )
        # The axis' own panel has the fitted line; here a thin one only leads the eye.
        axes.errorbar(
            [_x(r, key) for r in own],
            [r.loss.value for r in own],
            yerr=[r.loss.half_width or 0.0 for r in own],
            color=mark.color,
            marker=mark.marker,
            markerfacecolor=mark.face,
            linestyle="" if key == "x" else mark.line,
            linewidth=0.8,
            elinewidth=0.8,
            capsize=2,
            capthick=0.8,
            zorder=3,
        )


def _loss_limits(exhibit: ScalingExhibit, seeds: Sequence[RunLoss]) -> Span:
    values = [r.loss.value for r in exhibit.rows] + [s.loss for s in seeds]
    bounds = [b for r in exhibit.rows for b in (r.loss.low, r.loss.high) if b is not None]
    own = span(values, bounds)
    if own.low <= 0:
        own = Span(min(values) / 1.5, own.high, clipped=True)
    # A reference farther off than this would flatten what the figure is about.
    reach = max((own.high / own.low) ** 1.5, 1.2)
    near = [
        loss
        for loss, _ in exhibit.references.values()
        if own.low / reach <= loss <= own.high * reach
    ]
    return Span(min([own.low, *near]), max([own.high, *near]), own.clipped)


def _draw_curves(axes: Axes, curves: Sequence[Curve], by: dict[str, Mark]) -> None:
    for curve in curves:
        mark = by[curve.adapter]
        if curve.low is not None and curve.high is not None:
            axes.fill_between(
                curve.x, curve.low, curve.high, color=mark.color, alpha=0.18, linewidth=0
            )
        axes.plot(curve.x, curve.loss, color=mark.color, linestyle=mark.line, linewidth=1)


def _seen_alike(exhibit: ScalingExhibit) -> int | None:
    """What every model saw in training, where all are known to have seen as much."""
    seen = {row.seen for row in exhibit.rows}
    return seen.pop() if len(seen) == 1 else None


def _titles(grid: Sequence[Axes], exhibit: ScalingExhibit, costs: Sequence[str]) -> None:
    """Say what is equal along each panel, since that is what it compares at."""
    unit = exhibit.unit
    only = _seen_alike(exhibit)
    noun = {"batch": "batch size"}.get(exhibit.section.x, exhibit.section.x)
    equal = f"at equal {noun}" if only is None else f"at equal {unit.seen} ({si(only).strip()})"
    names = {
        "seen": f"at equal {unit.seen}",
        "training_flops": "at equal FLOPs",
        "training_seconds": "at equal time",
    }
    own = {"data": f"at equal {unit.seen}", "flops": "at equal FLOPs", "seconds": "at equal time"}
    grid[0].set_title(own.get(exhibit.section.x, equal))
    for axes, cost in zip(grid[1:], costs, strict=True):
        axes.set_title(names[cost])


def _verdict(exhibit: ScalingExhibit) -> str:
    rate, section = exhibit.rate, exhibit.section
    if rate is None:
        return f"No rate: {exhibit.no_rate}."
    text = f"Does {section.candidate} scale faster than {section.baseline}? {rate.verdict.text}."
    if rate.rho.value is not None:
        text += f" Scaling rate {signed(100 * rate.rho.value, 1)} % ({rate.rho.label})."
    if rate.caveat:
        text += f" {rate.caveat[0].upper()}{rate.caveat[1:]}."
    if rate.apparent.value is not None:
        interval = rate.apparent.interval
        text += f" Apparent slope ratio {signed(100 * rate.apparent.value, 1)} %"
        if interval is not None:
            low, high = signed(100 * interval.low), signed(100 * interval.high)
            text += f", 95 % [{low}, {high}] %"
        text += "."
    return text


def _handles(
    exhibit: ScalingExhibit,
    curves: Sequence[Curve],
    by: dict[str, Mark],
    seeds: Sequence[RunLoss],
    drawn: Mapping[str, float],
) -> list[Artist]:
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            color=m.color,
            marker=m.marker,
            markerfacecolor=m.face,
            linestyle="",
            label=f"{adapter}, mean of seeds",
        )
        for adapter, m in by.items()
    ]
    for curve in sorted(curves, key=lambda c: list(by).index(c.adapter)):
        mark = by[curve.adapter]
        handles.append(
            Line2D([], [], color=mark.color, linestyle=mark.line, linewidth=1, label=curve.label)
        )
    if seeds:
        handles.append(
            Line2D(
                [],
                [],
                color="#8a8a8a",
                marker="o",
                markersize=2.5,
                linestyle="",
                markeredgewidth=0,
                label="single runs, set aside",
            )
        )
    if drawn:
        handles.append(
            Line2D(
                [],
                [],
                color=REFERENCE,
                linestyle=REFERENCE_LINE,
                linewidth=0.8,
                label="n-gram models, same targets"
                if exhibit.unit is NATS
                else "copy of the last frame",
            )
        )
    return handles


def _paper_handles(guide: Guide | None) -> list[Artist]:
    return [] if guide is None else [guide.handle]


def _notes(
    exhibit: ScalingExhibit, curves: Sequence[Curve], limits: Span, missing: str
) -> list[str]:
    rate, section = exhibit.rate, exhibit.section
    seeds = sorted({len(row.seeds) for row in exhibit.rows})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    bars = (
        "One training seed, so no error bars"
        if seeds == [1]
        else f"Error bars: 95 % t interval over {count} training seeds"
    )
    devices = ", ".join(exhibit.device)
    trained = "Time measured" if len(exhibit.device) < 2 else "Not drawn at equal time, trained"
    text = f"{bars}; n = {exhibit.rows[0].n:,} {exhibit.unit.target}s. {trained} on {devices}."
    seen = _seen_alike(exhibit)
    if seen is not None and section.x in ("flops", "seconds"):
        text += f" All saw {si(seen).strip()} training {exhibit.unit.seen}."
    if exhibit.unit is SMOOTH_L1:
        text += f" {FINAL_CHECKPOINT}"
    far = [
        _named(exhibit, name, loss).replace("\n", " ")
        for name, (loss, _) in exhibit.references.items()
        if not limits.low <= loss <= limits.high
    ]
    if far:
        text += f" Off the axis: {', '.join(far)}."
    if exhibit.lost:
        text += f" Left out, for a loss that is 0 or not finite: {', '.join(exhibit.lost)}."
    if limits.clipped:
        text += " Error bars that reach the frame end beyond it."
    if rate is not None:
        reasons = {
            adapter: fit.reason
            for adapter, fit in zip((section.candidate, section.baseline), rate.fits, strict=True)
            if fit.reason
        }
        if reasons:
            text += (
                " Straight lines where L = E + A·x^(−a) cannot be fitted: "
                + "; ".join(f"{adapter} {reason}" for adapter, reason in reasons.items())
                + "."
            )
        if any(curve.low is not None for curve in curves):
            text += " Bands: 95 % of bootstrap fits."
    return [text, *([missing] if missing else [])]


def _point_data(exhibit: ScalingExhibit) -> list[DataRow]:
    return [
        {
            "part": "mean",
            "model": r.adapter,
            "label": r.label,
            "seed": "",
            "x": r.x,
            exhibit.unit.seen: r.seen,
            "training_flops": r.training_flops,
            "training_seconds": r.training_seconds,
            "loss": r.loss.value,
            "low": r.loss.low,
            "high": r.loss.high,
            "seeds": len(r.seeds),
            "n": r.n,
        }
        for r in exhibit.rows
    ]


def _seed_data(exhibit: ScalingExhibit, seeds: Sequence[RunLoss]) -> list[DataRow]:
    return [
        {
            "part": "run",
            "model": s.adapter,
            "seed": s.seed,
            "x": s.x,
            exhibit.unit.seen: s.seen,
            "training_flops": s.training_flops,
            "training_seconds": s.training_seconds,
            "loss": s.loss,
        }
        for s in seeds
    ]
