"""What is published of finished runs, what is not, and that exhibits read it as the runs."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import socket
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.exhibits.suites import suite_exhibits
from harness.analysis.tables.sections import section_tables
from harness.errors import HarnessError
from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.publishing import record
from harness.publishing.layout import device_slug
from harness.publishing.publish import Outcome, publish
from harness.records import RunFolder, read_json, write_json
from tests.publishing.trained import CPU, GPU, TEXT, files_below, suite_in, write_all, write_trained

HOST, USER = "node17", "wilhelmine"


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_in(tmp_path)


def published(results: Path) -> dict[str, bytes]:
    """Every published file; the lock is none."""
    found = files_below(results / "published")
    return {name: content for name, content in found.items() if name != ".lock"}


def states(outcomes: list[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]


def tables(suite: Suite, results: Path) -> list[str]:
    shown = suite_exhibits(suite, results)
    return [
        text
        for gathered in shown.gathered
        for table in section_tables(gathered)
        for text in (table.markdown(), table.latex(), table.csv())
    ]


# --- what is published -----------------------------------------------------------------------


def test_tables_are_the_same_once_only_what_was_published_is_left(
    suite: Suite, tmp_path: Path
) -> None:
    write_all(suite.runs, tmp_path)
    before = tables(suite, tmp_path)
    assert states(publish([suite], tmp_path)) == ["new"] * 8
    shutil.rmtree(tmp_path / "runs")
    assert tables(suite, tmp_path) == before
    assert any("| ebt" in text for text in before), "there are rows to compare"
    assert suite_exhibits(suite, tmp_path).notes == [
        "8 runs read as published: 8 on AMD EPYC (1 thread)."
    ]


def test_a_record_is_whole_but_for_what_is_not_to_be_shared(suite: Suite, tmp_path: Path) -> None:
    run = suite.runs[-1]
    folder = write_trained(run, tmp_path)
    for name in ("claim.json", "owner.json", ".lock", "logs/worker.log", "checkpoints/step-10/a"):
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    thinking = next(e.eval_id for e in run.evaluations if e.name == "thinking")
    (folder.evaluation(thinking).path / "samples.jsonl.gz").write_bytes(b"answers")
    (folder.evaluation(thinking).path / "error.json").write_text("{}")
    (outcome,) = [o for o in publish([suite], tmp_path) if o.state == "new"]
    assert outcome.folder == tmp_path / "published" / "amd-epyc-1-thread" / run.run_id
    evaluations = sorted(e.eval_id for e in run.evaluations)
    own = {"spec.json", "provenance.json", "status.json", "training.json", "train.jsonl.gz"}
    for eval_id in evaluations:
        own |= {f"evals/{eval_id}/{n}.json" for n in ("spec", "done")}
        own |= {f"evals/{eval_id}/measurements.jsonl"}
    own |= {f"evals/{thinking}/by_document.npz"}
    assert set(files_below(outcome.folder)) == own
    for name in own - {"train.jsonl.gz", "status.json"}:
        assert (outcome.folder / name).read_text("latin-1") == (folder.path / name).read_text(
            "latin-1"
        ), name
    log = gzip.decompress((outcome.folder / "train.jsonl.gz").read_bytes()).splitlines()
    assert list(map(json.loads, log)) == [
        {"step": 1, "loss": 2.9, "time": {"seconds": 1}},
        {"step": 10, "loss": 2.0, "time": {"seconds": 10}},
    ]
    sizes = [path.stat().st_size for path in outcome.folder.rglob("*") if path.is_file()]
    assert (outcome.evaluations, outcome.files, outcome.bytes) == (2, len(own), sum(sizes))


def test_publishing_again_changes_nothing(suite: Suite, tmp_path: Path) -> None:
    write_all(suite.runs, tmp_path)
    publish([suite], tmp_path)
    before, places = published(tmp_path), sorted((tmp_path / "published").rglob("*"))
    inodes = [path.stat().st_ino for path in places]
    assert states(publish([suite], tmp_path)) == ["unchanged"] * 8
    assert published(tmp_path) == before
    assert [path.stat().st_ino for path in places] == inodes, "nothing was written again"
    shutil.rmtree(tmp_path / "published")
    publish([suite], tmp_path)
    assert published(tmp_path) == before, "the same bytes, whenever they are written"


def test_how_a_log_was_compressed_is_no_change(suite: Suite, tmp_path: Path) -> None:
    write_trained(suite.runs[0], tmp_path)
    (folder,) = [o.folder for o in publish([suite], tmp_path) if o.folder]
    log = folder / "train.jsonl.gz"
    log.write_bytes(gzip.compress(gzip.decompress(log.read_bytes()), compresslevel=1, mtime=9))
    kept = log.read_bytes()
    assert states(publish([suite], tmp_path))[0] == "unchanged"
    assert log.read_bytes() == kept


def test_a_long_log_is_thinned_evenly(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "LOG_LINES", 5)
    folder = write_trained(suite.runs[0], tmp_path)
    for lines, kept in ((17, [0, 4, 8, 12, 16]), (5, [0, 1, 2, 3, 4]), (1, [0]), (0, [])):
        folder.train_log.write_text("".join(f'{{"step": {step}}}\n' for step in range(lines)))
        files = record.run_files(folder, (), changed=False)
        found = gzip.decompress(files["train.jsonl.gz"]).splitlines()
        assert [json.loads(line)["step"] for line in found] == kept
        assert json.loads(files["status.json"])["log_lines"] == lines


def test_every_file_that_exhibits_read_is_published() -> None:
    source = Path(record.__file__).parents[1] / "analysis"
    text = "".join(path.read_text() for path in sorted(source.rglob("*.py")))
    read = set(re.findall(r'"(\w+\.(?:npz|json|jsonl|gz|jsonl\.gz))"', text))
    documents = {"spec.json", "provenance.json", "training.json", "done.json", "status.json"}
    assert "by_document.npz" in read
    assert read - documents - {"train.jsonl", "train.jsonl.gz"} <= set(record.SIDE_FILES)


# --- what is private -------------------------------------------------------------------------


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


# --- what is refused -------------------------------------------------------------------------


def test_what_is_done_is_published_and_the_rest_is_said(suite: Suite, tmp_path: Path) -> None:
    first, second, third, *_ = suite.runs
    write_all((first, second, third), tmp_path)
    validation = next(e for e in second.evaluations if e.name == "validation")
    RunFolder(tmp_path, second.run_id).evaluation(validation.eval_id).done.unlink()
    RunFolder(tmp_path, third.run_id).set_status("stopped", "by a signal")
    outcomes = publish([suite], tmp_path)
    assert states(outcomes) == ["new", "new", *["unfinished"] * 6]
    assert outcomes[1].missing == ("validation on builtin/docs",)
    assert (outcomes[0].evaluations, outcomes[1].evaluations) == (2, 1)
    assert outcomes[2].reasons == ("stopped",)
    assert not (tmp_path / "published/amd-epyc-1-thread" / third.run_id).exists()
    write_trained(second, tmp_path)
    assert states(publish([suite], tmp_path))[:2] == ["unchanged", "updated"], "it is done later"


def test_a_run_that_diverged_is_published_as_such(suite: Suite, tmp_path: Path) -> None:
    run, other, *_ = suite.runs
    for each, reason in ((run, "not finite: step 7: loss nan"), (other, "out of memory")):
        folder = write_trained(each, tmp_path)
        folder.training.unlink()
        shutil.rmtree(folder.path / "evals")
        folder.set_status("failed", reason, step=7, total_steps=10)
    outcomes = publish([suite], tmp_path)
    assert states(outcomes)[:2] == ["new", "unfinished"]
    assert outcomes[0].missing == ()
    shutil.rmtree(tmp_path / "runs")
    frame = suite_exhibits(suite, tmp_path).frame
    assert frame.diverged == {run.run_id}
    assert run.run_id not in frame.records
    assert outcomes[0].folder is not None
    status = read_json(outcomes[0].folder / "status.json")
    assert (status["state"], status["reason"]) == ("failed", "not finite: step 7: loss nan")


def test_other_source_is_published_only_when_asked_and_marked(suite: Suite, tmp_path: Path) -> None:
    write_trained(suite.runs[0], tmp_path, digest="0ld")
    write_trained(suite.runs[1], tmp_path)
    assert states(publish([suite], tmp_path))[:2] == ["changed", "new"]
    outcomes = publish([suite], tmp_path, changed=True)
    assert states(outcomes)[:2] == ["new", "unchanged"]
    marks = [read_json(o.folder / "status.json").get("changed") for o in outcomes[:2] if o.folder]
    assert marks == [True, None]
    shutil.rmtree(tmp_path / "runs")
    assert suite_exhibits(suite, tmp_path).frame.changed == (suite.runs[0].run_id,)


def test_an_evaluation_of_other_source_counts_as_much(suite: Suite, tmp_path: Path) -> None:
    folder = write_trained(suite.runs[0], tmp_path)
    evaluation = folder.evaluation(suite.runs[0].evaluations[0].eval_id)
    done = read_json(evaluation.done)
    write_json(evaluation.done, done | {"provenance": {"source_digest": "0ld"}})
    assert states(publish([suite], tmp_path))[0] == "changed"


def test_other_numbers_replace_nothing_unless_asked(suite: Suite, tmp_path: Path) -> None:
    run = suite.runs[0]
    write_trained(run, tmp_path)
    publish([suite], tmp_path)
    before = published(tmp_path)
    folder = write_trained(run, tmp_path, shift=0.25)
    write_json(folder.training, read_json(folder.training) | {"seconds": 3.5})
    outcome = publish([suite], tmp_path)[0]
    assert outcome.state == "differs"
    assert outcome.reasons[0] == "training: seconds 2 → 3.5"
    assert set(outcome.reasons[1:]) == {
        "thinking on builtin/docs: other by_document.npz",
        "thinking on builtin/docs: loss kind=single trained=True, noise seed 0 3 → 3.25",
        "validation on builtin/docs: loss, noise seed 0 3 → 3.25",
    }
    assert published(tmp_path) == before
    assert publish([suite], tmp_path, replace=True)[0].state == "updated"
    assert published(tmp_path) != before
    assert publish([suite], tmp_path)[0].state == "unchanged"


@pytest.mark.parametrize(
    "change", ["n", "digit", "cost", "lost", "file", "twice", "log", "weights"]
)
def test_every_kind_of_number_counts(change: str, suite: Suite, tmp_path: Path) -> None:
    run = suite.runs[0]
    folder = write_trained(run, tmp_path)
    publish([suite], tmp_path)
    validation = next(e for e in run.evaluations if e.name == "validation")
    evaluation = folder.evaluation(validation.eval_id)
    (line,) = evaluation.read()
    told = {
        "n": "n of loss, noise seed 0 100 → 99",
        "digit": "loss, noise seed 0 3.0 → 3.0000000000000004",
        "lost": "loss, noise seed 0 is there no more",
        "file": "thinking on builtin/docs: by_document.npz is there no more",
        "log": "other train.jsonl.gz",
        "weights": "other weights",
    }
    if change == "n":
        evaluation.measurements.write_text(json.dumps(line | {"n": 99}) + "\n")
    elif change == "digit":
        again = line | {"value": 3.0000000000000004}
        evaluation.measurements.write_text(json.dumps(again) + "\n")
    elif change == "cost":
        evaluation.measurements.write_text(json.dumps(line | {"cost": {"seconds": 1.0}}) + "\n")
        assert publish([suite], tmp_path)[0].state == "updated", "a number more takes none away"
        evaluation.measurements.write_text(json.dumps(line | {"cost": {"seconds": 2.0}}) + "\n")
        told["cost"] = "seconds of loss, noise seed 0 1 → 2"
    elif change == "lost":
        evaluation.measurements.write_text("")
    elif change == "file":
        (path,) = folder.path.glob("evals/*/by_document.npz")
        path.unlink()
    elif change == "twice":
        lines = [line | {"value": value} for value in (1.0, 2.0)]
        text = "".join(json.dumps(each) + "\n" for each in lines)
        evaluation.measurements.write_text(text)
        publish([suite], tmp_path, replace=True)
        evaluation.measurements.write_text(text.replace("1.0", "1.5"))
        told["twice"] = "loss, noise seed 0 1 → 1.5"
    elif change == "log":
        folder.train_log.write_text('{"step": 1, "loss": 2.5}\n')
    else:
        write_json(folder.training, read_json(folder.training) | {"weights_sha256": "11"})
    outcome = publish([suite], tmp_path)[0]
    assert outcome.state == "differs"
    assert outcome.reasons[0].endswith(told[change])


def test_other_origins_of_the_same_numbers_are_taken_over(suite: Suite, tmp_path: Path) -> None:
    folder = write_trained(suite.runs[0], tmp_path)
    publish([suite], tmp_path)
    write_json(folder.provenance, read_json(folder.provenance) | {"python": "3.13.0"})
    outcome = publish([suite], tmp_path)[0]
    assert outcome.state == "updated"
    assert outcome.folder is not None
    assert read_json(outcome.folder / "provenance.json")["python"] == "3.13.0"


def test_evaluations_published_before_stay_beside_new_ones_of_the_same_weights(
    tmp_path: Path,
) -> None:
    one = suite_in(tmp_path, TEXT.split("      thinking:\n")[0] + "report: []\n")
    both = suite_in(tmp_path)
    run = both.runs[0]
    folder = write_trained(run, tmp_path)
    publish([both], tmp_path)
    thinking = next(e.eval_id for e in run.evaluations if e.name == "thinking")
    kept = f"amd-epyc-1-thread/{run.run_id}/evals/{thinking}/by_document.npz"
    assert kept in published(tmp_path)
    shutil.rmtree(folder.evaluation(thinking).path)
    assert publish([one], tmp_path)[0].state == "unchanged"
    write_json(folder.training, read_json(folder.training) | {"weights_sha256": "11"})
    assert publish([one], tmp_path)[0].state == "differs"
    assert kept in published(tmp_path)
    publish([one], tmp_path, replace=True)
    assert kept not in published(tmp_path), "it was of other weights"


def test_of_unknown_weights_the_training_says_whether_they_are_the_same(
    suite: Suite, tmp_path: Path
) -> None:
    run = suite.runs[0]
    folder = write_trained(run, tmp_path)
    unknown = read_json(folder.training) | {"weights_sha256": None}
    write_json(folder.training, unknown)
    publish([suite], tmp_path)
    before = published(tmp_path)
    shutil.rmtree(folder.evaluation(run.evaluations[0].eval_id).path)
    assert publish([suite], tmp_path)[0].state == "unchanged"
    write_json(folder.training, unknown | {"seconds": 9.0})
    assert publish([suite], tmp_path)[0].state == "differs"
    assert published(tmp_path) == before
    publish([suite], tmp_path, replace=True)
    assert len(published(tmp_path)) < len(before)


def test_a_damaged_record_is_named(suite: Suite, tmp_path: Path) -> None:
    run = suite.runs[0]
    folder = write_trained(run, tmp_path)
    thinking = next(e.eval_id for e in run.evaluations if e.name == "thinking")
    path = folder.evaluation(thinking).path / "by_document.npz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(HarnessError, match=r"(?s)by_document.npz.*not a file of arrays"):
        publish([suite], tmp_path)
    np.savez(path, sums=np.array([{"a": 1}], dtype=object))
    with pytest.raises(HarnessError, match="not a file of arrays"):
        publish([suite], tmp_path)
    assert published(tmp_path) == {}


# --- devices ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "slug"),
    [
        (CPU, "amd-epyc-1-thread"),
        (GPU, "nvidia-h200"),
        ("AMD EPYC (1 thread)+NVIDIA H200", "amd-epyc-1-thread-nvidia-h200"),
        ("…", "unnamed"),
    ],
)
def test_devices_have_folders_of_their_own(device: str, slug: str) -> None:
    assert device_slug(device) == slug


def test_a_run_of_two_devices_is_published_twice(suite: Suite, tmp_path: Path) -> None:
    write_trained(suite.runs[0], tmp_path)
    publish([suite], tmp_path)
    write_trained(suite.runs[0], tmp_path, device=GPU, shift=0.5)
    outcome = publish([suite], tmp_path)[0]
    assert (outcome.state, outcome.device) == ("new", GPU)
    assert {name.split("/")[0] for name in published(tmp_path)} == {
        "amd-epyc-1-thread",
        "nvidia-h200",
    }


def test_runs_that_suites_share_are_published_once(suite: Suite, tmp_path: Path) -> None:
    write_all(suite.runs, tmp_path)
    outcomes = publish([suite, suite], tmp_path)
    assert len(outcomes) == 8
    assert all(isinstance(asdict(outcome), dict) for outcome in outcomes)
