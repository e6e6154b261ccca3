"""Records of a suite with a downstream section, whose numbers are known by construction."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.exhibits.downstream import (
    DownstreamExhibit,
    DownstreamRow,
    downstream_exhibit,
)
from harness.analysis.frame import load_frame
from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.records import Measurement
from tests.analysis.records_factory import measured

SUITE = """
suite: down
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1}
    adapters:
      ebt: {adapter: ebt_text}
      plain: {adapter: transformer_pp_text}
    seeds: [0, 1, 2]
    evaluations:
      home: {kind: likelihood, data: builtin/docs}
      questions: {kind: likelihood, data: builtin/dyck, windows: rolling}
      more: {kind: likelihood, data: [builtin/source, builtin/arithmetic]}
report:
  - kind: downstream
    experiment: text
    pretraining: home
    evaluations: [questions, more]
    baseline: plain
"""
DOCUMENTS, TOKENS, BYTES = 40, 10, 20
#: (nats per token of the baseline, EBT's less the baseline's) by set.
LOSSES = {
    "builtin/docs": (3.0, 0.1),
    "builtin/dyck": (4.0, -0.2),
    "builtin/source": (3.5, -0.3),
    "builtin/arithmetic": (5.0, 0.0),
}


def suite_of(folder: Path, text: str = SUITE) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(path)


def planted(
    *, noise: float = 0.0, documents: int = DOCUMENTS, keep: bool = True
) -> Callable[[PlannedRun, Any, Path], list[Measurement]]:
    """Losses by set, + 0.01 per seed; documents scatter by `noise`, alike for both models.

    EBT's are 0.02 above and below in turn, so that its differences have an interval. Arithmetic's
    documents differ by model, so that it is undecided where there is noise.
    """

    def evaluator(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        base, difference = LOSSES[spec.data]
        ebt = run.adapter_label == "ebt"
        random = np.random.default_rng(int(ebt) if spec.data == "builtin/arithmetic" else 7)
        scatter = random.normal(size=documents) * noise
        level = base + (difference if ebt else 0.0) + 0.01 * run.spec.seed
        turns = 0.02 * ebt * (np.arange(documents) % 2 * 2 - 1) * (documents % 2 == 0)
        sums = TOKENS * (level + scatter - scatter.mean() + turns)
        found = []
        kept: dict[str, Any] = {}
        answers = spec.windows == "rolling"
        for prefix, factor in (("", 1.0), ("answer_", 0.5))[: 1 + answers]:
            kept[f"{prefix}sums"] = np.stack([factor * sums - 1, factor * sums + 1])
            kept[f"{prefix}n"] = np.full(documents, TOKENS)
            kept[f"{prefix}bytes"] = np.full(documents, BYTES)
            tags = {"data": spec.data, "split": spec.split, "windows": spec.windows}
            for seed, shift in ((0, -1.0), (1, 1.0)):
                loss = factor * level + shift / TOKENS
                given: dict[str, Any] = {"n": documents * TOKENS, "tags": tags, "noise_seed": seed}
                given["cost"] = {"nfe": 2 if ebt else 1, "flops": 10.0, "seconds": 1e-5}
                found += [
                    measured(run, f"{prefix}loss", loss, **given),
                    measured(run, f"{prefix}perplexity", exp(loss), **given),
                    measured(
                        run, f"{prefix}bits_per_byte", loss * TOKENS / BYTES / log(2), **given
                    ),
                ]
            bigram = {"tags": tags, "noise_seed": None}
            found.append(measured(run, f"bigram_{prefix}loss", 2.5, **bigram))
        if keep:
            np.savez_compressed(folder / "by_document.npz", **kept)
        return found

    return evaluator


def exhibit_of(suite: Suite, results: Path) -> DownstreamExhibit:
    return downstream_exhibit(suite.report[0], suite, load_frame(suite, results))


def row_of(
    exhibit: DownstreamExhibit, data: str, tokens: str = "all", name: str = "perplexity"
) -> DownstreamRow:
    return next(
        r
        for r in exhibit.rows
        if (r.data, r.measure.tokens, r.measure.name) == (data, tokens, name)
    )
