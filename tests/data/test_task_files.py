"""Tasks by name: where they are found, what they read, and digests that see every change."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.embedded.generated import dyck_word
from harness.data.task_files import (
    OURS,
    digest_of_key,
    find_task,
    lm_eval_tasks,
    task_digest,
    task_key,
)
from harness.data.task_names import names_of
from harness.data.task_sets import SIZES, arithmetic_items, copying_items, dyck_items, split
from harness.errors import HarnessError

TASK = """\
task: mine
tag: [small, "quick"]
include: base.yaml
dataset_kwargs:
  data_files: {test: data/test.jsonl, train: "data/tr*.jsonl"}
doc_to_text: !function helpers.ask
"""
BASE = """\
dataset_path: json
output_type: multiple_choice
doc_to_text: base
metadata: {version: 1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: a task, what it includes, its function and its data; and a group."""
    where = tmp_path / "tasks"
    (where / "data").mkdir(parents=True)
    (where / "mine.yaml").write_text(TASK)
    (where / "base.yaml").write_text(BASE)
    (where / "group.yaml").write_text("group: both\ntask:\n  - mine\n  - task: second\n")
    (where / "second.yaml").write_text("task: second\ndataset_path: json\ntag:\n  - small\n")
    (where / "helpers.py").write_text("def ask(doc):\n    return doc['q']\n")
    (where / "data" / "test.jsonl").write_text('{"q": "x"}\n')
    (where / "data" / "train.jsonl").write_text('{"q": "y"}\n')
    return where


def test_a_name_is_looked_for_in_the_users_folder_first(folder: Path) -> None:
    (folder / "arc.yaml").write_text("task: 'arc_easy'  # of my own\ndataset_path: json\n")
    (folder / "dyck.yaml").write_text('"task": harness_dyck\ndataset_path: json\n')
    for name in ("arc_easy", "harness_dyck"):
        assert find_task(name, str(folder)).origin == "include"
    assert find_task("arc_easy").origin == "lm_eval"
    assert find_task("harness_dyck").origin == "harness"
    assert find_task("piqa", str(folder)).origin == "lm_eval"


def test_kinds(folder: Path) -> None:
    for name, kind in {"mine": "task", "both": "group", "small": "tag", "quick": "tag"}.items():
        assert find_task(name, str(folder)).kind == kind
    assert (find_task("mmlu").kind, find_task("ai2_arc").kind) == ("group", "tag")
    assert find_task("harness").kind == "tag"


def test_names_are_those_that_lm_eval_knows() -> None:
    """Against a few of each way of writing them; the whole list takes lm-eval a quarter minute."""
    from lm_eval.tasks import TaskManager

    root = next(iter(lm_eval_tasks().values()))[1]
    while root.name != "tasks":
        root = root.parent
    for part in ("arc", "mmlu/default", "bigbench/multiple_choice", "squadv2", "super_glue"):
        theirs = TaskManager(include_path=str(root / part), include_defaults=False)
        assert len(theirs.all_subtasks) > 0
        assert {n for n in theirs.all_tasks if n not in lm_eval_tasks()} == set()


def test_an_unknown_name_is_told_with_the_nearest(folder: Path) -> None:
    with pytest.raises(HarnessError, match="did you mean 'harness_arithmetic'"):
        find_task("harness_aritmetic")
    with pytest.raises(HarnessError, match="did you mean 'arc_easy'"):
        find_task("arc_eazy")
    with pytest.raises(HarnessError, match="did you mean 'mine'") as told:
        find_task("minee", str(folder))
    assert "--include" in str(told.value)


def test_wrong_folders_and_files_are_told(folder: Path) -> None:
    with pytest.raises(HarnessError, match="no such folder of tasks"):
        find_task("mine", str(folder / "nowhere"))
    (folder / "broken.yaml").write_text("task: [mine\n")
    with pytest.raises(HarnessError, match=r"broken\.yaml: not valid YAML"):
        find_task("mine", str(folder))
    (folder / "broken.yaml").write_text("- no\n- mapping\n")
    with pytest.raises(HarnessError, match="holds no mapping"):
        find_task("mine", str(folder))
    (folder / "broken.yaml").unlink()
    (folder / "base.yaml").write_text("include: mine.yaml\n")
    with pytest.raises(HarnessError, match="includes itself"):
        task_digest(find_task("mine", str(folder)))


def test_includes_are_merged_as_lm_eval_merges_them(folder: Path) -> None:
    from lm_eval.tasks import TaskManager

    ours = find_task("mine", str(folder)).config
    entry = TaskManager(include_path=str(folder), include_defaults=False).task_index["mine"]
    assert entry.cfg is not None
    assert ours.keys() == entry.cfg.keys()
    same = [key for key in ours if key != "doc_to_text"]
    assert {key: ours[key] for key in same} == {key: entry.cfg[key] for key in same}
    assert ours["doc_to_text"] == "!function helpers.ask"


# --- data ------------------------------------------------------------------------------------


def test_relative_data_are_found_from_here_then_beside_the_yaml(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = find_task("mine", str(folder))
    files = task.local_paths()["dataset_kwargs"]["data_files"]
    assert files == {
        "test": str(folder / "data" / "test.jsonl"),
        "train": str(folder / "data" / "tr*.jsonl"),
    }
    here = folder.parent
    (here / "data").mkdir()
    (here / "data" / "test.jsonl").write_text("{}\n")
    monkeypatch.chdir(here)
    files = task.local_paths()["dataset_kwargs"]["data_files"]
    assert files["test"] == str(here / "data" / "test.jsonl")
    assert not task.needs_hub


def test_data_that_are_not_there_are_told(folder: Path) -> None:
    (folder / "data" / "test.jsonl").unlink()
    with pytest.raises(HarnessError, match="data file of the task is not there") as told:
        find_task("mine", str(folder)).local_paths()
    assert "beside the YAML" in str(told.value)


def test_data_on_the_hub(folder: Path) -> None:
    assert find_task("piqa").needs_hub
    assert find_task("mmlu").needs_hub
    assert not find_task("harness_copy").needs_hub
    (folder / "hub.yaml").write_text("task: hub\ndataset_path: someone/something\n")
    assert find_task("hub", str(folder)).needs_hub
    (folder / "arrow.yaml").write_text(
        "task: local\ndataset_path: data\ndataset_kwargs: {data_files: 'https://x.org/a.json'}\n"
    )
    local = find_task("local", str(folder))
    assert not local.needs_hub
    assert local.local_paths() == {"dataset_path": str(folder / "data")}


@pytest.mark.parametrize("name", ["c4", "mmlusr_answer_only_anatomy"])
def test_files_of_a_dataset_on_the_hub_are_not_looked_for_here(name: str) -> None:
    task = find_task(name)
    assert {"data_files", "data_dir"} & set(task.config["dataset_kwargs"])
    assert task.needs_hub
    assert task.local_paths() == {}


# --- digests ---------------------------------------------------------------------------------

CHANGES: dict[str, Callable[[Path], object]] = {
    "the YAML": lambda at: (at / "mine.yaml").write_text(TASK + "num_fewshot: 1\n"),
    "what it includes": lambda at: (at / "base.yaml").write_text(BASE + "num_fewshot: 1\n"),
    "its function": lambda at: (at / "helpers.py").write_text("def ask(doc): return ''\n"),
    "its data": lambda at: (at / "data" / "test.jsonl").write_text('{"q": "z"}\n'),
    "one more data file": lambda at: (at / "data" / "train2.jsonl").write_text("{}\n"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_anything_is_another_digest(what: str, folder: Path) -> None:
    before = {name: task_digest(find_task(name, str(folder))) for name in ("mine", "both", "small")}
    assert before["mine"] == task_digest(find_task("mine", str(folder)))
    CHANGES[what](folder)
    for name, digest in before.items():
        assert task_digest(find_task(name, str(folder))) != digest, name


def test_what_a_task_does_not_read_leaves_its_digest(folder: Path) -> None:
    before = task_digest(find_task("mine", str(folder)))
    (folder / "second.yaml").write_text("task: second\ndataset_path: csv\n")
    (folder / "notes.txt").write_text("nothing")
    assert task_digest(find_task("mine", str(folder))) == before


def test_provenance_finds_a_task_by_its_key(folder: Path) -> None:
    digest = task_digest(find_task("mine", str(folder)))
    assert digest_of_key(task_key("mine", str(folder))) == digest
    for name in ("harness_dyck", "piqa"):
        assert digest_of_key(task_key(name, None)) == task_digest(find_task(name))
    assert digest_of_key("file:of my own/test") is None


# --- ours ------------------------------------------------------------------------------------


def test_ours_are_complete() -> None:
    names = {path.stem for path in OURS.glob("*.yaml")}
    assert names | {"harness"} == set(names_of(OURS))
    for name in names:
        task = find_task(name)
        assert task.config["metadata"]["version"]
        assert len(task_digest(task)) == 64


def test_generated_items_are_what_they_say() -> None:
    """Checked by evaluating chains and by reducing brackets."""
    chains, words, copies = (split(f()) for f in (arithmetic_items, dyck_items, copying_items))
    for item in [*chains["train"], *chains["test"]]:
        assert eval(item["question"]) == int(item["answer"]) >= 0
    for item in [*words["train"], *words["test"]]:
        for choice in item["choices"]:
            text = f"{item['question']} {choice}".replace(" ", "")
            while text != (text := _reduced(text)):
                continue
            assert (text == "") == (choice == item["answer"])
    for items in (chains, words):
        for item in items["test"]:
            assert item["choices"][item["gold"]] == item["answer"]
            assert len(set(item["choices"])) == 4
    for items in (chains, words, copies):
        assert {name: len(own) for name, own in items.items()} == SIZES
        questions = [item["question"] for own in items.values() for item in own]
        assert len(set(questions)) == len(questions), "what is tested is no example"
        fits = max(len(f"Input: {i['question']}\nOutput: {i['answer']}") for i in items["test"])
        assert fits <= 128
    known = {dyck_word(index)[0] for index in range(1000)}
    fresh = sum(item["question"] not in known for item in words["test"])
    assert fresh > 0.9 * len(words["test"]), "short words recur in builtin/dyck"


def _reduced(text: str) -> str:
    for pair in ("()", "[]", "{}", "<>"):
        text = text.replace(pair, "")
    return text


def test_finding_a_task_loads_neither_torch_nor_lm_eval() -> None:
    code = (
        "import sys; from harness.data.task_files import find_task, task_digest;"
        "task_digest(find_task('harness_dyck')); find_task('piqa');"
        "print(json.dumps([m for m in ('torch', 'lm_eval', 'datasets') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
