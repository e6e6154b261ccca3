"""Figure of a thinking_ablation section: every model's perplexity gains, one panel per data set."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.exhibits.thinking_ablation import (
    WAYS,
    AblationRow,
    ThinkingAblationExhibit,
    Way,
)
from harness.analysis.figures.axes import padded
from harness.analysis.figures.cuts import Floor, shortly
from harness.analysis.figures.followed import limits_of, percent_gain, percent_interval
from harness.analysis.figures.page import DataRow, Drawing, Frame, open_dot, panels, surround
from harness.analysis.figures.style import REFERENCE, family_color, theme, tint
from harness.analysis.figures.ticks import gain_tick
from harness.analysis.resampling import resampled
from harness.analysis.tables.thinking_ablation import NAMES, thinking_ablation_tables

_PER_PAGE = 3
_ROW_HEIGHT = 0.3
_LOOKS: dict[Way, tuple[str, float, float]] = {
    "longer": ("o", 0.5, 0.16),
    "verify": ("D", 0.0, -0.16),
}


def thinking_ablation_figures(
    exhibit: ThinkingAblationExhibit, *, missing: str = ""
) -> list[Drawing]:
    """Three sets to a figure, models from top to bottom; empty without rows."""
    sets = list(dict.fromkeys(r.data for r in exhibit.rows))
    pages = [sets[i : i + _PER_PAGE] for i in range(0, len(sets), _PER_PAGE)]
    found = []
    for number, page in enumerate(pages, start=1):
        several = len(pages) > 1
        suffix = f" ({number} of {len(pages)})" if several else ""
        name = f"thinking_ablation-{number}" if several else "thinking_ablation"
        found.append(_page(exhibit, page, name, f"{exhibit.section.title}{suffix}", missing))
    return found


def _page(
    exhibit: ThinkingAblationExhibit, sets: Sequence[str], name: str, title: str, missing: str
) -> Drawing:
    models = list(dict.fromkeys(_model(r) for r in exhibit.rows))
    title = f"{title}: gain over each model's own trained thinking"
    settings = [r.ways[way] for r in exhibit.rows for way in WAYS]
    limits, floor = limits_of(settings, "perplexity")
    with theme():
        figure, grid = panels(1, len(sets), share_y="all")
        for axes, data in zip(grid[0], sets, strict=True):
            _panel(axes, [r for r in exhibit.rows if r.data == data], models, floor)
            axes.set_xlim(*padded(limits))
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(gain_tick))
            axes.set_xlabel("perplexity gain (%)")
            axes.set_title(data)
        axes = grid[0][0]
        axes.set_yticks(range(len(models)), models)
        axes.set_ylim(len(models) - 0.5, -0.5)
        color = family_color(exhibit.rows[0].trained.family)
        frame = Frame(
            title, _finding(exhibit), _handles(color), _notes(exhibit, limits.clipped, missing)
        )
        surround(figure, frame, height=_ROW_HEIGHT * len(models) + 0.65)
    rows: list[DataRow] = list(thinking_ablation_tables(exhibit, name)[0].data)
    return Drawing(name, title, figure, tuple(r for r in rows if r["data"] in sets))


def _model(row: AblationRow) -> str:
    return f"{row.adapter} {row.label}".strip()


def _panel(
    axes: Axes, rows: Sequence[AblationRow], models: Sequence[str], floor: Floor | None
) -> None:
    axes.axvline(0, color=REFERENCE, linewidth=0.8, zorder=1)
    axes.grid(visible=False, axis="y")
    for row in rows:
        for way in WAYS:
            marker, lightness, up = _LOOKS[way]
            setting = row.ways[way]
            gain = percent_gain(setting, "perplexity")
            if gain is None:
                continue
            place = models.index(_model(row)) - up
            color = tint(family_color(setting.family), lightness)
            if floor is not None and gain < floor.value:
                axes.plot(floor.foot, place, marker="<", color=color, markersize=4, clip_on=False)
                axes.annotate(
                    shortly(gain),
                    (floor.foot, place),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                    size=6.5,
                )
                continue
            low, high = percent_interval(setting, "perplexity") or (gain, gain)
            difference = row.differences[way]
            apart = difference is None or difference.excludes_zero
            axes.errorbar(
                [gain],
                [place],
                xerr=[[max(0.0, gain - low)], [max(0.0, high - gain)]],
                color=color,
                marker=marker,
                markerfacecolor=color if apart else "white",
                markersize=4,
                elinewidth=0.9,
                capsize=2,
                capthick=0.9,
                zorder=3,
            )


def _handles(color: str) -> list[Artist]:
    found: list[Artist] = [
        Line2D(
            [],
            [],
            color=tint(color, _LOOKS[way][1]),
            marker=_LOOKS[way][0],
            markersize=4,
            linestyle="",
            label=NAMES[way],
        )
        for way in WAYS
    ]
    found.append(open_dot("open: as full, within the interval of the difference", size=4))
    return found


def _finding(exhibit: ThinkingAblationExhibit) -> str:
    found = [d for row in exhibit.rows for d in row.differences.values() if d is not None]
    judged = [d for d in found if d.perplexity_interval is not None]
    if not judged:
        return "No difference to the full model has an interval."
    apart = sum(d.excludes_zero for d in judged)
    return (
        f"{apart} of {len(judged)} differences to {exhibit.section.full} exclude 0 (paired by "
        "document and seed, not adjusted for their number)."
    )


def _notes(exhibit: ThinkingAblationExhibit, clipped: bool, missing: str) -> list[str]:
    longer, verify = exhibit.section.longer, exhibit.section.verify
    who = resampled(row.trained.seeds for row in exhibit.rows)
    text = (
        f"longer: {longer.steps} × {longer.samples} steps × samples; longer + verify: "
        f"{verify.steps} × {verify.samples}. Gain of perplexity, (PPL(trained) − PPL(setting)) / "
        f"PPL(trained), the paper's number; error bars: 95 % bootstrap over {who}."
    )
    if clipped:
        text += " Gains off the axis: ◂ with their value; error bars may end beyond the frame."
    return [text, *([missing] if missing else [])]
