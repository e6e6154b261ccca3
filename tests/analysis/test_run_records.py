"""Which record of a run is read: the one made here, or one that some device published."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import provenance
from harness.analysis import frame as frames
from harness.analysis.exhibits.origins import changed_note
from harness.analysis.exhibits.suites import suite_exhibits
from harness.analysis.frame import SuiteFrame, load_frame
from harness.analysis.run_records import EvalRecord, RunRecord, taken
from harness.data.datasets import dataset_digest
from harness.errors import HarnessError
from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.publishing.layout import before, device_slug
from harness.publishing.publish import publish
from harness.records import EvalFolder, RunFolder, read_json, write_json
from tests.publishing.trained import CPU, GPU, TEXT, suite_in, write_all, write_trained

OTHER = "Z80"


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_in(tmp_path)


def write_published(runs: tuple[PlannedRun, ...], results: Path, suite: Suite, **how: str) -> None:
    """Publish runs of the suite that were trained `how`, and keep none of them here."""
    kept = results / "runs"
    moved = results / "moved"
    if kept.exists():
        kept.rename(moved)
    write_all(runs, results, **how)
    assert any(o.folder for o in publish([suite], results, changed=True, replace=True))
    shutil.rmtree(kept)
    if moved.exists():
        moved.rename(kept)


def losses(frame: SuiteFrame) -> dict[str, float]:
    rows = frame.rows[frame.rows["evaluation"] == "validation"]
    return dict(zip(rows["run"], rows["value"], strict=True))


def remove(run: PlannedRun, results: Path, name: str) -> None:
    """An evaluation is not done."""
    (eval_id,) = (e.eval_id for e in run.evaluations if e.name == name)
    RunFolder(results, run.run_id).evaluation(eval_id).done.unlink()


def origin_of(frame: SuiteFrame, run: PlannedRun) -> dict[str, str]:
    """Evaluation -> `runs`, or the folder of the device that published it."""
    own = frame.rows[frame.rows["run"] == run.run_id]
    return {
        e: Path(f).parents[2].name for e, f in zip(own["evaluation"], own["folder"], strict=True)
    }


def without(folder: Path) -> None:
    """As if a published run's evaluations had never been there."""
    shutil.rmtree(folder)
    run = folder.parent if folder.name == "evals" else folder.parents[1]
    (run / "SHA256SUMS").unlink(missing_ok=True)


# --- here or published -----------------------------------------------------------------------


def test_what_was_made_here_is_read_before_what_was_published(suite: Suite, tmp_path: Path) -> None:
    first, second, *_ = suite.runs
    write_published((first, second), tmp_path, suite, shift=1.0, weights="aa")
    write_trained(first, tmp_path)
    frame = load_frame(suite, tmp_path)
    assert losses(frame) == {first.run_id: 3.0, second.run_id: pytest.approx(4.1)}
    assert frame.published == (second.run_id,)
    assert len(frame.missing) == 6 * 2


@pytest.mark.parametrize("state", ["running", "failed", "stopped", "queued"])
def test_until_a_run_is_trained_here_the_published_one_is_read(
    state: str, suite: Suite, tmp_path: Path
) -> None:
    run = suite.runs[0]
    write_published((run,), tmp_path, suite, shift=1.0)
    write_trained(run, tmp_path).set_status(state)  # type: ignore[arg-type]
    assert losses(load_frame(suite, tmp_path)) == {run.run_id: 4.0}


def test_a_run_has_diverged_only_where_none_was_trained_to_its_end(
    suite: Suite, tmp_path: Path
) -> None:
    first, second, *_ = suite.runs
    write_published((first,), tmp_path, suite)
    for run in (first, second):
        folder = write_trained(run, tmp_path)
        folder.training.unlink()
        folder.set_status("failed", "not finite: step 3: loss nan")
    assert load_frame(suite, tmp_path).diverged == {second.run_id}


def test_evaluations_of_the_same_weights_are_read_together(suite: Suite, tmp_path: Path) -> None:
    run = suite.runs[0]
    write_published((run,), tmp_path, suite, shift=1.0)
    write_trained(run, tmp_path)
    remove(run, tmp_path, "thinking")
    frame = load_frame(suite, tmp_path)
    assert origin_of(frame, run) == {"validation": "runs", "thinking": device_slug(CPU)}
    assert losses(frame) == {run.run_id: 3.0}
    assert frame.published == (run.run_id,)
    assert frame.records[run.run_id].path == RunFolder(tmp_path, run.run_id).path


