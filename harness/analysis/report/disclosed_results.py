"""Disclosure of what was measured: sets, fits, intervals, what is left out, compute, code, data."""

from __future__ import annotations

from collections import Counter

from harness.analysis.rates.power_law import MAX_EXPONENT, MIN_EXPONENT, MIN_FIT_POINTS
from harness.analysis.rates.rate import ScalingRate
from harness.analysis.rates.verdict import MIN_RESAMPLES
from harness.analysis.report.facts import Answer, Given, SuiteFacts, listed, spread
from harness.analysis.tables.table import percent
from harness.data.names import is_on_hub, is_source, parts_of
from harness.planning.eval_spec import DisjointEval, LmTaskEval, ThinkingEval
from harness.planning.sections import TuningSection, evaluations_of
from harness.quantities import counted, duration, si

_NO_SCALING = Answer("not applicable", "no scaling section")
_DECIDING_SEEDS = 3


def evaluation_sets(facts: SuiteFacts) -> Answer:
    """Each set with its split and how much of it was measured."""
    rows = facts.shown.frame.rows
    if rows.empty:
        return Answer("no", "nothing is measured yet")
    parts = []
    for (data, split), own in rows.groupby(["data", "split"], sort=False):
        largest = max(zip(own["n"], own["unit"], strict=True), key=lambda each: int(each[0]))
        unit = str(largest[1]).partition("/")[2]
        n = f"{int(largest[0]):,}" + (f" {unit}s" if unit else "")
        parts.append(f"{data} ({split}, n {n})")
    evidence = listed(parts, 12)
    if facts.lacking:
        evidence += f"; {facts.lacking} of {counted(facts.asked, 'evaluation')} missing"
    return Answer("partly" if facts.lacking else "yes", evidence)


def chosen_apart(facts: SuiteFacts) -> Answer:
    """Whether what is reported was measured on other data than settings were chosen on."""
    suite = facts.shown.suite
    if suite.exploratory:
        return Answer("no", suite.exploratory)
    tuning = [section for section in suite.report if isinstance(section, TuningSection)]
    reported = _reported(facts, [s.kind for s in suite.report if not isinstance(s, TuningSection)])
    if tuning:
        chosen = _reported(facts, ["tuning"])
        shared = chosen & reported
        if not reported:
            return Answer("not applicable", f"rates are chosen here, on {listed(sorted(chosen))}")
        if shared:
            return Answer("no", f"rates are chosen on {listed(sorted(shared))}, which is reported")
        return Answer("yes", f"rates are chosen on {listed(sorted(chosen))}")
    return Answer(
        "not recorded",
        "records do not say on what its settings were chosen; reported: "
        f"{listed(sorted(reported))}",
    )


def _reported(facts: SuiteFacts, kinds: list[str]) -> set[str]:
    """`builtin/docs (validation)`: the sets that sections of these kinds draw."""
    suite = facts.shown.suite
    drawn = {
        (section.experiment, name)
        for section in suite.report
        if section.kind in kinds
        for _, name in evaluations_of(section)
    }
    return {
        f"{evaluation.spec.data} ({evaluation.spec.split})"
        for run in suite.runs
        for evaluation in run.evaluations
        if (run.experiment, evaluation.name) in drawn
    }


def kept_apart(facts: SuiteFacts) -> Answer:
    """Whether evaluation sets were checked against training sets."""
    specs = [evaluation.spec for run in facts.planned for evaluation in run.evaluations]
    checked = [spec for spec in specs if isinstance(spec, DisjointEval)]
    others = sorted({type(s).__name__ for s in specs if not isinstance(s, DisjointEval)})
    if not specs:
        return Answer("not applicable", "no evaluations")
    rows = facts.shown.frame.rows
    dropped = 0 if rows.empty else int(rows["dropped"].fillna(0).max())
    parts = [
        f"{len(checked)} of {counted(len(specs), 'evaluation')} check each document, image or clip "
        "against the training set (equal, or 13 words in a row) and refuse, or leave out and count"
    ]
    parts.append(f"at most {dropped:,} left out" if dropped else "none was left out")
    if any(isinstance(spec, LmTaskEval) for spec in specs):
        parts.append("tasks of lm-eval are not checked")
    elif others:
        parts.append("energies over a set are not checked")
    return Answer(
        "yes" if len(checked) == len(specs) else "partly" if checked else "no", "; ".join(parts)
    )


