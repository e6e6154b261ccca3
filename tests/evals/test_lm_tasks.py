"""Tasks end to end: ours and the shared data's, against answers worked out by hand."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.task_files import find_task, task_digest
from harness.errors import HarnessError
from harness.evals import lm_eval_run
from harness.evals.context import EvalContext
from harness.evals.language_model import AdapterLM
from harness.evals.lm_documents import BY_DOCUMENT, SAMPLES, plain
from harness.evals.lm_tasks import RESULTS, evaluate_lm_task, unit_of
from harness.launch.evaluating import evaluation_digests
from harness.planning.eval_spec import LmTaskEval
from harness.protocol import Descent, Single
from harness.records import Measurement
from tests.evals.test_evaluators import context_of
from tests.evals.test_language_model import asked, greedy_text
from tests.training.tiny import spec_of

pytestmark = pytest.mark.usefixtures("corpus")

SHARED = Path(__file__).parents[2] / os.environ.get("HARNESS_SHARED", "../shared") / "data"
LIMIT = 4
Question = tuple[str, list[str], int]


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def shared_tasks(tmp_path: Path) -> str:
    """Our local YAMLs over the shared data."""
    if not (SHARED / "arc").is_dir():
        pytest.skip("no shared data: HARNESS_SHARED is not there")
    folder = tmp_path / "tasks"
    shutil.copytree(Path(__file__).with_name("tasks"), folder)
    for path in folder.glob("*.yaml"):
        path.write_text(path.read_text().replace("SHARED", str(SHARED.resolve())))
    return str(folder)


def context_for(adapter: str, folder: Path) -> EvalContext:
    return context_of(spec_of(adapter, task={"context": 128}), folder)


def task(name: str, **changes: Any) -> LmTaskEval:
    given: dict[str, Any] = {"thinking": Single(), "limit": LIMIT} | changes
    return LmTaskEval(data=name, split="test", **given)


def samples(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in gzip.decompress((folder / SAMPLES).read_bytes()).split(b"\n")[:-1]
    ]


def value(found: list[Measurement], name: str, **tags: Any) -> Measurement:
    chosen = [m for m in found if m.name == name and tags.items() <= m.tags.items()]
    assert len(chosen) == 1, (name, tags)
    return chosen[0]


# --- the shared data -------------------------------------------------------------------------


def lines(name: str) -> Iterator[dict[str, Any]]:
    with (SHARED / name).open() as file:
        yield from map(json.loads, file)


def arrow(name: str) -> list[dict[str, Any]]:
    import pyarrow

    with (SHARED / name).open("rb") as file:
        rows: list[dict[str, Any]] = pyarrow.ipc.open_stream(file).read_all().to_pylist()
    return rows


def arc(name: str) -> Iterator[Question]:
    for row in arrow(f"arc/{name}.validation.arrow"):
        choices = row["choices"]
        gold = choices["label"].index(row["answerKey"])
        yield f"Question: {row['question']}\nAnswer:", [f" {t}" for t in choices["text"]], gold


def piqa() -> Iterator[Question]:
    for row in arrow("piqa/piqa.validation.arrow"):
        choices = [f" {row['sol1']}", f" {row['sol2']}"]
        yield f"Question: {row['goal']}\nAnswer:", choices, row["label"]


def mathqa() -> Iterator[Question]:
    for row in lines("mathqa/math_qa.jsonl"):
        yield row["query"], row["choices"], row["gold"]


CHOSEN: dict[str, Callable[[], Iterator[Question]]] = {
    "local_arc_easy": lambda: arc("ARC-Easy"),
    "local_arc_challenge": lambda: arc("ARC-Challenge"),
    "local_piqa": piqa,
    "local_mathqa": mathqa,
}


@pytest.mark.parametrize("name", CHOSEN)
def test_multiple_choice_on_the_shared_data(name: str, shared_tasks: str, tmp_path: Path) -> None:
    """From the raw rows: every choice's score, the choice made, and the share that is right."""
    adapter = "ebt_text" if name == "local_piqa" else "transformer_pp_text"
    thinking = Descent(steps=2) if adapter == "ebt_text" else Single()
    context = context_for(adapter, tmp_path)
    spec = task(name, include=shared_tasks, thinking=thinking)
    found = evaluate_lm_task(spec, context, tmp_path)

    lm = AdapterLM(context, thinking, batch_size=1)
    kept, right = samples(tmp_path), []
    for sample, (prompt, choices, gold) in zip(kept, CHOSEN[name](), strict=False):
        scores = lm.loglikelihood(asked(*((prompt, choice) for choice in choices)))
        expected = [total for total, _ in scores]
        assert [total for total, _ in sample["answers"]] == pytest.approx(expected, rel=1e-5)
        right.append(int(np.argmax(expected)) == gold)
    acc = value(found, "acc")
    assert acc.value == sum(right) / LIMIT
    assert (acc.n, acc.unit, acc.higher_is_better) == (LIMIT, "fraction", True)
    assert acc.tags["chance"] == (0.5 if name == "local_piqa" else 0.25)
    assert acc.tags["split"] == ("test" if name == "local_mathqa" else "validation")
    assert acc.cost["nfe"] == (2 if adapter == "ebt_text" else 1)
    with np.load(tmp_path / BY_DOCUMENT) as stored:
        assert stored["acc"].tolist() == [[float(each) for each in right]]
        assert stored["doc_ids"].tolist() == list(range(LIMIT))


