"""Probes by the real command line: measured, kept, used again, and ended by Ctrl-C."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.launch import probe as probing
from harness.launch.probe import distinct, seconds_per_step
from harness.planning.estimate import BYTES_PER_PARAMETER
from harness.records import KEPT_CHECKPOINTS, read_json
from tests.launch.room import HARNESS, PATIENCE_SECONDS, Room, until

DELAY = 0.02
SLOW = {"adapter": "toy", "config": {"delay": DELAY}}
PLENTY = 5000


def _suite(room: Room, **adapters: Any) -> Path:
    base = {"batch_size": 4, "budget": {"steps": PLENTY}, "optimizer": {"lr": 1e-3}}
    return room.suite(adapters or {"slow": SLOW}, seeds=[0, 1], base=base)


def _start(room: Room, suite: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [HARNESS, "plan", suite.name, "--json", "--no-simulate", *options],
        cwd=room.folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _plan(room: Room, suite: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    process = _start(room, suite, *options)
    out, error = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, json.loads(out) if out else {}, error


def _probes(room: Room) -> list[Path]:
    return sorted(room.results.glob("probes/*/*.json"))


def test_a_probe_measures_the_real_loop_and_is_kept(room: Room) -> None:
    suite = _suite(room)
    code, document, error = _plan(room, suite, "--probe")
    assert code == 0, error
    assert "[1/1] e/slow:" in error
    assert document["profile"] is None
    assert [row["state"] for row in document["runs"]] == ["new", "new"], "nothing was trained"
    (path,) = _probes(room)
    kept = read_json(path)
    assert kept["seconds_per_step"] > 0.95 * DELAY
    assert (kept["steps"], kept["processes"]) == (probing.STEPS, 1)
    for row in document["estimate"]["runs"]:
        assert (row["source"], row["device"]) == ("probe", kept["device"])
        assert row["seconds"] == pytest.approx(PLENTY * kept["seconds_per_step"])
    assert {path.name for path in room.results.iterdir()} == {"data", "probes"}
    assert [path.name for path in (room.results / "probes").iterdir()] == [path.parent.name]

    (room.folder / "cpu.yaml").write_text("{time: 60, cpus_per_task: 2}")
    code, again, error = _plan(room, suite, "--profile", "cpu.yaml")
    assert code == 0, error
    assert again["estimate"]["runs"] == document["estimate"]["runs"]
    seconds = again["estimate"]["to_do"]["seconds"]
    assert again["estimate"]["to_do"]["core_hours"] == pytest.approx(2 * seconds / 3600)
    assert again["estimate"]["to_do"]["gpu_hours"] is None

    path.write_text(json.dumps(kept | {"source_digest": "of other code"}))
    _, changed, _ = _plan(room, suite, "--profile", "cpu.yaml")
    assert {row["source"] for row in changed["estimate"]["runs"]} == {None}
    assert changed["estimate"]["to_do"]["seconds"] is None


def test_a_probe_that_fails_is_told_and_the_others_count(room: Room) -> None:
    broken = {"adapter": "toy", "config": {"raise_at": 2}, "threads": 2}
    code, document, error = _plan(room, _suite(room, slow=SLOW, broken=broken), "--probe")
    assert code == 1
    assert "e/broken: failed: RuntimeError: the toy broke [/it]" in error
    sources = {(row["adapter"], row["source"]) for row in _joined(document)}
    assert sources == {("slow", "probe"), ("broken", None)}
    assert document["estimate"]["to_do"]["unknown_runs"] == 2


def _joined(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the plan with those of the estimate."""
    times = {row["run"]: row for row in document["estimate"]["runs"]}
    return [row | times[row["run"]] for row in document["runs"]]


def test_ctrl_c_keeps_what_was_measured(room: Room) -> None:
    endless = {"adapter": "toy", "config": {"delay": 0.5}}
    process = _start(room, _suite(room, slow=SLOW, endless=endless), "--probe")
    until(
        lambda: _probes(room) and list(room.results.glob("probes/.trial-*/runs/*/train.jsonl")),
        "the first probe's end",
    )
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, error
    assert out == ""
    assert "what was measured is kept" in error
    assert not list(room.results.glob("probes/.trial-*"))
    assert all(read_json(path)["steps"] > 0 for path in _probes(room))


