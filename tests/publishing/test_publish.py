"""What is published of finished runs, what is not, and that exhibits read it as the runs."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.analysis.exhibits.suites import suite_exhibits
from harness.analysis.tables.sections import section_tables
from harness.planning.planned import Suite
from harness.publishing import record
from harness.publishing.layout import device_slug
from harness.publishing.publish import publish
from tests.publishing.trained import (
    CPU,
    GPU,
    files_below,
    published,
    states,
    write_all,
    write_trained,
)


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
    assert set(files_below(outcome.folder)) == own | {"SHA256SUMS"}
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
    assert (outcome.evaluations, outcome.files, outcome.bytes) == (2, len(own) + 1, sum(sizes))


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


def test_how_a_log_was_compressed_is_no_change(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trained(suite.runs[0], tmp_path)
    (folder,) = [o.folder for o in publish([suite], tmp_path) if o.folder]
    kept, compress = files_below(folder), gzip.compress
    monkeypatch.setattr(gzip, "compress", lambda text, **_: compress(text, 1, mtime=9))
    assert states(publish([suite], tmp_path))[0] == "unchanged"
    assert files_below(folder) == kept


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
