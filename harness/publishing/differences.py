"""Whether two records of one run say the same, and which numbers differ where they do not."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import HarnessError

#: What says where numbers come from; it holds none that exhibits show.
_ORIGINS = ("spec.json", "provenance.json", "status.json", "done.json")
#: What else a measurement says of its value.
_BESIDE = ("n", "unit", "higher_is_better", "step", "tokens_seen", "train_seed", "device")
#: Tags that all measurements of an evaluation have in common: its name tells them.
_SHARED = ("data", "split")
_WEIGHTS = "weights_sha256"

Record = Mapping[str, bytes]
#: What a number is of -> the number; a whole file's content where it is not taken apart.
Numbers = dict[str, Any]


def same_weights(old: Record, new: Record) -> bool:
    """Both are measurements of the same trained weights; where those are not known, of a training
    that went the same to the last digit.
    """
    before, now = (_document(record, "training.json") for record in (old, new))
    known = before.get(_WEIGHTS)
    return before == now != {} if known is None else known == now.get(_WEIGHTS)


def holds_the_same(old: Record, new: Record) -> bool:
    """Every file says the same; how its bytes were compressed is no matter."""
    return old.keys() == new.keys() and all(
        _unpacked(name, old[name]) == _unpacked(name, content) for name, content in new.items()
    )


def differences(old: Record, new: Record, labels: Mapping[str, str]) -> list[str]:
    """Each number of the old record that the new one has otherwise or lacks, in words.

    An evaluation that the new one lacks whole is lost only with the weights it is of. `labels` are
    the evaluations' names by id.
    """
    found = []
    for name in sorted(old, key=lambda name: ("/" in name, name)):
        *folders, file = name.split("/")
        if file in _ORIGINS or (name not in new and not _is_covered(folders, new)):
            continue
        of = labels.get(folders[-1], f"evaluation {folders[-1]}") if folders else "training"
        before = _numbers(name, old[name])
        now = _numbers(name, new[name]) if name in new else {}
        found += [f"{of}: {text}" for text in _compared(before, now)]
    return found


def _is_covered(folders: list[str], record: Record) -> bool:
    return any(name.startswith("/".join([*folders, ""])) for name in record)


def _compared(before: Numbers, now: Numbers) -> Iterator[str]:
    for what, value in before.items():
        if what not in now:
            yield f"{what} is there no more"
        elif now[what] != value:
            yield _told(what, value, now[what])


def _told(what: str, before: Any, now: Any) -> str:
    if not all(type(each) in (int, float) for each in (before, now)):
        return f"other {what}"
    short = f"{before:.6g}", f"{now:.6g}"
    shown = short if short[0] != short[1] else (repr(before), repr(now))
    return f"{what} {shown[0]} → {shown[1]}"


def _numbers(name: str, content: bytes) -> Numbers:
    if name == "training.json":
        return {"weights" if k == _WEIGHTS else k: v for k, v in _parsed(name, content).items()}
    if name.endswith("measurements.jsonl"):
        found: Numbers = {}
        for line in content.splitlines():
            for what, value in _of_measurement(_parsed(name, line)).items():
                found[what if what not in found else f"{what}, line {len(found)}"] = value
        return found
    return {name.rpartition("/")[2]: _unpacked(name, content)}


def _of_measurement(line: Mapping[str, Any]) -> Numbers:
    """Its value, and what it says beside, by the metric and the setting that it was measured at."""
    tags = line.get("tags", {})
    setting = {k: v for k, v in tags.items() if k not in _SHARED and v is not None}
    at = "".join(f" {key}={value}" for key, value in setting.items())
    metric = f"{line['name']}{at}, noise seed {line.get('noise_seed')}"
    beside = {key: line[key] for key in _BESIDE if key in line}
    beside |= {key: tags[key] for key in _SHARED if key in tags} | line.get("cost", {})
    return {metric: line["value"]} | {f"{key} of {metric}": each for key, each in beside.items()}


def _document(record: Record, name: str) -> dict[str, Any]:
    return _parsed(name, record[name]) if name in record else {}


def _parsed(name: str, content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise HarnessError(
            f"what is published is damaged: {name} holds no JSON object",
            hint="remove the published run's folder and publish it again",
        )
    return found


def _unpacked(name: str, content: bytes) -> bytes:
    try:
        return gzip.decompress(content) if name.endswith(".gz") else content
    except (OSError, EOFError, zlib.error):
        return content
