"""Nothing that is published tells of a machine, its user or its folders."""

from __future__ import annotations

import gzip
import json
import socket
from pathlib import Path

import pytest

from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.publishing.publish import publish
from harness.records import RunFolder, read_json, write_json
from tests.publishing.trained import TEXT, published, states, write_all, write_trained

HOST, USER = "node17", "wilhelmine"


def _planted(results: Path, run: PlannedRun) -> RunFolder:
    """A run whose records say more than is to be told."""
    folder = write_trained(run, results)
    secret = {
        "hostname": HOST,
        "cwd": f"/home/{USER}/ebt",
        "git": {"commit": "c0ffee", "changed": False, "author": USER, "remote": f"ssh://{HOST}/x"},
        "command": [
            "harness",
            "run",
            f"/home/{USER}/ebt/suite.yaml",
            f"--results=/scratch/{USER}/results",
            "--set",
            f"experiments.text.base.task={{data: /data/{HOST}/x, tokenizer: [~/t.json,/opt/u]}}",
            f"--note={HOST}:{USER}",
        ],
    }
    write_json(folder.provenance, read_json(folder.provenance) | secret)
    write_json(folder.training, read_json(folder.training) | {"log": f"/scratch/{USER}/log"})
    folder.set_status("done", f"requeued from {HOST}", step=10, total_steps=10)
    line = {"step": 1, "loss": 2.0, "host": HOST, "time": {"seconds": 1.0, "host": HOST}}
    folder.train_log.write_text(json.dumps(line) + "\n")
    for planned in run.evaluations:
        evaluation = folder.evaluation(planned.eval_id)
        done = read_json(evaluation.done)
        write_json(
            evaluation.done, done | {"host": HOST, "provenance": done["provenance"] | secret}
        )
        lines = [m | {"host": HOST} for m in evaluation.read()]
        evaluation.measurements.write_text("".join(json.dumps(m) + "\n" for m in lines))
    return folder


def test_nothing_published_names_a_machine_its_user_or_its_folders(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: f"{HOST}.cluster.example")
    monkeypatch.setenv("LOGNAME", USER)
    monkeypatch.setenv("HOME", f"/home/{USER}")
    for run in suite.runs:
        _planted(tmp_path, run)
    assert states(publish([suite], tmp_path)) == ["new"] * 8
    found = published(tmp_path)
    assert len(found) > 8 * 10
    for name, content in found.items():
        text = gzip.decompress(content) if name.endswith(".gz") else content
        for planted in (HOST, USER, "/home", "/scratch", "/data", "/opt", "~/", "ssh:"):
            assert planted.encode() not in text, f"{planted} in {name}"
            assert planted not in name
    command = json.loads(found[next(n for n in found if n.endswith("provenance.json"))])["command"]
    assert command == [
        *("harness", "run", "suite.yaml", "--results=results", "--set"),
        "experiments.text.base.task={data: x, tokenizer: [t.json,u]}",
        "--note=…:…",
    ]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("context: 16", "context: 16, data: 'file:/data/mine/{split}.txt'", "task.data"),
        ("context: 16", "context: 16, data: 'file:~/{split}.txt'", "task.data"),
        ("context: 16", "context: 16, data: 'hub:/data/gsm8k#{question} / {answer}'", "task.data"),
        ("data: builtin/docs}", "data: 'file:/data/x.txt'}", "data"),
    ],
)
def test_data_at_places_of_one_machine_are_refused(
    old: str, new: str, place: str, tmp_path: Path
) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(TEXT.replace(old, new))
    suite = load_suite(path, needs_data=False)
    write_all(suite.runs, tmp_path / "results")
    outcomes = publish([suite], tmp_path / "results", changed=True)
    assert states(outcomes) == ["private"] * 8
    assert any(reason.startswith(f"{place}: ") for reason in outcomes[0].reasons)
    assert published(tmp_path / "results") == {}


@pytest.mark.parametrize(
    "data",
    [
        {"tokenizer /data/bpe.json": "aa"},
        {"autoencoder ~/vae": "aa"},
        {"task mine of /data/tasks": "aa"},
    ],
)
def test_so_are_tokenizers_autoencoders_and_tasks(
    data: dict[str, str], suite: Suite, tmp_path: Path
) -> None:
    write_trained(suite.runs[0], tmp_path, data=data)
    outcome = publish([suite], tmp_path, changed=True)[0]
    assert outcome.state == "private"
    assert next(iter(data)) in outcome.reasons[0]


def test_so_are_measurements_of_such_data(suite: Suite, tmp_path: Path) -> None:
    run = suite.runs[0]
    evaluation = write_trained(run, tmp_path).evaluation(run.evaluations[0].eval_id)
    text = evaluation.measurements.read_text()
    evaluation.measurements.write_text(text.replace("builtin/docs", "file:/data/x.txt"))
    outcome = publish([suite], tmp_path)[0]
    assert outcome.state == "private"
    assert outcome.reasons == ("tags.data: file:/data/x.txt",)
