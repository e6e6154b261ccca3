"""The sbatch script of an array, rendered and sent by submitit around a command of our own.

submitit would pickle the work and read the pickle in the job. Here a job gets two words, the
submission's folder and the number of its array; what it does it reads from the run's spec.json.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.launch.slurm import commands
from harness.launch.slurm.profile import Profile
from harness.launch.slurm.submission import Submission

#: A warning that comes before the interpreter listens would kill it: it is ignored until then.
_DEAF = """trap '' USR2; exec "$@\""""
_TASK = "harness.launch.slurm.task"


def array_script(submission: Submission, array: int) -> str:
    """The exact text that sbatch is given for one array."""
    executor = _executor(submission, array)
    text: str = executor._make_submission_file_text(_command(submission, array), "")
    return text


def send(submission: Submission, array: int) -> tuple[str, str]:
    """Submit one array; returns its Slurm id, and what sbatch found strange but took.

    HarnessError with sbatch's complaint where it did not.
    """
    import submitit

    if shutil.which("sbatch") is None:
        raise commands.NoSlurm(
            "the command sbatch is not on this machine",
            hint="submit from a login node of the cluster, or `harness run` here",
        )
    submission.logs.mkdir(parents=True, exist_ok=True)
    said = submission.logs / f".sbatch-{array}.err"
    executor = _executor(submission, array, said)
    try:
        with commands.own_environment():
            job = executor._submit_command(_command(submission, array))
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        for left in submission.logs.glob(".submission_file_*.sh"):
            if not left.is_symlink():
                left.unlink()
        raise HarnessError(
            f"sbatch refused the jobs: {_complaint(said) or str(error).strip()}",
            hint="compare the profile with what there is: sinfo -o '%P %D %c %m %G %f %l'",
        ) from error
    return job.job_id, _complaint(said)


def _complaint(said: Path) -> str:
    """sbatch's own words out of what it wrote."""
    lines = said.read_text(errors="replace").splitlines() if said.exists() else []
    said.unlink(missing_ok=True)
    found = [line.partition("error: ")[2] or line for line in lines if line.strip()]
    return "; ".join(dict.fromkeys(found))


def _executor(submission: Submission, array: int, said: Path = Path(os.devnull)) -> Any:
    """submitit's, which writes scripts where there is no srun too; sbatch's stderr goes to `said`.

    submitit itself drops what sbatch says of jobs that it takes.
    """
    import submitit

    class Executor(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 1

        def _make_submission_command(self, submission_file_path: Path) -> list[str]:
            words = ["sbatch", str(submission_file_path), str(said)]
            return ["sh", "-c", 'exec sbatch "$1" 2>"$2"', *words]

    executor = Executor(submission.logs, python=python_of(submission.profile))
    executor.update_parameters(**_parameters(submission, array))
    executor.parameters["map_count"] = len(submission.plan.arrays[array])
    return executor


def _parameters(submission: Submission, array: int) -> dict[str, Any]:
    """submitit's names for what the profile asks."""
    profile = submission.profile
    gpus = {"gpus_per_node": profile.gpus_per_node} if profile.gpus_per_node else {}
    named = ("partition", "account", "qos", "constraint", "nodelist", "exclude", "gres", "mem")
    given = {name: getattr(profile, name) for name in named if getattr(profile, name) is not None}
    if profile.exclusive:
        given["exclusive"] = True
    further: dict[str, Any] = {"chdir": submission.plan.directory, "requeue": True}
    if profile.reservation is not None:
        further["reservation"] = profile.reservation
    return {
        **given,
        **gpus,
        "job_name": submission.job_name(array),
        "comment": f"harness {submission.id}",
        "time": profile.time,
        "nodes": profile.nodes,
        "ntasks_per_node": profile.tasks_per_node,
        "cpus_per_task": profile.cpus_per_task,
        "signal_delay_s": profile.signal_seconds,
        "array_parallelism": profile.array_parallelism,
        "stderr_to_stdout": True,
        "wckey": None,
        "setup": _setup(submission),
        "teardown": _teardown(submission),
        "srun_args": _srun(profile),
        "additional_parameters": further | _switched_on(profile.sbatch),
    }


def _switched_on(options: dict[str, Any]) -> dict[str, Any]:
    """Without those that are `false`: sbatch's switches take no value."""
    return {name: value for name, value in options.items() if value is not False}


def _setup(submission: Submission) -> list[str]:
    profile = submission.profile
    exports = [f"export {k}={shlex.quote(str(v))}" for k, v in profile.environment.items()]
    code = shlex.quote(str(submission.code))
    return [*profile.setup, *exports, f'export PYTHONPATH={code}"${{PYTHONPATH:+:$PYTHONPATH}}"']


def _teardown(submission: Submission) -> list[str]:
    """A task in a container has no Slurm there to requeue it, and asks by a file."""
    asked = f'{shlex.quote(str(submission.requeue))}/"$SLURM_JOB_ID"'
    requeue = f'if rm {asked} 2>/dev/null; then scontrol requeue "$SLURM_JOB_ID"; fi'
    return ["code=$?", requeue, "exit $code"]


def _srun(profile: Profile) -> list[str]:
    """One process that fails ends the others, one that is done does not: the first evaluates on.

    srun does not take over the cores by itself.
    """
    cpus = [f"--cpus-per-task={profile.cpus_per_task}"] if profile.cpus_per_task else []
    return ["--kill-on-bad-exit=1", "--wait=0", *cpus, *profile.srun]


def check_python(profile: Profile) -> None:
    """HarnessError where the profile names an interpreter that is not there."""
    path = Path(python_of(profile))
    if profile.container is None and len(path.parts) > 1 and not path.exists():
        raise HarnessError(
            f"there is no interpreter {path}",
            where="the profile's venv or python",
            hint="name one that exists on the nodes and here, on a file system they share",
        )


def python_of(profile: Profile) -> str:
    """The interpreter that runs a profile's jobs."""
    if profile.python is not None:
        return str(Path(profile.python).expanduser())
    if profile.venv is not None:
        return str(Path(profile.venv).expanduser() / "bin" / "python")
    return sys.executable


def _command(submission: Submission, array: int) -> str:
    # -P: the working directory may hold the tree that is being edited.
    words = [python_of(submission.profile), "-u", "-P", "-m", _TASK, str(submission.path)]
    container = submission.profile.container or ""
    inner = f"{container} {shlex.join([*words, str(array)])}".lstrip()
    return f"{shlex.join(['bash', '-c', _DEAF, 'run'])} {inner}"
