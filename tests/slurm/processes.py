"""The processes of a cluster, found in /proc by what ties them to its directory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")
POLL_S = 0.05

_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37


class Process(NamedTuple):
    """A living process; `node` is the Slurm node it belongs to, empty for the other daemons."""

    pid: int
    program: str
    node: str

    @property
    def name(self) -> str:
        """Unique among a cluster's daemons: `slurmctld`, `slurmd-127.0.0.2`."""
        return f"{self.program}-{self.node}" if self.node else self.program


class _Stat(NamedTuple):
    command: str
    state: str
    parent: int
    session: int


def find(directory: Path) -> list[Process]:
    """The daemons, job steps and tasks of the cluster in `directory`, and nobody else's."""
    stats = dict(_stats())
    own = {pid: found for pid in stats if (found := _identify(pid, directory)) is not None}
    own.pop(os.getpid(), None)
    for pid, process in list(own.items()):  # a daemon's helper ends with it: slurmscriptd
        parent = own.get(stats[pid].parent)
        if process.program in DAEMONS and parent is not None and parent.program == process.program:
            del own[pid]
    for step in [process for process in own.values() if process.program == "slurmstepd"]:
        for pid in _descendants(step.pid, stats):
            own.setdefault(pid, Process(pid, _program(pid), step.node))
    return list(own.values())


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    stat = _stat(pid)
    return stat is not None and stat.state not in "ZX"


def end(processes: Iterable[Process], with_signal: signal.Signals, seconds: float) -> None:
    """Signal each at once, then SIGKILL those that are still there after `seconds`."""
    for attempt, deadline in ((with_signal, seconds), (signal.SIGKILL, 5.0)):
        left = [process for process in processes if _same(process)]
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, attempt)
        if holds_within(lambda left=left: not any(map(_same, left)), deadline):  # type: ignore[misc]
            return


def holds_within(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask until it holds; False once the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


@contextlib.contextmanager
def subreaper() -> Iterator[None]:
    """Adopt orphaned job steps for a while, and reap them: not every pid 1 does so soon."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    before = ctypes.c_int()
    prctl(_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        reap()
        prctl(_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def reap() -> None:
    """Collect adopted zombies, and no child that somebody in this process waits for.

    A child of our own is in our session or, if it started one, leads it; an adopted task does
    neither, and an adopted leader is a slurmstepd.
    """
    us, session = os.getpid(), os.getsid(0)
    for pid, stat in _stats():
        adopted = stat.session not in (session, pid) or stat.command == "slurmstepd"
        if stat.parent == us and stat.state == "Z" and adopted:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _identify(pid: int, directory: Path) -> Process | None:
    program = _program(pid)
    if program == "slurmstepd":
        # Its title overwrites its environment; but it keeps its node's log open.
        prefix = f"{directory}/log/slurmd-"
        logs = (name for name in _open_files(pid) if name.startswith(prefix))
        log = next(logs, None)
        if log is None:
            return None
        return Process(pid, program, log.removeprefix(prefix).removesuffix(".log"))
    environment = _environment(pid)
    ours = environment.get("SLURM_CONF") == str(directory / "slurm.conf")
    if program in DAEMONS:
        arguments = _words(pid, "cmdline")
        node = arguments[arguments.index("-N") + 1] if "-N" in arguments else ""
        return Process(pid, program, node) if ours else None
    if ours and "SLURM_JOB_ID" in environment:
        return Process(pid, program, environment.get("SLURMD_NODENAME", ""))
    return None


def _same(process: Process) -> bool:
    """Alive and still the program it was: a pid may have been given to another since."""
    return alive(process.pid) and _program(process.pid) == process.program


def _program(pid: int) -> str:
    """Debian calls slurmctld slurmctld-wlm behind its symbolic links."""
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
    return Path(path.removesuffix(" (deleted)")).name.removesuffix("-wlm")


def _words(pid: int, file: str) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/{file}").read_bytes()).split("\0")
    except OSError:
        return []


def _environment(pid: int) -> dict[str, str]:
    """As it was when the program started; empty for other users' processes."""
    pairs = (word.partition("=") for word in _words(pid, "environ"))
    return {name: value for name, _, value in pairs}


def _open_files(pid: int) -> Iterator[str]:
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(folder):
            with contextlib.suppress(OSError):
                yield os.readlink(f"{folder}/{descriptor}")


def _stats() -> Iterator[tuple[int, _Stat]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))) is not None:
            yield int(entry), stat


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    start, end_ = text.index("("), text.rindex(")")  # a command may hold spaces and brackets
    state, parent, _, session = text[end_ + 2 :].split()[:4]
    return _Stat(text[start + 1 : end_], state, int(parent), int(session))


def _descendants(pid: int, stats: dict[int, _Stat]) -> Iterator[int]:
    for child, stat in stats.items():
        if stat.parent == pid and stat.state != "Z":
            yield child
            yield from _descendants(child, stats)
