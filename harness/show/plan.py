"""`harness plan`: the run table, the totals, and what the suite can decide."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.launch.estimate import TRAINED, estimate_suite
from harness.launch.pending import Standing, merged, standing
from harness.launch.probe import Probing
from harness.launch.slurm.limits import array_size
from harness.launch.slurm.profile import Profile, load_profile
from harness.launch.slurm.submit import fitted
from harness.launch.throughput import measured_speeds
from harness.planning.budget import scaling_designs, total_flops
from harness.planning.estimate import MAX_ARRAY_SIZE, Estimate
from harness.planning.planned import PlannedRun, RunCost, Suite
from harness.quantities import counted, si
from harness.records import KEPT_CHECKPOINTS
from harness.show.console import terminal
from harness.show.estimate import as_data, print_estimate
from harness.show.probing import probe_suite

#: Columns from which a run's id stands beside its name.
_WIDE = 130


def print_plan(
    suite: Suite,
    results: Path,
    *,
    simulate: bool,
    as_json: bool,
    profile_path: Path | None = None,
    probe: bool = False,
) -> int:
    """Print a suite's plan as a table or as JSON, with an estimate for a profile or from probes.

    Returns the exit code: 0; 1 where a probe failed; 130 where probing was interrupted.
    """
    profile = None if profile_path is None else load_profile(profile_path)
    plan = _planned(suite, results)
    if profile is not None:
        fitted(profile, list(plan.runs.values()))
    probing = Probing()
    if probe:
        untrained = [r for run_id, r in plan.runs.items() if plan.states[run_id] not in TRAINED]
        probing = probe_suite(untrained, results, profile)
        if probing.interrupted:
            return 130
    estimate = None
    if profile is not None or probe:
        kind = probing.kind if profile is None else profile.device
        estimate = estimate_suite(
            plan.runs,
            plan.costs,
            plan.states,
            measured_speeds(results, kind),
            results,
            profile,
            max_array_size=MAX_ARRAY_SIZE if profile is None else array_size(),
        )
    decisions = _decisions(suite) if simulate else []
    if as_json:
        print(json.dumps(_document(plan, decisions, estimate, profile), indent=1, allow_nan=False))
        return int(bool(probing.failed))
    console = terminal()
    _print(console, plan, decisions)
    if estimate is not None:
        print_estimate(console, estimate, profile, profile_path)
    return int(bool(probing.failed))


@dataclass(frozen=True)
class _Plan:
    """A suite's runs by id, each once, with its cost and how it stands."""

    suite: Suite
    runs: dict[str, PlannedRun]
    costs: dict[str, RunCost]
    states: dict[str, Standing]
    evaluations: int

    def rows(self) -> list[dict[str, Any]]:
        return [_row(r, self.costs[r.run_id], self.states[r.run_id]) for r in self.suite.runs]


def _planned(suite: Suite, results: Path) -> _Plan:
    found = merged(suite.runs)
    return _Plan(
        suite=suite,
        runs={run_id: run for run_id, (run, _) in found.items()},
        costs={run_id: run.cost for run_id, (run, _) in found.items()},
        states={run_id: standing(run, evals, results) for run_id, (run, evals) in found.items()},
        evaluations=sum(len(evals) for _, evals in found.values()),
    )


def _document(
    plan: _Plan,
    decisions: list[dict[str, Any]],
    estimate: Estimate | None,
    profile: Profile | None,
) -> dict[str, Any]:
    return {
        "suite": plan.suite.name,
        "version": plan.suite.version,
        "runs": plan.rows(),
        "total_flops": total_flops(plan.costs.values()),
        "decisions": decisions,
        "profile": None if profile is None else profile.model_dump(mode="json"),
        "estimate": None if estimate is None else as_data(estimate),
    }


