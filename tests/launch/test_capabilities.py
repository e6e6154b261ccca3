"""What an adapter may offer besides, by the command line: compilation, and a replay buffer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import cli
from harness.records import read_json, read_jsonl
from tests.launch.room import Room, has_checkpoint, until

ONCE = {"adapter": "toy", "budget": {"steps": 5}}
SLOW = {"adapter": "toy", "config": {"delay": 0.02}, "budget": {"steps": 60}}


def test_only_what_is_to_be_compiled_is_also_when_resumed(room: Room) -> None:
    compiled, plain = SLOW | {"compile": True}, ONCE
    suite = room.suite({"compiled": compiled, "plain": plain})
    folder = room.folder_of(suite, "compiled")
    process = room.start(suite, "--workers", "1", "--checkpoint-steps", "5")
    until(lambda: has_checkpoint(folder, 5), "a checkpoint")
    process.terminate()
    room.finish(process)
    assert not folder.training.exists()

    assert room.run(suite)[0] == 0
    assert read_json(folder.spec)["compile"] is True
    assert Path("compiled").read_text() == "compiled\n" * 2


def test_a_run_resumed_without_its_buffer_says_so_in_log_and_provenance(room: Room) -> None:
    """The toy claims a buffer and gives checkpoints none."""
    config = SLOW["config"] | {"replay_bytes": 5, "replay_checkpoint": "drop"}
    suite = room.suite({"drops": SLOW | {"config": config}}, evaluations={})
    folder = room.folder_of(suite, "drops")
    process = room.start(suite, "--checkpoint-steps", "5")
    until(lambda: has_checkpoint(folder, 5), "a checkpoint")
    process.terminate()
    room.finish(process)
    assert "resumed_without_replay" not in read_json(folder.provenance)

    assert room.run(suite)[0] == 0
    provenance = read_json(folder.provenance)
    assert provenance["resumed_without_replay"] is True
    assert provenance["source_digest"]
    assert "without the replay buffer" in (folder.logs / "worker.log").read_text()
    assert read_jsonl(folder.train_log)[-1]["step"] == 60


def test_plan_tells_replay_buffers_and_the_disk_they_take(
    room: Room, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(*options: str) -> str:
        monkeypatch.setattr("sys.argv", ["harness", "plan", str(suite), *options])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    def replaying(size: int, checkpoint: str = "keep") -> dict[str, Any]:
        return ONCE | {"config": {"replay_bytes": size, "replay_checkpoint": checkpoint}}

    suite = room.suite(
        {
            "none": ONCE,
            "keeps": replaying(9_000_000_000),
            "also": replaying(1_500_000_000),
            "drops": replaying(7_000_000_000, "drop"),
        }
    )
    sizes = {row["adapter"]: row["replay_bytes"] for row in json.loads(plan("--json"))["runs"]}
    assert sizes == {
        "none": 0,
        "keeps": 9_000_000_000,
        "also": 1_500_000_000,
        "drops": 7_000_000_000,
    }
    told = plan()
    assert "replay" in told.splitlines()[0]
    assert "9 GB" in told
    assert "The last 2 checkpoints of 2 runs hold replay buffers: 21 GB of disk" in told

    suite = room.suite({"none": ONCE})
    assert "replay" not in plan()
