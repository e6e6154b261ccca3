"""run, retry, cancel and logs beside Slurm's jobs."""

from __future__ import annotations

import pytest

from harness.records import write_json
from harness.show import doctor
from tests.launch.slurm.desk import TOY, Desk, train
from tests.launch.slurm.fake_slurm import FakeSlurm

# --- run -------------------------------------------------------------------------------------


def test_run_leaves_alone_what_is_with_slurm(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1])
    desk.submit(suite)
    code, found = desk.run(suite)
    assert code == 1, "as where another process is at a run"
    assert sorted(found["claimed"]) == sorted(folder.run_id for folder in desk.folders(suite))
    assert found["endings"] == {}


def test_run_takes_over_what_slurm_has_ended(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1], evaluations={})
    desk.submit(suite)
    ended, other = desk.folders(suite)
    slurm.set(desk.element(ended), "NODE_FAIL", node="n1")
    code, summary = desk.run(suite, "--workers", "1")
    assert code == 1
    assert summary["endings"] == {ended.run_id: "done"}
    assert summary["claimed"] == [other.run_id]


# --- retry -----------------------------------------------------------------------------------


def test_retry_is_for_what_failed_under_the_last_profile(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=list(range(5)))
    runs, folders = desk.runs(suite), desk.folders(suite)
    failed, stopped, done, unevaluated, broken = folders
    desk.submit(suite, partition="first", mem="1G")
    slurm.set(desk.element(failed), "OUT_OF_MEMORY", node="n1")
    slurm.set(desk.element(stopped), "TIMEOUT", node="n1")
    for folder in (done, unevaluated, broken):
        slurm.set(desk.element(folder), "COMPLETED", node="n1")
        folder.claim.unlink()
    train(done, runs[2], evaluated=True)
    train(unevaluated, runs[3])
    train(broken, runs[4])
    write_json(broken.evaluation(runs[4].evaluations[0].eval_id).error, {"reason": "x"})

    (job,) = desk.ask("retry", suite)["jobs"]
    assert sorted(job["runs"]) == sorted([failed.run_id, broken.run_id])
    assert desk.submission(failed).profile.partition == "first"
    slurm.set(desk.element(failed), "FAILED", node="n1")
    other = desk.profile("other", mem="9G")
    (job,) = desk.ask("retry", suite, "--profile", other)["jobs"]
    assert job["runs"] == [failed.run_id]
    slurm.set(desk.element(failed), "FAILED", node="n1")
    desk.ask("retry", suite)
    assert desk.submission(failed).profile.mem == "9G", "the last one, not the first"


def test_retry_without_a_profile_says_what_to_give(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    desk.folders(suite)[0].set_status("failed", "it broke here")
    message = desk.refused("retry", suite)
    assert "no run of this suite was ever in a Slurm job" in message
    assert "--profile slurm/profiles/NAME.yaml" in message
    assert len(desk.ask("retry", suite, "--profile", desk.profile())["jobs"]) == 1


# --- cancel ----------------------------------------------------------------------------------


def test_cancel_ends_what_waits_and_what_runs(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY}, seeds=[0, 1, 2])
    waiting, running, done = desk.folders(suite)
    desk.submit(suite)
    slurm.set(desk.element(running), "RUNNING", node="n1")
    slurm.set(desk.element(done), "COMPLETED", node="n1")
    train(done, desk.runs(suite)[2], evaluated=True)
    elements = {folder.run_id: desk.element(folder) for folder in (waiting, running)}
    assert desk.ask("cancel", suite)["cancelled"] == elements
    assert slurm.calls("scancel") == [["scancel", *elements.values()]]
    rows = desk.status(suite)
    for folder in (waiting, running):
        assert rows[folder.run_id]["state"] == "stopped"
        assert rows[folder.run_id]["reason"] == f"job {elements[folder.run_id]} was cancelled"
    assert rows[done.run_id]["state"] == "done"
    assert desk.claimed(suite) == []
    assert desk.ask("cancel", suite)["cancelled"] == {}
    assert "queued or running on Slurm" in desk.call("cancel", suite.name)[1]


def test_cancel_spares_other_suites(desk: Desk, slurm: FakeSlurm) -> None:
    suite, other = desk.suite({"a": TOY}), desk.suite({"b": TOY | {"batch_size": 2}}, name="other")
    desk.submit(suite)
    desk.submit(other)
    desk.ask("cancel", suite)
    assert len(desk.claimed(other)) == 1
    assert slurm.calls("scancel") == [["scancel", "1000_0"]]


# --- logs ------------------------------------------------------------------------------------