def _print(console: Console, plan: _Plan, decisions: list[dict[str, Any]]) -> None:
    suite, costs = plan.suite, plan.costs.values()
    console.print(_table(plan.rows(), [run.name for run in suite.runs], ids=console.width >= _WIDE))
    shared = len(suite.runs) - len(plan.runs)
    states = Counter(plan.states.values())
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    console.print(
        f"\n{suite.name} version {suite.version}: {len(plan.runs)} runs"
        + (f" ({shared} shared between experiments)" if shared else "")
        + f", {plan.evaluations} evaluations, {si(total_flops(costs))}FLOP of training. {counts}."
    )
    replaying = [cost for cost in costs if cost.replay_checkpoint_bytes]
    if replaying:
        disk = KEPT_CHECKPOINTS * sum(cost.replay_checkpoint_bytes for cost in replaying)
        console.print(
            f"The last {KEPT_CHECKPOINTS} checkpoints of {counted(len(replaying), 'run')} hold "
            f"replay buffers: {si(disk)}B of disk once all have run."
        )
    for decision in decisions:
        console.print(f"[bold]{decision['title']}[/]: {decision['text']}")


def _row(run: PlannedRun, cost: RunCost, state: str) -> dict[str, Any]:
    return {
        "run": run.run_id,
        "experiment": run.experiment,
        "adapter": run.adapter_label,
        **{f"axis.{name}": label for name, label in run.labels.items()},
        "seed": run.spec.seed,
        "parameters": cost.parameters,
        "non_embedding": cost.non_embedding,
        "steps": cost.steps,
        "tokens": cost.tokens,
        "flops": cost.flops,
        "seconds": run.spec.budget.seconds,
        "replay_bytes": cost.replay_bytes,
        "state": state,
    }


def _table(rows: list[dict[str, Any]], names: Sequence[str], *, ids: bool) -> Table:
    """`ids` where the screen is wide enough for them beside the names."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    if ids:
        table.add_column("id", no_wrap=True)
    table.add_column("run", min_width=20)
    for name in ("params", "non-emb.", "steps", "tokens", "FLOPs"):
        table.add_column(name, justify="right", no_wrap=True)
    replays = any(row["replay_bytes"] for row in rows)
    if replays:
        table.add_column("replay", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for row, name in zip(rows, names, strict=True):
        table.add_row(
            *([row["run"]] if ids else []),
            name,
            si(row["parameters"]),
            si(row["non_embedding"]),
            f"{row['seconds']:g} s" if row["steps"] is None else f"{row['steps']:,}",
            si(row["tokens"]),
            si(row["flops"]),
            *([f"{si(row['replay_bytes'])}B" if row["replay_bytes"] else ""] if replays else []),
            row["state"],
        )
    return table


def _decisions(suite: Suite) -> list[dict[str, Any]]:
    """What each scaling section could decide: the simulated range of its rate, and whether its
    design gives verdicts at all.
    """
    from harness.analysis.rates.simulation import simulate_interval
    from harness.analysis.rates.verdict import MIN_RESAMPLES, gate_design

    found: list[dict[str, Any]] = []
    for section, design in scaling_designs(suite):
        if len(design.xs) < 2:
            text = f"{len(design.xs)} points along {section.x}: no rate can be fitted"
            found.append({"title": section.title, "text": text, "interval": None})
            continue
        expected = simulate_interval(design.xs, seeds=design.seeds)
        interval = expected.interval
        if interval is None:
            text = f"cannot decide: {expected.reason}"
        else:
            text = f"{expected.label}: [{interval.low:+.0%}, {interval.high:+.0%}]"
        xs = design.xs, design.xs
        gate = gate_design(section.x, xs=xs, seeds=design.seeds, resamples=MIN_RESAMPLES)
        if not gate.passed:
            text += f". Exploratory, no verdict: {gate.reason}"
        found.append(
            {
                "title": section.title,
                "text": text,
                "interval": None if interval is None else [interval.low, interval.high],
                "points": len(design.xs),
                "seeds": design.seeds,
                "design": gate.label,
            }
        )
    return found
