"""The files that a cluster's directory starts with."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import socket
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parents[2] / "slurm" / "local"
NODES = ("127.0.0.2", "127.0.0.3")

#: Below the kernel's ephemeral ports, and below those that submitit gives to torch (20000 up).
_PORTS = range(10_000, 20_000)
#: Slurm's largest is 0x03ff0000.
_JOB_IDS = range(1_000, 60_000_000)
_FOLDERS = {"munge": 0o711, "db": 0o700, "state": 0o755, "spool": 0o755, "log": 0o755}


@dataclass(frozen=True)
class Options:
    """What tests vary; `extra` lines come before the nodes and override what stands above them."""

    max_array_size: int = 101  # elements of the largest array
    grace_time: int = 15  # seconds between preempting a job on `low` and killing it
    kill_wait: int = 2  # seconds between SIGTERM and SIGKILL
    extra: Sequence[str] = ()


def write(directory: Path, options: Options) -> None:
    """The two configuration files, munge's key and the folders that the daemons want."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    for name, mode in _FOLDERS.items():
        (directory / name).mkdir()
        (directory / name).chmod(mode)
    _write(directory / "munge" / "key", os.urandom(128), 0o400)
    values = _values(directory, options)
    for name, mode in (("slurmdbd.conf", 0o600), ("slurm.conf", 0o644)):
        text = string.Template((TEMPLATES / name).read_text()).substitute(values)
        _write(directory / name, text.encode(), mode)


def user() -> str:
    """The name of the user that runs the daemons: who runs us."""
    return pwd.getpwuid(os.getuid()).pw_name


def port(directory: Path, setting: str) -> int:
    """A port that was written for a daemon, such as `DbdPort` of slurmdbd.conf."""
    lines = (directory / "slurmdbd.conf").read_text().splitlines()
    return int(next(line.partition("=")[2] for line in lines if line.startswith(f"{setting}=")))


def _write(path: Path, content: bytes, mode: int) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
    path.chmod(mode)


def _values(directory: Path, options: Options) -> dict[str, str]:
    slurmctld, slurmdbd, *nodes = map(str, _free_ports(2 + len(NODES)))
    tenths = time.time_ns() // 100_000_000
    return {
        "directory": str(directory),
        "host": socket.gethostname(),
        "user": user(),
        "slurmctld_port": slurmctld,
        "slurmdbd_port": slurmdbd,
        "port_2": nodes[0],
        "port_3": nodes[1],
        "kill_wait": str(options.kill_wait),
        "grace_time": str(options.grace_time),
        "max_array_size": str(options.max_array_size),
        "first_job_id": str(_JOB_IDS[tenths % len(_JOB_IDS)]),
        "extra": "\n".join(options.extra),
    }


def _free_ports(count: int) -> list[int]:
    """At random, so that clusters which start at the same time choose different ones."""
    ports: list[int] = []
    for candidate in random.SystemRandom().sample(_PORTS, 50 * count):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", candidate))
            ports.append(candidate)
        if len(ports) == count:
            return ports
    raise OSError(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop}")
