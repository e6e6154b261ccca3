"""A suite under torchrun: its processes train each run together, one after another."""

from __future__ import annotations

import subprocess
import sys

from harness.records import RunFolder, read_json
from tests.launch.room import PATIENCE_SECONDS, Room

TOY = {"adapter": "toy"}


def torchrun(room: Room, *arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launcher, "--nproc-per-node", "2", "-m", "harness.launch.torchrun", *arguments],
        cwd=room.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def test_torchrun_works_off_what_is_missing(room: Room) -> None:
    suite = room.suite({"toy": TOY, "raises": TOY | {"config": {"raise_at": 3}}}, seeds=[0])
    done = torchrun(room, suite.name)
    assert done.returncode == 1, done.stderr
    folders = {label: room.folder_of(suite, label) for label in ("toy", "raises")}
    assert folders["toy"].status().state == "done"
    assert read_json(folders["toy"].provenance)["processes"] == 2
    assert list(folders["toy"].path.glob("evals/*/done.json"))
    assert str(folders["raises"].status().reason).endswith("RuntimeError: the toy broke [/it]")
    assert f"done  {folders['toy'].run_id}" in done.stdout

    before = folders["toy"].training.stat().st_mtime_ns
    only = room.suite({"toy": TOY}, seeds=[0])
    assert torchrun(room, only.name).returncode == 0
    assert RunFolder(room.results, folders["toy"].run_id).training.stat().st_mtime_ns == before


def test_wrong_input_is_one_message(room: Room) -> None:
    done = torchrun(room, "nowhere.yaml")
    assert done.returncode != 0
    assert "nowhere.yaml: cannot read the file" in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Connection closed" not in done.stderr, "the other process knows it too"
