"""What a worker is told: paths' names and settings that change no number. Torch-free."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """A run to bring to its end, and the evaluations wanted of it; specs are read from disk.

    `command` is what the user typed, for the run's provenance.
    """

    run_id: str
    eval_ids: tuple[str, ...]
    device: str = "auto"
    checkpoint_seconds: float = 60.0
    checkpoint_steps: int | None = None
    command: tuple[str, ...] = ()
    log_every: int = 10

    def line(self) -> str:
        """The job as the line that a worker reads."""
        return json.dumps(asdict(self)) + "\n"

    @staticmethod
    def of(line: str) -> Job:
        given: dict[str, Any] = json.loads(line)
        for name in ("eval_ids", "command"):
            given[name] = tuple(given[name])
        return Job(**given)
