"""`harness export` as typed: what the folder holds, how it loads again, and what is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from harness import cli
from harness.data.tokenizer import load_tokenizer
from harness.evals.context import EvalContext
from harness.export.tokenizer import tokenizer_files
from harness.launch.job import Job
from harness.launch.stop import StopFlag
from harness.launch.trained import trained as load_trained
from harness.launch.worker import work
from harness.noise import NoiseSource
from harness.planning.eval_spec import LikelihoodEval
from harness.planning.spec import TrainSpec
from harness.protocol import ImageShape, NoisyBatch, Single, TextBatch, TextShape
from harness.records import RunFolder, read_json, read_jsonl, write_json
from tests.training.tiny import CORPUS, spec_of

CPU = torch.device("cpu")
ADAPTERS = ("ebt_text", "transformer_pp_text", "dit_image")
OWN_FILES = ["README.md", "config.json", "model.safetensors"]
HF_FILES = sorted(
    [*OWN_FILES, "generation_config.json", "run.json", "tokenizer.json", "tokenizer_config.json"]
)
Export = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def results(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each adapter, of which Transformer++ is evaluated."""
    folder = tmp_path_factory.mktemp("results")
    evaluation = LikelihoodEval(data=CORPUS, split="validation", thinking=Single())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(corpus_folder)
        for spec in map(spec_of, ADAPTERS):
            run, asked = RunFolder(folder, spec.run_id), []
            write_json(run.spec, spec.model_dump(mode="json"))
            if spec.adapter == "transformer_pp_text":
                asked = [evaluation.eval_id]
                path = run.evaluation(evaluation.eval_id).spec
                write_json(path, evaluation.model_dump(mode="json"))
            job = Job(spec.run_id, tuple(asked), device="cpu")
            assert work(folder, job, stop=StopFlag(), emit=lambda event: None).how == "done"
    return folder


