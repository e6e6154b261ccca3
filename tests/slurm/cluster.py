"""A two-node Slurm on this machine: its files in one directory, its daemons ended by pid."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from tests.slurm import configuration, processes
from tests.slurm.configuration import NODES, Options
from tests.slurm.processes import Process

CLIENTS = ("sbatch", "srun", "scancel", "squeue", "sinfo", "scontrol", "sacct")
APT = (
    "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge slurmdbd "
    "slurm-wlm-mysql-plugin mariadb-server-core"
)

_SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))
#: What a Slurm that we may have been started from would tell its commands.
_INHERITED = (
    "SLURM",
    "SBATCH",
    "SRUN",
    "SALLOC",
    "SCANCEL",
    "SQUEUE",
    "SINFO",
    "SACCT",
    "SUBMITIT",
)
_START_S = 60.0
#: What Slurm itself leans on, in the order in which they are stopped.
SERVICES = ("slurmdbd", "mariadbd", "munged")


class ClusterError(RuntimeError):
    """A daemon that died, a command that failed, or a wait that ran out."""


def missing_binaries() -> list[str]:
    """Names of the programs that are not installed; empty where a cluster can be started."""
    return [name for name in (*processes.DAEMONS, *CLIENTS) if _binary(name) is None]


class Cluster:
    """One in `directory`, started here or (`make slurm-up`) by an earlier process."""

    def __init__(self, directory: Path, options: Options | None = None) -> None:
        self.directory = directory
        self.options = options or Options()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def conf(self) -> Path:
        """What SLURM_CONF must name."""
        return self.directory / "slurm.conf"

    def environment(self) -> dict[str, str]:
        """Ours, with this cluster in place of any other that it mentions."""
        kept = {name: text for name, text in os.environ.items() if not _inherited(name)}
        return {**kept, "SLURM_CONF": str(self.conf)}

    def start(self) -> None:
        """Write the configuration, start every daemon, wait for idle nodes; else stop them all."""
        configuration.write(self.directory, self.options)
        try:
            self._start_services()
            for start in self._starts.values():
                start()
            self.wait_idle(_START_S)
        except BaseException:
            self._end_all()
            raise

    def stop(self) -> None:
        """Cancel the jobs and end every process; raises if a daemon had died or one is left."""
        dead = self._dead()
        try:
            if self._starts.keys() <= self.daemons().keys():  # else nobody ends the jobs
                with contextlib.suppress(ClusterError):  # what is left is killed below
                    self._cancel(seconds=15.0 + self.options.kill_wait)
        finally:
            self._end_all()
        if dead:
            raise ClusterError(dead)
        if left := processes.find(self.directory):
            raise ClusterError(f"alive after SIGKILL: {left}; see {self.directory}/log")

    def remove(self) -> None:
        """Stop it and delete its directory, if that is a cluster's."""
        self.stop()
        if self.owns_directory():
            shutil.rmtree(self.directory)

    def owns_directory(self) -> bool:
        """Whether a cluster has been written there."""
        return self.conf.is_file() and (self.directory / "munge").is_dir()

    def daemons(self) -> dict[str, int]:
        """Name (`slurmctld`, `slurmd-127.0.0.2`) to pid of those that run."""
        found = processes.find(self.directory)
        return {each.name: each.pid for each in found if each.program in processes.DAEMONS}

    def run(self, *command: str, seconds: float = 30.0) -> str:
        """The output of a Slurm command on this cluster, stripped."""
        try:
            done = subprocess.run(
                command, env=self.environment(), capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{' '.join(command)}: no answer in {seconds:g} s") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise ClusterError(f"{' '.join(command)}: exit code {done.returncode}: {said}")
        return done.stdout.strip()

    def submit(self, script: str, *arguments: str, folder: Path) -> str:
        """Sbatch the shell commands with their logs in `folder`; gives the job id."""
        wrap = ["--parsable", f"--chdir={folder}", f"--output={folder}/%j.log", *arguments]
        return self.run("sbatch", *wrap, f"--wrap={script}").partition(";")[0]

    def states(self, job: str) -> dict[str, str]:
        """State of a job or of each array element, from the controller: no lag, unlike sacct."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i %T", "-j", job).splitlines()
        return {name: state for name, _, state in (line.partition(" ") for line in lines)}

    def state(self, job: str) -> str:
        """State of one job or array element, such as `RUNNING`."""
        states = self.states(job)
        if len(states) != 1:
            raise ClusterError(f"{job} is not one job: {states}")
        return next(iter(states.values()))

    def node_of(self, job: str) -> str:
        """The node (of a one-node job) that it runs or ran on; empty while it waits."""
        return self.run("squeue", "-h", "-r", "-t", "all", "-o", "%N", "-j", job)

    def node_state(self, node: str) -> str:
        """Such as `idle`, `mixed`, `down*` (the star: it does not answer)."""
        return self.run("sinfo", "-h", "-N", "-p", "low", "-n", node, "-o", "%T")

    def accounted(self, job: str) -> dict[str, str]:
        """What sacct knows of a job: id to state. It lags by seconds after the start."""
        fields = ("--noheader", "--allocations", "--parsable2", "--format=JobID,State")
        lines = self.run("sacct", *fields, "-j", job).splitlines()
        return {name: state for name, _, state in (line.partition("|") for line in lines)}

    def wait_state(self, job: str, *wanted: str, seconds: float = 60.0) -> None:
        """Until the job, or every element of the array, is in one of the `wanted` states."""

        def reached() -> bool:
            states = self.states(job)
            return bool(states) and set(states.values()) <= set(wanted)

        what = f"job {job} to be {' or '.join(wanted)}"
        self.wait(reached, seconds, what, lambda: f"it is {self.states(job)}")

    def wait_idle(self, seconds: float = 60.0) -> None:
        """Until every node is up and has no job."""
        asked = ("sinfo", "-h", "-N", "-p", "low", "-o", "%T")

        def idle() -> bool:
            with contextlib.suppress(ClusterError):  # no controller yet
                return self.run(*asked).split() == ["idle"] * len(NODES)
            return False

        self.wait(idle, seconds, "idle nodes", lambda: f"they are {self.run(*asked).split()}")

    def wait(
        self,
        condition: Callable[[], bool],
        seconds: float,
        what: str,
        instead: Callable[[], str] = str,
    ) -> None:
        """Until it holds; raises when the time is over or a daemon has died meanwhile."""

        def holds() -> bool:
            if dead := self._dead():
                raise ClusterError(dead)
            return condition()

        if not processes.holds_within(holds, seconds):
            raise ClusterError(f"waited {seconds:g} s for {what}: {instead()}\n{self._tails()}")

    def clear(self, seconds: float = 60.0) -> None:
        """Cancel every job and wait for idle nodes."""
        self._cancel(seconds)
        self.wait_idle(seconds)

    def _cancel(self, seconds: float) -> None:
        if jobs := sorted(set(self.run("squeue", "-h", "-o", "%A").split())):
            with contextlib.suppress(ClusterError):  # of those that ended meanwhile
                self.run("scancel", *jobs)
        self.wait(lambda: not self.run("squeue", "-h"), seconds, "an empty queue")

    def restore(self) -> None:
        """Start what was killed or stopped, and cancel every job."""
        running = self.daemons()
        for name, start in self._starts.items():
            if name not in running:
                start()
        self.wait(self._answers, _START_S, "slurmctld")
        self.clear()

    def start_node(self, node: str) -> None:
        """Start its slurmd; `wait_idle` says when Slurm has noticed."""
        self._launch("slurmd", "-D", "-N", node, "-f", str(self.conf), name=f"slurmd-{node}")

    def kill_node(self, node: str, *, tasks: bool = True) -> None:
        """Kill -9 its slurmd, and its job steps and their tasks, as a crash of the machine would.

        Slurm notices after SlurmdTimeout (10 s) at the next of its rounds: about 30 s.
        """
        self._sweep(lambda each: each.name == f"slurmd-{node}")
        if tasks:
            self._sweep(lambda each: each.node == node)

    def stop_daemon(self, name: str, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End one (`slurmctld`, `slurmdbd`) without the waits taking it for dead by itself."""
        found = [each for each in processes.find(self.directory) if each.name == name]
        self._end(found, with_signal, 10.0)

    def start_daemon(self, name: str) -> None:
        """Start one that was stopped, with the configuration on disk."""
        self._starts[name]()

    @property
    def _starts(self) -> dict[str, Callable[[], None]]:
        """In the order in which they need each other."""
        return {
            "slurmdbd": self._start_slurmdbd,
            "slurmctld": lambda: self._launch("slurmctld", "-D", "-f", str(self.conf)),
            **{f"slurmd-{node}": partial(self.start_node, node) for node in NODES},
        }

    def _answers(self) -> bool:
        with contextlib.suppress(ClusterError):
            return bool(self.run("scontrol", "ping"))
        return False

    def tail(self, name: str, lines: int = 20) -> str:
        """The end of a daemon's log."""
        for suffix in ("out", "log"):
            path = self.directory / "log" / f"{name}.{suffix}"
            if path.is_file() and (text := path.read_text(errors="replace").strip()):
                return "\n".join([f"--- {path}", *text.splitlines()[-lines:]])
        return f"--- {self.directory}/log/{name}.*: empty"

    def _start_services(self) -> None:
        """What the controller needs: authentication, and a database for sacct."""
        munge, database = self.directory / "munge", self.directory / "db"
        self._launch(
            "munged",
            "--foreground",
            f"--key-file={munge}/key",
            f"--socket={munge}/socket",
            f"--pid-file={munge}/pid",
            f"--seed-file={munge}/seed",
            f"--log-file={self.directory}/log/munged.log",
            "--num-threads=4",
        )
        self._launch(
            "mariadbd",
            "--no-defaults",
            f"--user={configuration.user()}",
            f"--datadir={database}",
            f"--socket={database}/socket",
            f"--pid-file={database}/pid",
            "--skip-networking",
            "--skip-grant-tables",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=8M",
            "--innodb-lock-wait-timeout=900",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            "--performance-schema=OFF",
        )
        for path in (munge / "socket", database / "socket"):
            self.wait(path.is_socket, _START_S, f"{path}")

    def _start_slurmdbd(self) -> None:
        self._launch("slurmdbd", "-D", MYSQL_UNIX_PORT=f"{self.directory}/db/socket")
        port = configuration.port(self.directory, "DbdPort")

        def answers() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                return True
            return False

        self.wait(answers, _START_S, f"slurmdbd on port {port}")

    def _launch(self, program: str, *arguments: str, name: str = "", **variables: str) -> None:
        path = _binary(program)
        if path is None:
            raise ClusterError(f"{program} is not installed: {APT}")
        name = name or program
        with (self.directory / "log" / f"{name}.out").open("ab") as output:
            self._children[name] = subprocess.Popen(
                [path, *arguments],
                env={**self.environment(), **variables},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _end(self, ended: Iterable[Process], with_signal: signal.Signals, seconds: float) -> None:
        ended = list(ended)
        processes.end(ended, with_signal, seconds)
        for process in ended:
            child = self._children.get(process.name)
            if child is not None and child.pid == process.pid:
                child.wait(5.0)
                del self._children[process.name]

    def _end_all(self) -> None:
        """The node daemons first and what they write to last; job steps ignore SIGTERM."""
        for program, seconds in (("slurmd", 3.0), ("slurmctld", 10.0)):
            self._end(self._found(program), signal.SIGTERM, seconds)
        self._sweep(lambda each: each.program not in SERVICES)
        for program in SERVICES:
            self._end(self._found(program), signal.SIGTERM, 10.0)
        for child in self._children.values():  # those that had died before
            child.wait(5.0)
        self._children.clear()

    def _sweep(self, chosen: Callable[[Process], bool]) -> None:
        """Kill until there are none: a step that we kill may just have started a task."""

        def swept() -> bool:
            found = [each for each in processes.find(self.directory) if chosen(each)]
            self._end(found, signal.SIGKILL, 5.0)
            return not found

        processes.holds_within(swept, 15.0)

    def _found(self, program: str) -> list[Process]:
        return [each for each in processes.find(self.directory) if each.program == program]

    def _dead(self) -> str:
        """Which daemon ended by itself, with the end of its log; empty if none did."""
        for name, child in self._children.items():
            if child.poll() is not None:
                said = f"{name} ended with exit code {child.returncode}; see {self.directory}/log"
                return f"{said}\n{self.tail(name)}"
        return ""

    def _tails(self) -> str:
        return "\n".join(self.tail(name, lines=8) for name in self._children)


@contextlib.contextmanager
def running(options: Options | None = None) -> Iterator[Cluster]:
    """A cluster of one's own, named by SLURM_CONF meanwhile; if it fails its directory stays."""
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp")), options)
    with processes.subreaper():
        cluster.start()
        try:
            with _named(cluster.conf):
                yield cluster
        finally:
            cluster.remove()


@contextlib.contextmanager
def _named(conf: Path) -> Iterator[None]:
    """SLURM_CONF names this one, and nothing tells of another."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if _inherited(name)}
    os.environ["SLURM_CONF"] = str(conf)
    try:
        yield
    finally:
        for name in filter(_inherited, list(os.environ)):
            del os.environ[name]
        os.environ.update(before)


def _binary(name: str) -> str | None:
    return shutil.which(name, path=_SEARCHED)


def _inherited(name: str) -> bool:
    return name.startswith(tuple(f"{prefix}_" for prefix in _INHERITED))
