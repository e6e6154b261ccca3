"""A Slurm to develop against: `python -m tests.slurm up` (or `make slurm-up`), `down`, `status`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from tests.slurm.cluster import APT, Cluster, ClusterError, missing_binaries
from tests.slurm.configuration import NODES

#: slurmctld, slurmd of each node, slurmdbd, mariadbd, munged.
DAEMONS = 4 + len(NODES)


def main() -> int:
    """0 when it is as was asked, 1 when that failed or it is not up, 2 for wrong input."""
    given = _parser().parse_args()
    directory = given.dir.absolute()
    if refusal := _refusal(directory):
        print(refusal, file=sys.stderr)
        return 2
    try:
        return {"up": _up, "down": _down, "status": _status}[given.verb](Cluster(directory))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; `down` ends what runs and deletes the files", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.slurm",
        description="Start and stop a two-node Slurm on this machine; nothing outside DIR changes.",
    )
    parser.add_argument("verb", choices=("up", "down", "status"))
    default = Path(f"/tmp/harness-slurm-{os.getuid()}")
    parser.add_argument("--dir", type=Path, default=default, help=f"default: {default}")
    return parser


def _refusal(directory: Path) -> str:
    """Why this is no place for a cluster; empty if it is one."""
    if len(str(directory)) > 60:
        return f"--dir {directory}: paths of sockets end at about 100 characters; take a short one"
    if not directory.exists():
        return ""
    if directory.stat().st_uid != os.getuid():
        return f"--dir {directory}: belongs to another user; give another one"
    if any(directory.iterdir()) and not Cluster(directory).owns_directory():
        return f"--dir {directory}: holds other files; give a new or an empty one"
    return ""


def _up(cluster: Cluster) -> int:
    if missing := missing_binaries():
        print(f"Slurm is not installed (no {', '.join(missing)}): {APT}", file=sys.stderr)
        return 2
    daemons = cluster.daemons()
    if len(daemons) == DAEMONS:
        print(f"Slurm is already up in {cluster.directory}")
    elif daemons:
        print(f"Only {', '.join(daemons)} of Slurm's daemons run; `make slurm-down` ends them")
        return 1
    else:
        cluster.remove()  # what a start that failed, or a reboot, has left
        began = time.monotonic()
        cluster.start()
        took = time.monotonic() - began
        print(f"Slurm is up in {cluster.directory} after {took:.1f} s: nodes {', '.join(NODES)}")
    print(f"  export SLURM_CONF={cluster.conf}")
    print("  harness submit suites/smoke.yaml --profile slurm/profiles/local.yaml")
    default = cluster.directory == _parser().get_default("dir")
    down = "make slurm-down" if default else f"python -m tests.slurm down --dir {cluster.directory}"
    print(f"Partitions: low (preemptible), high. `{down}` stops it and deletes its files.")
    return 0


def _down(cluster: Cluster) -> int:
    if not cluster.daemons() and not cluster.owns_directory():
        print(f"Slurm is not up in {cluster.directory}: nothing to stop")
        return 0
    cluster.remove()
    print(f"Slurm is down; {cluster.directory} is deleted")
    return 0


def _status(cluster: Cluster) -> int:
    daemons = cluster.daemons()
    for name, pid in daemons.items():
        print(f"{name:20} {pid}")
    if len(daemons) < DAEMONS:
        print(f"Slurm is not up in {cluster.directory}: {len(daemons)} of {DAEMONS} daemons run")
        return 1
    print(cluster.run("sinfo"))
    print(cluster.run("squeue"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