@pytest.fixture
def export(
    results: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Export:
    """The verb: exit code, output and errors."""

    def run(*arguments: str, at: Path = results) -> tuple[int, str, str]:
        given = ["harness", "export", *arguments, "--results", str(at)]
        monkeypatch.setattr("sys.argv", given)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- our own form ----------------------------------------------------------------------------


def from_readme(folder: Path) -> Any:
    """The model that the README's Python builds, run in the folder."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(code, names)
    return names["model"]


def prediction(adapter: Any, context: EvalContext) -> Tensor:
    generator, rows = torch.Generator().manual_seed(2), torch.arange(2)
    shape, batch = context.shape, None
    if isinstance(shape, TextShape):
        tokens = torch.randint(shape.vocab_size, (2, shape.context + 1), generator=generator)
        batch = TextBatch(tokens, torch.ones(2, shape.context, dtype=torch.bool), rows)
    else:
        assert isinstance(shape, ImageShape)
        size = (2, shape.channels, shape.height, shape.width)
        batch = NoisyBatch(torch.randn(size, generator=generator), 50, rows)
    thinking = context.record.trained_thinking(context.config)
    value: Tensor = adapter.eval().predict(batch, thinking, NoiseSource(3)).value
    return value


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_own_weights_load_by_the_readmes_words(
    export: Export, results: Path, tmp_path: Path, adapter: str
) -> None:
    out = tmp_path / "new" / "out"
    code, _, error = export(adapter, "--out", str(out), "--format", "safetensors")
    assert code == 0, error
    assert listed(out) == OWN_FILES
    spec = spec_of(adapter)
    context = load_trained(RunFolder(results, spec.run_id), CPU, results)
    assert torch.equal(prediction(from_readme(out), context), prediction(context.adapter, context))
    config = read_json(out / "config.json")
    assert TrainSpec.model_validate(config["spec"]) == spec
    assert config["run"] == spec.run_id
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert digest == config["weights_sha256"] == context.weights


# --- transformers' form ----------------------------------------------------------------------


def test_transformers_loads_what_the_run_predicts(
    export: Export, results: Path, tmp_path: Path
) -> None:
    code, out, error = export("transformer_pp", "--out", str(tmp_path / "out"), "--json")
    assert code == 0, error
    said = json.loads(out)
    assert said["format"] == "hf"
    assert listed(tmp_path / "out") == said["files"] == HF_FILES
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert sum(p.numel() for p in model.parameters()) == said["parameters"]
    assert model.generation_config.eos_token_id == model.config.pad_token_id == 256
    assert AutoTokenizer.from_pretrained(tmp_path / "out").model_max_length == 16
    spec = spec_of("transformer_pp_text")
    context = load_trained(RunFolder(results, spec.run_id), CPU, results)
    tokens = torch.randint(257, (3, 17))
    batch = TextBatch(tokens, torch.ones(3, 16, dtype=torch.bool), torch.arange(3))
    with torch.no_grad():
        ours = context.adapter.predict(batch, Single(), NoiseSource(0)).value
        torch.testing.assert_close(model(tokens[:, :-1]).logits, ours, rtol=1e-5, atol=1e-5)


def test_the_card_holds_what_was_measured_as_the_hub_reads_it(
    export: Export, results: Path, tmp_path: Path
) -> None:
    from huggingface_hub import ModelCard

    assert export("transformer_pp", "--out", str(tmp_path / "out"))[0] == 0
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license is None
    assert card.data.library_name == "transformers"
    spec = spec_of("transformer_pp_text")
    folder = RunFolder(results, spec.run_id)
    (evaluation,) = (folder.path / "evals").iterdir()
    recorded = {m["name"]: m for m in read_jsonl(evaluation / "measurements.jsonl")}
    found = {result.metric_type: result for result in card.data.eval_results}
    assert set(found) == {"loss", "perplexity", "bits_per_byte"}, "not what n-grams reach"
    for name, result in found.items():
        assert result.metric_value == recorded[name]["value"]
        assert result.metric_args["n"] == recorded[name]["n"]
        assert result.dataset_name == f"{CORPUS} validation"
    assert f"{recorded['loss']['value']:.6g}" in card.text
    assert f"{80 * 16:,}" in card.text, "tokens"


def test_a_missing_value_stays_missing(export: Export, copied: RunFolder, tmp_path: Path) -> None:
    (evaluation,) = (copied.path / "evals").iterdir()
    file = evaluation / "measurements.jsonl"
    lines = read_jsonl(file)
    lines[0]["value"] = None
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, _, error = export("t", "--out", str(tmp_path / "out"), at=copied.path.parents[1])
    assert code == 0, error
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| loss | — | nats/token |" in text
    assert "type: perplexity" in text
    assert "type: loss" not in text


# --- what is refused -------------------------------------------------------------------------


@pytest.fixture
def copied(results: Path, tmp_path: Path) -> RunFolder:
    """The run of Transformer++ alone, in results of its own to damage."""
    name = spec_of("transformer_pp_text").run_id
    folder = RunFolder(tmp_path / "damaged", name)
    shutil.copytree(results / "runs" / name, folder.path)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ebt", "--format", "hf"], "allowed: safetensors"),
        (["dit", "--format", "hf"], "allowed: safetensors"),
        (["ebt", "--format", "safetensor"], "did you mean 'safetensors'"),
        (["nothing"], "there is no such run"),
        ([""], "3 runs begin like this"),
    ],
    ids=str,
)
def test_wrong_words_are_explained(
    export: Export, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, out, error = export(*arguments, "--out", str(tmp_path / "out"))
    assert code == 2
    assert not out
    assert message in error
    assert listed(tmp_path) == []


@pytest.mark.parametrize("taken", ["a folder", "a file"])
def test_nothing_is_replaced(export: Export, tmp_path: Path, taken: str) -> None:
    out = tmp_path / "out"
    mine = out / "notes" if taken == "a folder" else out
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    code, _, error = export("ebt", "--out", str(out))
    assert code == 2
    assert f"--out {out}" in error
    assert mine.read_text() == "mine"
    assert listed(tmp_path) == ["out"]


def test_an_empty_folder_is_filled_and_can_be_a_link(export: Export, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    assert export("ebt", "--out", str(tmp_path / "link"))[0] == 0
    assert listed(tmp_path / "there") == OWN_FILES
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "there").iterdir()} == {0o644}


def test_an_untrained_run_is_not_exported(
    export: Export, copied: RunFolder, tmp_path: Path
) -> None:
    copied.training.unlink()
    code, _, error = export("t", "--out", str(tmp_path / "out"), at=copied.path.parents[1])
    assert code == 2
    assert "not trained to its end" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("adapter", "writer", "error"),
    [
        ("ebt", "write_json", OSError(errno.ENOSPC, "No space left on device")),
        ("transformer_pp", "save_file", SafetensorError("I/O error: No space left on device")),
    ],
)
def test_a_disk_that_fills_leaves_nothing(
    export: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    adapter: str,
    writer: str,
    error: Exception,
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(f"harness.export.files.{writer}", full)
    code, _, said = export(adapter, "--out", str(tmp_path / "out"))
    assert code == 2
    assert "No space left on device" in said
    assert listed(tmp_path) == []


def test_another_tokenizer_file_than_the_runs_is_refused(
    export: Export, copied: RunFolder, tmp_path: Path
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(tokenizer_files("bytes", 8)["tokenizer.json"], encoding="utf-8")
    spec, provenance = read_json(copied.spec), read_json(copied.provenance)
    spec["task"]["tokenizer"] = str(path)
    provenance["data"][f"tokenizer {path}"] = load_tokenizer(str(path)).digest
    write_json(copied.spec, spec)
    write_json(copied.provenance, provenance)
    given = ["t", "--out", str(tmp_path / "out")]

    before = path.read_text(encoding="utf-8")
    path.write_text(before + "\n", encoding="utf-8")
    code, _, error = export(*given, at=copied.path.parents[1])
    assert code == 2
    assert "the tokenizer file has changed" in error

    path.write_text(before, encoding="utf-8")
    assert export(*given, at=copied.path.parents[1])[0] == 0
    assert (tmp_path / "out" / "tokenizer.json").read_text(encoding="utf-8") == before
    for file in (tmp_path / "out").glob("*"):
        assert str(tmp_path).encode() not in file.read_bytes(), "absolute paths say who and where"
        assert socket.gethostname().encode() not in file.read_bytes()
