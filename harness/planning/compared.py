"""The models and evaluations that a downstream section compares."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import HarnessError
from harness.planning.axes import label_of
from harness.planning.eval_spec import LikelihoodEval
from harness.planning.located import Key, Located
from harness.planning.planned import PlannedRun, Suite
from harness.planning.sections import DownstreamSection


def compared_runs(section: DownstreamSection, suite: Suite) -> list[PlannedRun]:
    """The runs of the section's models."""
    return [
        run
        for run in suite.of(section.experiment)
        if all(run.labels.get(a, "") in map(label_of, kept) for a, kept in section.only.items())
    ]


def check_compared(suite: Suite, document: Located) -> None:
    """Every model and evaluation exists, once; pretraining covers one set. Else a HarnessError."""
    for index, section in enumerate(suite.report):
        if isinstance(section, DownstreamSection):
            located = document.at("report", index)
            runs = suite.of(section.experiment)
            if section.baseline is not None:
                adapters = list(dict.fromkeys(run.adapter_label for run in runs))
                _known("adapter", section.baseline, adapters, located, ("baseline",))
            _check_only(section, runs, located)
            _check_evaluations(section, runs, located)
            _check_against(section, runs, located)


def _check_only(section: DownstreamSection, runs: Sequence[PlannedRun], located: Located) -> None:
    axes: dict[str, dict[str, None]] = {}
    for run in runs:
        for axis, label in run.labels.items():
            axes.setdefault(axis, {})[label] = None
    for axis, kept in section.only.items():
        _known("axis", axis, list(axes), located, ("only", axis))
        for index, label in enumerate(map(label_of, kept)):
            _known(f"label of {axis}", label, list(axes[axis]), located, ("only", axis, index))


def _check_evaluations(
    section: DownstreamSection, runs: Sequence[PlannedRun], located: Located
) -> None:
    for index, name in enumerate(section.evaluations):
        if name in (section.pretraining, *section.evaluations[:index]):
            raise HarnessError(
                "is given twice", where=located.where(("evaluations", index)), given=name
            )
    planned = [e for run in runs for e in run.evaluations if e.name == section.pretraining]
    if not all(isinstance(e.spec, LikelihoodEval) for e in planned):
        raise HarnessError(
            "pretraining is a likelihood evaluation",
            where=located.where(("pretraining",)),
            given=section.pretraining,
        )
    sets = sorted({f"{e.spec.data} ({e.spec.split})" for e in planned})
    if len(sets) > 1:
        raise HarnessError(
            f"pretraining is one data set, and this evaluation covers {', '.join(sets)}",
            where=located.where(("pretraining",)),
            given=section.pretraining,
            hint="give the held-out part of the training data an evaluation of its own",
        )


def _check_against(
    section: DownstreamSection, runs: Sequence[PlannedRun], located: Located
) -> None:
    """Two evaluations of the section, of one kind and with data in common."""
    sets: dict[str, set[tuple[str, str]]] = {name: set() for name in section.evaluations}
    for evaluation in (e for run in runs for e in run.evaluations if e.name in sets):
        kind = type(evaluation.spec).__name__
        sets[evaluation.name].add((kind, evaluation.spec.data))
    for name, other in section.against.items():
        for given in (name, other):
            if given not in sets:
                raise HarnessError(
                    "compares evaluations of the section, and this is none",
                    where=located.where(("against", name)),
                    given=given,
                    allowed=section.evaluations,
                )
        if name == other or not sets[name] & sets[other]:
            raise HarnessError(
                "compares two evaluations of one kind that have data in common",
                where=located.where(("against", name)),
                given=other,
            )


def _known(what: str, given: str, allowed: list[str], located: Located, key: Key) -> None:
    if given not in allowed:
        raise HarnessError(
            f"no such {what} in the experiment",
            where=located.where(key),
            given=given,
            allowed=allowed,
        )