def test_bigbench_dyck(shared_tasks: str, tmp_path: Path) -> None:
    context = context_for("transformer_pp_text", tmp_path)
    found = evaluate_lm_task(task("local_bigbench_dyck", include=shared_tasks), context, tmp_path)
    lm = AdapterLM(context, Single(), batch_size=1)
    rows = list(lines("bigbench_dyck/bigbench_dyck_languages.jsonl"))[:LIMIT]
    expected = lm.loglikelihood(asked(*((r["context"], f" {r['continuation']}") for r in rows)))
    answers = [sample["answers"][0] for sample in samples(tmp_path)]
    assert [a[0] for a in answers] == pytest.approx([e[0] for e in expected], rel=1e-5)
    assert value(found, "acc").value == sum(greedy for _, greedy in expected) / LIMIT


def test_gsm8k(shared_tasks: str, tmp_path: Path) -> None:
    """What is written is the greedy text; both of its filters are measured."""
    context = context_for("transformer_pp_text", tmp_path)
    spec = task("local_gsm8k", include=shared_tasks, num_fewshot=1)
    found = evaluate_lm_task(spec, context, tmp_path)
    assert {m.name for m in found} == {
        "exact_match,strict-match",
        "exact_match,flexible-extract",
    }
    assert value(found, "exact_match,strict-match").tags["num_fewshot"] == 1
    question = next(lines("gsm8k/test.jsonl"))["question"]
    written = samples(tmp_path)[0]["answers"][0]
    tokens = f"Question: {question}\nAnswer:".encode()[-120:]
    assert len(tokens) == 120, "the examples before it are cut off"
    assert written == _decoded(greedy(context, tokens, 8))


def greedy(context: EvalContext, tokens: bytes, count: int) -> list[int]:
    lm = AdapterLM(context, Single())
    return greedy_text(lm, tokens.decode(), count, room=128)


def _decoded(tokens: list[int]) -> str:
    written = tokens[: tokens.index(256)] if 256 in tokens else tokens
    return bytes(written).decode(errors="replace").split("Question:")[0]


def test_squad(shared_tasks: str, tmp_path: Path) -> None:
    """Its own JSON, questions and scores by functions beside the YAML."""
    context = context_for("transformer_pp_text", tmp_path)
    found = evaluate_lm_task(task("local_squad", include=shared_tasks), context, tmp_path)
    assert {m.name for m in found} == {"em", "f1"}
    kept = samples(tmp_path)
    assert kept[0]["target"] == "308"
    assert value(found, "em").value == sum(s["metrics"]["em"] for s in kept) / LIMIT


@pytest.mark.parametrize(
    ("name", "metric", "value", "unit"),
    [
        ("squadv2", "f1", 11.1, "%"),
        ("squadv2", "HasAns_exact", 0.4, "%"),
        ("scrolls_quality", "em", 30.0, "%"),
        ("scrolls_quality", "acc", 0.3, "fraction"),
        ("coqa", "f1", 0.4, "fraction"),
        ("mine", "f1", 11.1, "score"),
        ("mine", "bleu", 11.1, "score"),
    ],
)
def test_shares_have_the_unit_that_the_task_counts_in(
    name: str, metric: str, value: float, unit: str
) -> None:
    assert unit_of(name, metric, value) == unit


