"""Which trained models are the paper's, by their settings: a claim is about those."""

from __future__ import annotations

from collections.abc import Sequence

from harness.planning.planned import PlannedRun

#: What makes an EBT the paper's S2 is not its step size, which goes with its size and data.
_SCALES = "step_size"


def not_s2(runs: Sequence[PlannedRun]) -> str:
    """Why these runs are not the paper's S2, with which it thinks; empty where they are.

    An adapter without a variant of this name is taken as it is.
    """
    for run in runs:
        wanted = getattr(run.record.config, "VARIANTS", {}).get("s2", {})
        config = run.spec.config
        if any(config.get(name) != value for name, value in wanted.items() if name != _SCALES):
            return "not the paper's S2, with all its regularizers, which is what it thinks with"
    return ""


def not_from_noisy(runs: Sequence[PlannedRun]) -> str:
    """Why these image models are not the paper's; empty where they descend from the noisy image."""
    for run in runs:
        start = run.record.config.model_fields.get("start")
        if start is not None and run.spec.config.get("start") != start.default:
            return "does not start from the noisy image, as the paper's does"
    return ""
