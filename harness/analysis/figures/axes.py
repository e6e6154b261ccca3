"""Axes that carry costs and losses: scales, ticks, units and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from statistics import median

from matplotlib.axes import Axes
from matplotlib.axis import Axis as MatplotlibAxis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from harness.quantities import si

_TIMES = ((3600.0, "h"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_CLIP = 3.0
#: From here on powers of ten are better known than prefixes.
_HUGE = 1e15
#: Half a pixel beyond its end, and more, an axis still has a tick.
_BESIDE = 1.05


@dataclass(frozen=True)
class Span:
    """Limits of an axis; `clipped` where something reaches beyond them."""

    low: float
    high: float
    clipped: bool = False


def span(values: Sequence[float], bounds: Sequence[float]) -> Span:
    """Limits that hold every value, and the bounds of intervals unless those dwarf the values."""
    low, high = min(values), max(values)
    size = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-12)
    full_low, full_high = min([low, *bounds]), max([high, *bounds])
    if full_high - full_low > 2 * _CLIP * size:
        near_low, near_high = max(full_low, low - size), min(full_high, high + size)
        return Span(near_low, near_high, clipped=True)
    return Span(full_low, full_high)


def gain_floor(gains: Sequence[float]) -> float | None:
    """Where to cut a gain axis whose worst losses would flatten the rest; None where none does."""
    scale = max(max(gains), median(abs(g) for g in gains), 1.0)
    return -2 * scale if min(gains) < -2 * _CLIP * scale else None


def padded(limits: Span, *, log: bool = False, share: float = 0.06) -> tuple[float, float]:
    """The limits with room for markers."""
    low, high = limits.low, limits.high
    if log:
        room = 10 ** (share * max(log10(high / low), 0.05))
        return low / room, high * room
    room = share * max(high - low, 1e-9)
    return low - room, high + room


def log_cost(axes: Axes, values: Sequence[float], label: str, *, kind: str) -> None:
    """A log x axis over these costs. `kind` "seconds" picks a unit, "plain" has none, else SI."""
    axes.set_xscale("log")
    if not values:
        axes.set_xlabel(f"{label}: not measured")
        return
    low, high = padded(Span(min(values), max(values)), log=True, share=0.08)
    axes.set_xlim(low, high)
    unit, name = 1.0, ""
    if kind == "seconds":
        middle = (low * high) ** 0.5
        unit, name = next((t for t in _TIMES if middle >= t[0]), _TIMES[-1])
        label = f"{label} ({name})"
    axes.set_xlabel(label)
    _ticks(axes.xaxis, log10(high / low), unit, high, plain=kind in ("plain", "seconds"))


def _ticks(
    axis: MatplotlibAxis, decades: float, unit: float, largest: float, *, plain: bool
) -> None:
    def shown(value: float, _: int | None = None) -> str:
        scaled = value / unit
        if plain and scaled < 1e6:
            return f"{scaled:.6g}"
        return _power(scaled) if plain or largest >= _HUGE else si(scaled).strip().replace(" ", "")

    if decades < 0.5:
        axis.set_major_locator(MaxNLocator(3))
    elif decades < 1.3:
        axis.set_major_locator(_UnitLog(unit, (1.0, 2.0, 5.0)))
    elif decades < 2.2:
        axis.set_major_locator(_UnitLog(unit, (1.0, 3.0)))
    else:
        axis.set_major_locator(_UnitLog(unit, (1.0,), numticks=5))
    if 1.3 <= decades < 4:
        axis.set_minor_locator(_UnitLog(unit, (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)))
    else:
        axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(shown))


def _power(value: float) -> str:
    """A power of ten, with its factor where that is not 1."""
    exponent = floor(log10(value) + 1e-9)
    factor = value / 10**exponent
    leading = "" if abs(factor - 1) < 1e-6 else f"{factor:.2g}\\times"
    return f"${leading}10^{{{exponent}}}$"


class _UnitLog(LogLocator):
    """Log ticks at round numbers of another unit, such as hours on an axis of seconds."""

    def __init__(self, unit: float, subs: Sequence[float], numticks: int = 12) -> None:
        super().__init__(subs=subs, numticks=numticks)
        self._unit = unit

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        ticks = (t * self._unit for t in super().tick_values(vmin / self._unit, vmax / self._unit))
        # Those of the decades around are never seen, and each tick takes long to make.
        return [tick for tick in ticks if vmin / _BESIDE <= tick <= vmax * _BESIDE]


def loss_axis(axes: Axes, limits: Span, label: str) -> None:
    """A log y axis with plain numbers, since losses rarely span a decade."""
    axes.set_yscale("log")
    axes.set_ylim(*padded(limits, log=True))
    if limits.high > 2.2 * limits.low:
        axes.yaxis.set_major_locator(_UnitLog(1.0, (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.set_ylabel(label)
