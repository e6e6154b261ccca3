"""The settings of thinking that a suite declares, and what each model would gain by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.claims.claim import Costs, Ratio, costs_of
from harness.analysis.claims.grounds import Shown
from harness.analysis.claims.variants import not_s2
from harness.analysis.exhibits.thinking import ThinkingRow
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


@dataclass(frozen=True)
class Thinker:
    """A model that thinks: its trained descent, the settings tried and which of them are declared.

    Labels are those of records. `other` says why it is not the paper's model.
    """

    model: str
    trained: Descent
    tried: tuple[str, ...]
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
            labels = tuple(dict.fromkeys(map(thinking_label, more)))
            declared = tuple(label for label in labels if label in named) if named else ()
            found[model] = Thinker(model, trained, labels, declared or _dearest(more), not_s2(runs))
    return found


def costs_over(of: str, row: ThinkingRow, trained: ThinkingRow) -> Costs:
    """A setting's costs over those of the trained thinking; `of` says so in words."""
    pairs = (
        (row.nfe, trained.nfe),
        (row.flops, trained.flops),
        (row.seconds, trained.seconds),
    )
    return costs_of(of, [Ratio(ours / theirs if theirs else None) for ours, theirs in pairs])


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
