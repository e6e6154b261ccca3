"""`harness eval`, a suite's `lm_task`, and lm-eval's own command line, on one tiny trained run."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import HarnessError
from harness.evals.responses import FOLDER
from harness.launch.lm_eval_plugin import HarnessLM
from harness.planning.eval_spec import LmTaskEval
from harness.planning.evaluations import specs_of
from harness.planning.located import Located, Place
from harness.provenance import data_changed
from harness.records import RunFolder, read_json, write_json
from tests.training.tiny import spec_of, trained

RUNS = {
    "transformer_pp_text": {"task": {"context": 64}},
    "ebt_text": {"task": {"context": 64}},
    "dit_image": {},
}


@pytest.fixture(scope="module")
def trained_runs(tmp_path_factory: pytest.TempPathFactory, corpus_folder: Path) -> Path:
    """Results with a finished run of each, and one that is not trained."""
    results = tmp_path_factory.mktemp("eval-verb") / "results"
    before = Path.cwd()
    os.chdir(corpus_folder)
    try:
        for adapter, changes in RUNS.items():
            spec = spec_of(adapter, budget={"steps": 4}, **changes)
            folder, finished = trained(spec, results)
            assert finished
            write_json(folder.spec, spec.model_dump(mode="json"))
        spec = spec_of("ebt_text", seed=9)
        write_json(RunFolder(results, spec.run_id).spec, spec.model_dump(mode="json"))
    finally:
        os.chdir(before)
    return results


@pytest.fixture
def results(trained_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, so that no test sees another's evaluations."""
    shutil.copytree(trained_runs, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "results"


def run_of(results: Path, adapter: str, *, is_trained: bool = True) -> RunFolder:
    folders = [RunFolder(results, path.name) for path in sorted((results / "runs").iterdir())]
    (chosen,) = [
        folder
        for folder in folders
        if read_json(folder.spec)["adapter"] == adapter and folder.training.exists() == is_trained
    ]
    return chosen


def harness(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def refused(*arguments: str | Path) -> str:
    """The message of wrong input."""
    found = harness(*arguments)
    assert isinstance(found.exception, HarnessError), found.output
    return str(found.exception)


def test_results_are_printed_and_kept(results: Path) -> None:
    folder = run_of(results, "ebt_text")
    arguments = (folder.run_id, "--tasks", "harness_dyck,harness_copy", "--limit", "3")
    first = harness(*arguments, "--steps", "3", "--samples", "2", "--noise-seed", "1")
    assert first.exit_code == 0, first.output
    cut = "harness_dyck: 67% of the contexts are longer"
    for words in ("harness_dyck", "acc ↑", "±", "3x2", "NFE", "over documents", "evals/", cut):
        assert words in first.output
    kept = [path for path in (folder.path / "evals").iterdir() if (path / "done.json").exists()]
    assert len(kept) == 2
    specs = [read_json(path / "spec.json") for path in kept]
    assert {s["data"] for s in specs} == {"harness_dyck", "harness_copy"}
    for spec in specs:
        assert LmTaskEval.model_validate(spec).eval_id in {path.name for path in kept}
        assert (spec["thinking"]["steps"], spec["thinking"]["samples"]) == (3, 2)
    (measured,) = folder.evaluation(kept[0].name).read()
    assert (measured["n"], measured["noise_seed"]) == (3, 1)
    assert measured["cost"]["nfe"] == 6
    recorded = read_json(kept[0] / "done.json")["provenance"]
    assert list(recorded["data"]) == [f"task {read_json(kept[0] / 'spec.json')['data']}"]

    again = harness(*arguments, "--steps", "3", "--samples", "2", "--noise-seed", "1", "--json")
    assert again.exit_code == 0
    document = json.loads(again.stdout)
    assert [e["ended"] for e in document["evaluations"]] == ["found", "found"]
    assert document["evaluations"][0]["measurements"][0]["name"] == "acc"


def test_the_beginning_of_an_id_will_do(results: Path) -> None:
    folder = run_of(results, "transformer_pp_text")
    prefix = folder.run_id[: len("transformer_pp_text") + 4]
    found = harness(prefix, "--tasks", "harness_copy", "--limit", "2")
    assert found.exit_code == 0, found.output
    assert folder.run_id in found.output.replace("\n", "")


def test_a_suite_finds_done_what_was_done_by_hand(results: Path) -> None:
    """The same spec, so the same record."""
    from harness.planning.spec import TrainSpec

    folder = run_of(results, "ebt_text")
    spec = TrainSpec.model_validate(read_json(folder.spec))
    tree = {"kind": "lm_task", "tasks": ["harness_dyck"], "limit": 3}
    (planned,) = specs_of(Located(tree, {(): Place("suite.yaml")}), spec)
    assert harness(folder.run_id, "--tasks", "harness_dyck", "--limit", "3").exit_code == 0
    assert folder.evaluation(planned.eval_id).is_done()


def test_your_own_task_and_its_changes(results: Path, tmp_path: Path) -> None:
    """A changed file is another evaluation, and the old one is known to be of other data."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "data.jsonl").write_text('{"q": "tokens and", "a": " steps"}\n' * 2)
    (mine / "task.yaml").write_text(
        "task: my_task\ndataset_path: json\ndataset_kwargs: {data_files: {test: data.jsonl}}\n"
        "output_type: loglikelihood\ntest_split: test\ndoc_to_text: q\ndoc_to_target: a\n"
        "target_delimiter: ''\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    folder = run_of(results, "transformer_pp_text")
    arguments = (folder.run_id, "--tasks", "my_task", "--include", "mine")
    assert harness(*arguments).exit_code == 0
    (path,) = (folder.path / "evals").iterdir()
    data = read_json(path / "done.json")["provenance"]["data"]
    assert list(data) == ["task my_task of mine"]
    assert not data_changed(data)
    (mine / "data.jsonl").write_text('{"q": "tokens and", "a": " energy"}\n')
    from harness.provenance import _digest_now

    _digest_now.cache_clear()
    assert data_changed(data)
    again = harness(*arguments, "--json")
    assert json.loads(again.stdout)["evaluations"][0]["ended"] == "done"
    assert len(list((folder.path / "evals").iterdir())) == 2


def test_what_other_source_or_another_task_made_is_told(results: Path) -> None:
    folder = run_of(results, "transformer_pp_text")
    arguments = (folder.run_id, "--tasks", "harness_copy", "--limit", "2")
    told = "other source code or data than there are now"
    assert told not in harness(*arguments).output
    assert told not in harness(*arguments).output
    (path,) = (folder.path / "evals").iterdir()
    done = read_json(path / "done.json")
    for changed in ({"source_digest": "0" * 16}, {"data": {"task harness_copy": "0" * 64}}):
        write_json(path / "done.json", done | {"provenance": done["provenance"] | changed})
        again = harness(*arguments)
        assert again.exit_code == 0
        assert told in again.output.replace("\n", "")
        assert "Found done: harness_copy" in again.output


def test_wrong_input_is_told(results: Path) -> None:
    text = run_of(results, "transformer_pp_text").run_id
    image = run_of(results, "dit_image").run_id
    early = run_of(results, "ebt_text", is_trained=False).run_id
    ebt = run_of(results, "ebt_text").run_id
    dyck = ("--tasks", "harness_dyck")
    assert "there is no such run" in refused("nobody", *dyck)
    assert "runs begin like this" in refused("ebt_text", *dyck)
    assert "not trained to its end" in refused(early, *dyck)
    assert "this run's task is denoising" in refused(image, *dyck)
    unknown = refused(text, "--tasks", "harness_dyck,harness_dick")
    assert unknown.startswith("--tasks: no such task")
    assert "did you mean 'harness_dyck'" in unknown
    assert "is given twice" in refused(text, "--tasks", "harness_dyck,harness_dyck")
    assert "must not be empty" in refused(text, "--tasks", " , ")
    assert "--include: no such folder" in refused(text, *dyck, "--include", "nowhere")
    assert "cannot think in optimization steps" in refused(text, *dyck, "--steps", "3")
    assert refused(ebt, *dyck, "--steps", "0").startswith("--steps")
    assert refused(ebt, *dyck, "--thinking", "{kind: descent}").startswith("--thinking")
    assert "must be a thinking" in refused(ebt, *dyck, "--thinking", "much")
    assert "cannot think that way" in refused(
        text, *dyck, "--thinking", "{kind: descent, steps: 2}"
    )
    both = refused(ebt, *dyck, "--thinking", "{kind: descent, steps: 2}", "--steps", "3")
    assert "say it in one way" in both
    assert "is given twice" in refused(ebt, *dyck, "--noise-seed", "1", "--noise-seed", "1")
    assert not list(results.glob("runs/*/evals")), "nothing is half-written"


def test_a_task_that_fails_stops_no_other(results: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "data.jsonl").write_text('{"q": "x"}\n')
    (mine / "task.yaml").write_text(
        "task: my_task\ndataset_path: json\ndataset_kwargs: {data_files: {test: data.jsonl}}\n"
        "output_type: loglikelihood\ntest_split: nothing\ndoc_to_text: q\ndoc_to_target: q\n"
    )
    folder = run_of(results, "transformer_pp_text")
    found = harness(
        folder.run_id, "--tasks", "my_task,harness_dyck", "--limit", "2", "--include", "mine"
    )
    assert found.exit_code == 1
    assert "failed my_task: " in found.output
    assert "acc ↑" in found.output
    ends = [folder.evaluation(path.name).ended() for path in (folder.path / "evals").iterdir()]
    assert [end[0] for end in ends if end is not None] == ["failed"]


def _command(folder: RunFolder, *arguments: str) -> list[str]:
    main = [sys.executable, "-c", "from harness.cli import main; main()", "eval", folder.run_id]
    return [*main, "--results", str(folder.path.parents[1]), *arguments]


def test_ctrl_c_ends_with_130_and_the_rest_is_asked_later(results: Path) -> None:
    folder = run_of(results, "ebt_text")
    # Many steps: each answer takes so long that a signal comes before the last one.
    arguments = ("--tasks", "harness_arithmetic_generate", "--batch-size", "1", "--limit", "30")
    arguments += ("--steps", "24")
    process = subprocess.Popen(
        _command(folder, *arguments),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Who runs the tests in the background may have Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not _kept(results) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "the same command goes on" in told
    assert "Traceback" not in told
    (evaluation,) = (folder.evaluation(path.name) for path in (folder.path / "evals").iterdir())
    assert (evaluation.ended() or ("", ""))[0] == "stopped"
    before = _kept(results)
    assert 0 < before < 30
    assert harness(folder.run_id, *arguments).exit_code == 0
    assert evaluation.is_done()
    assert evaluation.ended() is None
    assert _kept(results) == 30


def _kept(results: Path) -> int:
    return sum(
        max(0, path.read_text().count("\n") - 1)
        for path in (results / "data" / FOLDER).glob("*.jsonl")
    )


def _evaluate(run: str, tasks: str, queue: Any) -> None:
    found = harness(run, "--tasks", tasks, "--limit", "5", "--json")
    ended = [e["ended"] for e in json.loads(found.stdout)["evaluations"]]
    queue.put((found.exit_code, ended))


def test_two_at_once_on_one_run(results: Path) -> None:
    """Each evaluation is done once, by either, and both tell all results."""
    folder = run_of(results, "transformer_pp_text")
    spawning = multiprocessing.get_context("fork")
    queue = spawning.Queue()
    tasks = "harness_dyck,harness_copy"
    both = [
        spawning.Process(target=_evaluate, args=(folder.run_id, tasks, queue)) for _ in range(2)
    ]
    for process in both:
        process.start()
    ends = [queue.get(timeout=60) for _ in both]
    for process in both:
        process.join()
    assert [code for code, _ in ends] == [0, 0]
    for first, second in zip(ends[0][1], ends[1][1], strict=True):
        assert {first, second} == {"done", "found"}


# --- lm-eval's own command line --------------------------------------------------------------


@pytest.fixture
def registered() -> None:
    """By its entry point, as versions of lm-eval do that load plug-ins."""
    from lm_eval.api.registry import model_registry

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    published = project["entry-points"]["lm_eval.models"]["harness"]
    if "harness" not in model_registry:
        point = EntryPoint("harness", published, "lm_eval.models")
        model_registry.register("harness", target=point)
    assert model_registry.get("harness") is HarnessLM


@pytest.mark.usefixtures("registered")
def test_lm_eval_itself_finds_and_asks_a_run(results: Path) -> None:
    """Its numbers are those of `harness eval`."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    from harness.data.task_files import OURS

    folder = run_of(results, "ebt_text")
    prefix = folder.run_id[:-2]
    theirs = lm_eval.simple_evaluate(
        model="harness",
        model_args=f"run={prefix},results=results,steps=3,samples=2,noise_seed=1",
        tasks=["harness_dyck", "harness_dyck_generate"],
        limit=8,
        batch_size="auto",
        task_manager=TaskManager(include_path=str(OURS), include_defaults=False),
    )
    assert theirs is not None
    ours = harness(
        *(folder.run_id, "--tasks", "harness_dyck", "--limit", "8", "--noise-seed", "1"),
        *("--thinking", "{kind: descent, steps: 3, samples: 2}", "--json"),
    )
    (measured,) = json.loads(ours.stdout)["evaluations"][0]["measurements"]
    assert theirs["results"]["harness_dyck"]["acc,none"] == measured["value"]
    assert "exact_match,stripped" in theirs["results"]["harness_dyck_generate"]
    assert theirs["config"]["thinking"]["steps"] == 3


def test_model_args_that_cannot_be_are_told(results: Path) -> None:
    ebt, text = (run_of(results, name).run_id for name in ("ebt_text", "transformer_pp_text"))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"run": "nobody"}, "there is no such run"),
        ({"run": ebt, "step": 3}, "did you mean 'steps'"),
        ({"run": ebt, "steps": 0}, "--model_args"),
        ({"run": ebt, "steps": 2, "extra_steps": "all"}, "--model_args"),
        ({"run": text, "steps": 2}, "cannot think in optimization steps"),
    ]
    for arguments, words in wrong:
        with pytest.raises(HarnessError, match=words):
            HarnessLM(**arguments)
    model = HarnessLM(run=ebt, batch_size="auto:4", max_batch_size=8, device="cpu")
    assert (model.batch_size, model.device.type) == (32, "cpu")
