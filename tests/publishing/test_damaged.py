"""What is damaged, or of another run, is one error that names the file, wherever it is read."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import arrays
from harness.analysis.exhibits.document_sums import load_document_sums
from harness.analysis.exhibits.suites import suite_exhibits
from harness.analysis.frame import load_frame
from harness.analysis.report.curves import training_curve
from harness.analysis.report.runs import reported_runs
from harness.errors import HarnessError
from harness.planning.planned import PlannedRun, Suite
from harness.publishing.publish import publish
from harness.records import RunFolder, read_json, write_json
from tests.publishing.trained import files_below, published, states, write_all, write_trained

PLACE = "published/amd-epyc-1-thread"
MEASURED = "evals/E/measurements.jsonl"


def _change(path: Path, field: str, value: Any) -> None:
    """One field, `a.b` within an object; Python's NaN and infinity are written as such."""
    document = json.loads(path.read_text())
    inner, _, last = field.rpartition(".")
    (document[inner] if inner else document)[last] = value
    path.write_text(json.dumps(document))


def _change_line(path: Path, field: str, value: Any) -> None:
    """The same of the last measurement."""
    *lines, last = path.read_text().splitlines(keepends=True)
    path.write_text(last)
    _change(path, field, value)
    path.write_text("".join(lines) + path.read_text() + "\n")


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _cut(path: Path, kept: Callable[[bytes], bytes]) -> None:
    path.write_bytes(kept(path.read_bytes()))


#: What is done to a file, where, and the error.
DAMAGES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "missing": (MEASURED, Path.unlink, "No such file"),
    "a folder": (MEASURED, _to_folder, "Is a directory"),
    "empty": (MEASURED, lambda path: path.write_text(""), "is empty"),
    "blank": (MEASURED, lambda path: path.write_text("\n"), ":1: not valid JSON"),
    "cut within a line": (MEASURED, lambda p: _cut(p, lambda c: c[:-40]), "cut off"),
    "no last newline": (MEASURED, lambda p: _cut(p, lambda c: c[:-1]), "cut off"),
    "a line twice": (MEASURED, lambda p: _cut(p, lambda c: c + c), "same measurement as in line 1"),
    "no object": (MEASURED, lambda path: path.write_text("[]\n"), "holds no JSON object"),
    "seed": (MEASURED, lambda p: _change_line(p, "train_seed", 99), "'train_seed' is of another"),
    "spec of a run": ("spec.json", lambda p: _change(p, "seed", 77), "'seed'(?s:.)*'77'"),
    "no spec": ("spec.json", Path.unlink, "No such file"),
    "spec more": ("spec.json", lambda p: _change(p, "more", 1), "'more'(?s:.)*nothing"),
    "spec of an evaluation": ("evals/E/spec.json", lambda p: _change(p, "limit", 3), "'limit'"),
    "not JSON": ("training.json", lambda path: path.write_text("<<<<"), "not valid JSON"),
    "deep": ("training.json", lambda p: p.write_text("[" * 100_000), "not valid JSON"),
}
FIELDS: dict[str, tuple[Any, ...]] = {
    "value": ("abc", float("nan"), float("inf"), [1], -5),
    "n": (1.5, 10**30, None, -1, "3"),
    "name": (None, 5),
    "unit": (None,),
    "step": (0.5, None),
    "train_seed": ("0", None),
    "noise_seed": (1.5,),
    "tokens_seen": ("many",),
    "device": ({},),
    "higher_is_better": ("yes",),
    "tags": (None, ["a"]),
    "cost": (None, {"seconds": "x"}, {"flops": float("inf")}, {"peak_memory_bytes": 0.5}),
}
TAGS = {"level": "high", "steps": 2.5, "data": 3, "trained": "yes", "kind": ["x"]}
DOCUMENTS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("training.json", "flops"): ("x", None, float("nan"), 0, -1),
    ("training.json", "seconds"): ("x", -1),
    ("training.json", "tokens"): (0.5,),
    ("training.json", "weights_sha256"): (["a"],),
    ("training.json", "device"): (None,),
    ("provenance.json", "data"): (["a"], {"builtin/docs/train": 5}),
    ("provenance.json", "git"): ("x", {"commit": 5}),
    ("provenance.json", "command"): ("x",),
    ("evals/E/done.json", "provenance"): (None, "x"),
    ("evals/E/done.json", "finished"): ("x", 1e20, float("nan")),
    ("evals/E/done.json", "provenance.data"): (["a"],),
    ("status.json", "reason"): (["a"],),
    ("status.json", "step"): ("x",),
}
for _field, _values in FIELDS.items():
    for _value in _values:
        DAMAGES[f"{_field} {_value}"] = (
            MEASURED,
            lambda path, field=_field, value=_value: _change_line(path, field, value),  # type: ignore[misc]
            ":1: |not valid JSON",
        )
