"""`harness plan`: the run table, the totals, and what the suite can decide."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from harness.launch.pending import merged, standing
from harness.planning.budget import RunCost, run_cost, scaling_designs, total_flops
from harness.planning.planned import PlannedRun, Suite
from harness.quantities import counted, si
from harness.records import KEPT_CHECKPOINTS
from harness.show.console import terminal


def print_plan(suite: Suite, results: Path, *, simulate: bool, as_json: bool) -> None:
    """Print the plan of a suite as a table or as JSON."""
    runs = merged(suite.runs)
    costs = {run_id: run_cost(run) for run_id, (run, _) in runs.items()}
    states = {run_id: standing(run, evals, results) for run_id, (run, evals) in runs.items()}
    rows = [_row(run, costs[run.run_id], states[run.run_id]) for run in suite.runs]
    decisions = _decisions(suite) if simulate else []
    flops = total_flops(costs.values())
    if as_json:
        document = {
            "suite": suite.name,
            "version": suite.version,
            "runs": rows,
            "total_flops": flops,
            "decisions": decisions,
        }
        print(json.dumps(document, indent=1, allow_nan=False))
        return
    console = terminal()
    console.print(_table(rows, [run.name for run in suite.runs]))
    shared = len(suite.runs) - len(runs)
    evaluations = sum(len(evals) for _, evals in runs.values())
    counts = ", ".join(f"{count} {state}" for state, count in Counter(states.values()).items())
    console.print(
        f"\n{suite.name} version {suite.version}: {len(runs)} runs"
        + (f" ({shared} shared between experiments)" if shared else "")
        + f", {evaluations} evaluations, {si(flops)}FLOP of training. {counts}."
    )
    replaying = [cost for cost in costs.values() if cost.replay_checkpoint_bytes]
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


def _table(rows: list[dict[str, Any]], names: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("run")
    for name in ("params", "non-emb.", "steps", "tokens", "FLOPs"):
        table.add_column(name, justify="right", no_wrap=True)
    replays = any(row["replay_bytes"] for row in rows)
    if replays:
        table.add_column("replay", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for row, name in zip(rows, names, strict=True):
        table.add_row(
            row["run"],
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
    """What each scaling section could decide: the simulated range of its rate."""
    from harness.analysis.rates.simulation import simulate_interval

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
        found.append(
            {
                "title": section.title,
                "text": text,
                "interval": None if interval is None else [interval.low, interval.high],
                "points": len(design.xs),
                "seeds": design.seeds,
            }
        )
    return found
