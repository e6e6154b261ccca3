"""Tuning sections against planted losses: optimum, edge, divergence, missing, unequal budgets."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from harness.analysis.exhibits.gather import gather
from harness.analysis.exhibits.tuning import TuningExhibit, chosen_rates
from harness.analysis.figures.page import write_figure
from harness.analysis.figures.sections import section_drawings
from harness.analysis.frame import load_frame
from harness.analysis.tables.sections import section_tables
from harness.analysis.tables.table import Table
from harness.analysis.tables.tuning import rate_text
from harness.errors import HarnessError
from harness.planning.planned import Suite
from harness.planning.suite import load_suite
from harness.records import RunFolder
from tests.analysis.records_factory import measured, write_run

SUITE = """
suite: tuning
experiments:
  text:
    base:
      task: {kind: next_token, context: 16}
      batch_size: 8
      budget: {steps: 10}
    adapters:
      transformer++: {adapter: transformer_pp_text}
      ebt: {adapter: ebt_text, EBT}
    axes:
      size:
        - {label: small, config: {depth: 1, width: 16, heads: 1}}
        - {label: large, config: {depth: 1, width: 32, heads: 1}}
      lr: {path: optimizer.lr, values: [8e-3, 1e-3, 2e-3, 4e-3]}
    seeds: [0, 1]
    evaluations:
      validation: {kind: likelihood, data: builtin/docs, noise_seeds: [0, 1]}
report:
  - {kind: tuning, experiment: text, evaluation: validation, over: OVER}