def test_evaluations_of_other_weights_are_not(suite: Suite, tmp_path: Path) -> None:
    first, second, *_ = suite.runs
    write_published((first, second), tmp_path, suite, shift=1.0, weights="aa")
    for run in (first, second):
        write_trained(run, tmp_path, weights="bb")
        remove(run, tmp_path, "thinking")
    place = tmp_path / "published" / device_slug(CPU) / second.run_id / "evals"
    (thinking,) = (e.eval_id for e in second.evaluations if e.name == "thinking")
    without(place / thinking)
    frame = load_frame(suite, tmp_path)
    assert set(origin_of(frame, first).values()) == {device_slug(CPU)}, "it has both"
    assert origin_of(frame, second) == {"validation": "runs"}, "neither has more"
    assert frame.missing[0] == f"{second.name}: thinking on builtin/docs"


def test_a_run_that_is_being_replaced_is_read_as_it_was(suite: Suite, tmp_path: Path) -> None:
    run = suite.runs[0]
    write_published((run,), tmp_path, suite)
    place = tmp_path / "published" / device_slug(CPU) / run.run_id
    aside = place.rename(before(place))
    assert losses(load_frame(suite, tmp_path)) == {run.run_id: 3.0}
    shutil.copytree(aside, place)
    assert origin_of(load_frame(suite, tmp_path), run)["validation"] == device_slug(CPU)