# --- fits ------------------------------------------------------------------------------------


def _rates(facts: SuiteFacts) -> list[tuple[str, ScalingRate]]:
    return [
        (exhibit.section.title, exhibit.rate)
        for exhibit in facts.scaling
        if exhibit.rate is not None
    ]


def fits(facts: SuiteFacts) -> Answer:
    """Form, objective, optimizer, starting points and bounds of scaling curves."""
    if not facts.scaling:
        return _NO_SCALING
    fitted = [fit for _, rate in _rates(facts) for fit in rate.fits]
    identified = sum(fit.identified for fit in fitted)
    evidence = (
        "L(x) = E + A·x^(−a) for each model; least squares of the loss weighted by 1/L²; for each a"
        f" the best E, A ≥ 0 in closed form, a searched on a grid from {MIN_EXPONENT:g} to "
        f"{MAX_EXPONENT:g} and refined by golden section, so there are no starting points; "
        f"{identified} of {counted(len(fitted), 'curve')} determined: at least {MIN_FIT_POINTS} "
        "points, none of E, A and a at a bound"
    )
    return Answer("yes" if fitted else "partly", evidence)


def weights(facts: SuiteFacts) -> Answer:
    """How the points of a curve count."""
    if not facts.scaling:
        return _NO_SCALING
    return Answer(
        "yes",
        "1/L² for each point, which makes them residuals of log loss; points count alike, and none "
        "is weighted by its budget; a Huber fit and a fit with one E for both models stand beside",
    )


def intervals(facts: SuiteFacts) -> Answer:
    """How each number's interval is made, and whether it has one."""
    seeds = min(len(own) for models in facts.points().values() for own in models.values())
    rates = _rates(facts)
    parts = []
    if rates:
        have = sum(rate.rho.interval is not None for _, rate in rates)
        resamples = spread((r.bootstrap.resamples for _, r in rates), lambda n: f"{n:,.0f}")
        parts.append(
            f"{have} of {counted(len(rates), 'scaling rate')} with an interval: bootstrap of "
            f"{listed(rate.resampling for _, rate in rates)}, {resamples} resamples "
            f"(at least {MIN_RESAMPLES:,} to decide), adjusted over the suite's axes by Holm"
        )
    if len(rates) < len(facts.shown.gathered):
        parts.append(
            "other numbers: 95 % over training seeds (deviations stretched to Student's t), then "
            "documents, images or clips"
        )
    given: Given = "yes" if seeds >= _DECIDING_SEEDS else "partly" if seeds > 1 else "no"
    if seeds < _DECIDING_SEEDS:
        parts.append(f"{counted(seeds, 'seed')} at some point say little of other trainings")
    if rates and any(rate.rho.interval is None for _, rate in rates):
        given = "partly"
    if not facts.trained:
        given, parts = "no", ["nothing is measured yet"]
    return Answer(given, "; ".join(parts))


def held_out(facts: SuiteFacts) -> Answer:
    """The largest point predicted from the others."""
    if not facts.scaling:
        return _NO_SCALING
    errors = [
        (f"{title}, {name}", held.error, held.decades_beyond)
        for title, rate in _rates(facts)
        for name, held in zip(("candidate", "baseline"), rate.held_out, strict=True)
    ]
    shown = [
        f"{name} {percent(error)} over {beyond:.2g} decades"
        for name, error, beyond in errors
        if error is not None
    ]
    if not shown:
        return Answer("no", f"fewer than {MIN_FIT_POINTS} points, so none can be left out")
    evidence = "largest point predicted from the rest: " + listed(shown, 8)
    return Answer("yes" if len(shown) == len(errors) else "partly", evidence)


# --- what it stands on -----------------------------------------------------------------------


