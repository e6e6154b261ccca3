"""Suites with planted exponents along an axis, and their records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from harness.analysis.exhibits.suites import SuiteExhibits, suite_exhibits
from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.records import Measurement
from tests.analysis.records_factory import measured, write_suite

SUITE = """
suite: planted
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1}
      SETTINGS
    adapters:
      transformer++: {adapter: transformer_pp_text}
      ebt: {adapter: ebt_text}
    axes:
      VARIED
    seeds: SEEDS
    evaluations:
      validation: {kind: likelihood, data: builtin/docs}
report: [SECTIONS]
"""
SECTION = (
    "{kind: scaling, title: Along AXIS, experiment: text, x: AXIS, evaluation: validation, "
    "baseline: BASELINE, candidate: CANDIDATE, paper: PAPER}"
)
#: The exhibits whose counterparts sections along these axes are.
PAPER = {"data": "[Fig 4a]", "flops": "[Fig 5b]"}
WIDE = "[1.28e5, 4e5, 1.28e6, 4e6, 1.28e7, 4e7]"


def suite_of(
    folder: Path,
    *axes: str,
    budgets: str = WIDE,
    seeds: str = "[0, 1, 2]",
    pair: tuple[str, str] = ("transformer++", "ebt"),
    varied: str = "budget: {path: budget.tokens, values: BUDGETS}",
    settings: str = "",
) -> Suite:
    """Sections along `axes` of runs that differ in `varied`, by default their tokens: `budgets`."""
    sections = [
        SECTION.replace("AXIS", axis)
        .replace("BASELINE", pair[0])
        .replace("CANDIDATE", pair[1])
        .replace("PAPER", PAPER.get(axis, "[]"))
        for axis in axes
    ]
    text = SUITE.replace("VARIED", varied).replace("BUDGETS", budgets).replace("SEEDS", seeds)
    text = text.replace("SETTINGS", settings)
    path = folder / "suite.yaml"
    path.write_text(text.replace("SECTIONS", ", ".join(sections)))
    return load_suite(path)


def losses(
    rate: float, *, sigma: float = 0.002, lost: Callable[[PlannedRun], bool] = lambda run: False
) -> Any:
    """Exponents 0.4 and 0.4 × (1 + rate) over the same floor, with noise per run."""

    def evaluate(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        tokens = run.cost.tokens
        assert tokens is not None
        ebt = run.adapter_label == "ebt"
        exponent = 0.4 * (1 + rate if ebt else 1)
        noise = np.random.default_rng(crc32(run.name.encode())).normal(0, sigma)
        loss = 1.5 + 1.5 * (tokens / 1.28e5) ** -exponent + noise
        cost = {"nfe": 2.0 if ebt else 1.0, "flops": 10.0, "seconds": 1e-5}
        return [measured(run, "loss", None if lost(run) else float(loss), cost=cost)]

    return evaluate


def written(folder: Path, evaluator: Any, *axes: str, **given: Any) -> SuiteExhibits:
    suite = suite_of(folder, *axes, **given)
    write_suite(suite, folder, evaluator)
    return suite_exhibits(suite, folder)
