"""`harness plan --probe`: measure a few steps of each size, and say so as it goes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.launch.probe import Probed, Probing, distinct, probe_runs
from harness.launch.slurm.profile import Profile
from harness.planning.planned import PlannedRun
from harness.quantities import counted, duration


def probe_suite(runs: Sequence[PlannedRun], results: Path, profile: Profile | None) -> Probing:
    """Probe each distinct work among `runs` here, on the profile's kind of device.

    Progress goes to standard error. HarnessError where a profile asks for GPUs and there is none.
    """
    if profile is not None and profile.device == "cuda" and shutil.which("nvidia-smi") is None:
        raise HarnessError(
            "the profile asks for GPUs, and this machine has none to probe",
            where="--probe",
            hint="probe on a compute node: srun --gpus=1 … harness plan … --probe",
        )
    chosen = distinct(runs)
    if not chosen:
        print("nothing to probe: no training is left that is counted in steps", file=sys.stderr)
        return Probing()
    print(f"probing {counted(len(chosen), 'size')}, a few seconds each", file=sys.stderr)
    ended: list[Probed] = []

    def say(probed: Probed) -> None:
        ended.append(probed)
        print(
            f"[{len(ended)}/{len(chosen)}] {probed.run.setting}: {_said(probed)}",
            file=sys.stderr,
            flush=True,
        )

    device = None if profile is None else profile.device
    probing = probe_runs(chosen, results, device=device, on_end=say)
    if probing.interrupted:
        print("interrupted; what was measured is kept", file=sys.stderr)
    return probing


def _said(probed: Probed) -> str:
    if probed.probe is None:
        return f"failed: {probed.reason}"
    step = duration(probed.probe.seconds_per_step)
    return f"{step} a step ({counted(probed.probe.steps, 'step')} on {probed.probe.device})"