for (_file, _field), _values in DOCUMENTS.items():
    for _value in _values:
        DAMAGES[f"{_file} {_field} {_value}"] = (
            _file,
            lambda path, field=_field, value=_value: _change(path, field, value),  # type: ignore[misc]
            f"{_field}(?s:.)* must be|not valid JSON",
        )
for _field, _value in TAGS.items():
    DAMAGES[f"tag {_field}"] = (
        MEASURED,
        lambda path, field=_field, value=_value: _change_line(path, f"tags.{field}", value),  # type: ignore[misc]
        f"'{_field}' must be|thinking that this version does not know",
    )


def _first(suite: Suite) -> tuple[PlannedRun, str]:
    """A run and the id of its evaluation of one measurement."""
    run = suite.runs[0]
    return run, next(e.eval_id for e in run.evaluations if e.name == "validation")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("where", ["runs", PLACE])
def test_reading_names_what_is_damaged(
    where: str, damage: str, suite: Suite, tmp_path: Path
) -> None:
    run, eval_id = _first(suite)
    write_trained(run, tmp_path)
    publish([suite], tmp_path)
    if where == PLACE:
        shutil.rmtree(tmp_path / "runs")
    file, harm, message = DAMAGES[damage]
    path = tmp_path / where / run.run_id / file.replace("E", eval_id)
    harm(path)
    if where == PLACE:
        if file != "status.json":  # which is read of runs that did not train to their end
            with pytest.raises(HarnessError, match=rf"(?s){path}.*restore the run's folder"):
                load_frame(suite, tmp_path)
        (path.parents[2 if "evals" in file else 0] / "SHA256SUMS").unlink()
    if where == "runs" and file.endswith("spec.json"):  # which publishing compares
        assert len(load_frame(suite, tmp_path).rows)
    elif where == "runs" or file != "status.json":
        with pytest.raises(HarnessError, match=rf"{path}.*(?:{message})"):
            load_frame(suite, tmp_path)


@pytest.mark.parametrize("damage", [each for each in DAMAGES if not each.startswith("tag")])
def test_publishing_names_it_too_and_publishes_nothing(
    damage: str, suite: Suite, tmp_path: Path
) -> None:
    run, eval_id = _first(suite)
    folder = write_trained(run, tmp_path)
    file, harm, message = DAMAGES[damage]
    if "peak_memory" in damage:
        return  # a number, if no whole one
    harm(folder.path / file.replace("E", eval_id))
    with pytest.raises(HarnessError, match=rf"{folder.path / file[:5]}.*(?:{message})"):
        publish([suite], tmp_path)
    assert published(tmp_path) == {}


def test_what_is_lost_stays_lost(suite: Suite, tmp_path: Path) -> None:
    """A loss that is not finite is written as null, and read as missing."""
    run, eval_id = _first(suite)
    folder = write_trained(run, tmp_path)
    _change_line(folder.evaluation(eval_id).measurements, "value", None)
    publish([suite], tmp_path)
    shutil.rmtree(tmp_path / "runs")
    rows = load_frame(suite, tmp_path).rows
    assert rows["value"].isna().sum() == 1


