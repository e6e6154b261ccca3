"""Records of runs that never ran: as many as asked, in the real form, for timing the exhibits.

Losses follow L(x) = E + A x^-a of each family, with scatter by seed; thinking lowers them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.planning.eval_spec import EvalBase, LikelihoodEval, ThinkingEval
from harness.planning.planned import PlannedRun, Suite
from harness.planning.spec import thinking_label
from harness.planning.suite import load_suite
from harness.provenance import source_digest
from harness.records import RunFolder

SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
DEVICE = "a made-up device"
#: Eight sets, of which the first is that of training.
_SETS = ("docs", "docs-typos-5", "docs-typos-10", "docs-typos-20", "docs-typos-40", "docs-shuffled")
_FARTHER = ("source", "dyck")
_DOCUMENTS = 300
_SUITE = """
suite: synthetic
experiments:
  text:
    base:
      task: {{kind: next_token, data: builtin/docs, context: 64}}
      batch_size: 8
      budget: {{steps: {steps}}}
      optimizer: {{lr: 6e-3}}
    adapters:
      transformer++: {{adapter: transformer_pp_text}}
      ebt: {{adapter: ebt_text}}
    axes:
      size: {sizes}
    seeds: {seeds}
    evaluations:
      validation: {{kind: likelihood, data: builtin/docs, noise_seeds: [0, 1]}}
      thinking:
        kind: thinking
        data: {sets}
        thinking: [{{kind: single}}, {{kind: descent, steps: [1, 2, 4], samples: [1, 4]}}]
        only: {{size: [w{largest}]}}
report:
  - {{kind: scaling, title: Parameters, experiment: text, x: parameters, evaluation: validation,
     baseline: transformer++, candidate: ebt, paper: [Fig 5a]}}
  - {{kind: scaling, title: FLOPs, experiment: text, x: flops, evaluation: validation,
     baseline: transformer++, candidate: ebt, paper: [Fig 5b]}}
  - {{kind: thinking, title: Thinking, experiment: text, evaluation: thinking}}
  - {{kind: thinking_shift, title: Thinking and shift, experiment: text, evaluation: thinking}}
