"""Figure of a tuning section: loss against learning rate, one panel per point of the other axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.analysis.exhibits.tuning import TuningExhibit, TuningGrid
from harness.analysis.figures.axes import Span, log_cost, loss_axis, span
from harness.analysis.figures.page import DataRow, Drawing, Frame, panels, surround
from harness.analysis.figures.style import Mark, marks, theme
from harness.analysis.tables.tuning import budget_notes, chosen_text, rate_text

_COLUMNS = 4
_ROWS = 3
_HEIGHT = 1.55
_CHOSEN = 8.5
#: Columns -> how many rates have room for a tick each.
_TICKS = {1: 20, 2: 10, 3: 6, 4: 4}

Labels = tuple[tuple[str, str], ...]


def tuning_figures(exhibit: TuningExhibit, *, missing: str = "") -> list[Drawing]:
    """Every model's losses, twelve points to a figure; empty without a result."""
    if not exhibit.found:
        return []
    points = list(dict.fromkeys(grid.place.labels for grid in exhibit.grids))
    size = _COLUMNS * _ROWS
    pages = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        _page(exhibit, page, f" ({number} of {len(pages)})" if len(pages) > 1 else "", missing)
        for number, page in enumerate(pages, start=1)
    ]


def _page(exhibit: TuningExhibit, points: Sequence[Labels], part: str, missing: str) -> Drawing:
    by = marks((grid.place.adapter, grid.family) for grid in exhibit.grids)
    rows = ceil(len(points) / _COLUMNS)
    columns = ceil(len(points) / rows)
    rates = [trial.lr for grid in exhibit.grids for trial in grid.trials]
    with theme():
        figure, grid = panels(rows, columns, share_y="row")
        for row, line in enumerate(grid):
            own = points[row * columns : (row + 1) * columns]
            limits = _limits([g for g in exhibit.grids if g.place.labels in own])
            for axes, labels in zip(line, own, strict=False):
                _panel(axes, [g for g in exhibit.grids if g.place.labels == labels], by)
                _rate_axis(axes, rates, columns)
                if limits is not None:
                    loss_axis(axes, limits, "")
                axes.set_title(", ".join(f"{axis} {label}" for axis, label in labels))
                if row + 1 < rows and points[(row + 1) * columns + own.index(labels) :]:
                    axes.set_xlabel("")
            for axes in line[len(own) :]:
                axes.set_visible(False)
            line[0].set_ylabel("loss (nats/token)")
        title = f"{exhibit.section.title}: loss against learning rate on {exhibit.data}{part}"
        frame = Frame(title, _chosen(exhibit, points), _handles(exhibit, by), _notes(exhibit))
        frame = Frame(
            title, frame.subtitle, frame.handles, [*frame.notes, *filter(None, [missing])]
        )
        surround(figure, frame, height=_HEIGHT * rows + 0.25)
    number = part.strip(" ()").partition(" ")[0]
    name = f"tuning-{number}" if number else "tuning"
    return Drawing(name, title, figure, tuple(_data(exhibit, points)))


def _rate_axis(axes: Axes, rates: Sequence[float], columns: int) -> None:
    """A tick at every rate where there is room."""
    log_cost(axes, rates, "learning rate", kind="plain")
    tried = sorted(set(rates))
    if len(tried) <= _TICKS[min(columns, _COLUMNS)]:
        axes.xaxis.set_major_locator(FixedLocator(tried))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda lr, _: rate_text(lr)))
        axes.xaxis.set_minor_locator(NullLocator())


def _limits(grids: Sequence[TuningGrid]) -> Span | None:
    means = [trial.loss for grid in grids for trial in grid.trials if trial.loss is not None]
    singles = [loss for grid in grids for trial in grid.trials for loss in trial.losses.values()]
    values = [mean.value for mean in means] or singles
    bounds = [b for mean in means for b in (mean.low, mean.high) if b is not None]
    return span(values, [*bounds, *singles]) if values else None


