"""Does a model do better downstream at a worse pretraining loss, as the paper's Table 3 has it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.exhibits.downstream import (
    BASELINE_FAMILY,
    Comparison,
    DownstreamExhibit,
    DownstreamRow,
    Verdict,
)

#: Fewer training seeds say little of another training: one says nothing of how seeds differ, and
#: two do not suffice for a verdict of any section on trends either.
MIN_SEEDS = 3
#: How a set that was evaluated in several ways is counted, in words.
ONCE = (
    "each set once, in rolling windows where it has several; each task by the first of its metrics"
)
#: What sets are counted by: the words, the measure and its tokens ("" for tasks).
_COUNTED = (
    ("perplexity of all tokens", "perplexity", "all"),
    ("perplexity of answers", "perplexity", "answer"),
    ("tasks", "", ""),
)


@dataclass(frozen=True)
class Count:
    """Downstream sets, or tasks, by verdict against the baseline; each once."""

    what: str
    better: int
    worse: int
    undecided: int

    @property
    def total(self) -> int:
        return self.decided + self.undecided

    @property
    def decided(self) -> int:
        return self.better + self.worse


@dataclass(frozen=True)
class Pattern:
    """One model against the baseline: its pretraining loss and its downstream sets.

    `of_the_paper`: the two are of the families that the paper compares. `seeds`: the fewest that
    any comparison pairs.
    """

    model: str
    baseline: str
    pretraining: Comparison | None
    counts: tuple[Count, ...]
    seeds: int
    of_the_paper: bool = False

    @property
    def exploratory(self) -> bool:
        """Too few seeds to speak of more than these trained models."""
        return self.seeds < MIN_SEEDS

    @property
    def holds(self) -> Literal["yes", "no", "undecided"]:
        """By the first count. Yes: pretraining is worse, and more sets are better than worse.

        Undecided: pretraining is undecided or unknown, or no set is decided.
        """
        if self.pretraining is None or self.pretraining.verdict == "undecided" or not self.counts:
            return "undecided"
        if self.pretraining.verdict == "better":
            return "no"
        first = self.counts[0]
        if not first.decided:
            return "undecided"
        return "yes" if first.better > first.worse else "no"


def patterns(exhibit: DownstreamExhibit) -> list[Pattern]:
    """One per model that is compared with a baseline."""
    return [_pattern(exhibit, model) for model in exhibit.compared]


def _pattern(exhibit: DownstreamExhibit, model: str) -> Pattern:
    compared = [
        (row, score.comparison)
        for row in exhibit.rows
        if (score := row.of(model)) is not None and score.comparison is not None
    ]
    pretraining = next(
        (c for row, c in compared if row.pretraining and row.measure.is_perplexity), None
    )
    counts = []
    for what, measure, tokens in _COUNTED:
        own = [
            (row, comparison.verdict)
            for row, comparison in compared
            if not row.pretraining and row.measure.tokens == tokens
            if row.measure.is_task or row.measure.name == measure
        ]
        if own:
            of = Counter(_once(own))
            counts.append(Count(what, of["better"], of["worse"], of["undecided"]))
    baseline = compared[0][1].baseline
    families = {s.model: s.family for row in exhibit.rows for s in row.scores}
    ours = (families[model], families.get(baseline)) == ("ebt", BASELINE_FAMILY)
    seeds = min(comparison.difference.seeds for _, comparison in compared)
    return Pattern(model, baseline, pretraining, tuple(counts), seeds, ours)


def _once(verdicts: Sequence[tuple[DownstreamRow, Verdict]]) -> list[Verdict]:
    """One per data set and split, or task, as `ONCE` says: no choice looks at the verdicts."""
    found: dict[tuple[str, str], tuple[DownstreamRow, Verdict]] = {}
    for row, verdict in verdicts:
        kept = found.setdefault((row.data, row.split), (row, verdict))
        if row.windows == "rolling" and kept[0].windows != "rolling":
            found[row.data, row.split] = row, verdict
    return [verdict for _, verdict in found.values()]
