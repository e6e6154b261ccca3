"""What stands beside a scaling rate: how much of it hangs on how the curves were fitted."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.rates.points import Estimate, Interval
from harness.analysis.rates.rate import HeldOut, ScalingRate

_OF_RATE = "a check, no verdict"


def rate_checks(exhibit: ScalingExhibit) -> list[tuple[str, Estimate]]:
    """By name the rate by profile likelihood, under Huber loss and with one E, then the error with
    which each family's largest point is predicted from its others, as fractions; what could not be
    worked out is left out.
    """
    rate = exhibit.rate
    if rate is None:
        return []
    families = (exhibit.section.candidate, exhibit.section.baseline)
    return [*_refitted(rate), *_predicted(rate, dict(zip(families, rate.held_out, strict=True)))]


def _refitted(rate: ScalingRate) -> Iterator[tuple[str, Estimate]]:
    found: dict[str, tuple[float | None, Interval | None]] = {
        "profile likelihood": (None if rate.profile is None else rate.rho.value, rate.profile),
        "Huber loss": (rate.huber, None),
        "one E for both": (rate.shared_floor, None),
    }
    for name, (value, interval) in found.items():
        if value is not None:
            size = rate.rho.points, rate.rho.seeds
            yield f"rate, {name}", Estimate(value, interval, *size, "check", _OF_RATE)


def _predicted(rate: ScalingRate, held_out: dict[str, HeldOut]) -> Iterator[tuple[str, Estimate]]:
    for name, largest in held_out.items():
        if largest.predicted is not None:
            words = (
                f"{largest.predicted:.3f} from the other points, {largest.observed:.3f} measured"
            )
            if largest.reason:
                words += f"; {largest.reason}"
            size = rate.rho.points - 1, rate.rho.seeds
            error = Estimate(largest.error, None, *size, "check", words)
            yield f"largest point predicted, {name}", error