def left_out(facts: SuiteFacts) -> Answer:
    """Runs and evaluations that no exhibit has, and why."""
    states = Counter(run.state for run in facts.runs if run.record is None)
    parts = [f"{number} {state}" for state, number in states.items()]
    whole = not facts.lacking and not parts
    lost = [
        name for gathered in facts.shown.gathered for name in getattr(gathered.exhibit, "lost", ())
    ]
    evidence = [f"{counted(sum(states.values()), 'run')} without a result ({', '.join(parts)})"]
    evidence = evidence if parts else ["every planned run has a result"]
    if facts.lacking:
        evidence.append(f"{counted(facts.lacking, 'evaluation')} missing")
    if lost:
        evidence.append(f"not finite and left out: {listed(map(str, lost))}")
    changed = len(facts.shown.frame.changed)
    if changed:
        evidence.append(f"{changed} made by other source code or data than now, shown and marked")
    held = sum(bool(getattr(section, "only", None)) for section in facts.shown.suite.report)
    if held:
        evidence.append(
            f"{counted(held, 'section')} hold further axes by `only`, in the suite file"
        )
    return Answer("yes" if whole and not lost else "partly", "; ".join(evidence))


def compute(facts: SuiteFacts) -> Answer:
    """Training FLOPs and time of what is shown, by device."""
    if not facts.trained:
        return Answer("no", "nothing is trained yet")
    parts = []
    for device in dict.fromkeys(run.record.device for run in facts.trained if run.record):
        own = [run.training for run in facts.trained if run.record and run.record.device == device]
        total = sum(t.get("flops") or 0 for t in own)
        seconds = sum(t.get("seconds") or 0 for t in own)
        parts.append(
            f"{device}: {counted(len(own), 'run')}, {si(total)}FLOPs, {duration(seconds)} of "
            "training"
        )
    parts.append("runs shared with other suites count here too; earlier attempts do not")
    whole = len(facts.trained) == len(facts.planned)
    return Answer("yes" if whole else "partly", "; ".join(parts))


def precision(facts: SuiteFacts) -> Answer:
    """Number format, threads and devices of training."""
    specs = [run.spec for run in facts.planned]
    formats = listed(dict.fromkeys(s.precision + (", compiled" * s.compile) for s in specs))
    threads = spread((s.threads for s in specs), lambda n: f"{n:.0f}")
    devices = listed(dict.fromkeys(r.record.device for r in facts.trained if r.record))
    evidence = f"{formats}; CPU threads of a run: {threads}; " + (devices or "not trained yet")
    return Answer("yes" if devices else "partly", evidence)


def availability(facts: SuiteFacts) -> Answer:
    """Whether others can get the code at its commits, and the data."""
    commits: Counter[str] = Counter()
    edited = 0
    for run in facts.trained:
        git = run.provenance.get("git") or {}
        commits[str(git.get("commit") or "no commit recorded")[:12]] += 1
        edited += bool(git.get("changed"))
    parts = [f"commit {listed(commits, 4)}"] if commits else ["no run yet"]
    if edited:
        parts.append(f"{counted(edited, 'run')} with changes that were not committed")
    loose = []
    for data in sorted(_all_data(facts)):
        if is_on_hub(data):
            if "@" not in (parts_of(data)["place"] or ""):
                loose.append(f"{data} names no revision")
        elif is_source(data):
            loose.append(f"{data} is the user's own")
    parts.append("; ".join(loose) if loose else "all data come with the package or are pinned")
    parts.append(f"settings: {facts.shown.suite.path}")
    clean = commits and not edited and not loose and "no commit recorded" not in commits
    return Answer("yes" if clean else "partly" if commits else "no", "; ".join(parts))


def _all_data(facts: SuiteFacts) -> set[str]:
    trained = {run.spec.task.data for run in facts.planned}
    evaluated = {
        evaluation.spec.data
        for run in facts.planned
        for evaluation in run.evaluations
        if not isinstance(evaluation.spec, LmTaskEval)
    }
    return trained | evaluated


def test_time(facts: SuiteFacts) -> Answer:
    """Compute at prediction time, where models may think."""
    settings = {
        len(evaluation.spec.thinking)
        for run in facts.planned
        for evaluation in run.evaluations
        if isinstance(evaluation.spec, ThinkingEval)
    }
    rows = facts.shown.frame.rows
    if rows.empty:
        return Answer("no", "nothing is measured yet")
    if rows["nfe"].notna().sum() == 0:
        return Answer("no", "no cost of a prediction is recorded")
    nfe = spread(rows["nfe"].dropna().astype(float), lambda n: f"{n:g}")
    evidence = f"passes, FLOPs and seconds per prediction beside each number; NFE {nfe}"
    if settings:
        evidence += f"; up to {max(settings)} settings of thinking a model, all shown"
    return Answer("yes", evidence)