@pytest.mark.parametrize("at", ["read", "gone"])
def test_old_and_new_files_are_not_read_together(
    at: str, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is published anew between the reading of its training and its measurements."""
    run = suite.runs[0]
    write_published((run,), tmp_path, suite, weights="aa")
    new = tmp_path / "new"
    write_published((run,), new, suite, shift=1.0, weights="bb")
    place = Path("published") / device_slug(CPU) / run.run_id
    real, waits = frames.suite_records, list[float]()

    def replaced(*given: Any) -> Any:
        found = real(*given)
        if not waits and (new / place).exists():
            (tmp_path / place).rename(tmp_path / "old")
            (new / place).rename(tmp_path / place)
            if at == "gone":
                raise HarnessError("cannot read: No such file or directory")
        return found

    monkeypatch.setattr(frames, "suite_records", replaced)
    monkeypatch.setattr(frames.time, "sleep", waits.append)
    frame = load_frame(suite, tmp_path)
    assert losses(frame) == {run.run_id: 4.0}
    assert frame.records[run.run_id].training["weights_sha256"] == "bb"
    assert len(waits) == 1


def test_who_publishes_all_the_time_is_said(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published((suite.runs[0],), tmp_path, suite)
    path = tmp_path / "published" / device_slug(CPU) / suite.runs[0].run_id
    monkeypatch.setattr(frames.time, "sleep", lambda _: None)
    real = frames.suite_records

    def replaced(*given: Any) -> Any:
        found = real(*given)
        shutil.copytree(path, path.with_name("copy"))
        shutil.rmtree(path)
        path.with_name("copy").rename(path)
        os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
        return found

    monkeypatch.setattr(frames, "suite_records", replaced)
    with pytest.raises(HarnessError, match="being published while they are read"):
        load_frame(suite, tmp_path)


def test_half_a_checkout_is_no_run(suite: Suite, tmp_path: Path) -> None:
    run = suite.runs[0]
    write_published((run,), tmp_path, suite)
    training = tmp_path / "published" / device_slug(CPU) / run.run_id / "training.json"
    training.unlink()
    with pytest.raises(HarnessError, match=rf"(?s){training}.*No such file.*restore the run's"):
        load_frame(suite, tmp_path)
    (training.parent / "SHA256SUMS").unlink()
    assert load_frame(suite, tmp_path).rows.empty


def test_a_damaged_published_record_is_named(suite: Suite, tmp_path: Path) -> None:
    run = suite.runs[0]
    write_published((run,), tmp_path, suite)
    path = tmp_path / "published" / device_slug(CPU) / run.run_id / "training.json"
    whole = read_json(path)
    path.write_text("<<<<<<< HEAD")
    with pytest.raises(HarnessError, match=str(path)):
        load_frame(suite, tmp_path)
    (path.parent / "SHA256SUMS").unlink()
    write_json(path, {name: value for name, value in whole.items() if name != "flops"})
    with pytest.raises(HarnessError, match=rf"(?s){path}.*no 'flops'"):
        load_frame(suite, tmp_path)


# --- devices ---------------------------------------------------------------------------------


def test_the_device_with_most_runs_is_read_for_all_that_it_has(
    suite: Suite, tmp_path: Path
) -> None:
    write_published(suite.runs[:5], tmp_path, suite, device=CPU, weights="aa")
    write_published(suite.runs[2:], tmp_path, suite, device=GPU, weights="bb")
    frame = load_frame(suite, tmp_path)
    devices = [frame.records[run.run_id].device for run in suite.runs]
    assert devices == [CPU] * 2 + [GPU] * 6
    notes = suite_exhibits(suite, tmp_path).notes
    assert notes == ["8 runs read as published: 2 on AMD EPYC (1 thread) and 6 on NVIDIA H200."]


def test_of_as_many_runs_the_first_device_by_name_is_read_and_the_other_is_said(
    suite: Suite, tmp_path: Path
) -> None:
    write_published(suite.runs, tmp_path, suite, device=GPU, weights="bb")
    write_published(suite.runs, tmp_path, suite, device=CPU, weights="aa")
    frame = load_frame(suite, tmp_path)
    assert {record.device for record in frame.records.values()} == {CPU}
    assert suite_exhibits(suite, tmp_path).notes == [
        "8 runs read as published: 8 on AMD EPYC (1 thread). "
        "What NVIDIA H200 gave for the suite is not shown."
    ]


def test_of_as_many_runs_the_device_with_more_evaluations_is_read(
    suite: Suite, tmp_path: Path
) -> None:
    write_published(suite.runs, tmp_path, suite, device=CPU, weights="aa")
    write_published(suite.runs, tmp_path, suite, device=GPU, weights="bb")
    for run in suite.runs[:2]:
        without(tmp_path / "published" / device_slug(CPU) / run.run_id / "evals")
    write_published(suite.runs[:2], tmp_path, suite, device=CPU, weights="aa")
    (thinking,) = (e.eval_id for e in suite.runs[0].evaluations if e.name == "thinking")
    evals = tmp_path / "published" / device_slug(CPU) / suite.runs[0].run_id / "evals"
    without(evals / thinking)
    frame = load_frame(suite, tmp_path)
    assert {record.device for record in frame.records.values()} == {GPU}


def test_runs_made_here_count_for_their_device(suite: Suite, tmp_path: Path) -> None:
    write_published(suite.runs[4:], tmp_path, suite, device=CPU, weights="aa")
    write_published(suite.runs[4:], tmp_path, suite, device=OTHER, weights="bb")
    write_all(suite.runs[:4], tmp_path, device=OTHER)
    frame = load_frame(suite, tmp_path)
    assert {record.device for record in frame.records.values()} == {OTHER}


def test_what_was_made_here_is_read_whatever_device_has_more(suite: Suite, tmp_path: Path) -> None:
    write_published(suite.runs, tmp_path, suite, device=CPU, weights="aa")
    write_trained(suite.runs[0], tmp_path, device=GPU, weights="bb")
    frame = load_frame(suite, tmp_path)
    assert [frame.records[run.run_id].device for run in suite.runs] == [GPU] + [CPU] * 7


def test_a_device_without_evaluations_counts_for_nothing(suite: Suite, tmp_path: Path) -> None:
    write_published(suite.runs, tmp_path, suite, device=CPU, weights="aa")
    for run in suite.runs[1:]:
        without(tmp_path / "published" / device_slug(CPU) / run.run_id / "evals")
    write_published(suite.runs[:2], tmp_path, suite, device=GPU, weights="bb")
    records = load_frame(suite, tmp_path).records
    assert [records[run.run_id].device for run in suite.runs[:2]] == [GPU, GPU]


# --- other source, other data ----------------------------------------------------------------


def test_published_runs_of_other_source_are_to_be_run_not_redone(
    suite: Suite, tmp_path: Path
) -> None:
    write_published(suite.runs[:3], tmp_path, suite, digest="0ld")
    run = f"harness run {suite.path}"
    assert suite_exhibits(suite, tmp_path).notes[-1] == (
        "3 runs, 3 of them published, were made by other source code or data than now. "
        f"Redo them: {run}"
    )
    write_trained(suite.runs[0], tmp_path, digest="0ld")
    assert suite_exhibits(suite, tmp_path).notes[-1] == (
        "3 runs, 2 of them published, were made by other source code or data than now. "
        f"Redo them: {run} --redo-changed"
    )


def test_a_run_of_here_with_a_published_evaluation_is_redone_here(
    suite: Suite, tmp_path: Path
) -> None:
    run = suite.runs[0]
    write_published((run,), tmp_path, suite, digest="0ld")
    write_trained(run, tmp_path, digest="0ld")
    remove(run, tmp_path, "thinking")
    frame = load_frame(suite, tmp_path)
    assert frame.published == (run.run_id,), "some of it was read there"
    note = changed_note(frame, suite)
    assert note is not None
    assert note.startswith("1 run was made by other source code or data than now. Redo it: ")
    assert note.endswith(" --redo-changed")


def test_an_evaluation_of_other_source_makes_its_run_changed(suite: Suite, tmp_path: Path) -> None:
    first, second, *_ = suite.runs
    write_all((first, second), tmp_path)
    evaluation = RunFolder(tmp_path, second.run_id).evaluation(second.evaluations[1].eval_id)
    write_json(evaluation.done, {"provenance": {"source_digest": "0ld"}})
    assert load_frame(suite, tmp_path).changed == (second.run_id,)


def test_an_evaluation_on_data_that_changed_is_missing_and_to_be_redone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, digests = _own_data(tmp_path, monkeypatch)
    run = suite.runs[0]
    folder = write_trained(run, tmp_path)
    evaluation = folder.evaluation(run.evaluations[1].eval_id)
    done = read_json(evaluation.done)
    write_json(evaluation.done, {"provenance": done["provenance"] | {"data": digests}})
    assert load_frame(suite, tmp_path).changed == ()
    Path("mine.txt").write_text("other words\n")
    provenance._digest_now.cache_clear()
    frame = load_frame(suite, tmp_path)
    assert frame.changed == (run.run_id,)
    assert f"{run.name}: {run.evaluations[1].label}" in frame.missing
    assert f"{run.name}: {run.evaluations[0].label}" not in frame.missing
    provenance._digest_now.cache_clear()


def _own_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Suite, dict[str, str]]:
    """A suite evaluated on a file of the user's, and the digest of that."""
    monkeypatch.chdir(folder)
    Path("mine.txt").write_text("one two three four five six seven\n")
    path = folder / "suite.yaml"
    path.write_text(TEXT.replace("data: builtin/docs", "data: 'file:mine.txt'"))
    name = "file:mine.txt"
    return load_suite(path, needs_data=False), {
        f"{name}/validation": dataset_digest(name, "validation")
    }


def test_data_that_are_not_here_make_no_published_result_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, digests = _own_data(tmp_path, monkeypatch)
    run = suite.runs[0]
    write_trained(run, tmp_path, data=digests)
    publish([suite], tmp_path)
    assert not load_frame(suite, tmp_path).rows.empty
    Path("mine.txt").unlink()
    provenance._digest_now.cache_clear()
    frame = load_frame(suite, tmp_path)
    assert set(origin_of(frame, run).values()) == {device_slug(CPU)}, "not as it was made here"
    shutil.rmtree("runs")
    assert set(origin_of(load_frame(suite, tmp_path), run).values()) == {device_slug(CPU)}
    Path("mine.txt").write_text("other words\n")
    provenance._digest_now.cache_clear()
    frame = load_frame(suite, tmp_path)
    assert frame.rows.empty, "here they are, and not what was measured on"
    assert len(frame.missing) == 2 * 8
    provenance._digest_now.cache_clear()


# --- whatever lies where ---------------------------------------------------------------------

_PLACED = st.lists(
    st.tuples(
        st.sampled_from([None, "cpu", "gpu", "tpu"]),
        st.sampled_from(["aa", "bb", None]),
        st.frozensets(st.sampled_from("abc")),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda placed: placed[0],
)


@given(placed=_PLACED)
def test_one_set_of_weights_is_read_with_all_that_it_has(
    placed: list[tuple[str | None, str | None, frozenset[str]]],
) -> None:
    records = [
        RunRecord(
            path=Path(device or "runs"),
            published=device,
            training={"weights_sha256": weights, "of": device},
            evaluations={
                eval_id: EvalRecord(
                    EvalFolder(Path(device or "runs", eval_id)), bool(device), False
                )
                for eval_id in evaluations
            },
            outdated=frozenset(),
            changed=False,
        )
        for device, weights, evaluations in placed
    ]
    found = taken(records)
    held: dict[str, frozenset[str]] = {}
    for device, weights, evaluations in placed:
        of = weights or f"unknown, {device}"
        held[of] = held.get(of, frozenset()) | evaluations
    chosen = found.training["weights_sha256"] or f"unknown, {found.published}"
    assert found.evaluations.keys() == held[chosen]
    assert len(held[chosen]) == max(map(len, held.values()))
    best = [of for of, own in held.items() if len(own) == len(held[chosen])]
    assert best[0] == chosen, "what comes first wins"
    of_chosen = [(d, own) for d, w, own in placed if (w or f"unknown, {d}") == chosen]
    assert found.published == of_chosen[0][0]
    for eval_id, evaluation in found.evaluations.items():
        first = next(device for device, own in of_chosen if eval_id in own)
        assert evaluation.folder.path == Path(first or "runs", eval_id)