"""
#: (adapter, size) -> the mean loss at 1e-3, 2e-3, 4e-3, 8e-3.
LOSSES = {
    ("transformer++", "small"): (3.0, 2.5, 2.6, 2.9),
    ("transformer++", "large"): (2.8, 2.4, 2.2, 2.1),
    ("ebt", "small"): (3.2, 2.9, 2.7, 2.8),
    ("ebt", "large"): (2.2, 2.3, 2.5, 2.9),
}
RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def suite_of(folder: Path, *, ebt: str = "config: {}", over: str = "lr") -> Suite:
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("EBT", ebt).replace("OVER", over))
    return load_suite(path)


def losses(run, spec, folder):
    """The planted mean ± 0.01 by seed ± 0.002 by noise."""
    mean = LOSSES[run.adapter_label, run.labels["size"]][RATES.index(run.spec.optimizer.lr)]
    value = mean + (0.01 if run.spec.seed else -0.01)
    return [
        measured(run, "loss", value + shift, noise_seed=noise)
        for noise, shift in ((0, 0.002), (1, -0.002))
    ]


def gathered_of(suite: Suite, results: Path):
    (gathered,) = gather(suite, load_frame(suite, results))
    assert isinstance(gathered.exhibit, TuningExhibit)
    return gathered


def write(suite: Suite, results: Path, *, but=lambda run: False) -> None:
    for run in suite.runs:
        if not but(run):
            write_run(run, results, losses)


def is_at(run, adapter: str, size: str, lr: float, seed: int | None = None) -> bool:
    same = (run.adapter_label, run.labels["size"], run.spec.optimizer.lr) == (adapter, size, lr)
    return same and seed in (None, run.spec.seed)


def row(table: Table, model: str, size: str) -> dict[str, str]:
    cells = next(r for r in table.rows if (r[0].text, r[1].text) == (model, size))
    return dict(zip(table.header, (cell.text for cell in cells), strict=True))


def read(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.csv())))


def test_the_planted_optimum_is_chosen_and_edges_are_told(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    write(suite, tmp_path / "results")
    gathered = gathered_of(suite, tmp_path / "results")
    assert chosen_rates(gathered.exhibit) == {
        ("transformer++", (("size", "small"),)): 2e-3,
        ("transformer++", (("size", "large"),)): 8e-3,
        ("ebt", (("size", "small"),)): 4e-3,
        ("ebt", (("size", "large"),)): 1e-3,
    }
    table = section_tables(gathered)[0]
    # Columns are in the order of the rates, not of the file.
    assert table.header[2:6] == ("0.001", "0.002", "0.004", "0.008")
    small = row(table, "transformer++", "small")
    assert (small["chosen"], small["at the edge"]) == ("2e-3", "no")
    assert small["rise to neighbors"] == "+0.500 / +0.100"
    assert small["spread"] == "0.500"
    assert row(table, "transformer++", "large")["at the edge"] == "yes: highest"
    assert row(table, "transformer++", "large")["rise to neighbors"] == "+0.100 / –"
    assert row(table, "ebt", "large")["at the edge"] == "yes: lowest"
    ends = [note for note in table.notes if "may lie beyond" in note]
    assert [note.rpartition(": ")[2] for note in ends] == ["ebt large.", "transformer++ large."]
    bold = [cell.text for cell in table.rows[0] if cell.bold]
    assert bold == [small["0.002"]]
    assert small["0.002"].startswith("2.500 ± ")


def test_the_csv_has_every_trial_in_full(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    write(suite, tmp_path / "results")
    data = read(section_tables(gathered_of(suite, tmp_path / "results"))[0])
    assert len(data) == 16
    first = data[0]
    assert (first["model"], first["size"], first["lr"]) == ("transformer++", "small", "0.001")
    assert float(first["loss"]) == pytest.approx(3.0)
    # 95 % t interval of two seeds 0.02 apart: 12.706 * sqrt(2) * 0.01 / sqrt(2).
    assert float(first["loss_high"]) - float(first["loss"]) == pytest.approx(0.12706, rel=1e-4)
    assert [d["lr"] for d in data if d["chosen"] == "True"] == ["0.002", "0.008", "0.004", "0.001"]


def test_a_diverged_rate_is_listed_and_cannot_be_chosen(tmp_path: Path) -> None:
    """One seed of the best rate ends without a finite loss: the other does not stand for both."""
    suite, results = suite_of(tmp_path), tmp_path / "results"

    def gone(run) -> bool:
        return is_at(run, "transformer++", "large", 8e-3, seed=1)

    write(suite, results, but=gone)
    run = next(run for run in suite.runs if gone(run))
    RunFolder(results, run.run_id).set_status("failed", "not finite: the loss at step 7")
    gathered = gathered_of(suite, results)
    grid = gathered.exhibit.grids[1]
    assert grid.trials[-1].diverged == (1,)
    assert chosen_rates(gathered.exhibit)["transformer++", (("size", "large"),)] == 4e-3
    table = section_tables(gathered)[0]
    large = row(table, "transformer++", "large")
    assert large["0.008"] == "diverged 1 of 2"
    # The grid went beyond the chosen rate, so its edge is not the grid's.
    assert large["at the edge"] == "no"
    assert large["rise to neighbors"] == "+0.200 / –"
    assert "1 run ended in a loss that is not finite." in table.notes


def test_a_run_that_failed_for_another_reason_is_missing(tmp_path: Path) -> None:
    suite, results = suite_of(tmp_path), tmp_path / "results"
    write(suite, results, but=lambda run: is_at(run, "ebt", "small", 1e-3))
    for run in suite.runs:
        if is_at(run, "ebt", "small", 1e-3):
            RunFolder(results, run.run_id).set_status("failed", "out of memory")
    gathered = gathered_of(suite, results)
    shown = row(section_tables(gathered)[0], "ebt", "small")
    assert (shown["0.001"], shown["chosen"]) == ("missing", "4e-3 so far")
    assert ("ebt", (("size", "small"),)) not in chosen_rates(gathered.exhibit)
    assert len(chosen_rates(gathered.exhibit)) == 3


def test_an_evaluation_without_a_finite_loss_is_a_divergence(tmp_path: Path) -> None:
    suite, results = suite_of(tmp_path), tmp_path / "results"

    def lost(run, spec, folder):
        if is_at(run, "ebt", "large", 1e-3):
            return [measured(run, "loss", None)]
        return losses(run, spec, folder)

    for run in suite.runs:
        write_run(run, results, lost)
    gathered = gathered_of(suite, results)
    assert row(section_tables(gathered)[0], "ebt", "large")["0.001"] == "diverged"
    assert chosen_rates(gathered.exhibit)["ebt", (("size", "large"),)] == 2e-3


def test_without_any_loss_nothing_is_chosen(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    gathered = gathered_of(suite, tmp_path / "results")
    assert chosen_rates(gathered.exhibit) == {}
    assert [table.rows for table in section_tables(gathered)] == [[]]
    assert section_drawings(gathered) == []


def test_equal_tokens_are_not_equal_flops(tmp_path: Path) -> None:
    suite = suite_of(tmp_path)
    write(suite, tmp_path / "results")
    gathered = gathered_of(suite, tmp_path / "results")
    losses_table, budgets = section_tables(gathered)
    assert budgets.name == "tuning-budgets"
    assert {r["differs_in"] for r in read(budgets)} == {"FLOPs"}
    assert any("equal trials and tokens, FLOPs differ everywhere" in n for n in losses_table.notes)
    by_model = {(r["model"], r["size"]): r for r in read(budgets)}
    run = next(r for r in suite.runs if is_at(r, "ebt", "large", 1e-3))
    per_row = run.record.training_flops(run.config, run.shape).total
    assert float(by_model["ebt", "large"]["flops"]) == pytest.approx(10 * 8 * per_row)
    assert float(by_model["ebt", "large"]["all_flops"]) == pytest.approx(8 * 10 * 8 * per_row)
    assert by_model["ebt", "large"]["tokens"] == str(10 * 8 * 16)


def test_a_model_that_was_given_more_is_told(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, ebt="budget: {steps: 30}")
    write(suite, tmp_path / "results")
    losses_table, budgets = section_tables(gathered_of(suite, tmp_path / "results"))
    assert {r["differs_in"] for r in read(budgets)} == {"tokens, FLOPs"}
    assert any("equal trials, tokens, FLOPs differ everywhere" in n for n in losses_table.notes)


def test_the_figure_draws_every_rate_and_marks_the_chosen(tmp_path: Path) -> None:
    suite, results = suite_of(tmp_path), tmp_path / "results"
    write(suite, results, but=lambda run: is_at(run, "ebt", "small", 8e-3))
    (drawing,) = section_drawings(gathered_of(suite, results))
    panels = [axes for axes in drawing.figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["size small", "size large"]
    assert all(axes.get_xscale() == "log" for axes in panels)
    data = [dict(d) for d in drawing.data]
    assert len(data) == 16
    (gone,) = [d for d in data if d["loss"] is None]
    assert (gone["model"], gone["missing"]) == ("ebt", 2)
    rings = [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in panels[1].lines
        if line.get_markerfacecolor() == "none"
    ]
    assert rings == [(8e-3, pytest.approx(2.1)), (1e-3, pytest.approx(2.2))]
    written = write_figure(drawing, tmp_path / "out")
    assert written.png.name == "tuning.png"


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("rate", "has no such axis"),
        (
            "size",
            r"does not change the learning rate of transformer\+\+ .*0\.008 at small and at large",
        ),
    ],
)
def test_what_is_tried_must_be_an_axis_of_learning_rates(
    tmp_path: Path, over: str, said: str
) -> None:
    with pytest.raises(HarnessError, match=said) as refused:
        suite_of(tmp_path, over=over)
    assert "report[0].over" in str(refused.value)


def test_the_nearest_axis_is_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="did you mean 'lr'"):
        suite_of(tmp_path, over="lrs")


@pytest.mark.parametrize(
    ("lr", "text"), [(2e-3, "2e-3"), (1.6e-2, "1.6e-2"), (0.5, "0.5"), (1e-5, "1e-5"), (0.1, "0.1")]
)
def test_rates_are_written_short(lr: float, text: str) -> None:
    assert rate_text(lr) == text