def test_a_tag_is_its_tasks(shared_tasks: str, tmp_path: Path) -> None:
    context = context_for("transformer_pp_text", tmp_path)
    for path in Path(shared_tasks).glob("*.yaml"):
        if path.stem not in ("piqa", "mathqa"):
            path.unlink()
    spec = task("shared_data", include=shared_tasks, limit=2)
    found = evaluate_lm_task(spec, context, tmp_path)
    assert {m.tags["data"] for m in found} == {"local_piqa", "local_mathqa"}
    with np.load(tmp_path / BY_DOCUMENT) as stored:
        assert stored["local_piqa/acc"].shape == (1, 2)


# --- ours ------------------------------------------------------------------------------------


def test_chosen_and_written_forms_of_ours(tmp_path: Path) -> None:
    context = context_for("transformer_pp_text", tmp_path)
    for name, metric in {
        "harness_dyck": "acc",
        "harness_arithmetic": "acc",
        "harness_copy": "acc",
        "harness_dyck_generate": "exact_match,stripped",
        "harness_arithmetic_generate": "exact_match,stripped",
        "harness_copy_generate": "exact_match,stripped",
    }.items():
        (measured,) = evaluate_lm_task(task(name), context, tmp_path / name)
        assert (measured.name, measured.n) == (metric, LIMIT)
        assert measured.tags["task_version"] == 1.0
        assert measured.tags["num_fewshot"] == 0
        digests = evaluation_digests(task(name), tmp_path)
        assert list(digests) == [f"task {name}"]


class Knows:
    """An adapter that is sure of the next byte of a text that it was told."""

    def __init__(self, texts: list[bytes]) -> None:
        self.texts = texts

    def eval(self) -> None: ...

    def train(self) -> None: ...

    def logits(self, seen: bytes) -> Any:
        import torch

        found = torch.zeros(257)
        for text in self.texts:
            start = text.find(seen)
            if start >= 0 and start + len(seen) < len(text):
                found[text[start + len(seen)]] = 9
        return found

    def predict(self, batch: Any, thinking: Any, noise: Any, on_state: Any = None) -> Any:
        import torch

        from harness.protocol import Passes, Prediction

        rows = [
            torch.stack([self.logits(bytes(row[: i + 1])) for i in range(len(row) - 1)])
            for row in batch.tokens.clamp(max=255).tolist()
        ]
        return Prediction(torch.stack(rows), None, Passes(1, 1, 0))

    def decoder(self, rows: Any, thinking: Any, noise: Any) -> Any:
        self.seen: list[bytes] = [b""] * len(rows)
        return self

    def feed(self, tokens: Any) -> Any:
        import torch

        from harness.protocol import Passes, Prediction

        self.seen = [old + bytes(new) for old, new in zip(self.seen, tokens.tolist(), strict=True)]
        return Prediction(torch.stack(list(map(self.logits, self.seen))), None, Passes(1, 1, 0))


@pytest.mark.parametrize("name", ["copy", "copy_generate", "arithmetic", "dyck_generate"])
def test_who_knows_the_answers_gets_all_of_them(name: str, tmp_path: Path) -> None:
    from harness.data.task_sets import arithmetic_items, copying_items, dyck_items, split

    generate, form = {
        "copy": (copying_items, "Input: {}\nOutput: {}\n"),
        "arithmetic": (arithmetic_items, "{} = {}\n"),
        "dyck": (dyck_items, "Input: {}\nOutput: {}\n"),
    }[name.partition("_")[0]]
    tested = split(generate())["test"][:LIMIT]
    texts = [form.format(item["question"], item["answer"]).encode() for item in tested]
    context = context_for("transformer_pp_text", tmp_path)
    for known, share in ((texts, 1.0), (texts[1:], 1 - 1 / LIMIT)):
        adapter: Any = Knows(known)
        spec = task(f"harness_{name}")
        (measured,) = evaluate_lm_task(spec, replace(context, adapter=adapter), tmp_path)
        if name == "arithmetic":  # guessing may be right
            assert share <= (measured.value or 0)
        else:
            assert measured.value == share


