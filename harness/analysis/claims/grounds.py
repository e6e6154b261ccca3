"""What findings stand on, read from a suite's measurements: runs, scale, device, training costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import pandas as pd

from harness.analysis.claims.claim import Costs, Source
from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.frame import point_names
from harness.planning.planned import PlannedRun, Suite
from harness.quantities import si

#: Suites whose findings never decide, by name, and why.
NO_EVIDENCE = {
    "quickstart": "its settings were found by looking at these validation sets",
    "smoke": "its numbers mean nothing: it trains for seconds, to see that every part works",
}
#: What training reads rows of, where those are no text.
_ROWS = {"next_token": "", "denoising": "images", "next_frame": "clips"}


@dataclass(frozen=True, eq=False)
class Ground:
    """The runs of one comparison, and their evaluations: one row for each of both."""

    rows: pd.DataFrame
    tasks: frozenset[str]

    @cached_property
    def runs(self) -> tuple[str, ...]:
        return tuple(sorted(set(map(str, self.rows["run"])))) if len(self.rows) else ()

    @cached_property
    def evaluations(self) -> tuple[str, ...]:
        return tuple(sorted(set(map(str, self.rows["eval_id"])))) if len(self.rows) else ()

    @cached_property
    def device(self) -> tuple[str, ...]:
        return tuple(sorted(set(map(str, self.rows["device"])))) if len(self.rows) else ()

    @cached_property
    def training(self) -> tuple[float, float]:
        """FLOPs and seconds of training all of the runs."""
        each = self._each_run
        return float(each["training_flops"].sum()), float(each["training_seconds"].sum())

    @cached_property
    def scale(self) -> str:
        """`32 k to 3.3 M non-embedding parameters, 0.46 M tokens, builtin/docs`."""
        if not len(self.rows):
            return ""
        each = self._each_run
        noun = ", ".join(sorted(filter(None, (_ROWS.get(task, "") for task in self.tasks))))
        seen = each["training_rows"] if noun else each["training_tokens"]
        read = "" if seen.isna().any() else f"{_range(seen)} {noun or 'tokens'}"
        parameters = f"{_range(each['non_embedding'])} non-embedding parameters"
        data = " and ".join(sorted(set(map(str, each["training_data"]))))
        return ", ".join(filter(None, (parameters, read, data)))

    @cached_property
    def _each_run(self) -> pd.DataFrame:
        return self.rows.drop_duplicates("run")


@dataclass(frozen=True, eq=False)
class Shown:
    """A suite with its exhibits, and its finished evaluations, each once."""

    exhibits: SuiteExhibits
    _known: dict[tuple[object, ...], Ground] = field(default_factory=dict)

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
    def evaluations(self) -> pd.DataFrame:
        rows = self.exhibits.frame.rows
        if not len(rows):
            return rows
        keys = ["experiment", "evaluation", "run", "eval_id"]
        found = rows[_COLUMNS].drop_duplicates(keys)
        return found.assign(model=(found["adapter"] + " " + found["point"]).str.strip())

    @cached_property
    def finished(self) -> frozenset[str]:
        """Ids of the runs with any result."""
        rows = self.exhibits.frame.rows
        return frozenset(map(str, rows["run"])) if len(rows) else frozenset()

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

    def mean_nfe(self, experiment: str, evaluation: str) -> dict[str, float]:
        """NFE of one prediction of each adapter, a mean over its runs, where it is known."""
        rows = self.exhibits.frame.of(experiment, evaluation)
        known = rows[(rows["metric"] == "loss") & rows["nfe"].notna()]
        return {str(name): float(v) for name, v in known.groupby("adapter")["nfe"].mean().items()}

    def ground(
        self, experiment: str, *evaluations: str, models: Iterable[str] = (), data: str = ""
    ) -> Ground:
        """The evaluations of some models (`ebt large`) on one data set; empty: of all."""
        key = (experiment, evaluations, tuple(models), data)
        if key not in self._known:
            rows = self.evaluations
            if len(rows):
                kept = (rows["experiment"] == experiment) & rows["evaluation"].isin(evaluations)
                if key[2]:
                    kept &= rows["model"].isin(key[2])
                if data:
                    kept &= rows["data"] == data
                rows = rows[kept]
            tasks = frozenset(run.spec.task.kind for run in self.suite.of(experiment))
            self._known[key] = Ground(rows, tasks)
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


def training_costs(ground: Ground, costs: Costs) -> Costs:
    """With what training all of a ground's runs took."""
    flops, seconds = ground.training
    return replace(costs, training_flops=flops, training_seconds=seconds)


_COLUMNS = [
    *("experiment", "evaluation", "run", "eval_id", "adapter", "family", "point", "data"),
    *("device", "non_embedding", "training_flops", "training_seconds", "training_rows"),
    *("training_tokens", "training_data"),
]


def _range(values: pd.Series) -> str:
    """`0.46 M` or `32 k to 3.3 M`."""
    low, high = (si(float(each)).strip() for each in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"
