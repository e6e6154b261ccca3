"""What findings stand on, read from a suite's measurements: runs, scale, device, training costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import pandas as pd

from harness.analysis.claims.claim import Costs, Ratio, Source
from harness.analysis.exhibits.equal_quality import COSTS, Cost
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.frame import point_names
from harness.planning.planned import PlannedRun, Suite
from harness.planning.spec import thinking_label
from harness.quantities import si

#: Suites whose findings never decide, by name, and why.
NO_EVIDENCE = {
    "quickstart": "its settings were found by looking at these validation sets",
    "smoke": "its numbers mean nothing: it trains for seconds, to see that every part works",
}
#: What training reads rows of, by task; of text tokens are counted.
_ROWS = {"denoising": "images", "next_frame": "clips"}


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation of a run, and what training the run took and saw."""

    experiment: str
    evaluation: str
    run: str
    eval_id: str
    model: str
    data: str
    device: str
    non_embedding: float
    training_flops: float
    training_seconds: float
    seen: float | None
    noun: str
    training_data: str


@dataclass(frozen=True)
class Costed:
    """What one measured loss took, per prediction; None where it was not measured.

    `setting` is the label of the thinking, empty where the evaluation has none.
    """

    adapter: str
    model: str
    data: str
    setting: str
    nfe: float | None
    flops: float | None
    seconds: float | None

    def of(self, cost: Cost) -> float | None:
        return {"nfe": self.nfe, "flops": self.flops, "seconds": self.seconds}[cost]


@dataclass(frozen=True)
class Ground:
    """The finished evaluations of the models that a comparison compares."""

    rows: tuple[Evaluated, ...]

    @cached_property
    def runs(self) -> tuple[str, ...]:
        return tuple(sorted({row.run for row in self.rows}))

    @cached_property
    def evaluations(self) -> tuple[str, ...]:
        return tuple(sorted({row.eval_id for row in self.rows}))

    @cached_property
    def device(self) -> tuple[str, ...]:
        return tuple(sorted({row.device for row in self.rows}))

    @property
    def sets(self) -> tuple[str, ...]:
        """The data sets, in their order."""
        return tuple(dict.fromkeys(row.data for row in self.rows))

    @cached_property
    def scale(self) -> str:
        """`32 k to 3.3 M non-embedding parameters, 0.46 M tokens, builtin/docs`."""
        if not self.rows:
            return ""
        seen = [row.seen for row in self._each_run if row.seen is not None]
        nouns = ", ".join(sorted({row.noun for row in self.rows}))
        parts = [
            f"{_range([row.non_embedding for row in self._each_run])} non-embedding parameters",
            f"{_range(seen)} {nouns}" if seen else "",
            " and ".join(sorted({row.training_data for row in self.rows})),
        ]
        return ", ".join(filter(None, parts))

    def costs(self, costs: Costs) -> Costs:
        """With what training all of the runs took."""
        return replace(
            costs,
            training_flops=sum(row.training_flops for row in self._each_run),
            training_seconds=sum(row.training_seconds for row in self._each_run),
        )

    @cached_property
    def _each_run(self) -> tuple[Evaluated, ...]:
        return tuple({row.run: row for row in self.rows}.values())


