"""README.md of an export: how to load it, where it comes from and what was measured of it.

Its front matter is what the Hugging Face Hub reads. A licence is whoever publishes it to give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from harness.planning.spec import thinking_label, thinking_of

_TASKS = {
    "next_token": "text-generation",
    "denoising": "image-to-image",
    "next_frame": "video-to-video",
}

_TRANSFORMERS = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")"""

_REGISTRY = """\
import json
from safetensors.torch import load_file
from harness.protocol import {shape}
from harness.registry import adapter, load_factory

with open("config.json") as file:
    run = json.load(file)
record = adapter(run["adapter"])
assert record.version == run["adapter_version"]
config, shape = record.config.model_validate(run["config"]), {shape}(**run["shape"])
model = load_factory(record)(config, shape)
model.load_state_dict(load_file("model.safetensors"))"""


@dataclass(frozen=True)
class Card:
    """What the README says; `run` is the document beside it, `measured` are its measurements."""

    run: Mapping[str, Any]
    description: str
    family: str
    measured: Sequence[Mapping[str, Any]]

    def text(self, *, shape: str | None) -> str:
        """The README for the registry's own `shape`, or for transformers where that is None."""
        parts = [
            f"---\n{self._front_matter(transformers=shape is None)}---\n",
            f"# {self.run['run']}\n",
            f"{self.description[:1].upper()}{self.description[1:]}. One run of the referee for "
            "Energy-Based Transformers (`ebt-harness`), as it ended training. No licence is given.",
            "\n## Loading\n",
            _loading_transformers(self.run) if shape is None else _loading_registry(shape),
            "\n## Training\n",
            *(f"- {name}: {value}" for name, value in self._facts()),
            "\n## Measurements\n",
            *self._measurements(),
        ]
        return "\n".join(parts) + "\n"

    def _front_matter(self, *, transformers: bool) -> str:
        task = _TASKS[self.run["spec"]["task"]["kind"]]
        front: dict[str, Any] = {"tags": ["ebt-harness", self.family]}
        if transformers:
            front = {"library_name": "transformers", "pipeline_tag": task} | front
        results = list(_results(self.measured, task))
        if results:
            front["model-index"] = [{"name": self.run["run"], "results": results}]
        return yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100)

    def _facts(self) -> Iterable[tuple[str, str]]:
        run, spec = self.run, self.run["spec"]
        yield "adapter", f"`{run['adapter']}` version {run['adapter_version']}"
        yield "data", f"`{spec['task']['data']}`"
        if "tokenizer" in spec["task"]:
            yield "tokenizer", f"`{spec['task']['tokenizer']}`, context {spec['task']['context']}"
        yield "optimizer steps", f"{run['step']:,} of batch size {spec['batch_size']}"
        if run["tokens_seen"] is not None:
            yield "tokens", f"{run['tokens_seen']:,}"
        yield "training FLOPs", _number(run["training"].get("flops"))
        yield "seed", str(spec["seed"])
        yield "precision", spec["precision"]
        git = (run["provenance"] or {}).get("git") or {}
        changed = ", with changes that are not in it" if git.get("changed") else ""
        yield "commit", f"{git['commit']}{changed}" if git.get("commit") else "unknown"
        yield "SHA-256 of the run's weights", f"`{run['weights_sha256']}`"
        yield "everything else", f"`{run['file']}`"

    def _measurements(self) -> Iterable[str]:
        if not self.measured:
            yield "None were recorded."
            return
        yield "| data | setting | metric | value | unit | n | noise seed | NFE |"
        yield "|---|---|---|---:|---|---:|---:|---:|"
        for each in self.measured:
            cells = (
                _data(each["tags"]),
                _setting(each["tags"]),
                each["name"],
                _number(each["value"]),
                each["unit"],
                f"{each['n']:,}",
                _number(each["noise_seed"]),
                _number(each["cost"].get("nfe")),
            )
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _loading_transformers(run: Mapping[str, Any]) -> str:
    lines = [
        f"```python\n{_TRANSFORMERS}\n```\n",
        "With `lm-eval[hf]` installed, `lm_eval --model hf --model_args pretrained=.,dtype=float32 "
        "--tasks …` scores it. The tokenizer puts nothing around a text, and text that spells a "
        "special token stays text.",
    ]
    if run["spec"]["precision"] != "float32":
        lines.append(
            f"\nIt was trained and measured under {run['spec']['precision']} autocast; in float32 "
            "the numbers below differ by rounding."
        )
    return "\n".join(lines)


def _loading_registry(shape: str) -> str:
    return (
        f"```python\n{_REGISTRY.format(shape=shape)}\n```\n\n"
        "`model` then meets `harness.protocol.Adapter`, with the weights that the run ended with."
    )


def _results(measured: Iterable[Mapping[str, Any]], task: str) -> Iterable[dict[str, Any]]:
    """`model-index` results; a value that is missing is none of them."""
    for each in measured:
        if each["value"] is None:
            continue
        tags = {k: v for k, v in each["tags"].items() if k not in ("data", "split")}
        facts = {name: each[name] for name in ("n", "unit", "step", "noise_seed")}
        dataset = {"name": _data(each["tags"]), "type": each["tags"].get("data", "unnamed")}
        yield {
            "task": {"type": task},
            "dataset": dataset,
            "metrics": [
                {
                    "type": each["name"],
                    "value": each["value"],
                    "name": " ".join([each["name"], _setting(each["tags"])]).strip(),
                    "args": facts | {"nfe": each["cost"].get("nfe")} | tags,
                }
            ],
        }


def _data(tags: Mapping[str, Any]) -> str:
    return " ".join(str(tags[key]) for key in ("data", "split") if tags.get(key)) or "unnamed"


def _setting(tags: Mapping[str, Any]) -> str:
    """The thinking in words, and what else the tags tell apart."""
    thinking = thinking_of(tags)
    said = {"data", "split", *(type(thinking).model_fields if thinking else ())}
    words = [thinking_label(thinking)] if thinking else []
    for name, value in tags.items():
        if name not in said and value is not None and value is not False:
            shown = _number(value) if isinstance(value, float) else value
            words.append(name if value is True else f"{name} {shown}")
    return ", ".join(words)


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.6g}"
