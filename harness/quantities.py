"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def si(value: float | None) -> str:
    """Three significant digits with an SI prefix: 1234567 is `1.23 M`; empty where missing."""
    if value is None:
        return ""
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} "


def duration(seconds: float) -> str:
    """`4.2 ms`, `0.31 s`, `12 s`, `1 min 05 s`, `3 h 20 min`, `4 d 06 h`."""
    if 0 < seconds < 0.0995:
        return f"{1000 * seconds:.2g} ms"
    if 0 < seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def counted(number: int, noun: str) -> str:
    """A count with its noun: "1 seed", "3 seeds"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def counted_range(numbers: Iterable[int], noun: str) -> str:
    """Counts from the lowest to the highest: "3 seeds", "2–3 seeds", "1,000–5,000 images"."""
    low, high = min(distinct := set(numbers)), max(distinct)
    if low == high:
        return f"{low:,} {noun}" if low == 1 else f"{low:,} {noun}s"
    return f"{low:,}–{high:,} {noun}s"
