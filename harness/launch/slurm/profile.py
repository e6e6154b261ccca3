"""A profile: what a run's job asks of one cluster, under sbatch's own names. Data only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from harness.errors import HarnessError
from harness.planning.located import read_yaml
from harness.planning.validate import validate
from harness.protocol import Frozen

#: sbatch options that the harness sets itself, and those that keep sbatch's answer from it.
RESERVED = (
    *("array", "chdir", "comment", "error", "job-name", "no-requeue", "open-mode", "output"),
    *("clusters", "export", "export-file", "parsable", "quiet", "requeue", "signal", "test-only"),
    *("wait", "wrap"),
)
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_MEMORY = re.compile(r"\d+[KMGT]?")
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def minutes(value: Any) -> Any:
    """Whole minutes of sbatch's `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M` and `D-H:M:S`, rounded up."""
    if not isinstance(value, str):
        return value
    found = _TIME.fullmatch(value.strip())
    if found is None:
        raise ValueError("a time is minutes, H:MM:SS or D-HH:MM:SS, as sbatch takes it")
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is not None:
        hours, mins, secs = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, mins, secs = parts
    else:
        hours, (mins, secs) = 0, (*parts, 0)[:2]
    total = ((int(days or 0) * 24 + hours) * 60 + mins) * 60 + secs
    return -(-total // 60)


def _with_unit(value: Any) -> Any:
    if isinstance(value, int):
        raise ValueError(f"mem needs a unit: {value}G or {value}M")
    return value


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


#: A list of lines, or one.
_Lines = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Profile(Frozen):
    """The resources and surroundings of each run's job. Nothing in it changes a number."""

    partition: str | None = Field(default=None, description="queue; null = the cluster's default")
    account: str | None = Field(default=None, description="account that is charged")
    qos: str | None = Field(default=None, description="quality of service")
    constraint: str | None = Field(default=None, description="node features, such as h100")
    nodelist: str | None = Field(default=None, description="run on these nodes")
    exclude: str | None = Field(default=None, description="never run on these nodes")
    reservation: str | None = Field(default=None, description="a reservation's name")
    gres: str | None = Field(default=None, description="generic resources, such as gpu:a100:2")
    nodes: int = Field(default=1, ge=1, description="nodes that train one run together")
    tasks_per_node: int = Field(default=1, ge=1, description="processes of a run on each node")
    cpus_per_task: int | None = Field(
        default=None, ge=1, description="cores per process; null = the most threads a run has"
    )
    gpus_per_node: int = Field(default=0, ge=0, description="GPUs per node, one per process")
    mem: Annotated[str | None, BeforeValidator(_with_unit)] = Field(
        default=None, description="memory per node, such as 16G"
    )
    time: Annotated[int, BeforeValidator(minutes)] = Field(
        ge=1, le=366 * 24 * 60, description="limit of one attempt: minutes, H:MM:SS or D-HH:MM:SS"
    )
    signal_seconds: int = Field(
        default=120, ge=10, description="warning before the limit: time to write a checkpoint"
    )
    max_timeouts: int = Field(
        default=3, ge=0, description="times that a run may reach its limit and be requeued"
    )
    array_parallelism: int = Field(default=64, ge=1, description="runs of an array at once")
    max_array_size: int | None = Field(
        default=None, ge=1, description="runs per array; null = what the cluster says"
    )
    max_submitted: int | None = Field(
        default=None, ge=1, description="jobs one may have queued; null = what the cluster says"
    )
    exclusive: bool = Field(default=False, description="whole nodes, shared with nobody")
    setup: _Lines = Field(default=(), description="shell lines before the run starts")
    environment: dict[str, str | int] = Field(
        default={}, description="environment variables of the run"
    )
    venv: str | None = Field(
        default=None, description="virtual environment; null = the one that submits"
    )
    container: str | None = Field(
        default=None, description="command that runs another in a container, before python"
    )
    python: str | None = Field(default=None, description="interpreter; null = the venv's")
    sbatch: dict[str, str | int | bool] = Field(
        default={}, description="further sbatch options by their long names"
    )
    srun: _Lines = Field(default=(), description="further srun arguments")
    checkpoint_seconds: float = Field(
        default=300.0, gt=0, description="training seconds between checkpoints"
    )
    flops_per_second: float | None = Field(
        default=None, gt=0, description="training FLOP/s of one process, where none was measured"
    )

    @field_validator("mem")
    @classmethod
    def _memory(cls, value: str | None) -> str | None:
        if value is not None and _MEMORY.fullmatch(value) is None:
            raise ValueError("memory is a whole number with K, M, G or T, such as 16G")
        return value

    @field_validator("environment")
    @classmethod
    def _variables(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in values:
            if _VARIABLE.fullmatch(name) is None:
                raise ValueError(f"{name!r} in environment is no name of a variable")
        return values

    @field_validator("sbatch")
    @classmethod
    def _free(cls, options: dict[str, Any]) -> dict[str, Any]:
        own = {name.replace("_", "-") for name in cls.model_fields}
        for name in options:
            plain = name.lstrip("-").replace("_", "-")
            if plain in RESERVED:
                raise ValueError(f"sbatch option {name!r} is the harness's own")
            if plain.startswith("gpus"):
                raise ValueError(f"GPUs are asked for by gpus_per_node or gres, not by {name!r}")
            if plain in own or plain in ("ntasks-per-node", "ntasks"):
                raise ValueError(f"sbatch option {name!r} has a key of its own in a profile")
        return {name.lstrip("-").replace("_", "-"): value for name, value in options.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        if self.gpus_per_node and self.gpus_per_node != self.tasks_per_node:
            raise ValueError(
                f"each process has one GPU: gpus_per_node is {self.gpus_per_node} and "
                f"tasks_per_node {self.tasks_per_node}"
            )
        if self.python is not None and self.venv is not None:
            raise ValueError("give python or venv, not both")
        if self.signal_seconds >= 60 * self.time:
            raise ValueError(
                f"signal_seconds ({self.signal_seconds}) must be less than time ({self.time} min)"
            )
        return self

    @property
    def processes(self) -> int:
        """Processes that train one run together."""
        return self.nodes * self.tasks_per_node

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """`cuda` or `cpu`: what a run's processes compute on."""
        return "cuda" if self.gpus_per_node or "gpu" in (self.gres or "") else "cpu"


def load_profile(path: Path) -> Profile:
    """Read and check a profile; HarnessError with file, line and nearest name for any mistake."""
    try:
        located = read_yaml(path)
    except HarnessError as error:
        if path.exists():
            raise
        raise _absent(path) from error
    if isinstance(located.tree, dict) and "experiments" in located.tree:
        raise HarnessError(
            "this is a suite, not a profile",
            where=str(path),
            hint="harness submit SUITE --profile PROFILE",
        )
    return validate(Profile, located)


def _absent(path: Path) -> HarnessError:
    beside = sorted(str(found) for found in path.parent.glob("*.yaml"))
    beside += sorted(str(found) for found in Path("slurm/profiles").glob("*.yaml"))
    return HarnessError(
        "there is no such profile",
        where=str(path),
        given=str(path),
        allowed=list(dict.fromkeys(beside)),
        hint="slurm/README.md explains every key",
    )
