"""Answers kept on disk: whose they are, what an interruption leaves, what is done about damage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.evals.context import EvalContext
from harness.evals.language_model import AdapterLM
from harness.evals.responses import FOLDER, Responses, responses_of
from harness.protocol import Descent, Single
from tests.evals.test_language_model import PAIRS, STOP, THINKING, asked, context_for, model

pytestmark = pytest.mark.usefixtures("corpus")
SETTING = {"weights": "abc", "format": 1}


class Counting:
    """An adapter that counts its calls, and is interrupted before call `last` + 1."""

    def __init__(self, adapter: Any, last: int = 1000) -> None:
        self.adapter, self.last, self.calls = adapter, last, 0
        self.eval, self.train = adapter.eval, adapter.train

    def _call(self) -> None:
        if self.calls == self.last:
            raise KeyboardInterrupt
        self.calls += 1

    def predict(self, *arguments: Any) -> Any:
        self._call()
        return self.adapter.predict(*arguments)

    def decoder(self, *arguments: Any) -> Any:
        self._call()
        return self.adapter.decoder(*arguments)


def trained(folder: Path, weights: str = "a" * 64, **changes: Any) -> EvalContext:
    return replace(context_for("ebt_text", folder, **changes), weights=weights)


def counting(context: EvalContext, last: int = 1000) -> tuple[EvalContext, Counting]:
    adapter: Any = Counting(context.adapter, last)
    return replace(context, adapter=adapter), adapter


def test_a_model_is_asked_once(tmp_path: Path) -> None:
    context, calls = counting(trained(tmp_path))
    prompts = asked(("energy", STOP))
    first = model(context).loglikelihood(asked(*PAIRS)), model(context).generate_until(prompts)
    before = calls.calls
    assert before > 1
    lm = model(context)
    assert (lm.loglikelihood(asked(*PAIRS)), lm.generate_until(prompts)) == first
    assert calls.calls == before


def test_without_weights_nothing_is_kept(tmp_path: Path) -> None:
    lm = model(context_for("ebt_text", tmp_path))
    assert lm.responses is None
    lm.loglikelihood(asked(*PAIRS))
    assert not (tmp_path / FOLDER).exists()


def test_other_weights_never_get_the_same_answers(tmp_path: Path) -> None:
    """lm-eval's own cache has no model in its key: a second model gets the answers of the first."""
    contexts = [trained(tmp_path, weights, seed=seed) for seed, weights in enumerate("ab")]
    alone = [model(replace(c, weights=None)).loglikelihood(asked(*PAIRS)) for c in contexts]
    assert alone[0] != alone[1]
    for _ in range(2):  # first asked, then from disk
        assert [model(c).loglikelihood(asked(*PAIRS)) for c in contexts] == alone


def test_everything_that_an_answer_depends_on_is_in_the_name(tmp_path: Path) -> None:
    context = trained(tmp_path)

    def path(context: EvalContext = context, **changes: Any) -> Path:
        given: dict[str, Any] = {"thinking": Descent(steps=2), "noise_seed": 0, "tokenizer": "x"}
        found = responses_of(context, **(given | changes))
        assert found is not None
        return found.path

    others = [
        path(),
        path(trained(tmp_path, "b" * 64)),
        path(trained(tmp_path, task={"context": 41})),
        path(trained(tmp_path, precision="bf16")),
        path(thinking=Descent(steps=3)),
        path(thinking=Descent(steps=2, noise="none")),
        path(thinking=Single()),
        path(noise_seed=1),
        path(tokenizer="y"),
    ]
    assert len(set(others)) == len(others)
    assert path() == others[0]


def test_an_evaluation_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    context, calls = counting(trained(tmp_path), last=4)
    with pytest.raises(KeyboardInterrupt):
        AdapterLM(context, THINKING["ebt_text"], batch_size=1).loglikelihood(asked(*PAIRS))

    resumed, again = counting(trained(tmp_path))
    found = AdapterLM(resumed, THINKING["ebt_text"], batch_size=1).loglikelihood(asked(*PAIRS))
    assert calls.calls == 4
    whole, once = counting(replace(trained(tmp_path), weights=None))
    assert found == AdapterLM(whole, THINKING["ebt_text"], batch_size=1).loglikelihood(
        asked(*PAIRS)
    )
    assert again.calls == once.calls - 4


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    Responses(tmp_path, SETTING).add({"one": [1.5, True], "two": [2.5, False]})
    kept = Responses(tmp_path, SETTING)
    kept.path.write_bytes(kept.path.read_bytes()[:-4])
    again = Responses(tmp_path, SETTING)
    assert (again.get("one"), again.get("two")) == ([1.5, True], None)
    again.add({"two": [2.5, False]})
    assert len(Responses(tmp_path, SETTING)) == 2


def test_a_line_torn_by_a_killed_process_costs_no_other_answer(tmp_path: Path) -> None:
    """One process is killed while it writes; another, which had opened the file before, goes on."""
    Responses(tmp_path, SETTING).add({"one": [1.5, True]})
    other = Responses(tmp_path, SETTING)
    with other.path.open("ab") as handle:
        handle.write(b'["torn", [2.5, tr')
    other.add({"two": [2.5, False]})
    again = Responses(tmp_path, SETTING)
    assert [again.get(key) for key in ("one", "torn", "two")] == [[1.5, True], None, [2.5, False]]


@pytest.mark.parametrize(
    "line", [b'["torn", [2.5, tr["two", [3.5, true]]', b'{"no": "answer"}', b"\xff\x00", b""]
)
def test_a_line_that_is_no_answer_is_skipped(line: bytes, tmp_path: Path) -> None:
    Responses(tmp_path, SETTING).add({"one": [1.5, True]})
    path = Responses(tmp_path, SETTING).path
    path.write_bytes(path.read_bytes() + line + b'\n["three", [4.5, true]]\n')
    again = Responses(tmp_path, SETTING)
    assert (len(again), again.get("one"), again.get("three")) == (2, [1.5, True], [4.5, True])


@pytest.mark.parametrize("damage", ["garbage", "other", "empty"])
def test_a_damaged_file_is_told_and_written_anew(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Responses(tmp_path, SETTING).add({"one": [1.5, True]})
    path = Responses(tmp_path, SETTING).path
    content = path.read_bytes()
    damaged = {
        "garbage": b"\x00\xff\x00\n" + content,
        "other": content.replace(b"abc", b"abd"),
        "empty": b"\n",
    }[damage]
    path.write_bytes(damaged)
    again = Responses(tmp_path, SETTING)
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert str(path) in told
    assert "damaged" in told
    again.add({"two": [2.5, True]})
    assert Responses(tmp_path, SETTING).get("two") == [2.5, True]
    assert capsys.readouterr().err == ""


def test_several_write_at_once(tmp_path: Path) -> None:
    def write(writer: int) -> None:
        own = Responses(tmp_path, SETTING)
        for number in range(40):
            own.add({f"{writer} {number}": ["x" * 500, number]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    found = Responses(tmp_path, SETTING)
    assert len(found) == 160
    assert found.get("3 39") == ["x" * 500, 39]