def test_runs_that_are_exchanged_are_not_read(suite: Suite, tmp_path: Path) -> None:
    write_all(suite.runs, tmp_path)
    publish([suite], tmp_path)
    shutil.rmtree(tmp_path / "runs")
    first, second = (tmp_path / PLACE / suite.runs[place].run_id for place in (0, 2))
    kept = first.rename(tmp_path / "kept")
    second.rename(first)
    kept.rename(second)
    with pytest.raises(
        HarnessError, match=r"(?s)spec.json.*config.width.*than its folder is named after"
    ):
        load_frame(suite, tmp_path)


def test_an_evaluation_of_another_run_is_not_read(suite: Suite, tmp_path: Path) -> None:
    """Of the same seed, and the same setting: its checksums alone tell."""
    write_all(suite.runs, tmp_path)
    publish([suite], tmp_path)
    shutil.rmtree(tmp_path / "runs")
    _, eval_id = _first(suite)
    first, second = (tmp_path / PLACE / suite.runs[at].run_id / "evals" / eval_id for at in (0, 2))
    shutil.rmtree(first)
    shutil.copytree(second, first)
    with pytest.raises(HarnessError, match=rf"{first}.*not as it was published"):
        load_frame(suite, tmp_path)


def test_an_evaluation_that_was_put_there_by_hand_is_not_read(suite: Suite, tmp_path: Path) -> None:
    run, eval_id = _first(suite)
    folder = write_trained(run, tmp_path)
    kept = folder.evaluation(eval_id).path.rename(tmp_path / "kept")
    publish([suite], tmp_path)
    shutil.rmtree(tmp_path / "runs")
    kept.rename(tmp_path / PLACE / run.run_id / "evals" / eval_id)
    with pytest.raises(HarnessError, match=f"{eval_id}.*not published with the run"):
        load_frame(suite, tmp_path)


@pytest.mark.parametrize("content", ["", "00  spec.json\n", "x" * 64 + "\n", "a" * 64 + "  spec"])
def test_a_damaged_list_is_named(content: str, suite: Suite, tmp_path: Path) -> None:
    write_trained(suite.runs[0], tmp_path)
    publish([suite], tmp_path)
    (tmp_path / PLACE / suite.runs[0].run_id / "SHA256SUMS").write_text(content)
    with pytest.raises(HarnessError, match="SHA256SUMS"):
        load_frame(suite, tmp_path)


def test_runs_of_before_are_given_checksums_and_stay(suite: Suite, tmp_path: Path) -> None:
    write_trained(suite.runs[0], tmp_path)
    publish([suite], tmp_path)
    place = tmp_path / PLACE / suite.runs[0].run_id
    listed = (place / "SHA256SUMS").read_bytes()
    (place / "SHA256SUMS").unlink()
    before = files_below(place)
    load_frame(suite, tmp_path)
    assert states(publish([suite], tmp_path))[0] == "checksummed"
    assert files_below(place) == before | {"SHA256SUMS": listed}
    assert states(publish([suite], tmp_path))[0] == "unchanged"


def test_what_is_published_is_checked_before_it_is_compared(suite: Suite, tmp_path: Path) -> None:
    run, eval_id = _first(suite)
    write_trained(run, tmp_path)
    publish([suite], tmp_path)
    place = tmp_path / PLACE / run.run_id
    measured = place / "evals" / eval_id / "measurements.jsonl"
    measured.write_text('{"value": 1.0}\n')
    with pytest.raises(HarnessError, match=f"{measured}.*not as it was published"):
        publish([suite], tmp_path, replace=True)
    (place / "SHA256SUMS").unlink()
    with pytest.raises(HarnessError, match=f"{measured}.*has no 'name'"):
        publish([suite], tmp_path, replace=True)


