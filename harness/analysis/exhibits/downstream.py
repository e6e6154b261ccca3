"""A downstream section: perplexities and accuracies of every model per set, and differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import exp
from typing import Literal

import pandas as pd

from harness.analysis.exhibits.measures import MEASURES, Measure, read_sample
from harness.analysis.exhibits.samples import Difference, Interval, Sample
from harness.analysis.frame import SuiteFrame
from harness.analysis.intervals import MAX_NATS, perplexity
from harness.planning.compared import compared_runs
from harness.planning.eval_spec import EvalBase
from harness.planning.planned import Suite
from harness.planning.sections import DownstreamSection
from harness.planning.spec import thinking_label

BASELINE_FAMILY = "transformer++"

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """A model less the baseline, paired. Of perplexities the difference is of losses, in nats.

    `sign` is that of the difference where its interval excludes 0, else 0.
    """

    baseline: str
    difference: Difference
    verdict: Verdict

    @property
    def ratio(self) -> float | None:
        """Of perplexities: the model's over the baseline's."""
        return perplexity(self.difference.value)

    @property
    def ratio_interval(self) -> Interval | None:
        interval = self.difference.interval
        return None if interval is None or interval[1] > MAX_NATS else _exp(interval)


@dataclass(frozen=True)
class Score:
    """One model on one row; `value` is None where nothing was counted. Costs are per prediction.

    `against` is the model less itself in another evaluation, which stands for the baseline there.
    """

    model: str
    adapter: str
    family: str
    label: str
    value: float | None
    interval: Interval | None
    n: int
    documents: int | None
    seeds: int
    noise_seeds: int
    thinking: str
    nfe: float | None
    flops: float | None
    seconds: float | None
    comparison: Comparison | None = None
    against: Comparison | None = None


@dataclass(frozen=True)
class DownstreamRow:
    """One measure on one set or task; `scores` in the order of the exhibit's models, those found.

    `magnitude` is the paper's: perplexity over that of pretraining, of a Transformer++. `chance`
    is what guessing gives, where that is known.
    """

    evaluation: str
    data: str
    split: str
    measure: Measure
    pretraining: bool
    windows: str
    scores: tuple[Score, ...]
    chance: float | None = None
    magnitude: float | None = None
    bigram_loss: float | None = None
    samples: Mapping[str, Sample | None] = field(default_factory=dict, repr=False)

    def of(self, model: str) -> Score | None:
        return next((score for score in self.scores if score.model == model), None)

    @property
    def best(self) -> Score | None:
        """The best model where the intervals decide it: against every other, by the baseline."""
        sign = 1 if self.measure.higher_is_better else -1
        known = [s for s in self.scores if s.value is not None]
        if len(known) < 2:
            return None
        first = max(known, key=lambda s: sign * (s.value or 0.0))
        if first.comparison is not None:
            return first if first.comparison.verdict == "better" else None
        others = [s.comparison for s in known if s is not first]
        worse = all(c is not None and c.verdict == "worse" for c in others)
        return first if worse else None


@dataclass(frozen=True)
class DownstreamExhibit:
    """Rows in order: pretraining, then the section's evaluations; `models` in suite order.

    `measured_by` is the model that magnitudes are taken from, "" where there is none.
    """

    section: DownstreamSection
    models: tuple[str, ...]
    rows: tuple[DownstreamRow, ...]
    device: tuple[str, ...]
    measured_by: str = ""

    @property
    def compared(self) -> list[str]:
        """The models that are compared with a baseline somewhere."""
        found = {s.model for row in self.rows for s in row.scores if s.comparison is not None}
        return [model for model in self.models if model in found]


def downstream_exhibit(
    section: DownstreamSection, suite: Suite, frame: SuiteFrame
) -> DownstreamExhibit:
    """Gather one downstream section from a suite's records."""
    planned = compared_runs(section, suite)
    runs = {run.run_id for run in planned}
    thinking = {e.eval_id: _thinking(e.spec) for run in planned for e in run.evaluations}
    found: list[DownstreamRow] = []
    devices: set[str] = set()
    models: dict[str, None] = {}
    measuring = ""
    for name in (section.pretraining, *section.evaluations):
        rows = frame.of(section.experiment, name)
        if not len(rows):
            continue
        rows = rows[rows["run"].isin(runs)]
        rows = rows.assign(
            model=(rows["adapter"] + " " + rows["point"]).str.strip(),
            thinking=rows["eval_id"].map(thinking),
        )
        devices |= set(map(str, rows["device"]))
        models |= dict.fromkeys(map(str, rows["model"]))
        if name == section.pretraining:
            measuring = _measuring(rows, section)
        for _, own in rows.groupby(["data", "split"], sort=False):
            found += _of_set(section, name, own)
    ordered = _ordered(models, suite, section)
    found = [_with_against(r, found, section.against.get(r.evaluation)) for r in found]
    found = _with_magnitudes(found, measuring)
    return DownstreamExhibit(section, ordered, tuple(found), tuple(sorted(devices)), measuring)


