"""Speeds from records: which count, and what a plan makes of them under a profile."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from harness.launch.slurm.profile import Profile
from harness.launch.throughput import Probe, measured_speeds, work_of_run
from harness.planning.planned import PlannedRun
from harness.planning.speed import work_settings
from harness.planning.suite import load_suite
from harness.provenance import source_digest
from harness.records import RunFolder, write_json
from harness.show.plan import print_plan

SUITE = Path(__file__).parents[2] / "suites" / "quickstart.yaml"
CPU, H100 = "AMD EPYC (1 thread)", "NVIDIA H100 80GB HBM3"
STEPS = 900


@pytest.fixture(scope="module")
def runs() -> dict[str, PlannedRun]:
    """Text runs by setting, of seed 0."""
    return {r.setting: r for r in load_suite(SUITE).of("text") if r.spec.seed == 0}


def _finished(run: PlannedRun, results: Path, *, step: float = 0.1, **known: Any) -> RunFolder:
    """A trained run's records, `step` seconds a step."""
    folder = RunFolder(results, run.run_id)
    device = known.get("device", CPU)
    write_json(folder.spec, run.spec.model_dump(mode="json"))
    training = {"steps": STEPS, "seconds": STEPS * step, "device": known.pop("trained_on", device)}
    last = {"processes": known["processes"]} if "processes" in known else {}
    write_json(folder.training, training | last | known.pop("training", {}))
    provenance = {"device": device, "source_digest": source_digest(run.record), "data": {}}
    write_json(folder.provenance, provenance | known)
    folder.set_status("done", step=STEPS, total_steps=STEPS)
    return folder


def _probe(run: PlannedRun, results: Path, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "settings": work_settings(run.spec.model_dump(mode="json")),
        "device": CPU,
        "processes": 1,
        "steps": 100,
        "seconds_per_step": 0.2,
        "source_digest": source_digest(run.record),
        "time": time.time(),
    }
    return Probe(**settings | changes).write(results)


def _plan(
    results: Path, capsys: pytest.CaptureFixture[str], profile: dict[str, Any] | None = None
) -> dict[str, Any]:
    path = results.parent / "profile.yaml"
    path.write_text(json.dumps({"time": 60} | (profile or {})))
    suite = load_suite(SUITE)
    assert print_plan(suite, results, simulate=False, as_json=True, profile_path=path) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["profile"] == Profile(time=60, **(profile or {})).model_dump(mode="json")
    return document


# --- reading ---------------------------------------------------------------------------------


def test_finished_runs_and_probes_are_read(runs: dict[str, PlannedRun], tmp_path: Path) -> None:
    small, large = runs["text/ebt size=small"], runs["text/ebt size=large"]
    _finished(small, tmp_path, step=0.1, processes=2)
    _probe(large, tmp_path)
    run, probe = measured_speeds(tmp_path, "cpu")
    assert run.seconds_per_step == pytest.approx(0.1)
    assert (run.work, run.device, run.processes) == (work_of_run(small), CPU, 2)
    assert (run.probe, run.current) == (False, True)
    assert (probe.work, probe.seconds_per_step, probe.probe) == (work_of_run(large), 0.2, True)


def test_devices_of_another_kind_say_nothing(runs: dict[str, PlannedRun], tmp_path: Path) -> None:
    small, large = runs["text/ebt size=small"], runs["text/ebt size=large"]
    _finished(small, tmp_path, device=CPU)
    _finished(large, tmp_path, device=H100)
    _probe(small, tmp_path, device=H100)
    assert {m.device for m in measured_speeds(tmp_path, "cpu")} == {CPU}
    assert [m.device for m in measured_speeds(tmp_path, "cuda")] == [H100, H100]


def test_what_is_no_measurement_is_left_out(runs: dict[str, PlannedRun], tmp_path: Path) -> None:
    ebt, plain = runs["text/ebt size=small"], runs["text/transformer++ size=small"]
    mixed = f"{CPU}+{H100}"
    _finished(ebt, tmp_path, device=mixed, trained_on=H100)
    grown = runs["text/ebt size=medium"]
    _finished(grown, tmp_path, processes="1+8", training={"processes": 8})
    _probe(plain, tmp_path, source_digest="of other code")
    (tmp_path / "probes" / "x").mkdir()
    (tmp_path / "probes" / "x" / "cut-short.json").write_text("{")
    (tmp_path / "probes" / "x" / "of-another-version.json").write_text("{}")
    damaged = _finished(plain, tmp_path)
    damaged.training.write_text("{")
    gone = _finished(runs["text/ebt size=large"], tmp_path)
    write_json(gone.spec, json.loads(gone.spec.read_text()) | {"adapter": "uninstalled"})
    assert measured_speeds(tmp_path, "cpu") == measured_speeds(tmp_path, "cuda") == []


def test_a_probe_takes_the_place_of_the_one_before(
    runs: dict[str, PlannedRun], tmp_path: Path
) -> None:
    run = runs["text/ebt size=small"]
    first, second = _probe(run, tmp_path), _probe(run, tmp_path, seconds_per_step=0.4)
    assert first == second
    assert [m.seconds_per_step for m in measured_speeds(tmp_path, "cpu")] == [0.4]


# --- the plan --------------------------------------------------------------------------------


