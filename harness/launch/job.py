"""What a worker is told: paths' names and settings that change no number. Torch-free."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """A run to bring to its end, and the evaluations wanted of it; specs are read from disk.

    `command` is what the user typed, for the run's provenance. `claim` is the run's, where a
    cluster's job does the work; another process that holds the run gets `hold_seconds` to end.
    """

    run_id: str
    eval_ids: tuple[str, ...]
    device: str = "auto"
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    command: tuple[str, ...] = ()
    log_every: int = 10
    claim: str | None = None
    hold_seconds: float = 0.0

    def line(self) -> str:
        """The job as the line that a worker reads."""
        return json.dumps(asdict(self)) + "\n"

    @staticmethod
    def of(line: str) -> Job:
        given: dict[str, Any] = json.loads(line)
        for name in ("eval_ids", "command"):
            given[name] = tuple(given[name])
        return Job(**given)
