"""Every mistake in a suite is one message with place, path, allowed values and nearest name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import cli
from harness.errors import HarnessError
from harness.planning.suite import load_suite

TEXT = """\
suite: probe
version: 1
base:
  threads: 1
  batch_size: 8
  budget: {steps: 10}
experiments:
  text:
    base:
      task:
        kind: next_token
        data: builtin/docs
        context: 16
      optimizer:
        lr: 1e-3
    adapters:
      plain:
        adapter: transformer_pp_text
      energy:
        adapter: ebt_text
        config:
          step_size: 0.3
    axes:
      size:
        - label: small
          config: {depth: 1, width: 8, heads: 1}
        - label: large
          config: {depth: 2, width: 16, heads: 2}
          adapters:
            energy: {accumulate: 2}
      rate:
        path: optimizer.lr
        values: [1e-3, 3e-3]
    seeds: [0, 1]
    evaluations:
      loss:
        kind: likelihood
        data: builtin/docs
      think:
        kind: thinking
        data: [builtin/docs, builtin/dyck]
        thinking:
          - {kind: single}
          - {kind: descent, steps: [1, 2]}
        only: {size: [large]}
report:
  - kind: scaling
    experiment: text
    x: parameters
    evaluation: loss
    baseline: plain
    candidate: energy
"""

IMAGE = """\
suite: probe
experiments:
  image:
    base:
      task: {kind: denoising, data: builtin/digits}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
    adapters:
      dit:
        adapter: dit_image
        config: {depth: 1, width: 8, heads: 1, patch_size: 4}
      ebt:
        adapter: ebt_image
        config: {depth: 1, width: 8, heads: 1, patch_size: 4}
    evaluations:
      clean:
        kind: denoising
        data: builtin/digits
        levels: [0.1, 0.2]
        thinking:
          - {kind: descent, steps: [1, 2]}
          - {kind: diffusion, steps: [1, 100]}
"""


@dataclass(frozen=True)
class Mistake:
    """`old` replaced by `new` in a suite; the message's line holds `line` (default: `new`)."""

    old: str
    new: str
    path: str
    problem: str
    line: str | None = None
    allowed: str | None = None
    nearest: str | None = None
    suite: str = TEXT


