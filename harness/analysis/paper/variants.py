"""Which of the paper's two EBTs a configuration is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What tells them apart besides the four regularizers, which S2 has and S1 lacks.
_S1 = {"between_steps": "detach", "loss_on": "every", "step_size_learned": True}
_S2 = {"between_steps": "truncate", "loss_on": "last", "step_size_learned": False}


def variant_of(config: Mapping[str, Any]) -> str:
    """`s1`, `s2`, or empty for any other: S2 without one of its regularizers is neither."""
    if not _S1.keys() <= config.keys():
        return ""
    regularizers = _regularizers(config)
    if _has(config, _S1) and not any(regularizers):
        return "s1"
    return "s2" if _has(config, _S2) and all(regularizers) else ""


def _has(config: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(config[name] == value for name, value in settings.items())


def _regularizers(config: Mapping[str, Any]) -> tuple[bool, ...]:
    """Random alpha, random number of steps, Langevin noise, replay."""
    steps = config.get("steps", 1)
    return (
        config.get("random_step_size", 1) > 1,
        config.get("min_steps", steps) < steps,
        config.get("langevin_noise", 0) > 0,
        config.get("replay_records", 0) > 0,
    )