# --- records ---------------------------------------------------------------------------------


def test_every_noise_seed_is_measured_and_kept(tmp_path: Path) -> None:
    context = context_for("ebt_text", tmp_path)
    spec = task(
        "harness_dyck", thinking=Descent(steps=1, noise_std=9.0), limit=12, noise_seeds=(3, 5)
    )
    found = evaluate_lm_task(spec, context, tmp_path)
    assert [m.noise_seed for m in found] == [3, 5]
    assert found[0].tags["trained"] is False
    assert found[0].tags["steps"] == 1
    assert found[0].tags["stderr"] == pytest.approx(
        np.sqrt((found[0].value or 0) * (1 - (found[0].value or 0)) / 11)
    )
    with np.load(tmp_path / BY_DOCUMENT) as stored:
        assert stored["acc"].shape == (2, 12)
        assert stored["noise_seeds"].tolist() == [3, 5]
        assert stored["acc"].mean(1).tolist() == pytest.approx([m.value for m in found])
    kept = samples(tmp_path)
    assert [s["noise_seed"] for s in kept] == [3] * 12 + [5] * 12
    assert kept[0]["answers"] != kept[12]["answers"]


def test_results_are_kept_as_lm_eval_words_them(tmp_path: Path) -> None:
    context = context_for("transformer_pp_text", tmp_path)
    evaluate_lm_task(task("harness_dyck", num_fewshot=2), context, tmp_path)
    text = (tmp_path / RESULTS).read_text()
    kept = json.loads(text)
    assert (
        kept["results"]["harness_dyck"]["acc,none"]
        == kept["noise_seeds"]["0"]["harness_dyck"]["acc,none"]
    )
    assert kept["versions"] == {"harness_dyck": 1.0}
    assert kept["n-shot"] == {"harness_dyck": 2}
    assert kept["n-samples"] == {"harness_dyck": {"original": 500, "effective": LIMIT}}
    assert len(kept["task_hashes"]["harness_dyck"]) == 64
    assert kept["higher_is_better"] == {"harness_dyck": {"acc": True}}
    assert str(Path(__file__).parents[2]) not in text, "no place on this machine"


def test_an_interrupted_evaluation_goes_on(tmp_path: Path) -> None:
    """The model is not asked again what it answered before the interruption."""
    from tests.evals.test_responses import counting, trained

    spec = task("harness_dyck", thinking=Descent(steps=2), batch_size=2)
    context, before = counting(trained(tmp_path), last=3)
    with pytest.raises(KeyboardInterrupt):
        evaluate_lm_task(spec, context, tmp_path / "evaluation")
    assert not (tmp_path / "evaluation").exists()
    context, after = counting(trained(tmp_path))
    (resumed,) = evaluate_lm_task(spec, context, tmp_path / "evaluation")
    assert before.calls == 3

    alone, once = counting(replace(trained(tmp_path), weights=None))
    (whole,) = evaluate_lm_task(spec, alone, tmp_path / "other")
    assert after.calls == once.calls - 3
    assert resumed.value == whole.value
    assert {k: v for k, v in resumed.cost.items() if "sec" not in k and "mem" not in k} == {
        k: v for k, v in whole.cost.items() if "sec" not in k and "mem" not in k
    }


def test_a_task_on_the_hub_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm_eval_run, "hub_answers", lambda: False)
    context = context_for("transformer_pp_text", tmp_path)
    with pytest.raises(HarnessError, match="the Hub does not answer") as told:
        evaluate_lm_task(task("piqa"), context, tmp_path)
    assert "--include" in str(told.value)
    import datasets

    assert not datasets.config.HF_DATASETS_OFFLINE, "as before"


def test_a_task_that_fails_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "data.jsonl").write_text('{"q": "x", "a": "y"}\n')
    (folder / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: data.jsonl}}\n"
        "output_type: loglikelihood\ntest_split: test\ndoc_to_text: '{{nothing}}'\n"
        "doc_to_target: a\nmetric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]"
    )
    spec = task("mine", include=str(folder))
    context = context_for("transformer_pp_text", tmp_path)
    with pytest.raises(HarnessError, match="task mine cannot be loaded"):
        evaluate_lm_task(spec, context, tmp_path)
    (folder / "mine.yaml").write_text((folder / "mine.yaml").read_text().replace("nothing", "q"))
    (measured,) = evaluate_lm_task(spec, context, tmp_path)
    assert measured.n == 1
    assert measured.tags["stderr"] is None, "of one document there is none"