def _thinking(spec: EvalBase) -> str:
    thinking = getattr(spec, "thinking", None)
    return "" if thinking is None or isinstance(thinking, tuple) else thinking_label(thinking)


def _ordered(models: dict[str, None], suite: Suite, section: DownstreamSection) -> tuple[str, ...]:
    """The baseline first, then as the suite has them."""
    labels = list(dict.fromkeys(run.adapter_label for run in suite.of(section.experiment)))
    labels.sort(key=lambda label: label != section.baseline)
    return tuple(
        sorted(
            models,
            key=lambda m: next(
                i for i, label in enumerate(labels) if m == label or m.startswith(f"{label} ")
            ),
        )
    )


# --- one set ---------------------------------------------------------------------------------


def _of_set(section: DownstreamSection, name: str, rows: pd.DataFrame) -> list[DownstreamRow]:
    present = set(rows["metric"])
    tasks = "loss" not in present
    measures = _task_measures(rows) if tasks else [m for m in MEASURES if m.source in present]
    found = []
    for measure in measures:
        own = rows[rows["metric"] == measure.source]
        first = own.iloc[0]
        prefix = "answer_" if measure.tokens == "answer" else ""
        samples = {
            str(model): read_sample(each, measure)
            for model, each in own.groupby("model", sort=False)
        }
        bigrams = rows[rows["metric"] == f"bigram_{prefix}loss"]["value"].dropna()
        found.append(
            DownstreamRow(
                evaluation=name,
                data=str(first["data"]),
                split=str(first["split"]),
                measure=measure,
                pretraining=name == section.pretraining,
                windows="" if tasks or pd.isna(first["windows"]) else str(first["windows"]),
                scores=_scores(own, measure, samples, section.baseline),
                chance=_first(own["chance"]),
                bigram_loss=None if tasks else _first(bigrams),
                samples=samples,
            )
        )
    return found


def _task_measures(rows: pd.DataFrame) -> list[Measure]:
    """The metrics of a task, its standard errors left out: ours are resampled."""
    names = [str(m) for m in dict.fromkeys(rows["metric"]) if "stderr" not in str(m)]
    higher = {n: rows[rows["metric"] == n]["higher_is_better"].iloc[0] for n in names}
    return [
        Measure(name, name, "", bool(higher[name]), _unit(rows[rows["metric"] == name]))
        for name in names
        if not pd.isna(higher[name])
    ]


def _unit(rows: pd.DataFrame) -> str:
    """The unit that all runs recorded; "score" where they differ."""
    units = {str(unit) for unit in rows["unit"]}
    return units.pop() if len(units) == 1 else "score"


def _scores(
    rows: pd.DataFrame,
    measure: Measure,
    samples: Mapping[str, Sample | None],
    baseline: str | None,
) -> tuple[Score, ...]:
    found = []
    for model, sample in samples.items():
        own = rows[rows["model"] == model]
        first = own.iloc[0]
        other = f"{baseline} {first['point']}".strip()
        comparison = None
        if baseline is not None and other != model:
            comparison = _comparison(other, sample, samples.get(other), measure)
        found.append(_score(own, measure, sample, comparison))
    return tuple(found)