def test_long_steps_are_probed_until_there_is_enough(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "SECONDS", 0.1)
    (run, _) = room.runs(_suite(room))
    found = probing.probe_runs([run], room.results, device="cpu", on_end=lambda probed: None)
    assert not found.interrupted
    (probed,) = found.probed
    assert probed.probe is not None
    assert 1 <= probed.probe.steps < probing.STEPS


def test_runs_that_differ_in_seed_or_budget_are_probed_once(room: Room) -> None:
    one = room.runs(_suite(room))
    shorter = room.runs(room.suite({"slow": SLOW}, name="shorter"))
    other = room.runs(_suite(room, other={"adapter": "toy"}))
    alone = room.runs(
        room.suite(
            {"slow": SLOW},
            base={
                "batch_size": 4,
                "budget": {"seconds": 9},
                "device_class": "cpu",
                "optimizer": {"lr": 1e-3},
            },
        )
    )
    assert distinct([*one, *shorter, *other, *alone]) == [one[0], other[0]]


def test_a_profile_for_gpus_is_not_probed_without_one(room: Room) -> None:
    if shutil.which("nvidia-smi") is not None:
        pytest.skip("this machine has a GPU")
    (room.folder / "gpu.yaml").write_text("{time: 60, gpus_per_node: 1}")
    code, _, error = _plan(room, _suite(room), "--profile", "gpu.yaml", "--probe")
    assert code == 2
    assert "srun" in error
    assert not room.results.exists()


@pytest.mark.parametrize(
    ("profile", "message"),
    [("absent.yaml", "there is no such profile"), ("wrong.yaml", "did you mean 'partition'?")],
)
def test_a_wrong_profile_is_a_message(room: Room, profile: str, message: str) -> None:
    (room.folder / "wrong.yaml").write_text("time: 60\npartitoin: gpu\n")
    code, document, error = _plan(room, _suite(room), "--profile", profile)
    assert (code, document) == (2, {})
    assert message in error


def test_seconds_per_step_is_a_median_over_windows() -> None:
    steps = [1.0] * 20 + [50.0] + [1.0] * 4
    marks = [sum(steps[:count]) for count in range(len(steps) + 1)]
    assert seconds_per_step(marks) == 1.0
    assert seconds_per_step([3.0, 5.0]) == 2.0, "one step is enough"
    drawn = [1.0, 3.0] * 10
    assert seconds_per_step([sum(drawn[:n]) for n in range(21)]) == 2.0


# --- a finished run --------------------------------------------------------------------------


def test_a_finished_run_takes_the_disk_and_the_time_that_the_plan_said(room: Room) -> None:
    suite = room.suite({"slow": SLOW})
    (room.folder / "cpu.yaml").write_text("time: 60")
    _, before, _ = _plan(room, suite, "--profile", "cpu.yaml")
    assert room.run(suite, "--checkpoint-steps", "10")[0] == 0
    folder = room.folder_of(suite, "slow")
    size = sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
    planned = before["estimate"]["storage"]
    assert planned["suite_bytes"] == planned["to_do_bytes"]
    assert planned["suite_bytes"] == pytest.approx(size, rel=0.1, abs=50_000)
    parameters = before["runs"][0]["parameters"]
    assert planned["suite_bytes"] == KEPT_CHECKPOINTS * BYTES_PER_PARAMETER * parameters

    _, after, _ = _plan(room, suite, "--profile", "cpu.yaml")
    (row,) = after["estimate"]["runs"]
    training = read_json(folder.training)
    assert (row["source"], row["device"]) == ("same work", training["device"])
    assert row["seconds"] == pytest.approx(training["seconds"])
    assert row["seconds_left"] == 0
    assert after["estimate"]["to_do"]["runs"] == 0
    assert after["estimate"]["to_do"]["seconds"] == 0
    assert after["estimate"]["array_sizes"] == []
    assert after["estimate"]["storage"]["to_do_bytes"] == 0
