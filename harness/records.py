"""The run folder: every path of a run, atomic JSON and JSONL, and reading back.

runs/<run_id>/
    spec.json  provenance.json  status.json
    train.jsonl  training.json    the log, and what training cost
    evals/<eval_id>/{spec.json, measurements.jsonl, done.json, ...}
    checkpoints/step-<N>/    complete only once its manifest exists
    logs/
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from harness.errors import HarnessError
from harness.fields import STATUS, Kinds, check_document, check_lines, remedy

#: The newest checkpoints that a run keeps.
KEPT_CHECKPOINTS = 2

#: How the reason of a run begins whose training loss ceased to be finite.
_NOT_FINITE = "not finite"

State = Literal["planned", "queued", "running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Measurement:
    """One measured number with everything needed to judge and reproduce it.

    `tags` name the setting it was measured at (data, level, steps, samples ...); `cost` holds NFE,
    passes, FLOPs, seconds and memory of what was measured. Seeds are None where none applies.
    """

    name: str
    value: float | None
    n: int
    unit: str
    higher_is_better: bool | None
    step: int
    tokens_seen: int | None
    train_seed: int
    noise_seed: int | None
    device: str
    tags: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, float | int | None] = field(default_factory=dict)


MEASUREMENT_FIELDS = tuple(f.name for f in fields(Measurement))


@dataclass(frozen=True)
class Status:
    """Where a run stands, since when (Unix seconds), and why."""

    state: State
    reason: str | None = None
    step: int | None = None
    total_steps: int | None = None
    since: float | None = None

    @property
    def has_diverged(self) -> bool:
        """Training ended in a loss that is not finite, as it would again."""
        return self.state == "failed" and (self.reason or "").startswith(_NOT_FINITE)


def _within(name: str) -> cached_property[Path]:
    """A path in an object's `path`, made where it is asked for: of a thousand runs few are."""
    return cached_property(lambda folder: folder.path / name)


class EvalFolder:
    """One evaluation of one run; finished once `done.json` exists."""

    def __init__(self, path: Path) -> None:
        self.path = path

    spec = _within("spec.json")
    measurements = _within("measurements.jsonl")
    done = _within("done.json")
    error = _within("error.json")

    def is_done(self) -> bool:
        return self.done.exists()

    def note_end(self, state: Literal["failed", "stopped"], reason: str) -> None:
        """Say why it is not done."""
        write_json(self.error, {"state": state, "reason": reason, "time": time.time()})

    def ended(self) -> tuple[str, str] | None:
        """`failed` or `stopped`, and why; None where it is done or was not tried."""
        if self.is_done() or not self.error.exists():
            return None
        found = read_json(self.error)
        return found.get("state", "failed"), found["reason"]

    def write(
        self, spec: Mapping[str, Any], measurements: Iterable[Measurement], **done: Any
    ) -> None:
        """Write spec and measurements, then `done.json` last."""
        write_json(self.spec, spec)
        lines = (json.dumps(asdict(m), allow_nan=False) for m in measurements)
        write_text(self.measurements, "".join(line + "\n" for line in lines))
        write_json(self.done, {"finished": time.time(), **done})

    def read(self) -> list[dict[str, Any]]:
        """Every measurement; HarnessError where the file is not what was written."""
        return read_measurements(self.measurements)


