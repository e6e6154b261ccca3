"""Questions of a dataset's folder, as the Hub keeps them, by the real command line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from harness import provenance
from harness.data.corpora.questions import load_questions, questions_digest
from harness.data.datasets import dataset_digest
from harness.errors import HarnessError
from harness.records import read_json, read_jsonl
from tests.launch.room import Room

PROMPT, ANSWER = "Q: {inputs% Answer:}\nA: ", "{targets[0]}"
ROWS = [
    {"inputs": f"what follows {number} Answer:", "targets": [str(number + 1)], "n": number}
    for number in range(5)
]
HUB = "hub:./own:sub"
SIZE = {"depth": 1, "width": 16, "heads": 2}


@pytest.fixture
def own(room: Room, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the Hub's form, in the room; and where `datasets` may keep things."""
    monkeypatch.setenv("HF_HOME", str(room.folder / "hf"))
    return write_folder(room.folder, ROWS)


def write_folder(place: Path, rows: list[dict[str, object]]) -> Path:
    folder = place / "own"
    (folder / "sub").mkdir(parents=True, exist_ok=True)
    for split, found in {"train": rows[:1], "validation": rows}.items():
        table = pa.Table.from_pylist(found)
        pyarrow.parquet.write_table(table, folder / "sub" / f"{split}-0.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: sub\n  data_files:\n"
        "  - split: train\n    path: sub/train-*.parquet\n"
        "  - split: validation\n    path: sub/validation-*.parquet\n---\n"
    )
    return folder


def test_a_folders_questions_are_those_of_its_file(own: Path) -> None:
    file = f"file:{own}/sub/validation-0.parquet"
    hub, plain = (load_questions(name, "validation", PROMPT, ANSWER) for name in (HUB, file))
    assert hub.documents.texts == plain.documents.texts
    assert hub.documents.texts[4] == b"Q: what follows 4\nA: 5"
    assert hub.documents.names[4] == f"{HUB}:5"
    assert questions_digest(HUB, "validation") == questions_digest(file, "validation")
    few = load_questions(f"{HUB}?documents=2", "validation", PROMPT, ANSWER)
    assert few.documents.texts == hub.documents.texts[:2]
    with pytest.raises(HarnessError, match=r"own:sub:1: no such field(.|\n)*did you mean 'inputs'"):
        load_questions(HUB, "validation", "{input}", ANSWER)
    with pytest.raises(HarnessError, match=r"no such split(.|\n)*allowed: train, validation"):
        load_questions(HUB, "test", PROMPT, ANSWER)
    with pytest.raises(HarnessError, match="cannot be read"):
        load_questions("hub:./own:sbu", "validation", PROMPT, ANSWER)


@pytest.mark.usefixtures("own")
def test_suites_ask_them_and_know_when_they_changed(room: Room) -> None:
    asked = {"data": HUB, "prompt": PROMPT, "answer": ANSWER}
    suite = room.suite(
        {"ebt": {"adapter": "ebt_text", "config": SIZE | {"step_size": 0.3}}},
        base={"batch_size": 4, "budget": {"steps": 2}, "optimizer": {"lr": 1e-3}},
        evaluations={
            "likelihood": {"kind": "likelihood", **asked},
            "thinking": {
                "kind": "thinking",
                **asked,
                "tokens": "answer",
                "timing_repeats": 1,
                "thinking": [{"kind": "descent", "steps": [1, 2]}],
            },
        },
    )
    code, summary = room.run(suite)
    assert code == 0, summary
    folder = room.folder_of(suite, "ebt")
    found = {}
    for path in folder.path.glob("evals/*"):
        kind = read_json(path / "spec.json")["kind"]
        found[kind] = read_jsonl(path / "measurements.jsonl")
        recorded = read_json(path / "done.json")["provenance"]["data"]
        digest = dataset_digest(HUB, "validation", cache=room.results / "data")
        assert recorded == {f"{HUB}/validation": digest}
    (answers,) = (m["value"] for m in found["likelihood"] if m["name"] == "answer_loss")
    trained = [m for m in found["thinking"] if m["name"] == "loss" and m["tags"]["trained"]]
    assert [m["value"] for m in trained] == [pytest.approx(answers, rel=1e-5)]
    assert trained[0]["n"] == 2 * len(ROWS)
    assert not changed(recorded, room.results)
    write_folder(room.folder, [*ROWS[:4], {"inputs": "other", "targets": ["x"], "n": 0}])
    assert changed(recorded, room.results)


def changed(recorded: dict[str, str], results: Path) -> bool:
    provenance._digest_now.cache_clear()
    return provenance.data_changed(recorded, results / "data")
