"""Which settings one pass of an image adapter serves: those whose results it comes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.protocol import Descent, Diffusion


@dataclass(frozen=True)
class SharedPass:
    """`longest` is what is run; its state after so many steps or calls is a setting's result."""

    longest: Any
    settings: dict[int, Any]


def shared_passes(settings: Sequence[Any]) -> list[SharedPass]:
    """The passes that serve all `settings`.

    A descent of one sample whose further steps repeat the last landscape comes by the ends of all
    shorter ones; recursions of a setting come by the ends of fewer. Calls of a sampler lie at other
    timesteps where they are more: each number of calls is a pass by itself.
    """
    alike: dict[Any, list[Any]] = {}
    for setting in settings:
        alike.setdefault(_key(setting), []).append(setting)
    return [each for key, own in alike.items() for each in _passes(key, own)]


def _key(setting: Any) -> Any:
    """What settings must have in common to share passes."""
    if isinstance(setting, Descent) and (setting.samples, setting.extra_steps) == (1, "last"):
        return setting.model_copy(update={"steps": 1, "recursions": 1})
    if isinstance(setting, Diffusion):
        return setting.model_copy(update={"recursions": 1})
    return (setting,)


def _passes(key: Any, settings: Sequence[Any]) -> list[SharedPass]:
    if isinstance(key, tuple):
        return [SharedPass(setting, {}) for setting in settings]
    found: dict[int, SharedPass] = {}
    # The longest first, so that what a pass serves is known before a setting looks for one.
    for setting in sorted(settings, key=lambda s: (s.recursions, s.steps), reverse=True):
        fits = (
            each
            for each in found.values()
            if each.longest.steps == setting.steps
            or (setting.recursions == 1 and each.longest.steps > setting.steps)
        )
        own = next(fits, None) or found.setdefault(setting.steps, SharedPass(setting, {}))
        own.settings[setting.steps * setting.recursions] = setting
    return list(found.values())
