"""The settings of a thinking evaluation's grid that a report section follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.errors import HarnessError
from harness.planning.located import Located, Place
from harness.planning.planned import Suite
from harness.planning.sections import (
    Section,
    ThinkingAblationSection,
    ThinkingScaleSection,
    ThinkingShiftSection,
)
from harness.planning.spec import thinking_label
from harness.planning.thinking import THINKING, combinations
from harness.planning.validate import checked
from harness.protocol import Thinking


def followed_labels(entries: Sequence[Mapping[str, Any]] | None) -> tuple[str, ...] | None:
    """The labels of the settings that entries span, in order; None where nothing is named."""
    if entries is None:
        return None
    written = Located(list(entries), {(): Place("report")})
    return tuple(dict.fromkeys(thinking_label(setting) for setting, _ in _spanned(written)))


def check_followed(suite: Suite, document: Located) -> None:
    """Every setting that a section follows is one its evaluation covers; else a HarnessError."""
    for index, section in enumerate(suite.report):
        if not isinstance(
            section, ThinkingShiftSection | ThinkingScaleSection | ThinkingAblationSection
        ):
            continue
        covered = {
            thinking_label(setting)
            for run in suite.of(section.experiment)
            for evaluation in run.evaluations
            if evaluation.name == section.evaluation
            for setting in getattr(evaluation.spec, "thinking", ())
        }
        for setting, where in _followed(section, document.at("report", index)):
            if thinking_label(setting) not in covered:
                raise HarnessError(
                    f"the evaluation {section.evaluation!r} does not cover this thinking",
                    where=where,
                    given=thinking_label(setting),
                    allowed=sorted(covered),
                )


def _followed(section: Section, located: Located) -> Iterator[tuple[Any, str]]:
    match section:
        case ThinkingShiftSection() | ThinkingScaleSection() if section.thinking is not None:
            if not section.thinking:
                raise HarnessError(
                    "must not be empty", where=located.where(("thinking",)), given="[]"
                )
            for setting, written in _spanned(located.at("thinking")):
                yield setting, written.where()
        case ThinkingAblationSection():
            for key in ("longer", "verify"):
                yield getattr(section, key).descent, located.where((key,))


def _spanned(entries: Located) -> Iterator[tuple[Any, Located]]:
    for index, entry in enumerate(entries.tree):
        written = entries.at(index)
        for combination in combinations(entry, written, several=True):
            yield checked(THINKING.validate_python, Thinking, combination), combination
