"""`harness table` and `harness figures` of several suites: files, data, and what a reader sees."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from harness.analysis import spread as spreading
from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.planning.suite import load_suite
from harness.show.figures import write_figures
from harness.show.tables import print_tables
from tests.analysis.records_factory import measured, write_suite

SUITE = """
suite: NAME
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: LR}
      config: {depth: 1, heads: 2}
    adapters:
      transformer++: {adapter: transformer_pp_text}
      ebt: {adapter: ebt_text}
    axes:
      width: {path: config.width, values: WIDTHS}
    seeds: [0, 1]
    evaluations:
      validation: {kind: likelihood, data: builtin/docs}
report:
  - {kind: scaling, title: Sizes, experiment: text, x: parameters, evaluation: validation,
     baseline: transformer++, candidate: ebt, paper: [Fig 5a]}
"""


def losses(run, spec, folder):
    width = run.spec.config["width"]
    exponent = 0.5 if run.adapter_label == "ebt" else 0.4
    loss = 1 + 4 * width**-exponent + 0.003 * run.spec.seed
    cost = {"nfe": 1, "forward": 1, "backward": 0, "flops": 10.0, "seconds": 1e-6}
    return [measured(run, "loss", loss, cost=cost | {"flops_vocabulary": 1.0})]


def suites_in(folder: Path, *, widths: str = "[16, 32, 64, 128]") -> list[Suite]:
    """`one` and `two` with results, `none` without."""
    found = []
    for number, name in enumerate(("one", "none", "two"), start=1):
        path = folder / f"{name}.yaml"
        text = SUITE.replace("NAME", name).replace("WIDTHS", widths)
        path.write_text(text.replace("LR", f"{number}e-3"))
        found.append(load_suite(path))
        if name != "none":
            write_suite(found[-1], folder / "results", losses)
    return found


def tables(suites: list[Suite], folder: Path, *, as_json: bool = False) -> None:
    out = folder / "tables"
    print_tables(suites, folder / "results", lambda s: out / s.name, overview=out, as_json=as_json)


def figures(suites: list[Suite], folder: Path, *, as_json: bool = False) -> None:
    out = folder / "figures"
    write_figures(suites, folder / "results", lambda s: out / s.name, overview=out, as_json=as_json)


def test_what_they_show_together_lies_beside_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables(suites_in(tmp_path), tmp_path)
    out = tmp_path / "tables"
    assert {path.name for path in out.iterdir()} >= {"one", "two", "rates.csv", "costs.tex"}
    assert "none" not in {path.name for path in out.iterdir()}
    assert (out / "one" / "scaling-parameters-rate.md").exists()
    said = capsys.readouterr().out
    assert "none: nothing yet, 16 runs: harness run" in said
    assert said.count("nothing yet") == 1
    assert "Sizes (cf. paper Fig 5a): scaling rate" in said
    assert "[interval]" in said, "brackets are no markup"


def test_a_suite_alone_has_no_tables_over_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, none, _ = suites_in(tmp_path)
    tables([first], tmp_path)
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["one"]
    capsys.readouterr()
    tables([none], tmp_path)
    assert "fewer than two finished points" in capsys.readouterr().out, "all of it is told"


def test_json_is_a_document_each_and_one_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables(suites_in(tmp_path), tmp_path, as_json=True)
    documents = json.loads(capsys.readouterr().out)
    assert [document["suite"] for document in documents] == ["one", "none", "two", None]
    over_all = {table["name"]: table["rows"] for table in documents[-1]["tables"]}
    assert [row["suite"] for row in over_all["rates"]] == ["one", "two"]
    assert len(over_all["costs"]) == 16
    assert documents[1]["notes"], "what is missing of a suite without results"


def test_long_tables_are_cut_on_the_terminal_and_whole_in_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    widths = f"[{', '.join(str(8 * n) for n in range(1, 13))}]"
    tables(suites_in(tmp_path, widths=widths), tmp_path)
    said = capsys.readouterr().out
    out = tmp_path / "tables"
    assert f"… and 23 more rows: {out}/costs.md" in said
    assert len((out / "costs.csv").read_text().splitlines()) == 1 + 48


def test_figures_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures(suites_in(tmp_path), tmp_path, as_json=True)
    said = capsys.readouterr()
    listed = json.loads(said.out)
    assert [(each["suite"], each["figure"]) for each in listed] == [
        ("one", "scaling-parameters"),
        ("two", "scaling-parameters"),
        (None, "rates"),
    ]
    assert all(Path(each[kind]).stat().st_size for each in listed for kind in ("png", "pdf", "csv"))
    assert "none: nothing to draw yet, 16 runs" in said.err
    assert Path(listed[-1]["csv"]) == tmp_path / "figures" / "rates.csv"


def test_one_process_draws_what_several_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suites = suites_in(tmp_path)
    figures(suites, tmp_path)
    together = capsys.readouterr().out
    first = {p.name: p.read_bytes() for p in (tmp_path / "figures").rglob("*.*")}
    monkeypatch.setattr(spreading, "_MOST", 1)
    figures(suites, tmp_path)
    assert capsys.readouterr().out == together
    again = {p.name: p.read_bytes() for p in (tmp_path / "figures").rglob("*.*")}
    assert again == first


def _refuse(number: int) -> int:
    if number == 2:
        raise HarnessError("no such thing", where="here", given="2", allowed=["1"])
    return 10 * number


def test_work_is_spread_in_order_and_mistakes_come_back_whole() -> None:
    before = threading.active_count()
    assert list(spreading.spread(_refuse, [3, 1, 5])) == [30, 10, 50]
    assert threading.active_count() == before, "none is left for the interpreter to end"
    with pytest.raises(HarnessError, match="no such thing") as refused:
        list(spreading.spread(_refuse, [1, 2, 3]))
    assert refused.value.allowed == ("1",)


def _end(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_process_that_was_ended_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    with pytest.raises(HarnessError, match=r"ended unexpectedly\n.*no memory left"):
        list(spreading.spread(_end, [1, 2, 3, 4]))
    assert list(spreading.spread(_refuse, [1, 3])) == [10, 30], "and is not in the way of others"
