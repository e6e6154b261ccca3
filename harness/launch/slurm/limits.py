"""How large an array may be, and how many more jobs one may have queued."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import HarnessError
from harness.launch.slurm.commands import NoSlurm, call, cluster_name, configuration
from harness.launch.slurm.profile import Profile
from harness.planning.estimate import MAX_ARRAY_SIZE


@dataclass(frozen=True)
class Limits:
    """`array_size` elements at most in an array; `room` more jobs, None where nothing limits.

    `cluster` is whose limits they are; empty where none was asked.
    """

    array_size: int
    room: int | None
    cluster: str = ""


def array_size() -> int:
    """The cluster's largest array; Slurm's default where no cluster answers."""
    try:
        return _array_size(configuration())
    except NoSlurm:
        return MAX_ARRAY_SIZE


def _array_size(config: str) -> int:
    patterns = r"MaxArraySize\s*=\s*(\d+)", r"max_array_tasks=(\d+)"
    sizes = [int(found) for pattern in patterns for found in re.findall(pattern, config)]
    return min(sizes, default=MAX_ARRAY_SIZE)


def limits_of(profile: Profile) -> Limits:
    """The profile's limits and the cluster's, whichever is smaller; NoSlurm without a cluster."""
    config = configuration()
    size = _array_size(config)
    if size < 1:
        raise HarnessError("this cluster takes no job arrays: its MaxArraySize is 0")
    enforced = re.search(r"AccountingStorageEnforce\s*=\s*(.*)", config)
    submitted = []
    if enforced is not None and "limits" in enforced[1]:
        submitted = [*_of_association(profile), *_of_qos(profile)]
    if profile.max_submitted is not None:
        submitted.append(profile.max_submitted)
    room = max(0, min(submitted) - _queued()) if submitted else None
    return Limits(min(size, profile.max_array_size or size), room, cluster_name(config))


def _of_association(profile: Profile) -> list[int]:
    """MaxSubmitJobs of the user's associations with the account that is charged."""
    rows = _accounting(
        "associations", "Account,Partition,MaxSubmitJobs,GrpSubmitJobs", f"user={getpass.getuser()}"
    )
    return _whole(
        limit
        for account, partition, *limits in rows
        if profile.account in (None, account) and partition in ("", profile.partition)
        for limit in limits
    )


def _of_qos(profile: Profile) -> list[int]:
    if profile.qos is None:
        return []
    rows = _accounting("qos", "Name,MaxSubmitJobsPerUser,GrpSubmitJobs", f"name={profile.qos}")
    return _whole(limit for _, *limits in rows for limit in limits)


def _accounting(what: str, form: str, where: str) -> list[list[str]]:
    words = ["show", what, "where", where, f"format={form}"]
    try:
        out = call("sacctmgr", "--noheader", "--parsable2", *words)
    except NoSlurm:  # a cluster without accounting limits nobody
        return []
    return [line.split("|") for line in out.splitlines() if line.count("|") == form.count(",")]


def _whole(texts: Iterable[str]) -> list[int]:
    return [int(text) for text in texts if text.isdecimal()]


def _queued() -> int:
    """The user's jobs that are waiting or running, each element of an array counted."""
    return len(
        call(
            "squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"
        ).split()
    )