def _panel(axes: Axes, grids: Sequence[TuningGrid], by: dict[str, Mark]) -> None:
    for index, grid in enumerate(grids):
        mark = by[grid.place.adapter]
        done = [(trial.lr, trial.loss) for trial in grid.trials if trial.loss is not None]
        for trial in grid.trials:
            if len(trial.losses) > 1 or trial.loss is None:
                axes.plot(
                    [trial.lr] * len(trial.losses),
                    list(trial.losses.values()),
                    linestyle="",
                    marker=".",
                    markersize=2.5,
                    color=mark.color,
                    zorder=2,
                )
            if trial.diverged:
                axes.plot(
                    [trial.lr],
                    [0.97 - 0.09 * index],
                    transform=axes.get_xaxis_transform(),
                    linestyle="",
                    marker="x",
                    markersize=5,
                    color=mark.color,
                    zorder=4,
                )
        axes.errorbar(
            [lr for lr, _ in done],
            [loss.value for _, loss in done],
            yerr=[loss.half_width or 0.0 for _, loss in done],
            color=mark.color,
            marker=mark.marker,
            markerfacecolor=mark.face,
            linestyle=mark.line,
            linewidth=1.1,
            elinewidth=0.8,
            zorder=3,
        )
        if grid.chosen is not None and grid.chosen.loss is not None:
            axes.plot(
                [grid.chosen.lr],
                [grid.chosen.loss.value],
                linestyle="",
                marker="o",
                markersize=_CHOSEN,
                markerfacecolor="none",
                markeredgecolor=mark.color,
                zorder=5,
            )


def _handles(exhibit: TuningExhibit, by: dict[str, Mark]) -> list[Artist]:
    handles: list[Artist] = [
        Line2D(
            [],
            [],
            color=mark.color,
            marker=mark.marker,
            markerfacecolor=mark.face,
            linestyle=mark.line,
            label=adapter,
        )
        for adapter, mark in by.items()
    ]
    ring = {"linestyle": "", "color": "#555555"}
    handles.append(
        Line2D([], [], marker="o", markersize=7, markerfacecolor="none", label="chosen", **ring)  # type: ignore[arg-type]
    )
    if any(trial.diverged for grid in exhibit.grids for trial in grid.trials):
        handles.append(Line2D([], [], marker="x", label="a seed diverged", **ring))  # type: ignore[arg-type]
    return handles


def _chosen(exhibit: TuningExhibit, points: Sequence[Labels]) -> str:
    """`Chosen: transformer++ 8e-3, 4e-3; ebt 8e-3, 8e-3. At an end of the grid: 1 of 4.`"""
    own = [grid for grid in exhibit.grids if grid.place.labels in points]
    by_adapter: dict[str, list[str]] = {}
    for grid in own:
        by_adapter.setdefault(grid.place.adapter, []).append(chosen_text(grid))
    said = "; ".join(f"{name} {', '.join(rates)}" for name, rates in by_adapter.items())
    ends = sum(grid.edge is not None for grid in own)
    return f"Chosen: {said}." + (f" At an end of the grid: {ends} of {len(own)}." if ends else "")


def _notes(exhibit: TuningExhibit) -> list[str]:
    seeds = {len(trial.losses) for grid in exhibit.grids for trial in grid.trials if trial.losses}
    of = "one training seed" if seeds == {1} else "means over training seeds with 95 % t intervals"
    targets = {t.n for grid in exhibit.grids for t in grid.trials if t.n is not None}
    n = f", {max(targets):,} targets" if len(targets) == 1 else ""
    text = f"Losses: {of}{n}. Ring: the lowest, which is chosen."
    edges = [grid for grid in exhibit.grids if grid.edge]
    if edges:
        text += " At an end of the grid a better rate may lie beyond."
    return [" ".join([text, *budget_notes(exhibit)])]


def _data(exhibit: TuningExhibit, points: Sequence[Labels]) -> list[DataRow]:
    return [
        {
            "model": grid.place.adapter,
            **dict(grid.place.labels),
            "lr": trial.lr,
            "loss": None if trial.loss is None else trial.loss.value,
            "low": None if trial.loss is None else trial.loss.low,
            "high": None if trial.loss is None else trial.loss.high,
            "seeds": len(trial.losses),
            "diverged": len(trial.diverged),
            "missing": len(trial.missing),
            "chosen": trial is grid.chosen,
        }
        for grid in exhibit.grids
        if grid.place.labels in points
        for trial in grid.trials
    ]