MINE = (
    "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: data.jsonl}}\n"
    "output_type: loglikelihood\ntest_split: test\ndoc_to_text: q\ndoc_to_target: a\n"
    "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
)


def my_task(folder: Path) -> Path:
    """The data file of a task that is written there."""
    folder.mkdir()
    (folder / "mine.yaml").write_text(MINE)
    (folder / "data.jsonl").write_text('{"q": "x", "a": "y"}\n')
    return folder / "data.jsonl"


def test_data_that_changed_are_read_again_whatever_their_time(tmp_path: Path) -> None:
    """`datasets` alone would give what it kept of a file of the same place, time and size."""
    data = my_task(tmp_path / "tasks")
    found = find_task("mine", str(data.parent))
    asked_before = list(lm_eval_run.load_tasks(found)["mine"].test_docs())
    stat = data.stat()
    data.write_text('{"q": "x", "a": "z"}\n')
    os.utime(data, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    asked_after = list(lm_eval_run.load_tasks(found)["mine"].test_docs())
    assert [doc["a"] for doc in asked_before + asked_after] == ["y", "z"]


def test_a_task_that_changed_since_it_was_planned_is_not_evaluated(tmp_path: Path) -> None:
    data = my_task(tmp_path / "tasks")
    include = str(data.parent)
    spec = task("mine", include=include, digest=task_digest(find_task("mine", include)))
    context = context_for("transformer_pp_text", tmp_path)
    assert evaluate_lm_task(spec, context, tmp_path / "one")
    data.write_text('{"q": "x", "a": "z"}\n')
    with pytest.raises(HarnessError, match="changed since this evaluation was planned"):
        evaluate_lm_task(spec, context, tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_a_task_of_whole_texts(tmp_path: Path) -> None:
    """Rolling windows: bits per byte over all documents, by lm-eval's own weighting."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    texts = ["The model thinks about every token. " * 6, "Short.", "Energy and steps. " * 3]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    (folder / "mine.yaml").write_text(
        "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: {test: texts.jsonl}}\n"
        "output_type: loglikelihood_rolling\ntest_split: test\ndoc_to_text: ''\n"
        "doc_to_target: text\n"
        "metric_list: [{metric: bits_per_byte}, {metric: word_perplexity}]\n"
    )
    context = context_for("transformer_pp_text", tmp_path)
    found = evaluate_lm_task(task("mine", include=str(folder)), context, tmp_path)
    lm = AdapterLM(context, Single(), batch_size=1)
    total = sum(lm.loglikelihood_rolling(asked(*((text,) for text in texts))))
    size = sum(len(text.encode()) for text in texts)
    bits = value(found, "bits_per_byte")
    assert bits.value == pytest.approx(-total / size / np.log(2), rel=1e-6)
    assert (bits.n, bits.unit, bits.higher_is_better) == (3, "bits/byte", False)
    assert bits.tags["cut"] is None
    assert bits.cost["predictions"] == (128 + 128 + 16 + 64) / 3, "two full windows"
    assert value(found, "word_perplexity").unit == "per word"
    with np.load(tmp_path / BY_DOCUMENT) as stored:
        assert stored["bits_per_byte"][0, :, 1].tolist() == [len(t.encode()) for t in texts]


def test_what_is_kept_is_json() -> None:
    given = {"a": np.int64(3), "b": np.float32(0.5), "c": [float("nan"), True, None], 1: print}
    found = plain(given | {"config_source": "/somewhere"})
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "a": 3,
        "b": 0.5,
        "c": [None, True, None],
        "1": "<built-in function print>",
    }


def test_the_hub_is_asked_unless_told_to_stay_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    answers = lm_eval_run.hub_answers.__wrapped__
    monkeypatch.setattr(lm_eval_run, "unreachable", lambda: "no answer")
    assert not answers()
    monkeypatch.setattr(lm_eval_run, "unreachable", lambda: None)
    assert answers()
    monkeypatch.setattr(lm_eval_run, "unreachable", lambda: pytest.fail("it is asked"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    assert not answers()