def _comparison(
    name: str, sample: Sample | None, other: Sample | None, measure: Measure
) -> Comparison | None:
    difference = None if sample is None or other is None else sample.minus(other)
    if difference is None:
        return None
    return Comparison(name, difference, _verdict(difference, measure))


def _with_against(row: DownstreamRow, rows: list[DownstreamRow], name: str | None) -> DownstreamRow:
    """With each score less the same model's in evaluation `name`, on the same set."""
    key = (name, row.data, row.split, row.measure)
    other = next((r for r in rows if (r.evaluation, r.data, r.split, r.measure) == key), None)
    if name is None or other is None:
        return row

    def compared(score: Score) -> Score:
        own, theirs = row.samples[score.model], other.samples.get(score.model)
        return replace(score, against=_comparison(name, own, theirs, row.measure))

    return replace(row, scores=tuple(map(compared, row.scores)))


def _verdict(difference: Difference, measure: Measure) -> Verdict:
    sign = difference.sign if measure.higher_is_better else -difference.sign
    return "undecided" if sign == 0 else "better" if sign > 0 else "worse"


def _score(
    own: pd.DataFrame, measure: Measure, sample: Sample | None, comparison: Comparison | None
) -> Score:
    first = own.iloc[0]
    value = None if sample is None else sample.value
    interval = None if sample is None else sample.interval()
    if measure.is_perplexity:
        value = None if value is None else perplexity(value)
        interval = None if interval is None or interval[1] > MAX_NATS else _exp(interval)
    elif interval is not None and measure.percent is not None:
        whole = 100 / measure.percent
        interval = max(0.0, interval[0]), min(whole, interval[1])
    return Score(
        model=str(first["model"]),
        adapter=str(first["adapter"]),
        family=str(first["family"]),
        label=str(first["point"]),
        value=value,
        interval=interval,
        n=int(first["n"]),
        documents=None if sample is None else sample.documents,
        seeds=int(own["seed"].nunique()),
        noise_seeds=max(1, int(own["noise_seed"].nunique())),
        thinking=str(first["thinking"]),
        nfe=_mean(own["nfe"]),
        flops=_mean(own["flops"]),
        seconds=None if own["seconds"].isna().all() else float(own["seconds"].median()),
        comparison=comparison,
    )


def _exp(interval: Interval) -> Interval:
    return exp(interval[0]), exp(interval[1])


def _mean(costs: pd.Series) -> float | None:
    return None if costs.isna().all() else float(costs.mean())


def _first(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.iloc[0]) if len(known) else None


# --- magnitudes ------------------------------------------------------------------------------


def _measuring(rows: pd.DataFrame, section: DownstreamSection) -> str:
    """The Transformer++ that magnitudes are measured with; empty where there is none.

    The largest, then the one of most training, then the baseline.
    """
    if not len(rows):
        return ""
    own = rows[rows["family"] == BASELINE_FAMILY]
    own = own.assign(baseline=own["adapter"] == section.baseline)
    order = ["non_embedding", "training_tokens", "baseline"]
    own = own.sort_values(order, ascending=False, kind="stable")
    return str(own["model"].iloc[0]) if len(own) else ""


def _with_magnitudes(rows: list[DownstreamRow], measuring: str) -> list[DownstreamRow]:
    """The paper's OOD magnitude of each set, beside every measure of it."""

    def measured(row: DownstreamRow) -> float | None:
        score = row.of(measuring)
        return None if score is None else score.value

    of_all = [r for r in rows if r.measure.is_perplexity and r.measure.tokens == "all"]
    home = next((measured(r) for r in of_all if r.pretraining), None)
    known = {(r.evaluation, r.data, r.split): measured(r) for r in of_all}
    found = []
    for row in rows:
        own = known.get((row.evaluation, row.data, row.split))
        ratio = None if own is None or home is None else own / home
        found.append(replace(row, magnitude=ratio))
    return found
