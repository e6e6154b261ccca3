"""The settings of thinking that a suite declares, and what each model would gain by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.claims.claim import Costs
from harness.analysis.claims.grounds import Asked, Shown
from harness.analysis.claims.timing import Costed, costs_of, mean_ratio, seconds_ratio, timed
from harness.analysis.claims.variants import not_s2
from harness.analysis.exhibits.equal_quality import Cost
from harness.planning.followed import followed_labels
from harness.planning.planned import PlannedRun
from harness.planning.sections import (
    ThinkingAblationSection,
    ThinkingScaleSection,
    ThinkingShiftSection,
)
from harness.planning.spec import descent_variant, thinking_label
from harness.protocol import Descent
from harness.quantities import counted

EBT = "ebt"
_COUNTED: tuple[Cost, Cost] = ("nfe", "flops")


@dataclass(frozen=True)
class Thinker:
    """A model that thinks: its trained descent, the settings tried and which of them are declared.

    Settings are by their labels in records. `other` says why it is not the paper's model.
    """

    model: str
    trained: Descent
    tried: Mapping[str, Descent]
    declared: tuple[str, ...]
    other: str

    def undeclared(self, setting: str) -> str:
        """Why a setting may not decide; empty where it is declared."""
        if setting in self.declared:
            return ""
        listed = " and ".join(self.declared) or "none"
        return f"one of {counted(len(self.tried), 'setting')} tried; {listed} decides"


def thinkers(shown: Shown, experiment: str, evaluation: str) -> dict[str, Thinker]:
    """The EBTs of an experiment that a thinking evaluation covers, by model."""
    named = _declared(shown, experiment, evaluation)
    found = {}
    for model, runs in shown.models.get(experiment, {}).items():
        trained = _trained(runs[0])
        if runs[0].record.family != EBT or trained is None:
            continue
        more = [d for d in _descents(runs[0], evaluation) if _nfe(d) > _nfe(trained)]
        if more:
            tried = {thinking_label(each): each for each in more}
            declared = tuple(label for label in tried if label in named) or _dearest(more)
            found[model] = Thinker(model, trained, tried, declared, not_s2(runs))
    return found


def thinks(asked: Asked) -> bool:
    """Whether an evaluation has a model descend, by its plan."""
    return any(isinstance(each, Descent) for each in getattr(asked.evaluation.spec, "thinking", ()))


def followed_of(
    section: ThinkingShiftSection | ThinkingScaleSection, thinker: Thinker
) -> tuple[str, ...]:
    """The settings that a section follows of a model."""
    followed = followed_labels(section.thinking)
    return tuple(each for each in thinker.tried if followed is None or each in followed)


def spoken(setting: str) -> str:
    """`12 × 5`, with what else differs from the trained descent."""
    return setting.replace("x", " × ", 1)


def costs_over(costs: Sequence[Costed], setting: str, thinker: Thinker) -> Costs:
    """What a setting takes over the trained thinking: of measurements of some models and sets."""
    ours, theirs = (
        [each for each in costs if each.setting == name]
        for name in (setting, thinking_label(thinker.trained))
    )
    places = dict.fromkeys((each.model, each.data) for each in ours)
    nfe, flops = (
        mean_ratio([each.of(cost) for each in ours], [each.of(cost) for each in theirs])
        for cost in _COUNTED
    )
    return costs_of(
        "one predicted token, over the trained thinking",
        nfe=nfe,
        flops=flops,
        seconds=seconds_ratio(
            (timed(_at(place, ours)), timed(_at(place, theirs))) for place in places
        ),
    )


def _at(place: tuple[str, str], costs: Sequence[Costed]) -> list[Costed]:
    return [each for each in costs if (each.model, each.data) == place]


def _trained(run: PlannedRun) -> Descent | None:
    trained = run.record.trained_thinking(run.config)
    return trained if isinstance(trained, Descent) else None


def _descents(run: PlannedRun, evaluation: str) -> list[Descent]:
    return [
        setting
        for planned in run.evaluations
        if planned.name == evaluation
        for setting in getattr(planned.spec, "thinking", ())
        if isinstance(setting, Descent)
    ]


def _nfe(descent: Descent) -> int:
    return descent.steps * descent.samples


def _dearest(descents: Sequence[Descent]) -> tuple[str, ...]:
    """The most steps × samples of otherwise trained descents; of equals, the most steps."""
    plain = [d for d in descents if not descent_variant(d)]
    return (thinking_label(max(plain, key=lambda d: (_nfe(d), d.steps))),) if plain else ()


def _declared(shown: Shown, experiment: str, evaluation: str) -> set[str]:
    """What sections of the suite follow of this evaluation; empty where none says."""
    found: set[str] = set()
    for section in shown.suite.report:
        match section:
            case ThinkingShiftSection() | ThinkingScaleSection():
                labels = followed_labels(section.thinking) or ()
            case ThinkingAblationSection():
                labels = tuple(
                    thinking_label(effort.descent) for effort in (section.longer, section.verify)
                )
            case _:
                continue
        if (section.experiment, section.evaluation) == (experiment, evaluation):
            found |= set(labels)
    return found
