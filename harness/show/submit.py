"""`harness submit` and `harness retry`: hand out what is missing, and say what went where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.markup import escape

from harness.errors import HarnessError
from harness.launch.claims import claim_of, owner_of
from harness.launch.missing import MissingRun
from harness.launch.slurm.commands import NoSlurm
from harness.launch.slurm.limits import limits_of
from harness.launch.slurm.profile import Profile
from harness.launch.slurm.submission import Submission
from harness.launch.slurm.submit import Submitted, rehearse, submit
from harness.planning.planned import Suite
from harness.quantities import counted
from harness.records import RunFolder
from harness.show.console import terminal


def submit_suite(
    suite: Suite, results: Path, profile: Profile, *, redo_changed: bool, as_json: bool
) -> None:
    """Submit what is missing or failed, and print the jobs."""
    done = submit(suite, results, profile, redo_changed=redo_changed)
    _report(done, suite, results, profile, as_json=as_json)


def print_scripts(
    suite: Suite, results: Path, profile: Profile, *, redo_changed: bool, as_json: bool
) -> None:
    """Print the sbatch scripts that would be sent now; what there is to say goes to stderr."""
    try:
        limits = limits_of(profile)
    except NoSlurm as error:
        limits = None
        said = f"{error.problem}; Slurm's default limits are used"
        terminal(stderr=True).print(f"[yellow]{escape(said)}[/]")
    scripts = rehearse(suite, results, profile, limits=limits, redo_changed=redo_changed)
    if as_json:
        print(json.dumps({"suite": suite.name, "scripts": scripts}, indent=1))
        return
    for script in scripts:
        print(script)
    said = "nothing is missing and free: no job would be submitted"
    if scripts:
        said = f"{counted(len(scripts), 'array')}; nothing was submitted: leave --dry-run out"
    terminal(stderr=True).print(said)


def retry_suite(suite: Suite, results: Path, profile: Profile | None, *, as_json: bool) -> None:
    """Submit what failed, and nothing else, under the profile it had unless one is given."""
    chosen = profile or _last_profile(suite, results)
    done = submit(suite, results, chosen, chosen=_failed(results))
    _report(done, suite, results, chosen, as_json=as_json)
    others = len(done.work.missing)
    if done.submission is None and others and not as_json:
        terminal().print(f"No run failed; {others} are missing otherwise: harness submit, or run.")


def _failed(results: Path) -> Callable[[MissingRun], bool]:
    def is_failed(missing: MissingRun) -> bool:
        folder = RunFolder(results, missing.run.run_id)
        ends = [folder.evaluation(each).ended() for each in missing.evaluations]
        return missing.standing == "failed" or (
            missing.standing == "evaluate"
            and any(end is not None and end[0] == "failed" for end in ends)
        )

    return is_failed


def _last_profile(suite: Suite, results: Path) -> Profile:
    """The profile under which a run of the suite was last submitted."""
    folders = [RunFolder(results, run.run_id) for run in suite.runs]
    owners = filter(None, map(owner_of, folders))
    claims = [*filter(None, map(claim_of, folders)), *(owner.claim for owner in owners)]
    if not claims:
        raise HarnessError(
            "no run of this suite was ever in a Slurm job, so there is no profile to take again",
            where=str(results),
            hint="give --profile slurm/profiles/NAME.yaml; `harness run` retries here",
        )
    return Submission(results, max(claim.submission for claim in claims)).profile


def _report(
    done: Submitted, suite: Suite, results: Path, profile: Profile, *, as_json: bool
) -> None:
    if as_json:
        print(json.dumps(_summary(done, suite), indent=1))
        return
    console = terminal()
    work, submission = done.work, done.submission
    if submission is not None:
        for number, job_id in done.jobs.items():
            size = len(submission.plan.arrays[number])
            at_once = min(size, profile.array_parallelism)
            console.print(
                f"job [bold]{job_id}[/]  {counted(size, 'run')}, {at_once} at once",
                highlight=False,
            )
        console.print(f"submission {submission.id}: {submission.path}", soft_wrap=True)
        for warning in done.warnings:
            console.print(f"[yellow]sbatch warns: {escape(warning)}[/]", soft_wrap=True)
    else:
        console.print("Nothing to submit.")
    notes = [
        (len(work.found_done), "found done"),
        (len(work.claimed), "queued or running already: left alone"),
        (len(done.held), "being worked on by a process here: left alone"),
        (len(done.waiting), "left for later: no more jobs may be queued now"),
        (len(work.changed), "made by other source code or data: redo them with --redo-changed"),
    ]
    for count, what in notes:
        if count:
            console.print(f"{counted(count, 'run')} {what}.")
    if submission is not None or work.claimed:
        console.print(f"Next: {suite.command('status')}", soft_wrap=True)


def _summary(done: Submitted, suite: Suite) -> dict[str, Any]:
    submission = done.submission
    jobs: list[dict[str, Any]] = []
    if submission is not None:
        for number, job_id in done.jobs.items():
            runs = [element.run_id for element in submission.plan.arrays[number]]
            jobs.append({"job": job_id, "runs": runs})
    return {
        "suite": suite.name,
        "submission": None if submission is None else submission.id,
        "jobs": jobs,
        "found_done": done.work.found_done,
        "claimed": list(done.work.claimed),
        "held": done.held,
        "waiting": done.waiting,
        "warnings": done.warnings,
        "changed": done.work.changed,
    }