def test_logs_are_slurms_and_the_runs_own(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    desk.submit(suite, nodes=2)
    code, out, _ = desk.call("logs", folder.run_id)
    assert (code, out) == (0, f"{folder.run_id} is queued and has printed nothing yet.\n")

    logs = desk.submission(folder).logs
    folder.logs.mkdir()
    (folder.logs / "worker.log").write_text("own 1\nown 2\nown 3\n")
    for rank in (0, 1):
        (logs / f"1000_0_{rank}_log.out").write_text(f"rank {rank}\n")
    (logs / "1000_01_0_log.out").write_text("of another run\n")
    _, out, _ = desk.call("logs", folder.run_id[:9], "--lines", "2")
    said = [line for line in out.splitlines() if not line.startswith("==>")]
    assert said == ["rank 0", "rank 1", "own 2", "own 3"]


@pytest.mark.parametrize(
    ("run", "message"),
    [("toy-", "2 runs begin like this"), ("tyo-{}", "did you mean 'toy-{}'?"), ("", "2 runs")],
)
def test_logs_of_an_unclear_run(run: str, message: str, desk: Desk) -> None:
    folders = desk.folders(desk.suite({"a": TOY}, seeds=[0, 1]))
    for folder in folders:
        folder.set_status("planned")
    ident = folders[0].run_id.removeprefix("toy-")
    code, out, error = desk.call("logs", run.format(ident))
    assert (code, out) == (2, "")
    assert message.format(ident) in error


# --- wrong input -----------------------------------------------------------------------------


def test_a_file_for_results_is_refused_by_every_verb(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (desk.folder / "file").touch()
    where = ["--results", "file"]
    for verb in ("status", "cancel", "run", "retry"):
        assert "this is a file, not a folder" in desk.refused(verb, suite, *where)
    assert "not a folder" in desk.refused("submit", suite, "--profile", desk.profile(), *where)


def test_a_suite_and_a_profile_that_changed_places_are_told(desk: Desk, slurm: FakeSlurm) -> None:
    suite, profile = desk.suite({"a": TOY}), desk.profile(partition="low")
    assert "this is a suite, not a profile" in desk.refused("submit", suite, "--profile", suite)
    message = desk.refused("submit", profile, "--profile", profile)
    assert "this is a Slurm profile, not a suite" in message


def test_logs_show_every_job_that_had_the_run(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    (folder,) = desk.folders(suite)
    for words in ("the first attempt", "the second"):
        desk.submit(suite)
        element = desk.element(folder)
        (desk.submission(folder).logs / f"{element}_0_log.out").write_text(f"{words}\n")
        slurm.set(element, "FAILED", node="n1")
        desk.status(suite)
    out = desk.call("logs", folder.run_id)[1]
    assert out.index("the first attempt") < out.index("the second")


def test_what_sbatch_takes_with_a_warning_is_told(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    sbatch = slurm.bin / "sbatch"
    real = sbatch.rename(slurm.bin / "real-sbatch")
    text = "sbatch: error: Requested node configuration is not available"
    sbatch.write_text(f'#!/bin/sh\necho "{text}" >&2\nexec -a sbatch {real} "$@"\n')
    sbatch.chmod(0o755)
    sbatch.write_text(sbatch.read_text().replace("#!/bin/sh", "#!/bin/bash"))
    code, out, error = desk.call("submit", suite.name, "--profile", desk.profile())
    assert code == 0, error
    assert "sbatch warns: Requested node configuration is not available" in out
    assert "error" not in error


def test_a_dry_run_prints_scripts_as_data_too(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    found = desk.ask("submit", suite, "--profile", desk.profile(), "--dry-run")
    (script,) = found["scripts"]
    assert script.startswith("#!/bin/bash")
    assert not desk.results.exists()


def test_watching_is_for_terminals(desk: Desk, slurm: FakeSlurm) -> None:
    message = desk.refused("status", desk.suite({"a": TOY}), "--watch", "--json")
    assert "give one of them" in message


def test_proposed_commands_name_the_results(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    where = ["--results", "elsewhere"]
    out = desk.call("submit", suite.name, "--profile", desk.profile(), *where)[1]
    assert "Next: harness status suite.yaml --results elsewhere" in out


def test_plan_refuses_what_submit_would(desk: Desk, slurm: FakeSlurm) -> None:
    suite = desk.suite({"a": TOY})
    message = desk.refused("plan", suite, "--profile", desk.profile(tasks_per_node=3))
    assert "batch_size 4 cannot be cut into equal parts for 3 processes" in message


def test_doctor_says_what_cluster_there_is(desk: Desk, slurm: FakeSlurm) -> None:
    def told() -> dict[str, str]:
        (found,) = (each for each in doctor._slurm())
        return {"verdict": found.verdict, "found": found.found}

    slurm.configure(MaxArraySize="77")
    assert told() == {"verdict": "ok", "found": "?, cluster fake, arrays of 77"}
    slurm.break_()
    assert told()["verdict"] == "warn"
    desk.monkeypatch.setenv("PATH", str(desk.folder))
    assert told()["found"].startswith("not on this machine")