def test_each_run_says_where_its_speed_is_from(
    runs: dict[str, PlannedRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _finished(runs["text/ebt size=small"], tmp_path, step=0.1)
    _probe(runs["text/transformer++ size=small"], tmp_path)
    estimate = _plan(tmp_path, capsys)["estimate"]
    names = {run.run_id: run for run in load_suite(SUITE).runs}
    found = {names[row["run"]].name: row for row in estimate["runs"]}
    seed_1 = found["text/ebt size=small seed 1"]
    assert (seed_1["source"], seed_1["device"]) == ("same work", CPU)
    assert seed_1["seconds"] == pytest.approx(STEPS * 0.1)
    assert found["text/transformer++ size=small seed 0"]["source"] == "probe"
    larger = found["text/ebt size=large seed 0"]
    flops = [work_of_run(runs[f"text/ebt size={size}"]).flops for size in ("large", "small")]
    assert larger["source"] == "other size"
    assert larger["size_ratio"] == pytest.approx(flops[0] / flops[1])
    assert larger["seconds"] == pytest.approx(STEPS * 0.1 * flops[0] / flops[1])
    unknown = found["image/dit seed 0"]
    assert unknown["source"] is unknown["seconds"] is unknown["seconds_left"] is None
    assert estimate["suite"]["unknown_runs"] == 6
    known = [row["seconds"] for row in estimate["runs"] if row["seconds"] is not None]
    assert estimate["suite"]["seconds"] == pytest.approx(sum(known))


def test_a_profile_for_gpus_never_uses_a_processors_speed(
    runs: dict[str, PlannedRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _finished(runs["text/ebt size=small"], tmp_path)
    estimate = _plan(tmp_path, capsys, {"gpus_per_node": 1})["estimate"]
    assert {row["source"] for row in estimate["runs"]} == {None}
    assert estimate["to_do"]["seconds"] is estimate["to_do"]["gpu_hours"] is None
    assert estimate["wall_seconds"] is None


def test_hours_arrays_and_walls_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = {
        "nodes": 2,
        "tasks_per_node": 4,
        "gpus_per_node": 4,
        "flops_per_second": 1e9,
        "array_parallelism": 100,
        "max_array_size": 10,
    }
    document = _plan(tmp_path, capsys, profile)
    estimate, flops = document["estimate"], [row["flops"] for row in document["runs"]]
    seconds = sum(flops) / 8e9
    assert estimate["to_do"] == estimate["suite"]
    assert estimate["to_do"]["seconds"] == pytest.approx(seconds)
    assert estimate["to_do"]["gpu_hours"] == pytest.approx(seconds * 8 / 3600)
    assert estimate["to_do"]["node_hours"] == pytest.approx(seconds * 2 / 3600)
    assert estimate["array_sizes"] == [10, 8]
    assert estimate["wall_seconds"] == pytest.approx(max(flops) / 8e9)
    assert estimate["longest_run_seconds"] == estimate["wall_seconds"]
    assert all(row["divided_by_processes"] for row in estimate["runs"])


@pytest.mark.parametrize(
    ("profile", "gpus"),
    [({"gres": "gpu:2"}, 2), ({"gres": "gpu:a100:4,nvme:1"}, 4), ({"gres": "gpu"}, 1)],
)
def test_gpus_may_be_asked_for_as_gres(
    profile: dict[str, Any],
    gpus: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    estimate = _plan(tmp_path, capsys, profile | {"flops_per_second": 1e9})["estimate"]
    hours = estimate["to_do"]["seconds"] / 3600
    assert estimate["to_do"]["gpu_hours"] == pytest.approx(gpus * hours)


def test_what_is_done_and_half_done_is_not_counted_again(
    runs: dict[str, PlannedRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, stopped = runs["text/ebt size=small"], runs["text/transformer++ size=small"]
    _finished(trained, tmp_path, step=0.1)
    folder = RunFolder(tmp_path, stopped.run_id)
    folder.path.mkdir()
    folder.train_log.write_text("")
    (folder.checkpoints / "step-225").mkdir(parents=True)
    _probe(stopped, tmp_path, seconds_per_step=0.01)
    rows = {row["run"]: row for row in _plan(tmp_path, capsys)["estimate"]["runs"]}
    assert rows[trained.run_id]["seconds_left"] == 0
    assert rows[trained.run_id]["to_do"], "its evaluations are missing"
    assert rows[stopped.run_id]["seconds_left"] == pytest.approx(0.75 * STEPS * 0.01)


def test_a_run_that_outlives_its_attempts_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(
        "{time: 10, signal_seconds: 60, max_timeouts: 1, flops_per_second: 1e9, partition: low}"
    )
    suite = load_suite(SUITE)
    assert print_plan(suite, tmp_path, simulate=False, as_json=False, profile_path=path) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert (
        "text/ebt size=large: 20 min 03 s of training take 3 attempts of 9 min 00 s, and a run may "
        "have 2: raise max_timeouts to 2, or time to 0:12:00."
    ) in out
    assert out.count("max_timeouts") == 1, "once for both seeds"


def test_a_thousand_finished_runs_are_read_at_once(
    runs: dict[str, PlannedRun], tmp_path: Path
) -> None:
    """Processor time, generously: 0.2 s, where planning each run's work again took many."""
    run = runs["text/ebt size=small"]
    template = _finished(run, tmp_path)
    for number in range(1, 1000):
        folder = RunFolder(tmp_path, f"ebt_text-{number:012d}")
        folder.path.mkdir()
        for path in (template.spec, template.training, template.provenance):
            (folder.path / path.name).write_bytes(path.read_bytes())
    began = time.process_time()
    assert len(measured_speeds(tmp_path, "cpu")) == 1000
    assert time.process_time() - began < 10
