"""A suite with hostile names, and records of it as runs would write them."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import numpy as np

from harness.planning.eval_spec import EvalBase
from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.provenance import source_digest
from harness.records import RunFolder, write_json
from tests.analysis.records_factory import measured, save_documents, write_run

HOSTILE = "<script>document.title='owned'</script>"
LABEL = "<img src=x onerror=alert(1)>"
TEXT = f"""
suite: hostile
description: "{HOSTILE} & 'quotes' \\" of all kinds"
experiments:
  text:
    base:
      task: {{kind: next_token, context: 16}}
      batch_size: 8
      budget: {{steps: 10}}
      optimizer: {{lr: 1e-3}}
    adapters:
      transformer++: {{adapter: transformer_pp_text}}
      ebt: {{adapter: ebt_text}}
    axes:
      size:
        - {{label: "{LABEL}", config: {{depth: 1, width: 16, heads: 1}}}}
        - {{label: b, config: {{depth: 1, width: 32, heads: 1}}}}
        - {{label: c, config: {{depth: 1, width: 64, heads: 1}}}}
        - {{label: d, config: {{depth: 1, width: 128, heads: 1}}}}
        - {{label: e, config: {{depth: 2, width: 128, heads: 1}}}}
    seeds: [0, 1, 2]
    evaluations:
      validation: {{kind: likelihood, data: builtin/docs, noise_seeds: [0, 1]}}
      thinking:
        kind: thinking
        data: [builtin/docs, builtin/dyck]
        thinking: [{{kind: single}}, {{kind: descent, steps: [1, 2, 4, 8], samples: [1, 2]}}]
        only: {{size: [c]}}
report:
  - {{kind: scaling, title: "Parameters {HOSTILE}", experiment: text, x: parameters,
     evaluation: validation, baseline: transformer++, candidate: ebt, paper: [Fig 5a]}}
  - {{kind: thinking, title: Thinking, experiment: text, evaluation: thinking}}
  - {{kind: scaling, title: Missing, experiment: text, x: flops, evaluation: validation,
     baseline: transformer++, candidate: ebt}}
"""
#: A second suite, of the same runs and none of its own evaluated: everything of it is missing.
UNTRAINED = """
suite: untrained
experiments:
  image:
    base:
      task: {kind: denoising}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
      config: {depth: 1, width: 16, heads: 1, patch_size: 2}
    adapters: {dit: {adapter: dit_image}, ebt: {adapter: ebt_image}}
    evaluations:
      denoising:
        kind: denoising
        data: builtin/digits
        levels: [0.1]
        thinking: [{kind: descent, steps: 1}, {kind: diffusion, steps: [1, 10]}]
report:
  - {kind: denoising, experiment: image, evaluation: denoising}
"""
#: Labels with commas, without spaces and without end, and titles that turn what follows around.
BACKWARDS = "\u202eturned \u05d0\u05d1"
LONG = "long" * 75
ODD = f"""
suite: odd_names_of_all_kinds
experiments:
  text:
    base:
      task: {{kind: next_token, context: 16}}
      batch_size: 8
      budget: {{steps: 10}}
      optimizer: {{lr: 1e-3}}
    adapters:
      "left, right": {{adapter: transformer_pp_text}}
      right: {{adapter: ebt_text}}
    axes:
      size:
        - {{label: {LONG}, config: {{depth: 1, width: 16, heads: 1}}}}
        - {{label: b, config: {{depth: 1, width: 32, heads: 1}}}}
    evaluations:
      validation: {{kind: likelihood, data: builtin/docs}}
report:
  - {{kind: scaling, title: "{BACKWARDS}", experiment: text, x: parameters,
     evaluation: validation, baseline: "left, right", candidate: right}}
"""
LOGGED = 200
DOCUMENT_TOKENS = np.array([10, 30, 7, 60] * 4)
GIT = {"commit": "0123456789abcdef0123456789abcdef01234567", "changed": False}


def suite_of(text: str, folder: Path, name: str) -> Suite:
    path = folder / name
    path.write_text(text)
    return load_suite(path)


def write_records(suite: Suite, results: Path, *, leave: int = 0) -> None:
    """Records of all runs but the last `leave`, of which the first one has failed."""
    runs = suite.runs[: len(suite.runs) - leave]
    for index, run in enumerate(runs):
        write_run(run, results, losses)
        folder = RunFolder(results, run.run_id)
        _write_log(folder, index)
        write_json(folder.provenance, _origin(run))
    if leave:
        failed = RunFolder(results, suite.runs[len(runs)].run_id)
        failed.set_status("failed", f"out of memory {HOSTILE}")


def _origin(run: PlannedRun) -> dict[str, object]:
    return {
        "source_digest": source_digest(run.record),
        "git": GIT,
        "python": "3.11.7",
        "packages": {"torch": "2.13.0"},
        "device": "test device",
        "data": {"builtin/docs/train": "e853c3", "tokenizer bytes": "1063b9"},
        "command": ["harness", "run", "suite.yaml"],
    }


def _write_log(folder: RunFolder, index: int) -> None:
    lines = [
        {
            "step": step,
            "rows": 8 * step,
            "loss": None if step == 3 else 2.0 + 4.0 / step + 0.01 * index,
            "grad_norm": 1.0 + 1.0 / step,
        }
        for step in range(1, LOGGED + 1)
    ]
    folder.train_log.write_text("".join(json.dumps(line) + "\n" for line in lines))


def losses(run: PlannedRun, spec: EvalBase, folder: Path) -> list[object]:
    """Losses that fall with the width; an EBT thinks, and gains by 5 % with more steps."""
    loss = 1.5 + 6.0 / run.spec.config["width"] ** 0.3 + 0.02 * run.spec.seed
    loss += 0.1 if run.adapter_label == "ebt" else 0.0
    loss -= 0.05 * run.spec.config["depth"]
    data = {"data": spec.data, "split": spec.split}
    if spec.kind == "likelihood":
        return [
            found
            for noise_seed, shift in ((0, -0.01), (1, 0.01))
            for found in (
                measured(
                    run, "loss", loss + shift, noise_seed=noise_seed, tags=data | {"trained": True}
                ),
                measured(
                    run, "bits_per_byte", (loss + shift) / log(2), noise_seed=noise_seed, tags=data
                ),
            )
        ]
    return _thinking(run, spec, folder, loss)


def _thinking(run: PlannedRun, spec: EvalBase, folder: Path, loss: float) -> list[object]:
    names, sums, found = [], [], []
    for thinking in spec.thinking:
        single = thinking.kind == "single"
        steps, samples = (1, 1) if single else (thinking.steps, thinking.samples)
        trained = single or (steps, samples) == (2, 1)
        value = loss if trained else loss * (1 - 0.01 * (steps + samples - 3))
        tags = {"data": spec.data, "split": spec.split, "trained": trained, "kind": thinking.kind}
        tags |= {} if single else {"steps": steps, "samples": samples}
        nfe = steps * samples
        cost = {"nfe": nfe, "flops": 1234.0 * nfe, "seconds": 1e-5 * nfe}
        names.append("single" if single else f"{steps}x{samples}")
        sums.append([DOCUMENT_TOKENS * value])
        found.append(measured(run, "loss", value, tags=tags, cost=cost))
    save_documents(folder, names, np.array(sums), DOCUMENT_TOKENS)
    return found