"""


def write_records(folder: Path, *, sizes: int = 10, seeds: int = 50, lines: int = 1000) -> Path:
    """A suite of 2 x `sizes` x `seeds` finished runs, each with a log of `lines`; its file."""
    widths = SIZES[:sizes]
    values = [f"{{label: w{w}, config: {{depth: 2, width: {w}, heads: 2}}}}" for w in widths]
    sets = [f"builtin/{name}" for name in (*_SETS, *_FARTHER)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "synthetic.yaml"
    path.write_text(
        _SUITE.format(
            steps=lines,
            sizes=f"[{', '.join(values)}]",
            seeds=list(range(seeds)),
            sets=f"[{', '.join(sets)}]",
            largest=widths[-1],
        )
    )
    suite = load_suite(path)
    _write(suite, folder / "results", lines)
    return path


def _write(suite: Suite, results: Path, lines: int) -> None:
    digests = {run.spec.adapter: source_digest(run.record) for run in suite.runs}
    for run in suite.runs:
        folder = RunFolder(results, run.run_id)
        folder.path.mkdir(parents=True)
        random = np.random.default_rng([run.spec.seed, len(run.adapter_label)])
        provenance = {"source_digest": digests[run.spec.adapter], "device": DEVICE, "data": {}}
        _json(folder.spec, run.spec.model_dump(mode="json"))
        _json(folder.provenance, provenance)
        state = {"state": "done", "reason": None, "step": lines, "total_steps": lines, "since": 0.0}
        _json(folder.status_path, state)
        loss = _loss(run) + float(random.normal(0, 0.01))
        _json(folder.training, _training(run, lines))
        folder.train_log.write_text(_log(run, loss, lines, random))
        for planned in run.evaluations:
            evaluation = folder.evaluation(planned.eval_id)
            evaluation.path.mkdir(parents=True)
            measured = _evaluate(run, planned.spec, loss, evaluation.path, random)
            _json(evaluation.spec, planned.spec.model_dump(mode="json"))
            text = "".join(json.dumps(each) + "\n" for each in measured)
            evaluation.measurements.write_text(text)
            _json(evaluation.done, {"finished": 0.0, "provenance": provenance})


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def _loss(run: PlannedRun) -> float:
    parameters = run.record.parameters(run.config, run.shape).non_embedding
    exponent, above = (0.33, 0.3) if run.adapter_label == "ebt" else (0.3, 0.0)
    return 1.5 + above + 2.5 * float(parameters / 2000) ** -exponent


def _training(run: PlannedRun, lines: int) -> dict[str, Any]:
    flops = run.record.training_flops(run.config, run.shape)
    rows = lines * run.spec.batch_size
    return {
        "steps": lines,
        "rows": rows,
        "tokens": rows * 64,
        "seconds": 1e-9 * flops.total * rows,
        "flops": float(flops.total * rows),
        "flops_vocabulary": float((flops.vocabulary or 0) * rows),
        "peak_memory_bytes": 500_000_000,
        "device": DEVICE,
        "processes": 1,
        "weights_sha256": run.run_id,
    }


def _log(run: PlannedRun, loss: float, lines: int, random: np.random.Generator) -> str:
    curve = loss + 4 * np.exp(-np.linspace(0, 8, lines)) + random.normal(0, 0.02, lines)
    return "".join(
        json.dumps(
            {
                "step": step,
                "rows": 8 * step,
                "tokens": 512 * step,
                "lr": 6e-3,
                "loss": value,
                "grad_norm": 1.5,
                "time": {"seconds": 0.01 * step, "unix": 1.8e9 + 0.01 * step},
            }
        )
        + "\n"
        for step, value in enumerate(curve.tolist(), start=1)
    )


def _evaluate(
    run: PlannedRun, spec: EvalBase, loss: float, folder: Path, random: np.random.Generator
) -> list[dict[str, Any]]:
    if isinstance(spec, LikelihoodEval):
        return _likelihood(run, spec, loss)
    assert isinstance(spec, ThinkingEval)
    return _thinking(run, spec, loss, folder, random)


def _measurement(run: PlannedRun, spec: EvalBase, name: str, value: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "n": 65536,
        "unit": "nats/token",
        "higher_is_better": False,
        "step": run.spec.budget.steps,
        "tokens_seen": 512 * (run.spec.budget.steps or 0),
        "train_seed": run.spec.seed,
        "noise_seed": 0,
        "device": DEVICE,
        "tags": {"data": spec.data, "split": spec.split},
        "cost": {},
    }


def _cost(run: PlannedRun, thinking: Any) -> dict[str, Any]:
    flops = run.record.prediction_flops(run.config, run.shape, thinking)
    nfe = getattr(thinking, "steps", 1) * getattr(thinking, "samples", 1)
    per_token = float(flops.total) / 64
    return {
        "nfe": nfe,
        "forward": float(nfe),
        "backward": float(nfe) if run.adapter_label == "ebt" else 0.0,
        "steps_used": None,
        "flops": per_token,
        "flops_vocabulary": float(flops.vocabulary or 0) / 64,
        "seconds": 1e-10 * per_token,
        "peak_memory_bytes": 500_000_000,
    }


def _likelihood(run: PlannedRun, spec: LikelihoodEval, loss: float) -> list[dict[str, Any]]:
    trained = run.record.trained_thinking(run.config)
    found = []
    for noise_seed in spec.noise_seeds:
        value = loss + 1e-3 * noise_seed
        for name, shown in (
            ("loss", value),
            ("perplexity", float(np.exp(value))),
            ("bits_per_byte", value / float(np.log(2))),
        ):
            line = _measurement(run, spec, name, shown)
            found.append(line | {"noise_seed": noise_seed, "cost": _cost(run, trained)})
    for name, line in (("unigram", 3.3), ("bigram", 2.7), ("trigram", 2.4)):
        found.append(_measurement(run, spec, f"{name}_loss", line) | {"noise_seed": None})
        bits = line / float(np.log(2))
        found.append(_measurement(run, spec, f"{name}_bits_per_byte", bits) | {"noise_seed": None})
    return found


def _thinking(
    run: PlannedRun, spec: ThinkingEval, loss: float, folder: Path, random: np.random.Generator
) -> list[dict[str, Any]]:
    trained = run.record.trained_thinking(run.config)
    able = [t for t in spec.thinking if t.kind in run.record.thinking]
    settings = list(dict.fromkeys([trained, *able]))
    place = (*_SETS, *_FARTHER).index(spec.data.removeprefix("builtin/"))
    farness = 1 + 0.2 * place
    tokens = np.random.default_rng(place).integers(20, 400, _DOCUMENTS)
    hard = random.normal(0, 0.3, _DOCUMENTS)
    losses = []
    for setting in settings:
        effort = getattr(setting, "steps", 2) * getattr(setting, "samples", 1)
        gain = 0.02 * farness * float(np.log2(effort / 2))
        losses.append((loss * farness * (1 - gain) + hard)[None] * tokens)
    sums = np.array(losses)
    names = [thinking_label(setting) for setting in settings]
    np.savez_compressed(folder / "by_document.npz", sums=sums, n=tokens, settings=np.array(names))
    found = []
    for index, setting in enumerate(settings):
        line = _measurement(run, spec, "loss", float(sums[index].sum() / tokens.sum()))
        tags = line["tags"] | {"windows": "as_trained", "tokens": "all", "trained": index == 0}
        tags |= setting.model_dump(mode="json")
        found.append(line | {"tags": tags, "n": int(tokens.sum()), "cost": _cost(run, setting)})
    for name, value in (("unigram", 3.5), ("bigram", 3.0 * farness), ("trigram", 2.8 * farness)):
        found.append(_measurement(run, spec, f"{name}_loss", value) | {"noise_seed": None})
    return found