@dataclass(frozen=True, eq=False)
class Shown:
    """A suite with its exhibits, and its finished evaluations, each once."""

    exhibits: SuiteExhibits
    _known: dict[tuple[object, ...], Ground] = field(default_factory=dict)
    _costs: dict[tuple[str, str], tuple[Costed, ...]] = field(default_factory=dict)

    @property
    def suite(self) -> Suite:
        return self.exhibits.suite

    @property
    def gathered(self) -> tuple[Gathered, ...]:
        return self.exhibits.gathered

    @property
    def untrusted(self) -> str:
        """Why nothing of this suite decides; empty where it may."""
        reason = NO_EVIDENCE.get(self.suite.name, "")
        return f"suite {self.suite.name}: {reason}" if reason else ""

    @cached_property
    def finished(self) -> frozenset[str]:
        """Ids of the runs with any result."""
        return frozenset(row.run for rows in self._evaluated.values() for row in rows)

    @cached_property
    def models(self) -> dict[str, dict[str, list[PlannedRun]]]:
        """Experiment -> model (`ebt large`) -> its runs."""
        points = point_names(self.suite)
        found: dict[str, dict[str, list[PlannedRun]]] = {}
        for run in self.suite.runs:
            model = f"{run.adapter_label} {points[run.experiment, run.run_id]}".strip()
            found.setdefault(run.experiment, {}).setdefault(model, []).append(run)
        return found

    def family(self, experiment: str, adapter: str) -> str:
        """Of an adapter's label."""
        return next(
            r.record.family for r in self.suite.of(experiment) if r.adapter_label == adapter
        )

    def costs(self, experiment: str, evaluation: str) -> tuple[Costed, ...]:
        """What each measured loss of an evaluation cost."""
        key = (experiment, evaluation)
        if key not in self._costs:
            rows = self.exhibits.frame.of(experiment, evaluation)
            rows = rows[rows["metric"] == "loss"] if len(rows) else rows
            self._costs[key] = tuple(_costed(rows)) if len(rows) else ()
        return self._costs[key]

    def ground(
        self, experiment: str, evaluation: str, *, models: Iterable[str] = (), data: str = ""
    ) -> Ground:
        """The evaluations of some models (`ebt large`) on one data set; empty: of all."""
        key = (experiment, evaluation, tuple(models), data)
        if key not in self._known:
            rows = self._evaluated.get((experiment, evaluation), ())
            self._known[key] = Ground(
                tuple(
                    row
                    for row in rows
                    if (not key[2] or row.model in key[2]) and data in ("", row.data)
                )
            )
        return self._known[key]

    def source(self, gathered: Gathered, ground: Ground) -> Source:
        """Where a comparison of a section is shown, made on a ground."""
        return Source(
            suites=(self.suite.name,),
            section=getattr(gathered.section, "title", gathered.stem),
            stem=gathered.stem,
            device=ground.device,
            scale=ground.scale,
            runs=ground.runs,
        )

    @cached_property
    def _evaluated(self) -> dict[tuple[str, str], list[Evaluated]]:
        rows = self.exhibits.frame.rows
        found: dict[tuple[str, str], list[Evaluated]] = {}
        if not len(rows):
            return found
        nouns = {run.run_id: _ROWS.get(run.spec.task.kind, "tokens") for run in self.suite.runs}
        each = rows.drop_duplicates(["experiment", "evaluation", "run", "eval_id"])
        columns = zip(_models(each), *(each[name] for name in _COLUMNS), strict=True)
        for model, *values in columns:
            of = dict(zip(_COLUMNS, values, strict=True))
            noun = nouns[str(of["run"])]
            seen = of["training_tokens" if noun == "tokens" else "training_rows"]
            row = Evaluated(
                experiment=str(of["experiment"]),
                evaluation=str(of["evaluation"]),
                run=str(of["run"]),
                eval_id=str(of["eval_id"]),
                model=str(model),
                data=str(of["data"]),
                device=str(of["device"]),
                non_embedding=float(of["non_embedding"]),
                training_flops=float(of["training_flops"]),
                training_seconds=float(of["training_seconds"]),
                seen=None if pd.isna(seen) else float(seen),
                noun=noun,
                training_data=str(of["training_data"]),
            )
            found.setdefault((row.experiment, row.evaluation), []).append(row)
        return found


_COLUMNS = (
    *("experiment", "evaluation", "run", "eval_id", "data", "device", "non_embedding"),
    *("training_flops", "training_seconds", "training_rows", "training_tokens", "training_data"),
)


def _costed(rows: pd.DataFrame) -> Iterator[Costed]:
    known = [rows[name] for name in ("adapter", "data", "thinking", *COSTS)]
    for model, adapter, data, thinking, *costs in zip(_models(rows), *known, strict=True):
        nfe, flops, seconds = (None if pd.isna(cost) else float(cost) for cost in costs)
        setting = "" if pd.isna(thinking) else thinking_label(thinking)
        yield Costed(str(adapter), str(model), str(data), setting, nfe, flops, seconds)


def mean_ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Ratio:
    """Of two means; missing where one of the costs is."""
    both = [[cost for cost in costs if cost is not None] for costs in (ours, theirs)]
    if len(both[0]) < len(ours) or len(both[1]) < len(theirs) or not all(map(sum, both)):
        return Ratio(None)
    return Ratio(sum(both[0]) / len(both[0]) / (sum(both[1]) / len(both[1])))


def _models(rows: pd.DataFrame) -> pd.Series:
    """`ebt large`: adapter and place on the axes."""
    return (rows["adapter"].astype(str) + " " + rows["point"].astype(str)).str.strip()


def _range(values: list[float]) -> str:
    """`461 k` or `32.6 k to 3.3 M`."""
    low, high = (si(bound).strip() for bound in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
