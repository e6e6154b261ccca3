"""A suite expanded: every run with its spec and evaluations, and what to report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.planning.evaluations import PlannedEval
from harness.planning.located import read_yaml
from harness.planning.sections import Section
from harness.planning.shapes import shape_of
from harness.planning.spec import TrainSpec
from harness.protocol import AdapterRecord, Shape
from harness.registry import adapter as find_adapter

#: The setting of an adapter by which checkpoints leave its replay buffer out (`drop`).
REPLAY_CHECKPOINT = "replay_checkpoint"


@dataclass(frozen=True)
class RunCost:
    """What one run will train, by the adapter's formulas.

    `replay_bytes` is the size of its replay buffer, `replay_checkpoint_bytes` of what each of its
    checkpoints keeps of it.
    """

    parameters: int
    non_embedding: int
    steps: int | None
    tokens: int | None
    flops: float | None
    replay_bytes: int = 0
    replay_checkpoint_bytes: int = 0


@dataclass(frozen=True)
class PlannedRun:
    """A run as one experiment of a suite uses it; `labels` are its axis values."""

    experiment: str
    adapter_label: str
    labels: Mapping[str, str]
    spec: TrainSpec
    evaluations: tuple[PlannedEval, ...]

    @cached_property
    def run_id(self) -> str:
        return self.spec.run_id

    @property
    def setting(self) -> str:
        """`text/ebt size=large`: what runs that differ in their seed have in common."""
        axes = "".join(f" {axis}={label}" for axis, label in self.labels.items())
        return f"{self.experiment}/{self.adapter_label}{axes}"

    @property
    def name(self) -> str:
        """`text/ebt size=large seed 0`: how people tell runs apart."""
        return f"{self.setting} seed {self.spec.seed}"

    @property
    def record(self) -> AdapterRecord:
        return find_adapter(self.spec.adapter)

    @cached_property
    def config(self) -> Any:
        return self.record.config.model_validate(self.spec.config)

    @property
    def shape(self) -> Shape:
        return shape_of(self.spec.task)

    @cached_property
    def cost(self) -> RunCost:
        """Parameters, steps, tokens and expected training FLOPs; None where seconds decide."""
        record, config, shape = self.record, self.config, self.shape
        counted = record.parameters(config, shape)
        per_row = record.training_flops(config, shape).total
        steps = self.spec.total_steps(per_row)
        per_step = self.spec.tokens_per_step
        replay = 0 if record.replay_bytes is None else record.replay_bytes(config, shape)
        kept = 0 if self.spec.config.get(REPLAY_CHECKPOINT) == "drop" else replay
        return RunCost(
            parameters=counted.total,
            non_embedding=counted.non_embedding,
            steps=steps,
            tokens=None if steps is None or per_step is None else steps * per_step,
            flops=None if steps is None else steps * self.spec.batch_size * per_row,
            replay_bytes=replay,
            replay_checkpoint_bytes=kept,
        )


@dataclass(frozen=True)
class Suite:
    """Every run of a suite file, in file order, and what to report.

    `results` are the user's, where not the default ones: commands that are proposed name them.
    `exploratory` says why nothing that reads one of its runs decides a claim; empty where it may.
    """

    name: str
    version: int
    description: str
    path: Path
    runs: tuple[PlannedRun, ...]
    report: tuple[Section, ...]
    overrides: tuple[str, ...] = ()
    results: Path | None = None
    exploratory: str = ""

    def command(self, verb: str) -> str:
        """The command line that applies `verb` to this suite as it was loaded."""
        words = ["harness", verb, str(self.path)]
        for override in self.overrides:
            words += ["--set", override]
        if self.results is not None:
            words += ["--results", str(self.results)]
        return shlex.join(words)

    def where(self, value: str) -> str:
        """The place of the first setting that is `value`, in the file or an override; else the
        file.
        """
        if any(override.partition("=")[2].strip() == value for override in self.overrides):
            return "--set"
        document = read_yaml(self.path)
        key = document.find(value)
        return str(self.path) if key is None else document.where(key)

    def of(self, experiment: str) -> list[PlannedRun]:
        return [run for run in self.runs if run.experiment == experiment]