class RunFolder:
    """Every path of one run under `<results>/runs/<run_id>`."""

    def __init__(self, results: Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = results / "runs" / run_id

    spec = _within("spec.json")
    provenance = _within("provenance.json")
    status_path = _within("status.json")
    train_log = _within("train.jsonl")
    training = _within("training.json")
    checkpoints = _within("checkpoints")
    logs = _within("logs")
    lock = _within(".lock")
    claim = _within("claim.json")
    owner = _within("owner.json")

    def evaluation(self, eval_id: str) -> EvalFolder:
        return EvalFolder(self.path / "evals" / eval_id)

    def status(self) -> Status:
        """The recorded status, or `planned` where the run has none yet."""
        return read_status(self.status_path)

    def set_status(self, state: State, reason: str | None = None, **progress: int | None) -> None:
        step, total_steps = progress.get("step"), progress.get("total_steps")
        status = Status(state, reason, step, total_steps, time.time())
        write_json(self.status_path, asdict(status))

    def newest_step(self) -> int | None:
        """The step of the newest checkpoint, by its name alone; None where there is none."""
        names = (path.name.removeprefix("step-") for path in self.checkpoints.glob("step-*"))
        return max((int(name) for name in names if name.isdecimal()), default=None)

    def change_status(self, state: State, reason: str | None = None) -> None:
        """Another state at the same step."""
        before = self.status()
        self.set_status(state, reason, step=before.step, total_steps=before.total_steps)

    @contextmanager
    def hold(self, *, wait_seconds: float = 0.0) -> Iterator[bool]:
        """Hold the run for this process; yields False where another process holds it.

        The kernel drops the lock when the process dies, however it dies.
        """
        with locked(self.lock, wait_seconds=wait_seconds) as held:
            yield held


def read_status(path: Path) -> Status:
    """The status that a file holds, or `planned` where there is no file."""
    if not path.exists():
        return Status("planned")
    known = {f.name for f in fields(Status)}
    recorded = read_json(path)
    if recorded.get("state") not in get_args(State):
        hint = remedy(path)
        raise HarnessError("not a status", where=str(path), hint=hint, allowed=get_args(State))
    check_document(recorded, STATUS, str(path))
    return Status(**{k: v for k, v in recorded.items() if k in known})


def find_run(results: Path, given: str) -> RunFolder:
    """The run of that id, or the only one whose id begins so; HarnessError where there is none."""
    known = sorted(path.name for path in (results / "runs").glob("*") if path.is_dir())
    found = [given] if given in known else [name for name in known if name.startswith(given)]
    if len(found) == 1:
        return RunFolder(results, found[0])
    raise HarnessError(
        f"{len(found)} runs begin like this" if found else "there is no such run",
        where=str(results / "runs"),
        given=given,
        allowed=found or known,
        hint="`harness ls runs` lists them, `harness plan SUITE` those of a suite",
    )


@contextmanager
def locked(path: Path, *, wait_seconds: float = 0.0) -> Iterator[bool]:
    """Hold a lock file, on all machines that share the file system; False where another does.

    Raises HarnessError where the file system has no locks, or this user may not write there.
    """
    _make(path.parent)
    deadline = time.monotonic() + wait_seconds
    try:
        opened = path.open("a")
    except OSError as error:
        raise _cannot_write(path.parent, error) from error
    with opened as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(0.2)
                continue
            except OSError as error:
                raise HarnessError(
                    f"this file system cannot lock files: {error.strerror or error}",
                    where=str(path),
                    hint="mount it with locks (Lustre: -o flock), or give another --results",
                ) from error
            yield True
            return


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> HarnessError:
    hint = "choose another folder: --results for records, --out for exhibits"
    if isinstance(error, PermissionError) and (owner := _owner(folder)) is not None:
        hint = f"it is {owner}'s: have it shared (setgid group folders, umask 002), or {hint}"
    return HarnessError(
        f"cannot write here: {error.strerror or error}", where=str(folder), hint=hint
    )


def _owner(folder: Path) -> str | None:
    """Another user, whose the folder is, or the nearest above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return None if folder.stat().st_uid == os.getuid() else folder.owner()
    except (OSError, KeyError):
        return None


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write atomically: a reader sees the old file or the new one, also after a crash.

    Where it need not be `durable`, a crash of the machine may leave an empty file, and nothing
    waits for the disk. Raises HarnessError where the folder cannot be written.
    """
    _make(path.parent)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _cannot_write(path.parent, error) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            if durable:
                os.fsync(handle.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write one JSON document atomically; NaN and infinity are refused."""
    text = json.dumps(value, indent=1, sort_keys=False, allow_nan=False) + "\n"
    write_text(path, text, durable=durable)


def read_json(path: Path, kinds: Kinds | None = None) -> dict[str, Any]:
    """Read one JSON object, its fields of these kinds; HarnessError names what is damaged."""
    try:
        value = _finite(path.read_bytes())
    except (ValueError, RecursionError) as error:
        problem = f"not valid JSON: {error}"
        raise HarnessError(problem, where=str(path), hint=remedy(path)) from error
    except OSError as error:
        raise _cannot_read(path, error) from error
    if not isinstance(value, dict):
        raise HarnessError("the file holds no JSON object", where=str(path), hint=remedy(path))
    if kinds is not None:
        check_document(value, kinds, str(path))
    return value


def _finite(content: bytes) -> Any:
    """Decoded JSON; ValueError for NaN and infinities, which nobody writes."""
    return _DECODER.decode(content.decode())


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _cannot_read(path: Path, error: OSError) -> HarnessError:
    problem = f"cannot read: {error.strerror or error}"
    return HarnessError(problem, where=str(path), hint=remedy(path))


def append_jsonl(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line; what a crash left of the one before stays a line of its own."""
    _make(path.parent)
    with path.open("ab+") as handle:
        if handle.seek(0, os.SEEK_END):
            handle.seek(-1, os.SEEK_END)
            if handle.read(1) != b"\n":
                handle.write(b"\n")
        handle.write(json.dumps(record).encode() + b"\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read every complete line; a last line cut short by a crash is left out."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _cannot_read(path, error) from error
    whole = _all_objects([line for line in lines if line], json.loads)
    if whole is not None:
        return whole
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line]
    if lines[-1] and not _is_json(lines[-1]):
        numbered.pop()
    return [_object(line, f"{path}:{number}", json.loads) for number, line in numbered]


def read_measurements(path: Path) -> list[dict[str, Any]]:
    """Every measurement of a finished evaluation, which were written at once.

    HarnessError where the file or a line of it is cut, a measurement is there twice, or a field
    holds something else than was written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _cannot_read(path, error) from error
    *lines, rest = content.split(b"\n")
    if rest or not lines:
        problem = "the file is cut off within a measurement" if rest else "the file is empty"
        raise HarnessError(problem, where=str(path), hint=remedy(path))
    found = _all_objects(lines, _finite)
    if found is None:
        numbered = enumerate(lines, start=1)
        found = [_object(line, f"{path}:{number}", _finite) for number, line in numbered]
    check_lines(found, str(path))
    return found


def _object(line: bytes, place: str, decode: Callable[[bytes], Any]) -> dict[str, Any]:
    try:
        found = decode(line)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"not valid JSON: {error}", where=place) from error
    if not isinstance(found, dict):
        raise HarnessError("the line holds no JSON object", where=place)
    return found


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _all_objects(
    lines: Sequence[bytes], decode: Callable[[bytes], Any]
) -> list[dict[str, Any]] | None:
    """The objects of lines that are one each, decoded at once; None where a line is not."""
    try:
        found = decode(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        return None
    whole = len(found) == len(lines) and all(isinstance(each, dict) for each in found)
    return found if whole else None