MISTAKES = {
    "unknown key in the suite": Mistake(
        "suite: probe", "suit: probe", "suit", "unknown key", allowed="suite", nearest="suite"
    ),
    "unknown key in base": Mistake(
        "  threads: 1",
        "  thread: 1",
        "base.thread",
        "unknown key",
        allowed="threads",
        nearest="threads",
    ),
    "unknown key in an experiment": Mistake(
        "    seeds: [0, 1]",
        "    seds: [0, 1]",
        "experiments.text.seds",
        "unknown key",
        allowed="axes",
        nearest="seeds",
    ),
    "unknown key in an experiment's base": Mistake(
        "      optimizer:",
        "      optimiser:",
        "experiments.text.base.optimiser",
        "unknown key",
        nearest="optimizer",
    ),
    "unknown key in a task": Mistake(
        "        context: 16",
        "        contxt: 16",
        "experiments.text.base.task.contxt",
        "unknown key",
        allowed="tokenizer",
        nearest="context",
    ),
    "unknown key in an optimizer": Mistake(
        "        lr: 1e-3",
        "        lr: 1e-3\n        warmup: 5",
        "experiments.text.base.optimizer.warmup",
        "unknown key",
        line="warmup: 5",
        allowed="warmup_steps",
        nearest="warmup_steps",
    ),
    "unknown key in a budget": Mistake(
        "{steps: 10}",
        "{step: 10}",
        "base.budget.step",
        "unknown key",
        allowed="flops",
        nearest="steps",
    ),
    "unknown key in an adapter": Mistake(
        "        adapter: ebt_text",
        "        adaptr: ebt_text",
        "experiments.text.adapters.energy.adaptr",
        "unknown key",
        nearest="adapter",
    ),
    "unknown key in a config": Mistake(
        "          step_size: 0.3",
        "          stepsize: 0.3",
        "experiments.text.adapters.energy.config.stepsize",
        "unknown key",
        allowed="step_size",
        nearest="step_size",
    ),
    "unknown key of an axis": Mistake(
        "        values: [1e-3, 3e-3]",
        "        vals: [1e-3, 3e-3]",
        "experiments.text.axes.rate.vals",
        "unknown key",
        allowed="path, values",
        nearest="values",
    ),
    "unknown key in an axis value": Mistake(
        "          adapters:\n            energy: {accumulate: 2}",
        "          bach_size: 4",
        "experiments.text.axes.size[1].bach_size",
        "unknown key",
        nearest="batch_size",
    ),
    "unknown key in an axis value for one adapter": Mistake(
        "{accumulate: 2}",
        "{acumulate: 2}",
        "experiments.text.axes.size[1].adapters.energy.acumulate",
        "unknown key",
        nearest="accumulate",
    ),
    "unknown path of an axis": Mistake(
        "        path: optimizer.lr",
        "        path: optimizer.rate",
        "experiments.text.axes.rate.values[0]",
        "unknown key",
        line="values: [1e-3, 3e-3]",
        allowed="lr",
    ),
    "unknown key in an evaluation": Mistake(
        "        data: [builtin",
        "        limt: 3\n        data: [builtin",
        "experiments.text.evaluations.think.limt",
        "unknown key",
        line="limt",
        nearest="limit",
    ),
    "unknown key in thinking": Mistake(
        "{kind: descent, steps: [1, 2]}",
        "{kind: descent, step: [1, 2]}",
        "experiments.text.evaluations.think.thinking[1].step[0]",
        "unknown key",
        allowed="steps, samples",
        nearest="steps",
    ),
    "unknown key in a report section": Mistake(
        "    x: parameters",
        "    y: parameters",
        "report[0].y",
        "unknown key",
        allowed="x",
    ),
    "seed outside seeds": Mistake(
        "  threads: 1", "  seed: 1", "base.seed", "unknown key", allowed="threads"
    ),
    "wrong type: number": Mistake(
        "lr: 1e-3", "eps: fast", "experiments.text.base.optimizer.eps", "must be a number"
    ),
    "wrong type: whole number": Mistake(
        "context: 16",
        "context: 1.5",
        "experiments.text.base.task.context",
        "must be a whole number",
    ),
    "wrong type: true is no number": Mistake(
        "batch_size: 8", "batch_size: true", "base.batch_size", "must be a number"
    ),
    "wrong type: list": Mistake(
        "seeds: [0, 1]", "seeds: 3", "experiments.text.seeds", "must be a list"
    ),
    "wrong type: item of a list": Mistake(
        "seeds: [0, 1]", "seeds: [0, one]", "experiments.text.seeds[1]", "must be a whole number"
    ),
    "wrong type: mapping": Mistake(
        "budget: {steps: 10}", "budget: 10", "base.budget", "must be a mapping"
    ),
    "wrong type: empty mapping": Mistake(
        "budget: {steps: 10}", "budget:", "base.budget", "must be a mapping"
    ),
    "wrong type: bool": Mistake(
        "step_size: 0.3",
        "step_size_learned: maybe",
        "experiments.text.adapters.energy.config.step_size_learned",
        "must be true or false",
    ),
    "wrong type: one of several": Mistake(
        "        data: builtin/docs\n      think",
        "        data: 5\n      think",
        "experiments.text.evaluations.loss.data",
        "must be text or a list",
        line="data: 5",
    ),
    "wrong type: axis": Mistake(
        "      rate:\n        path: optimizer.lr\n        values: [1e-3, 3e-3]",
        "      rate: 5",
        "experiments.text.axes.rate",
        "must be a mapping of keys to values or a list",
    ),
    "wrong type: axis adapters": Mistake(
        "          adapters:\n            energy: {accumulate: 2}",
        "          adapters: [energy]",
        "experiments.text.axes.size[1].adapters",
        "must be a mapping",
    ),
    "not in range": Mistake(
        "batch_size: 8", "batch_size: 0", "base.batch_size", "must be at least 1"
    ),
    "not finite": Mistake(
        "lr: 1e-3", "eps: 1e999", "experiments.text.base.optimizer.eps", "must be a finite number"
    ),
    "not an allowed word": Mistake(
        "  threads: 1",
        "  precision: float23",
        "base.precision",
        "one of the allowed values",
        allowed="float32, bf16",
        nearest="float32",
    ),
    "unknown kind of task": Mistake(
        "kind: next_token",
        "kind: next_tokn",
        "experiments.text.base.task.kind",
        "unknown kind",
        allowed="next_token, denoising",
        nearest="next_token",
    ),
    "missing kind of task": Mistake(
        "        kind: next_token\n",
        "",
        "experiments.text.base.task.kind",
        "the key 'kind' is missing",
        line="      task:",
    ),
    "missing key of the suite": Mistake(
        "suite: probe\n", "", "suite", "the key 'suite' is missing", line="version: 1"
    ),
    "missing key of a run": Mistake(
        "  budget: {steps: 10}\n",
        "",
        "experiments.text.adapters.plain.budget",
        "the key 'budget' is missing",
        line="      plain:",
    ),
    "missing key of a task": Mistake(
        "        context: 16\n",
        "",
        "experiments.text.base.task.context",
        "the key 'context' is missing",
        line="      task:",
    ),
    "missing adapter": Mistake(
        "        adapter: ebt_text\n",
        "",
        "experiments.text.adapters.energy.adapter",
        "the key 'adapter' is missing",
        line="      energy:",
    ),
    "missing adapters": Mistake(
        "    adapters:\n      plain:",
        "    adapter:\n      plain:",
        "experiments.text.adapter",
        "unknown key",
        line="    adapter:\n",
        nearest="adapters",
    ),
    "missing axis values": Mistake(
        "        values: [1e-3, 3e-3]\n",
        "",
        "experiments.text.axes.rate.values",
        "the key 'values' is missing",
        line="      rate:",
    ),
    "missing thinking": Mistake(
        "{kind: descent, steps: [1, 2]}",
        "{kind: descent}",
        "experiments.text.evaluations.think.thinking[1].steps",
        "the key 'steps' is missing",
    ),
    "duplicate key": Mistake(
        "  threads: 1",
        "  threads: 1\n  threads: 2",
        "",
        "the key 'threads' is given twice",
        line="threads: 2",
    ),
    "duplicate key, once dotted": Mistake(
        "      optimizer:",
        "      optimizer.lr: 3\n      optimizer:",
        "experiments.text.base.optimizer",
        "the key 'lr' is given twice",
        line="      optimizer:",
    ),
    "tab": Mistake("  threads: 1", "\tthreads: 1", "", "not valid YAML"),
    "indent": Mistake("  threads: 1", "   threads: 1", "", "not valid YAML", line="batch_size: 8"),
    "unclosed": Mistake(
        "seeds: [0, 1]", "seeds: [0, 1", "", "not valid YAML", line="    evaluations:"
    ),
    "colon without a space": Mistake(
        "{steps: 10}", "{steps:10}", "base.budget.steps:10", "unknown key", nearest="steps"
    ),
    "merge key": Mistake("  threads: 1", "  <<: {threads: 1}", "", "merge key '<<' is not read"),
    "python tag": Mistake("threads: 1", "threads: !!python/name:os.system", "", "not valid YAML"),
    "not a number after all": Mistake("threads: 1", "threads: !!int abc", "", "not valid YAML"),
    "unknown adapter": Mistake(
        "adapter: ebt_text",
        "adapter: ebt_txt",
        "experiments.text.adapters.energy.adapter",
        "unknown adapter",
        allowed="dit_image",
        nearest="ebt_text",
    ),
    "unknown data set": Mistake(
        "        data: builtin/docs\n        context",
        "        data: builtin/doc\n        context",
        "experiments.text.base.task.data",
        "no such dataset",
        line="data: builtin/doc\n",
        allowed="builtin/docs",
        nearest="builtin/docs",
    ),
    "data set without a train split": Mistake(
        "data: builtin/docs\n        context",
        "data: builtin/dyck\n        context",
        "experiments.text.base.task.data",
        "for evaluation only",
        line="data: builtin/dyck\n",
        allowed="builtin/docs",
    ),
    "data set of another modality": Mistake(
        "        data: builtin/docs\n        context",
        "        data: builtin/digits\n        context",
        "experiments.text.base.task.data",
        "holds image, this needs text",
        line="builtin/digits",
        allowed="builtin/docs",
    ),
    "unknown data set to evaluate": Mistake(
        "builtin/dyck]",
        "builtin/dick]",
        "experiments.text.evaluations.think.data[1]",
        "no such dataset",
        allowed="builtin/docs",
        nearest="builtin/dyck",
    ),
    "data set to evaluate of another modality": Mistake(
        "builtin/dyck]",
        "builtin/digits]",
        "experiments.text.evaluations.think.data[1]",
        "holds image, this needs text",
    ),
    "no such split": Mistake(
        "builtin/dyck]",
        "builtin/dyck]\n        split: validation",
        "experiments.text.evaluations.think.data[1]",
        "no such split",
        line="builtin/dyck]",
        allowed="test",
    ),
    "data set given twice": Mistake(
        "builtin/dyck]",
        "builtin/docs]",
        "experiments.text.evaluations.think.data[1]",
        "is given twice",
    ),
    "unknown tokenizer": Mistake(
        "context: 16",
        "context: 16\n        tokenizer: byte",
        "experiments.text.base.task.tokenizer",
        "no such tokenizer",
        line="tokenizer: byte",
        allowed="bytes",
        nearest="bytes",
    ),
    "tokenizer file missing": Mistake(
        "context: 16",
        "context: 16\n        tokenizer: no/such.json",
        "experiments.text.base.task.tokenizer",
        "no such tokenizer file",
        line="no/such",
    ),
    "tokenizer is a folder": Mistake(
        "context: 16",
        "context: 16\n        tokenizer: folder.json",
        "experiments.text.base.task.tokenizer",
        "no such tokenizer file",
        line="folder.json",
    ),
    "adapter of another modality": Mistake(
        "        adapter: ebt_text\n        config:\n          step_size: 0.3",
        "        adapter: ebt_image",
        "experiments.text.base.task.kind",
        "is for image",
        line="kind: next_token",
        allowed="denoising",
    ),
    "evaluation of another task": Mistake(
        "kind: thinking",
        "kind: denoising\n        levels: [0.1]",
        "experiments.text.evaluations.think.kind",
        "does not fit a next_token task",
        line="kind: denoising",
        allowed="likelihood, thinking",
    ),
    "unknown kind of evaluation": Mistake(
        "kind: likelihood",
        "kind: likelyhood",
        "experiments.text.evaluations.loss.kind",
        "unknown kind of evaluation",
        allowed="thinking",
        nearest="likelihood",
    ),
    "kind of evaluation is a list": Mistake(
        "kind: likelihood",
        "kind: [likelihood]",
        "experiments.text.evaluations.loss.kind",
        "unknown kind of evaluation",
        allowed="likelihood",
    ),
    "missing kind of evaluation": Mistake(
        "        kind: likelihood\n",
        "",
        "experiments.text.evaluations.loss.kind",
        "the key 'kind' is missing",
        line="      loss:",
    ),
    "budget in two units": Mistake(
        "{steps: 10}", "{steps: 10, tokens: 5}", "base.budget.steps", "exactly one of"
    ),
    "budget in no unit": Mistake("{steps: 10}", "{}", "base.budget", "given: none"),
    "budget in tokens for images": Mistake(
        "{steps: 10}",
        "{tokens: 10}",
        "experiments.image.base.task",
        "has no tokens",
        line="task: {kind",
        suite=IMAGE,
    ),
    "budget in seconds on no device": Mistake(
        "{steps: 10}", "{seconds: 10}", "base.budget", "needs device_class"
    ),
    "device class without seconds": Mistake(
        "  threads: 1", "  device_class: h100", "base.device_class", "device_class belongs to"
    ),
    "accumulate does not divide": Mistake(
        "{accumulate: 2}",
        "{accumulate: 3}",
        "experiments.text.axes.size[1].adapters.energy.accumulate",
        "accumulate must divide",
    ),
    "size and depth": Mistake(
        "{depth: 1, width: 8, heads: 1}",
        "{size: xs, depth: 2}",
        "experiments.text.axes.size[0].config.size",
        "are both given",
    ),
    "unknown size": Mistake(
        "{depth: 1, width: 8, heads: 1}",
        "{size: smal}",
        "experiments.text.axes.size[0].config.size",
        "allowed values",
        allowed="4xs",
        nearest="small",
    ),
    "heads do not divide": Mistake(
        "width: 8, heads: 1",
        "width: 8, heads: 3",
        "experiments.text.axes.size[0].config.width",
        "even whole number, got 8 / 3",
    ),
    "only part of a size": Mistake(
        "{depth: 1, width: 8, heads: 1}",
        "{depth: 1}",
        "experiments.text.axes.size[0].config.depth",
        "missing: width, heads",
    ),
    "patch size does not divide": Mistake(
        "heads: 1, patch_size: 4}\n      ebt",
        "heads: 1, patch_size: 3}\n      ebt",
        "experiments.image.adapters.dit.config.patch_size",
        "does not divide images of 8 x 8",
        line="patch_size: 3",
        suite=IMAGE,
    ),
    "axis labels clash": Mistake(
        "label: large",
        "label: small",
        "experiments.text.axes.size",
        "same label",
        line="      size:",
    ),
    "axis values clash": Mistake(
        "[1e-3, 3e-3]",
        "[1e-3, 0.001]",
        "experiments.text.axes.rate",
        "same label",
        line="      rate:",
    ),
    "axis value without a label": Mistake(
        "        - label: small\n          config",
        "        - config",
        "experiments.text.axes.size[0].label",
        "needs a label",
        line="        - config",
    ),
    "axis without values": Mistake(
        "[1e-3, 3e-3]", "[]", "experiments.text.axes.rate.values", "must not be empty"
    ),
    "axis named adapter": Mistake(
        "      rate:",
        "      adapter:",
        "experiments.text.axes.adapter",
        "cannot be named",
        line="      adapter:\n        path",
    ),
    "axis label of no adapter": Mistake(
        "energy: {accumulate: 2}",
        "enrgy: {accumulate: 2}",
        "experiments.text.axes.size[1].adapters.enrgy",
        "no adapter",
        allowed="plain, energy",
        nearest="energy",
    ),
    "axis value of a wrong type": Mistake(
        "[1e-3, 3e-3]", "[1e-3, quick]", "experiments.text.axes.rate.values[1]", "must be a number"
    ),
    "only: no such axis": Mistake(
        "only: {size: [large]}",
        "only: {siz: [large]}",
        "experiments.text.evaluations.think.only.siz",
        "no such axis",
        allowed="adapter, size, rate",
        nearest="size",
    ),
    "only: no such label": Mistake(
        "only: {size: [large]}",
        "only: {size: [lage]}",
        "experiments.text.evaluations.think.only.size[0]",
        "has this label",
        allowed="small, large",
        nearest="large",
    ),
    "only: no such adapter": Mistake(
        "only: {size: [large]}",
        "only: {adapter: [plan]}",
        "experiments.text.evaluations.think.only.adapter[0]",
        "has this label",
        allowed="plain, energy",
        nearest="plain",
    ),
    "thinking that the adapter cannot do": Mistake(
        "          - {kind: single}\n",
        "",
        "experiments.text.evaluations.think.thinking",
        "'transformer_pp_text' cannot think that way",
        line="        thinking:",
        allowed="single",
    ),
    "thinking that the adapter's formula refuses": Mistake(
        "steps: [1, 2]}",
        "steps: [1, 2], extra_steps: every}",
        "experiments.text.evaluations.think.thinking[1]",
        "multiple of 2",
    ),
    "recursions of a text model": Mistake(
        "steps: [1, 2]}",
        "steps: [1, 2], recursions: 2}",
        "experiments.text.evaluations.think.thinking[1].recursions",
        "recursions are for denoising",
    ),
    "diffusion longer than the schedule": Mistake(
        "steps: [1, 100]}",
        "steps: [1, 101]}",
        "experiments.image.evaluations.clean.thinking[1]",
        "use at most 100",
        suite=IMAGE,
    ),
    "a matched start with fewer timesteps than calls": Mistake(
        "steps: [1, 100]}",
        "steps: [1, 500], start: matched}",
        "experiments.image.evaluations.clean.thinking[1].steps",
        "only 200 timesteps",
        suite=IMAGE,
    ),
    "a level that has room for no setting": Mistake(
        "levels: [0.1, 0.2]",
        "levels: [0.05, 0.2]",
        "experiments.image.evaluations.clean.levels[0]",
        "as few steps as the level",
        suite=IMAGE.replace("steps: [1, 100]}", "steps: 100, start: matched}"),
    ),
    "samples of an image EBT": Mistake(
        "steps: [1, 2]}",
        "steps: [1, 2], samples: 2}",
        "experiments.image.evaluations.clean.thinking[0]",
        "use samples = 1",
        suite=IMAGE,
    ),
    "thinking with an empty list": Mistake(
        "steps: [1, 2]}",
        "steps: []}",
        "experiments.text.evaluations.think.thinking[1].steps",
        "must not be empty",
    ),
    "thinking out of range within a list": Mistake(
        "steps: [1, 2]}",
        "steps: [1, 0]}",
        "experiments.text.evaluations.think.thinking[1].steps[1]",
        "must be at least 1",
    ),
    "grid of thinking for a likelihood": Mistake(
        "kind: likelihood",
        "kind: likelihood\n        thinking: {kind: single, steps: [1, 2]}",
        "experiments.text.evaluations.loss.thinking.steps",
        "takes one value",
        line="thinking: {",
    ),
    "likelihood's thinking is a word": Mistake(
        "kind: likelihood",
        "kind: likelihood\n        thinking: traned",
        "experiments.text.evaluations.loss.thinking",
        "'trained' or a mapping",
        line="traned",
    ),
    "level out of range": Mistake(
        "[0.1, 0.2]",
        "[0.1, 2]",
        "experiments.image.evaluations.clean.levels[1]",
        "must be at most 1",
        suite=IMAGE,
    ),
    "level given twice": Mistake(
        "[0.1, 0.2]",
        "[0.1, 0.10]",
        "experiments.image.evaluations.clean.levels[1]",
        "is given twice",
        suite=IMAGE,
    ),
    "images of another shape": Mistake(
        "data: builtin/digits\n        levels",
        "data: builtin/photos\n        levels",
        "experiments.image.evaluations.clean.data",
        "3 x 16 x 16",
        line="builtin/photos",
        suite=IMAGE,
    ),
    "seed given twice": Mistake(
        "seeds: [0, 1]", "seeds: [1, 1]", "experiments.text.seeds[1]", "seeds are distinct"
    ),
    "seed too large": Mistake(
        "seeds: [0, 1]", "seeds: [9223372036854775808]", "experiments.text.seeds[0]", "2^63"
    ),
    "report: no such experiment": Mistake(
        "    experiment: text",
        "    experiment: txt",
        "report[0].experiment",
        "no such experiment",
        allowed="text",
        nearest="text",
    ),
    "report: no such evaluation": Mistake(
        "    evaluation: loss",
        "    evaluation: los",
        "report[0].evaluation",
        "no such evaluation",
        allowed="loss, think",
        nearest="loss",
    ),
    "report: evaluation of another kind": Mistake(
        "    evaluation: loss",
        "    evaluation: think",
        "report[0].evaluation",
        "draws evaluations of kind likelihood",
        allowed="loss",
    ),
    "report: no such adapter": Mistake(
        "    candidate: energy",
        "    candidate: enrgy",
        "report[0].candidate",
        "no such candidate",
        allowed="plain, energy",
        nearest="energy",
    ),
    "report: candidate is the baseline": Mistake(
        "    candidate: energy",
        "    candidate: plain",
        "report[0].candidate",
        "the candidate is the baseline",
        allowed="energy",
    ),
    "report: unknown kind": Mistake(
        "  - kind: scaling",
        "  - kind: scalng",
        "report[0].kind",
        "unknown kind",
        allowed="scaling, thinking, ",
        nearest="scaling",
    ),
    "report: unknown axis": Mistake(
        "    x: parameters",
        "    x: parameter",
        "report[0].x",
        "allowed values",
        allowed="parameters",
        nearest="parameters",
    ),
}