# --- logs and arrays -------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [slice(0, 30), slice(5, None), slice(0, 0)])
def test_a_log_that_is_cut_or_no_gzip_is_named(kept: slice, tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl.gz"
    content = gzip.compress(b'{"step": 1, "loss": 2.5}\n' * 9)
    log.write_bytes(content[kept])
    if content[kept]:
        with pytest.raises(HarnessError, match=f"{log}.*cannot read"):
            training_curve(log, 5)
    else:
        assert training_curve(log, 5) is None


def test_a_log_whose_bits_changed_is_named(suite: Suite, tmp_path: Path) -> None:
    """Damage within the compressed stream is neither an OSError nor a ValueError."""
    write_trained(suite.runs[0], tmp_path)
    publish([suite], tmp_path)
    log = tmp_path / PLACE / suite.runs[0].run_id / "train.jsonl.gz"
    content = bytearray(log.read_bytes())
    content[12:20] = b"\xff" * 8
    log.write_bytes(content)
    with pytest.raises(HarnessError, match=f"{log}.*cannot read"):
        training_curve(log, 5)
    (log.parent / "SHA256SUMS").unlink()
    assert states(publish([suite], tmp_path))[0] == "differs"


@pytest.mark.parametrize("step", ["true", '"x"', "1e400", "-1", "null"])
def test_a_step_that_is_none_is_named(step: str, tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    log.write_text(f'{{"step": {step}, "loss": 1}}\n')
    with pytest.raises(HarnessError, match=f"{log}:1"):
        training_curve(log, 5)


def test_a_log_with_no_time_is_published(suite: Suite, tmp_path: Path) -> None:
    folder = write_trained(suite.runs[0], tmp_path)
    folder.train_log.write_text('{"step": 1, "time": null}\n{"step": 2, "time": 5, "loss": NaN}\n')
    assert states(publish([suite], tmp_path))[0] == "new"


@pytest.mark.parametrize("harm", ["cut", "flipped", "missing", "no array", "one array", "text"])
def test_damaged_arrays_are_named(harm: str, tmp_path: Path) -> None:
    path = tmp_path / "by_document.npz"
    arrays = {"n": np.arange(1, 400), "sums": np.random.default_rng(0).random((1, 1, 399))}
    np.savez_compressed(path, **arrays, settings=np.array(["single"]))
    content = path.read_bytes()
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "flipped":
        at = content.index(b"sums.npy") + 100
        path.write_bytes(content[:at] + b"\xff" * 30 + content[at + 30 :])
    elif harm == "missing":
        path.unlink()
    elif harm == "no array":
        np.savez_compressed(path, n=arrays["n"], settings=np.array(["single"]))
    elif harm == "one array":
        with path.open("wb") as file:
            np.save(file, arrays["n"])
    else:
        path.write_text("hello")
    with pytest.raises(HarnessError, match=str(path)):
        load_document_sums([str(tmp_path)])


# --- runs that diverged ----------------------------------------------------------------------


def test_the_report_shows_the_published_record_of_a_run_that_diverged(
    suite: Suite, tmp_path: Path
) -> None:
    run = suite.runs[0]
    folder = write_trained(run, tmp_path)
    folder.training.unlink()
    shutil.rmtree(folder.path / "evals")
    folder.set_status("failed", "not finite: step 7: loss nan", step=7, total_steps=10)
    publish([suite], tmp_path)
    shutil.rmtree(tmp_path / "runs")
    shown = reported_runs([suite_exhibits(suite, tmp_path)], tmp_path, curve_points=9)[0]
    assert shown.state == "diverged"
    assert shown.status.reason == "not finite: step 7: loss nan"
    assert shown.provenance["device"] == "AMD EPYC (1 thread)"
    assert shown.curve is not None
    assert shown.curve.steps == (1, 10)
    place = tmp_path / PLACE / run.run_id
    (place / "SHA256SUMS").unlink()
    write_json(place / "spec.json", read_json(place / "spec.json") | {"seed": 5})
    with pytest.raises(HarnessError, match="'seed'"):
        load_frame(suite, tmp_path)
    assert not RunFolder(tmp_path, run.run_id).path.exists()


def test_every_file_of_arrays_is_read_so() -> None:
    source = Path(arrays.__file__).parent / "analysis"
    found = [path.name for path in source.rglob("*.py") if "np.load(" in path.read_text()]
    assert found == []
