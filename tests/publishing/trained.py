"""Records of runs that nobody trained, as worker processes leave them, to be published."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.provenance import source_digest
from harness.publishing.publish import Outcome
from harness.records import Measurement, RunFolder, read_json, write_json
from tests.analysis.records_factory import measured, save_documents, write_run

CPU, GPU = "AMD EPYC (1 thread)", "NVIDIA H200"
TEXT = """
suite: text
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
    adapters:
      transformer++: {adapter: transformer_pp_text}
      ebt: {adapter: ebt_text}
    axes:
      size:
        - {label: a, config: {depth: 1, width: 16, heads: 1}}
        - {label: b, config: {depth: 1, width: 32, heads: 1}}
    seeds: [0, 1]
    evaluations:
      validation: {kind: likelihood, data: builtin/docs}
      thinking:
        kind: thinking
        data: builtin/docs
        thinking: [{kind: single}, {kind: descent, steps: [2, 4], samples: 1}]
report:
  - {kind: scaling, experiment: text, x: parameters, evaluation: validation,
     baseline: transformer++, candidate: ebt}
  - {kind: thinking, experiment: text, evaluation: thinking}
"""
N = np.array([10, 30, 0, 60] * 4)


def suite_in(folder: Path, text: str = TEXT) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(path)


def write_all(runs: Iterable[PlannedRun], results: Path, **given: Any) -> None:
    for run in runs:
        write_trained(run, results, **given)


def write_trained(
    run: PlannedRun,
    results: Path,
    *,
    device: str = CPU,
    weights: str = "00",
    shift: float = 0.0,
    digest: str | None = None,
    data: dict[str, str] | None = None,
) -> RunFolder:
    """A finished run whose losses are `shift` higher, as `digest` of the source made it."""
    write_run(run, results, lambda run, spec, folder: _losses(run, spec, folder, shift))
    folder = RunFolder(results, run.run_id)
    origin = {
        "source_digest": digest or source_digest(run.record),
        "git": {"commit": "c0ffee", "changed": False},
        "python": "3.11.7",
        "packages": {"torch": "2.13.0+cpu"},
        "device": device,
        "data": data or {"builtin/docs/train": "aa"},
        "command": ["harness", "run", "suite.yaml"],
        "processes": 1,
    }
    write_json(folder.provenance, origin)
    for evaluation in map(folder.evaluation, (e.eval_id for e in run.evaluations)):
        write_json(evaluation.done, {"finished": 1.0, "seconds": 2.0, "provenance": origin})
    training = read_json(folder.training)
    write_json(folder.training, training | {"device": device, "weights_sha256": weights})
    lines = ({"step": s, "loss": 3 - s / 10, "time": {"seconds": s, "unix": 1e9}} for s in (1, 10))
    folder.train_log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _losses(run: PlannedRun, spec: Any, folder: Path, shift: float) -> list[Measurement]:
    loss = {16: 3.0, 32: 2.5}[run.spec.config["width"]] + 0.1 * run.spec.seed + shift
    if spec.kind == "likelihood":
        return [measured(run, "loss", loss, device="evaluated here")]
    names = ["single"] if run.adapter_label != "ebt" else ["2x1", "4x1"]
    values = [loss * 0.9**place for place in range(len(names))]
    save_documents(folder, names, np.array([[N * value] for value in values]), N)
    tags = {"data": "builtin/docs", "split": "validation"}
    settings = [{"kind": "single"}, {"kind": "descent", "steps": 2, "samples": 1}]
    settings = settings[:1] if len(names) == 1 else [settings[1], settings[1] | {"steps": 4}]
    cost = {"nfe": 2, "flops": 100.0, "seconds": 1e-5}
    return [
        measured(run, "loss", value, tags=tags | setting | {"trained": place == 0}, cost=cost)
        for place, (value, setting) in enumerate(zip(values, settings, strict=True))
    ]


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def published(results: Path) -> dict[str, bytes]:
    """Every published file; the lock is none."""
    found = files_below(results / "published")
    return {name: content for name, content in found.items() if name != ".lock"}


def states(outcomes: list[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]
