"""A linear probe by the real command line: trained, probed, shown."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import yaml

from harness.data.datasets import dataset_digest
from harness.records import read_json, read_jsonl
from tests.launch.room import HARNESS, Room

DATA = "builtin/digits"
SIZE = {"depth": 1, "width": 16, "heads": 2, "patch_size": 4}
ADAPTERS = {
    "dit": {"adapter": "dit_image", "config": SIZE},
    "ebt": {"adapter": "ebt_image", "config": SIZE | {"step_size": 30.0}},
}


def probe_suite(room: Room) -> Path:
    own = {
        "kind": "probe",
        "data": DATA,
        "train_limit": 400,
        "limit": 120,
        "timing_repeats": 1,
        "l2": [0.01, 0.1],
    }
    path = room.suite(
        {
            label: each | {"task": {"kind": "denoising", "data": DATA}}
            for label, each in ADAPTERS.items()
        },
        base={"batch_size": 8, "budget": {"steps": 5}, "optimizer": {"lr": 3e-3}},
        evaluations={"digits": own, "small": own | {"solver": "minibatch", "epochs": 2}},
    )
    section = {"kind": "probe", "experiment": "e", "evaluation": "digits", "baseline": "dit"}
    path.write_text(path.read_text() + yaml.safe_dump({"report": [section]}))
    return path


def test_a_suite_trains_probes_and_reports(room: Room) -> None:
    suite = probe_suite(room)
    code, summary = room.run(suite)
    assert code == 0, summary
    for label in ADAPTERS:
        folder = room.folder_of(suite, label)
        evaluations = list(folder.path.glob("evals/*"))
        assert len(evaluations) == 2
        for evaluation in evaluations:
            lines = {line["name"]: line for line in read_jsonl(evaluation / "measurements.jsonl")}
            with np.load(evaluation / "answers.npz") as kept:
                assert lines["top1"]["value"] == kept["top1"].mean()
            assert lines["pixels_top1"]["value"] > 0.6 > lines["majority_top1"]["value"]
            recorded = read_json(evaluation / "done.json")["provenance"]["data"]
            splits = ("train", "validation")
            assert recorded == {f"{DATA}/{s}": dataset_digest(DATA, s) for s in splits}
    kept = sorted(path.name for path in (room.results / "data").iterdir())
    assert kept == ["probes"], "no file of features is left"
    table = subprocess.run(
        [HARNESS, "table", suite.name, "--json"], cwd=room.folder, text=True, capture_output=True
    )
    assert table.returncode == 0, table.stderr
    shown, differences = json.loads(table.stdout)[0]["tables"]
    assert [row["model"] for row in shown["rows"]][:3] == ["dit", "ebt", "pixels"]
    assert differences["rows"][0]["paired_by_image"] is True
