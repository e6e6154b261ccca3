"""What findings stand on, read from a suite's measurements: runs, scale, device, training costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.suites import SuiteExhibits
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

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(sorted(set(map(str, self.rows["run"]))))

    @property
    def evaluations(self) -> tuple[str, ...]:
        return tuple(sorted(set(map(str, self.rows["eval_id"]))))

    @property
    def device(self) -> tuple[str, ...]:
        return tuple(sorted(set(map(str, self.rows["device"]))))

    @property
    def training(self) -> tuple[float, float]:
        """FLOPs and seconds of training all of the runs."""
        each = self._each_run
        return float(each["training_flops"].sum()), float(each["training_seconds"].sum())

    @property
    def scale(self) -> str:
        """`32 k to 3.3 M non-embedding parameters, 0.46 M tokens, builtin/docs`."""
        if not len(self.rows):
            return ""
        each = self._each_run
        noun = ", ".join(sorted(filter(None, (_ROWS.get(task, "") for task in self.tasks))))
        seen = each["training_rows"] if noun else each["training_tokens"]
        read = f"{_range(seen)} {noun or 'tokens'}" if not seen.isna().any() else ""
        return ", ".join(
            filter(
                None,
                (
                    f"{_range(each['non_embedding'])} non-embedding parameters",
                    read,
                    " and ".join(sorted(set(map(str, each["training_data"])))),
                ),
            )
        )

    @cached_property
    def _each_run(self) -> pd.DataFrame:
        return self.rows.drop_duplicates("run")


@dataclass(frozen=True, eq=False)
class Shown:
    """A suite with its exhibits, and its finished evaluations, each once."""

    exhibits: SuiteExhibits

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

    def ground(
        self,
        experiment: str,
        evaluations: Sequence[str],
        *,
        models: Sequence[str] | None = None,
        data: str | None = None,
        runs: Sequence[str] | None = None,
    ) -> Ground:
        """The evaluations of some models (`ebt large`) on one data set, or of all of both."""
        rows = self.evaluations
        if len(rows):
            rows = rows[(rows["experiment"] == experiment) & rows["evaluation"].isin(evaluations)]
            if models is not None:
                rows = rows[rows["model"].isin(models)]
            if data is not None:
                rows = rows[rows["data"] == data]
            if runs is not None:
                rows = rows[rows["run"].isin(runs)]
        return Ground(rows, frozenset(run.spec.task.kind for run in self.suite.of(experiment)))

    def families(self, experiment: str) -> dict[str, str]:
        """Adapter's label -> family."""
        return {run.adapter_label: run.record.family for run in self.suite.of(experiment)}

    def mean_nfe(self, experiment: str, evaluation: str) -> dict[str, float]:
        """NFE of one prediction of each adapter, a mean over its runs, where it is known."""
        rows = self.evaluations
        if not len(rows):
            return {}
        rows = rows[(rows["experiment"] == experiment) & (rows["evaluation"] == evaluation)]
        known = rows.dropna(subset=["nfe"])
        return {str(name): float(v) for name, v in known.groupby("adapter")["nfe"].mean().items()}

    @cached_property
    def _planned(self) -> dict[tuple[str, str], PlannedRun]:
        return {(run.experiment, run.run_id): run for run in self.suite.runs}

    def planned(self, experiment: str, ground: Ground) -> list[PlannedRun]:
        """The planned runs that a ground's are."""
        return [self._planned[experiment, run] for run in ground.runs]


_COLUMNS = [
    *("experiment", "evaluation", "run", "eval_id", "adapter", "family", "point", "data"),
    *("device", "non_embedding", "training_flops", "training_seconds", "training_rows"),
    *("training_tokens", "training_data", "nfe"),
]


def _range(values: pd.Series) -> str:
    """`0.46 M` or `32 k to 3.3 M`."""
    low, high = (si(float(each)).strip() for each in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"