def _line_of(text: str, needle: str) -> int:
    return text[: text.index(needle)].count("\n") + 1


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_mistake(
    mistake: Mistake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert mistake.old in mistake.suite
    text = mistake.suite.replace(mistake.old, mistake.new, 1)
    monkeypatch.chdir(tmp_path)
    Path("suite.yaml").write_text(text)
    Path("folder.json").mkdir()
    with pytest.raises(HarnessError) as caught:
        load_suite(Path("suite.yaml"))
    error = caught.value
    line = _line_of(text, mistake.line if mistake.line is not None else mistake.new.strip("\n"))
    # More settings may take part in a mistake; the first place is asserted.
    first, *_ = str(error.where).split(", ")
    assert first == f"suite.yaml:{line} {mistake.path}".strip()
    assert mistake.problem in error.problem
    message = str(error)
    if mistake.allowed is not None:
        assert mistake.allowed in message.split("allowed: ")[1]
    if mistake.nearest is not None:
        assert f"did you mean {mistake.nearest!r}?" in message
    _refused_by_cli(["plan", "suite.yaml"], message, monkeypatch, capsys)
    assert sorted(os.listdir()) == ["folder.json", "suite.yaml"]


def _refused_by_cli(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    written = capsys.readouterr()
    assert end.value.code == 2
    assert written.out == ""
    assert written.err == f"error: {message}\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"# nothing here\n", "the file is empty"),
        (b"- a\n", "must be a mapping"),
        (b"text\n", "must be a mapping"),
        (b"\x89PNG\r\n\xff\xfe", "not UTF-8 text"),
        (b"suite: a\x00\n", "not valid YAML"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        (b"&a [*a]\n", "alias refers to itself"),
        (b"[a, b]: 1\n", "a key must be plain text"),
    ],
)
def test_not_a_suite_file(
    content: bytes,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "with a space.yaml"
    path.write_bytes(content)
    with pytest.raises(HarnessError, match=problem) as caught:
        load_suite(path)
    assert str(caught.value.where).startswith(str(path))
    _refused_by_cli(["plan", str(path)], str(caught.value), monkeypatch, capsys)


@pytest.mark.parametrize(
    ("name", "problem", "verbs"),
    [
        ("absent.yaml", "No such file", ("plan", "run", "table", "figures", "report", "publish")),
        (".", "Is a directory", ("plan", "run")),
    ],
)
def test_no_suite_file(
    name: str,
    problem: str,
    verbs: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match=problem) as caught:
        load_suite(Path(name))
    for verb in verbs:
        _refused_by_cli([verb, name], str(caught.value), monkeypatch, capsys)
    assert not os.listdir()


@pytest.mark.parametrize(
    ("override", "where", "problem"),
    [
        ("budget", "--set", "path=value"),
        ("=5", "--set", "path=value"),
        ("a..b=5", "--set", "path=value"),
        ("budget.steps=[1", "--set", "not valid YAML"),
        ("budget.steps=\x00", "--set", "not valid YAML"),
        ("budgt.steps=5", "--set", "unknown setting"),
        ("seed=5", "--set", "unknown setting"),
        ("budget.steps=abc", "--set budget.steps", "must be a whole number"),
        ("budget.steps=", "--set budget.steps", "given: none"),
        ("budget=5", "--set budget", "must be a mapping"),
        ("budget={steps: 1, flops: 2}", "--set budget.steps", "exactly one"),
        ("task.kind=x", "--set task.kind", "unknown kind"),
        ("task={kind: next_token, contxt: 1}", "--set task.contxt", "unknown key"),
        ("config={depth: 1, widht: 2}", "--set config.widht", "unknown key"),
        ("config.heads=3", "suite.yaml:26 experiments.text.axes.size[0].config.width", "8 / 3"),
        ("base={threds: 1}", "--set base.threds", "unknown key"),
        ("experiments.txt.seeds=[1]", "--set experiments.txt.seeds", "nothing of this name"),
        (
            "experiments.text.adapters.a.config.depth=1",
            "--set experiments.text.adapters.a.config.depth",
            "nothing of this name",
        ),
        ("experiments.text.axes.size=[]", "--set experiments.text.axes.size", "no values"),
        ("report=[{kind: scaling}]", "--set report[0].experiment", "is missing"),
        ("version=1.5", "--set version", "must be a whole number"),
    ],
)
def test_override(
    override: str,
    where: str,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("suite.yaml").write_text(TEXT)
    with pytest.raises(HarnessError) as caught:
        load_suite(Path("suite.yaml"), overrides=[override])
    assert str(caught.value.where).split(", ")[0] == where
    assert problem in caught.value.problem
    _refused_by_cli(
        ["plan", "suite.yaml", "--set", override], str(caught.value), monkeypatch, capsys
    )


def test_several_mistakes_are_counted_and_a_typo_is_one(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(TEXT.replace("context: 16", "contxt: 16"))
    with pytest.raises(HarnessError) as caught:
        load_suite(path)
    assert "more mistake" not in str(caught.value)
    path.write_text(TEXT.replace("context: 16", "contxt: 16").replace("lr: 1e-3", "eps: x"))
    with pytest.raises(HarnessError, match=r"\(1 more mistake here\)"):
        load_suite(path)
