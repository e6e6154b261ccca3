"""What is left out, what replaces nothing, and what stays beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.exhibits.suites import suite_exhibits
from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.publishing.publish import publish
from harness.records import RunFolder, read_json, write_json
from tests.publishing.trained import TEXT, published, states, suite_in, write_all, write_trained


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
    "change",
    [
        *("n", "digit", "cost", "lost", "file", "log", "weights"),
        *("step", "tokens_seen", "unit", "higher_is_better", "device", "data", "split"),
    ],
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
        "step": "step of loss, noise seed 0 10 → 7",
        "tokens_seen": "other tokens_seen of loss, noise seed 0",
        "unit": "other unit of loss, noise seed 0",
        "higher_is_better": "other higher_is_better of loss, noise seed 0",
        "device": "other device of loss, noise seed 0",
        "data": "other data of loss, noise seed 0",
        "split": "other split of loss, noise seed 0",
    }
    changed: dict[str, object] = {
        **{"n": 99, "step": 7, "tokens_seen": None, "unit": "bits", "higher_is_better": True},
        "device": "elsewhere",
        **{key: line["tags"] | {key: "another"} for key in ("data", "split")},
    }
    if change in changed:
        field = "tags" if change in ("data", "split") else change
        evaluation.measurements.write_text(json.dumps(line | {field: changed[change]}) + "\n")
    elif change == "digit":
        again = line | {"value": 3.0000000000000004}
        evaluation.measurements.write_text(json.dumps(again) + "\n")
    elif change == "cost":
        evaluation.measurements.write_text(json.dumps(line | {"cost": {"seconds": 1.0}}) + "\n")
        assert publish([suite], tmp_path)[0].state == "updated", "a number more takes none away"
        evaluation.measurements.write_text(json.dumps(line | {"cost": {"seconds": 2.0}}) + "\n")
        told["cost"] = "seconds of loss, noise seed 0 1 → 2"
    elif change == "lost":
        evaluation.measurements.write_text(json.dumps(line | {"name": "another"}) + "\n")
    elif change == "file":
        (path,) = folder.path.glob("evals/*/by_document.npz")
        path.unlink()
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
