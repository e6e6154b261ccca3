"""What findings stand on, read from a suite's plan and its measurements: runs, scale, device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import pandas as pd

from harness.analysis.claims.claim import Costs, Source
from harness.analysis.claims.timing import COSTED, Costed, costed, model_names
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.frame import point_names
from harness.analysis.set_names import short_names
from harness.planning.evaluations import PlannedEval
from harness.planning.planned import PlannedRun, Suite
from harness.planning.sections import evaluations_of
from harness.quantities import counted, si

#: What training reads rows of, by task; of text tokens are counted.
_ROWS = {"denoising": "images", "next_frame": "clips"}
_LISTED = 2


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
    training_device: str
    seen: float | None
    noun: str
    training_data: str


@dataclass(frozen=True)
class Asked:
    """An evaluation of a run that the suite asks for, finished or not; `data` is its short name."""

    run: PlannedRun
    evaluation: PlannedEval
    model: str
    data: str

    @property
    def at_home(self) -> bool:
        """On what the run is trained on."""
        return bool(self.evaluation.spec.data == self.run.spec.task.data)


@dataclass(frozen=True)
class Ground:
    """What a comparison of models asks for, and what of it is finished.

    `diverged` and `distrusted` are of all runs of the suite: ids, and why they decide nothing.
    """

    rows: tuple[Evaluated, ...]
    asked: tuple[Asked, ...] = ()
    diverged: frozenset[str] = frozenset()
    distrusted: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def runs(self) -> tuple[str, ...]:
        return tuple(sorted({row.run for row in self.rows}))

    @cached_property
    def planned_runs(self) -> tuple[str, ...]:
        return tuple(sorted({each.run.run_id for each in self.asked}))

    @cached_property
    def key(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of the runs and evaluations asked for: the same for the same comparison."""
        return self.planned_runs, tuple(sorted({a.evaluation.eval_id for a in self.asked}))

    @cached_property
    def seeds(self) -> int:
        """The fewest training seeds that a model is planned with."""
        found: dict[str, set[int]] = {}
        for each in self.asked:
            found.setdefault(each.model, set()).add(each.run.spec.seed)
        return min(map(len, found.values()), default=0)

    @cached_property
    def untrusted(self) -> str:
        """Why nothing that reads these runs decides; empty where it may."""
        reasons = (self.distrusted.get(run, "") for run in self.planned_runs)
        return "; ".join(dict.fromkeys(filter(None, reasons)))

    @cached_property
    def lacking(self) -> str:
        """What is asked for and not there, in words; empty where all is."""
        done = {(row.run, row.eval_id) for row in self.rows}
        absent = [a for a in self.asked if (a.run.run_id, a.evaluation.eval_id) not in done]
        if not absent:
            return ""
        lost = list(dict.fromkeys(a.run.name for a in absent if a.run.run_id in self.diverged))
        more = f" and {len(lost) - _LISTED} more" if len(lost) > _LISTED else ""
        said = f"{len(absent)} of {counted(len(self.asked), 'evaluation')} missing"
        diverged = f"; training diverged: {', '.join(lost[:_LISTED])}{more}" if lost else ""
        return said + diverged

    @cached_property
    def device(self) -> tuple[str, ...]:
        return tuple(sorted({row.device for row in self.rows}))

    @property
    def sets(self) -> tuple[str, ...]:
        """The data sets asked for, in their order."""
        return tuple(dict.fromkeys(each.data for each in self.asked))

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
        """With what training all of the runs took; nothing where none is finished."""
        if not self.rows:
            return costs
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
    """A suite with its exhibits, and its finished evaluations, each once.

    `distrusted`: run id -> why nothing that reads it decides, of this suite's runs and of others.
    """

    exhibits: SuiteExhibits
    distrusted: Mapping[str, str] = field(default_factory=dict)
    _known: dict[tuple[object, ...], Ground] = field(default_factory=dict)
    _costs: dict[tuple[str, str, str], tuple[Costed, ...]] = field(default_factory=dict)

    @property
    def suite(self) -> Suite:
        return self.exhibits.suite

    @property
    def gathered(self) -> tuple[Gathered, ...]:
        return self.exhibits.gathered

    def begun(self, gathered: Gathered) -> bool:
        """Whether anything that the section asks for is finished, or diverged.

        From then on all that its design compares belongs to the claim, whatever comes out.
        """
        section, runs = gathered.section, {run.run_id for run in gathered.runs}
        if runs & self.exhibits.frame.diverged:
            return True
        return any(
            row.run in runs
            for _, name in evaluations_of(section)
            for row in self._evaluated.get((section.experiment, name), ())
        )

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

    def models_of(self, gathered: Gathered) -> dict[str, list[PlannedRun]]:
        """The models that a section reads."""
        wanted = {(run.adapter_label, run.run_id) for run in gathered.runs}
        return {
            model: runs
            for model, runs in self.models.get(gathered.section.experiment, {}).items()
            if any((run.adapter_label, run.run_id) in wanted for run in runs)
        }

    def family(self, experiment: str, adapter: str) -> str:
        """Of an adapter's label."""
        return next(
            r.record.family for r in self.suite.of(experiment) if r.adapter_label == adapter
        )

    def costs(self, experiment: str, evaluation: str, metric: str = "loss") -> tuple[Costed, ...]:
        """What each measurement of a metric of an evaluation cost."""
        key = (experiment, evaluation, metric)
        if key not in self._costs:
            rows = self.exhibits.frame.of(experiment, evaluation, ("metric", *COSTED))
            rows = rows[rows["metric"] == metric] if len(rows) else rows
            self._costs[key] = tuple(costed(rows)) if len(rows) else ()
        return self._costs[key]

    def ground(
        self,
        experiment: str,
        evaluation: str,
        *,
        models: Iterable[str] = (),
        data: str = "",
        level: float | None = None,
    ) -> Ground:
        """The evaluations of some models (`ebt large`) on one set at one level; empty: of all."""
        key = (experiment, evaluation, tuple(models), data, level)
        if key not in self._known:
            asked = tuple(
                each
                for each in self._asked.get((experiment, evaluation), ())
                if (not key[2] or each.model in key[2])
                and data in ("", each.data)
                and level in (None, getattr(each.evaluation.spec, "level", None))
            )
            wanted = {(each.run.run_id, each.evaluation.eval_id) for each in asked}
            rows = self._evaluated.get((experiment, evaluation), ())
            self._known[key] = Ground(
                tuple(row for row in rows if (row.run, row.eval_id) in wanted),
                asked,
                self.exhibits.frame.diverged,
                self.distrusted,
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
    def _asked(self) -> dict[tuple[str, str], list[Asked]]:
        known = {row.eval_id: row.data for rows in self._evaluated.values() for row in rows}
        each = [(run, planned) for run in self.suite.runs for planned in run.evaluations]
        short = short_names([planned.spec.data for _, planned in each])
        short |= {p.spec.data: known[p.eval_id] for _, p in each if p.eval_id in known}
        points = point_names(self.suite)
        found: dict[tuple[str, str], list[Asked]] = {}
        for run, planned in each:
            model = f"{run.adapter_label} {points[run.experiment, run.run_id]}".strip()
            asked = Asked(run, planned, model, short[planned.spec.data])
            found.setdefault((run.experiment, planned.name), []).append(asked)
        return found

    @cached_property
    def _evaluated(self) -> dict[tuple[str, str], list[Evaluated]]:
        rows = self.exhibits.frame.rows
        found: dict[tuple[str, str], list[Evaluated]] = {}
        if not len(rows):
            return found
        nouns = {run.run_id: _ROWS.get(run.spec.task.kind, "tokens") for run in self.suite.runs}
        each = rows[["adapter", "point", *_COLUMNS]]
        each = each.drop_duplicates(["experiment", "evaluation", "run", "eval_id"])
        columns = zip(model_names(each), *(each[name] for name in _COLUMNS), strict=True)
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
                training_device=str(of["training_device"]),
                seen=None if pd.isna(seen) else float(seen),
                noun=noun,
                training_data=str(of["training_data"]),
            )
            found.setdefault((row.experiment, row.evaluation), []).append(row)
        return found


_COLUMNS = (
    *("experiment", "evaluation", "run", "eval_id", "data", "device", "non_embedding"),
    *("training_flops", "training_seconds", "training_device", "training_rows"),
    *("training_tokens", "training_data"),
)


def _range(values: list[float]) -> str:
    """`461 k` or `32.6 k to 3.3 M`."""
    low, high = (si(bound).strip() for bound in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
