"""Disclosure of what was trained: designs, sizes, costs, schedules, rates, seeds, data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import log10

from harness.analysis.report.data_sizes import SetSize, set_size
from harness.analysis.report.facts import Answer, Given, SuiteFacts, as_percent, listed, spread
from harness.analysis.report.runs import ReportedRun
from harness.planning.budget import scaling_designs
from harness.planning.planned import PlannedRun
from harness.planning.sections import TuningSection
from harness.planning.spec import NextTokenTask
from harness.quantities import counted, counted_range, si

#: Models are called matched where their sizes differ by no more.
_MATCHED = 0.05
_DECIDING_SEEDS = 3


def runs_and_points(facts: SuiteFacts) -> Answer:
    """How many there are, of each model along each axis."""
    done, all_runs = len(facts.trained), len(facts.planned)
    parts = [
        f"{done} of {counted(all_runs, 'run')} done, {facts.asked - facts.lacking} of "
        f"{counted(facts.asked, 'evaluation')}"
    ]
    for section, design in scaling_designs(facts.shown.suite):
        if not design.xs:
            continue
        decades = log10(max(design.xs) / min(design.xs))
        parts.append(
            f"{section.title}: {counted(len(design.xs), 'point')} × "
            f"{counted(design.seeds, 'seed')} for each of 2 models over {decades:.2g} decades of "
            f"{section.x}"
        )
    whole = done == all_runs and not facts.lacking
    return Answer("yes" if whole else "partly" if done else "no", "; ".join(parts))


def sizes(facts: SuiteFacts) -> Answer:
    """With embeddings and without, and which of them an axis of parameters is."""
    counts = [run.counted for run in facts.runs]
    shares = [1 - c.non_embedding / c.parameters for c in counts if c.parameters]
    evidence = (
        f"by the adapters' formulas: {_si(c.non_embedding for c in counts)} parameters without "
        f"embeddings, {_si(c.parameters for c in counts)} with (embeddings and output projection: "
        f"{spread(shares, as_percent)}); both are in every run's row"
    )
    if any(exhibit.section.x == "parameters" for exhibit in facts.scaling):
        evidence += "; the axis of parameters is without embeddings"
    return Answer("yes", evidence)


def matched_sizes(facts: SuiteFacts) -> Answer:
    """How far models that are compared at one point differ in size."""
    known = {run.run_id: run.counted for run in facts.runs}
    worst, where = 0.0, ""
    for at, models in facts.points().items():
        found = {m: known[runs[0].run_id].non_embedding for m, runs in models.items()}
        gap = max(found.values()) / max(1, min(found.values())) - 1
        if gap > worst:
            most, least = (f(found, key=lambda m: found[m]) for f in (max, min))
            worst, where = gap, f"{most} over {least} in {' '.join(at)}"
    if all(len(models) < 2 for models in facts.points().values()):
        return Answer("not applicable", "one model at each point")
    if not worst:
        return Answer("yes", "equal at every point, without embeddings")
    evidence = f"largest difference without embeddings {as_percent(worst)}: {where}"
    return Answer("yes" if worst <= _MATCHED else "partly", evidence)


def flops(facts: SuiteFacts) -> Answer:
    """Counted as they ran, by formula, and how much of them the vocabulary takes."""
    measured = [run for run in facts.runs if run.training.get("flops")]
    both = [
        (float(run.training["flops"]), float(run.counted.flops))
        for run in measured
        if run.counted.flops
    ]
    shares = [
        run.training["flops_vocabulary"] / run.training["flops"]
        for run in measured
        if run.training.get("flops_vocabulary") is not None
    ]
    if not measured:
        return Answer("no", "no run has counted FLOPs")
    parts = [
        f"counted op by op as they ran, inner gradients included, in {len(measured)} of "
        f"{counted(len(facts.planned), 'run')}"
    ]
    if both:
        off = max(abs(found / formula - 1) for found, formula in both)
        parts.append(f"at most {as_percent(off)} off the adapters' formulas")
    if shares and max(shares) > 0:
        parts.append(f"vocabulary projection and embeddings are {spread(shares, as_percent)}")
    if any(exhibit.section.x == "flops" for exhibit in facts.scaling):
        parts.append("the axis of FLOPs is the formula's, equal for all seeds")
    whole = len(measured) == len(facts.planned)
    return Answer("yes" if whole else "partly", "; ".join(parts))


def schedules(facts: SuiteFacts) -> Answer:
    """Warm-up and decay, and whether each budget has a schedule of its own length."""
    forms: Counter[str] = Counter()
    own = True
    for run in facts.runs:
        optimizer, steps = run.planned.spec.optimizer, run.counted.steps
        length = "the whole budget"
        if optimizer.decay_steps is not None and optimizer.decay_steps != steps:
            own, length = False, f"{optimizer.decay_steps:,} steps"
            length += "" if steps is None else f" of {steps:,}"
        warm_up = f"{optimizer.warmup_steps:,} steps" if optimizer.warmup_steps else "none"
        forms[
            f"warm-up {warm_up}, cosine to {optimizer.floor_ratio:g} of the peak over {length}"
        ] += 1
    steps_of = [run.counted.steps for run in facts.runs if run.counted.steps is not None]
    evidence = listed((f"{form} ({counted(n, 'run')})" for form, n in forms.items()), 4)
    if steps_of:
        evidence += f"; {counted_range(steps_of, 'optimizer step')}"
    evidence += "; every run ends its own schedule" if own else "; some end before it does"
    return Answer("yes" if own else "partly", evidence)


def learning_rates(facts: SuiteFacts) -> Answer:
    """Tried per size and model with equal trials, or set by hand."""
    tuning = [s for s in facts.shown.suite.report if isinstance(s, TuningSection)]
    if tuning:
        return _tried(facts, tuning)
    rates: dict[str, set[float]] = {}
    for run in facts.planned:
        rates.setdefault(run.adapter_label, set()).add(run.spec.optimizer.lr)
    shown = "; ".join(f"{m} {spread(v, lambda r: f'{r:g}')}" for m, v in rates.items())
    evidence = f"not tried in this suite: {shown}"
    if any(len(values) > 1 for values in rates.values()):
        evidence += " (set per point in its file)"
    if facts.tuned:
        return Answer("partly", f"{evidence}; rates are tried in {listed(facts.tuned)}")
    return Answer("no", f"{evidence}; no suite of this report tries others")


def _tried(facts: SuiteFacts, sections: Sequence[TuningSection]) -> Answer:
    """How many rates each model had at each size, and whether all had as many, and as long."""
    ended = {run.run_id for run in facts.runs if run.record is not None or run.diverged}
    rates: dict[tuple[str, ...], set[str]] = {}
    trials: dict[tuple[str, ...], Counter[str]] = {}
    budgets: dict[tuple[str, ...], set[str]] = {}
    left = 0
    for section in {section.experiment: section for section in sections}.values():
        for run in facts.shown.suite.of(section.experiment):
            rest = (label for axis, label in run.labels.items() if axis != section.over)
            size = section.experiment, *rest
            rates.setdefault((run.adapter_label, *size), set()).add(run.labels[section.over])
            trials.setdefault(size, Counter())[run.adapter_label] += 1
            budgets.setdefault(size, set()).add(run.spec.budget.model_dump_json())
            left += run.run_id not in ended
    equal = all(len(set(counts.values())) == 1 for counts in trials.values())
    alike = all(len(own) == 1 for own in budgets.values())
    units = listed(dict.fromkeys(run.spec.budget.unit for run in facts.planned))
    parts = [
        f"{counted_range(map(len, rates.values()), 'rate')} of each model at each of "
        f"{counted(len(trials), 'size')}",
        "as many trials for each model" if equal else "not as many trials for each model",
        f"equal budgets in {units}" if alike else "unequal budgets",
    ]
    parts += [f"{counted(left, 'trial')} not finished"] if left else []
    return Answer("yes" if equal and alike and not left else "partly", ", ".join(parts))


def batches(facts: SuiteFacts) -> Answer:
    """Rows per optimizer step, in tokens where there are tokens."""
    rows = [run.spec.batch_size for run in facts.planned]
    evidence = f"{counted_range(rows, 'row')} a step"
    tokens = [t for run in facts.planned if (t := run.spec.tokens_per_step) is not None]
    if tokens:
        evidence += f" ({_si(tokens)} tokens)"
    grows = len(set(rows)) > 1
    evidence += "; it differs between points" if grows else "; the same at every point"
    return Answer("yes", evidence + "; other sizes were not tried for each point")


def seeds(facts: SuiteFacts) -> Answer:
    """Training seeds at the point that has the fewest, and noise seeds of evaluations."""
    counts = [
        len({run.spec.seed for run in runs})
        for models in facts.points().values()
        for runs in models.values()
    ]
    noise = [len(e.spec.noise_seeds) for run in facts.planned for e in run.evaluations]
    fewest = min(counts)
    evidence = f"{counted_range(counts, 'training seed')} at each point"
    if noise:
        evidence += f", {counted_range(noise, 'noise seed')} in evaluations"
    if fewest < _DECIDING_SEEDS:
        evidence += f"; {_DECIDING_SEEDS} are needed to decide anything"
    given: Given = "yes" if fewest >= _DECIDING_SEEDS else "partly" if fewest > 1 else "no"
    return Answer(given, evidence)


def training_data(facts: SuiteFacts) -> Answer:
    """What was trained on, and how often it was seen."""
    by_data: dict[str, list[ReportedRun]] = {}
    for run in facts.runs:
        by_data.setdefault(run.planned.spec.task.data, []).append(run)
    parts, known = [], True
    for data, runs in by_data.items():
        size = set_size(runs[0], facts.results)
        passes = [p for run in runs if (p := _passes(run, size)) is not None]
        if size is None or not passes:
            known = False
            parts.append(f"{data}: its size is not known here, so how often it was seen is not")
            continue
        least = "at least " if size.at_most else ""
        parts.append(
            f"{data}: {_si([size.items])} {size.unit}, seen {least}"
            f"{spread(passes, lambda p: f'{p:.2g}')} times"
        )
    return Answer("yes" if known else "partly", "; ".join(parts))


def _passes(run: ReportedRun, size: SetSize | None) -> float | None:
    """How often the run saw its training set; by its plan where it is not trained."""
    if size is None:
        return None
    if size.unit == "tokens":
        seen = run.training.get("tokens") or run.counted.tokens
    else:
        steps = run.counted.steps
        seen = run.training.get("rows") or (steps and steps * run.planned.spec.batch_size)
    return None if not seen else float(seen) / size.items


def tokenizers(facts: SuiteFacts) -> Answer:
    """By name; that numbers per token do not compare across them."""
    names = {
        run.spec.task.tokenizer: None
        for run in facts.planned
        if isinstance(run.spec.task, NextTokenTask)
    }
    if not names:
        return Answer("not applicable", "no text")
    vocabulary = {_vocabulary(run) for run in facts.planned} - {None}
    evidence = listed(names) + "".join(
        f", {size:,} tokens" for size in sorted(filter(None, vocabulary))
    )
    return Answer("yes", f"{evidence}; bits per byte stand beside losses per token")


def _vocabulary(run: PlannedRun) -> int | None:
    size = getattr(run.shape, "vocab_size", None)
    return None if size is None else int(size)


def _si(values: Iterable[float]) -> str:
    return spread(values, lambda value: si(value).strip())
