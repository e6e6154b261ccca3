"""What a suite still needs and nobody is at: what `run` works off here and `submit` hands out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.launch.claims import Claim, claim_of, claiming
from harness.launch.pending import PendingRun, Standing, merged, prepare, set_aside, standing
from harness.launch.slurm import commands
from harness.launch.slurm.settle import Assignment, look_up, settle
from harness.planning.eval_spec import EvalBase
from harness.planning.planned import PlannedRun, Suite
from harness.provenance import is_changed
from harness.records import RunFolder


@dataclass(frozen=True)
class MissingRun:
    """A run with work left; `stale` where what there is of it was made by other source or data."""

    run: PlannedRun
    evaluations: Mapping[str, EvalBase]
    standing: Standing
    stale: bool = False

    def begin(self, results: Path) -> PendingRun:
        """Write the specs that a worker will read; what is stale is set aside first."""
        if self.stale:
            set_aside(self.run.run_id, results)
        return prepare(self.run, self.evaluations, results, self.flops)

    @property
    def flops(self) -> float:
        return self.run.cost.flops or 0.0


@dataclass
class Work:
    """A suite's runs by what is to be done about them; `claimed` ones are with a Slurm job."""

    missing: list[MissingRun] = field(default_factory=list)
    found_done: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    claimed: dict[str, Assignment] = field(default_factory=dict)


def work_of(
    suite: Suite, results: Path, *, redo_changed: bool = False, look_only: bool = False
) -> Work:
    """Sort a suite's runs. Claims of jobs that are gone are settled first.

    To be called while claiming, unless it is to `look_only` and to leave such claims alone. Raises
    NoSlurm where there are claims and Slurm does not answer.
    """
    work = Work()
    runs = merged(suite.runs)
    claims = claims_of(runs, results)
    if look_only:
        found = look_up(claims, results)
        work.claimed = {run_id: each for run_id, each in found.items() if not each.is_over}
    else:
        work.claimed = settle(claims, results)
    for run_id, (run, evaluations) in runs.items():
        if run_id in work.claimed:
            continue
        state = standing(run, evaluations, results)
        stale = state == "changed" or (
            state == "evaluate" and is_changed(run.record, RunFolder(results, run_id), evaluations)
        )
        if stale and not redo_changed:
            work.changed.append(run_id)
        if state == "done":
            work.found_done.append(run_id)
        elif state != "changed" or redo_changed:
            work.missing.append(MissingRun(run, evaluations, state, stale and redo_changed))
    return work


def local_work(suite: Suite, results: Path, *, redo_changed: bool) -> Work:
    """`work_of` for running here: Slurm is asked only where runs are claimed."""
    if not claims_of(merged(suite.runs), results):
        return work_of(suite, results, redo_changed=redo_changed)
    if not commands.available():
        raise commands.NoSlurm(
            "some of these runs were submitted to Slurm, which is not on this machine",
            where=str(results / "runs"),
            hint="run this on the cluster; if those jobs are gone, remove runs/*/claim.json",
        )
    with claiming(results):
        return work_of(suite, results, redo_changed=redo_changed)


def claims_of(run_ids: Iterable[str], results: Path) -> dict[str, Claim]:
    """Run id -> claim, of the runs that are claimed."""
    found = {run_id: claim_of(RunFolder(results, run_id)) for run_id in run_ids}
    return {run_id: claim for run_id, claim in found.items() if claim is not None}
