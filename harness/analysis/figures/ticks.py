"""Numbers on the axes of gains."""

from __future__ import annotations


def gain_tick(value: float, _: int | None = None) -> str:
    """`+5`, `−2.5` or `0`, in percent."""
    return "0" if abs(value) < 1e-9 else f"{value:+.4g}".replace("-", "−")
