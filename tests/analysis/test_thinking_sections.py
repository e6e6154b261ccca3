"""Sections of gain over OOD magnitude, training and ablation, from records worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, expm1, log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from harness.analysis.exhibits.gather import Gathered, gather
from harness.analysis.exhibits.thinking import ThinkingExhibit
from harness.analysis.exhibits.thinking_ablation import ThinkingAblationExhibit
from harness.analysis.exhibits.thinking_scale import ThinkingScaleExhibit
from harness.analysis.exhibits.thinking_shift import ThinkingShiftExhibit
from harness.analysis.figures.cuts import Cut, mark_cuts
from harness.analysis.figures.sections import section_drawings
from harness.analysis.frame import load_frame
from harness.analysis.tables.sections import section_tables
from harness.errors import HarnessError
from harness.planning.planned import PlannedRun, Suite
from harness.planning.spec import thinking_label
from harness.planning.suite import load_suite
from harness.protocol import Descent
from harness.records import Measurement, RunFolder, read_json, write_json
from tests.analysis.records_factory import measured, save_documents, write_suite

SUITE = """
suite: gains
experiments:
  text:
    base:
      task: {{kind: next_token, context: 16}}
      batch_size: 8
      budget: {{steps: 10}}
      optimizer: {{lr: 1e-3}}
      config: {{depth: 1, width: 16, heads: 1}}
    adapters: {adapters}
    axes: {axes}
    seeds: {seeds}
    evaluations:
      loss: {{kind: likelihood, data: builtin/docs}}
      thinking:
        kind: thinking
        data: [{data}]
        thinking: {thinking}
report:
  - {section}
"""
BOTH = "{transformer++: {adapter: transformer_pp_text}, ebt: {adapter: ebt_text}}"
SETS = [
    "builtin/docs", *(f"builtin/docs-typos-{p}" for p in (2, 5, 10, 20, 40)), "builtin/source",
    "builtin/arithmetic", "builtin/dyck",
]  # fmt: skip
GRID = "[{kind: single}, {kind: descent, steps: [2, 4], samples: [1, 3]}]"
SHIFT = "{kind: thinking_shift, experiment: text, evaluation: thinking}"
SCALE = "{kind: thinking_scale, experiment: text, evaluation: thinking, x: data}"
ABLATION = (
    "{kind: thinking_ablation, experiment: text, evaluation: thinking, full: full, "
    "longer: {steps: 4}, verify: {steps: 4, samples: 3}}"
)
DOCUMENTS = 20
TOKENS = np.random.default_rng(0).integers(5, 50, DOCUMENTS)

Losses = Callable[[PlannedRun, str, Any], float]
Tokens = Callable[[PlannedRun], int]


def suite_of(folder: Path, **given: str) -> Suite:
    words = {
        "adapters": BOTH, "axes": "{}", "seeds": "[0, 1, 2]", "data": ", ".join(SETS),
        "thinking": GRID, "section": SHIFT,
    } | given  # fmt: skip
    path = folder / "suite.yaml"
    path.write_text(SUITE.format(**words))
    return load_suite(path)


def write(
    suite: Suite, results: Path, losses: Losses, spread: float = 0.02, tokens: Tokens | None = None
) -> Gathered:
    """Records in which each setting's loss is `losses`, up to documents that scatter around it."""

    def evaluator(run: PlannedRun, spec: Any, folder: Path) -> list[Measurement]:
        if spec.kind != "thinking":
            return [measured(run, "loss", 3.0)]
        trained = run.record.trained_thinking(run.config)
        settings = list(dict.fromkeys([trained, *spec.thinking]))
        rng = np.random.default_rng([run.spec.seed, SETS.index(spec.data)])
        scatter = rng.normal(0, spread, (len(settings), DOCUMENTS))
        scatter -= (scatter @ TOKENS / TOKENS.sum())[:, None]
        sums, found = [], []
        tags = {"data": spec.data, "split": spec.split}
        for index, setting in enumerate(settings):
            loss = losses(run, spec.data, setting)
            sums.append([TOKENS * (loss + scatter[index])])
            nfe = getattr(setting, "steps", 1) * getattr(setting, "samples", 1)
            stops = getattr(setting, "tolerance", None)
            cost = {"nfe": nfe, "flops": 10.0 * nfe, "seconds": 1e-6}
            cost["steps_used"] = 1.0 - np.log10(stops) if stops else None
            own = tags | {"trained": index == 0, **setting.model_dump(mode="json")}
            value = loss if np.isfinite(loss) else None
            found.append(measured(run, "loss", value, n=int(TOKENS.sum()), tags=own, cost=cost))
        save_documents(folder, [thinking_label(s) for s in settings], np.array(sums), TOKENS)
        bigrams = 2.0 + 0.3 * SETS.index(spec.data)
        found.append(measured(run, "bigram_loss", bigrams, noise_seed=None, tags=tags))
        return found

    write_suite(suite, results, evaluator)
    for run in suite.runs if tokens else ():
        path = RunFolder(results, run.run_id).training
        write_json(path, read_json(path) | {"tokens": int(tokens(run))})  # type: ignore[misc]
    (gathered,) = gather(suite, load_frame(suite, results))
    return gathered


def planted(run: PlannedRun, data: str, setting: Any, *, slope: float = 0.02) -> float:
    """Transformer++ loses ln 2 / 2 more nats a set: half a doubling. EBT's own losses differ."""
    place = SETS.index(data)
    if not isinstance(setting, Descent):
        return float(2.0 + 0.5 * np.log(2) * place)
    trained = 3.0 - 0.1 * (place % 3) + 0.05 * run.spec.seed
    if setting.steps == 2 and setting.samples == 1:
        return trained
    return trained * (1 - 0.01 - slope * 0.5 * place * setting.samples / 3)


# --- over OOD magnitude ----------------------------------------------------------------------


def test_gain_over_magnitude_has_the_planted_slope(tmp_path: Path) -> None:
    exhibit = write(suite_of(tmp_path), tmp_path, planted).exhibit
    assert isinstance(exhibit, ThinkingShiftExhibit)
    ratios = {s.data: s.perplexity_ratio for s in exhibit.shifts}
    assert ratios == pytest.approx({data: 2 ** (i / 2) for i, data in enumerate(SETS)})
    trends = {(t.of.setting, t.measure, t.magnitude): t.trend for t in exhibit.trends}
    assert {s for s, *_ in trends} == {"2x3", "4x1", "4x3"}
    found = trends["4x3", "loss", "perplexity_ratio"]
    assert found.slope == pytest.approx(0.02)
    assert found.interval is not None
    assert found.interval[0] < 0.02 < found.interval[1]
    assert found.interval[1] - found.interval[0] < 0.01
    assert (found.ranks.rho, found.ranks.points) == (pytest.approx(1), 9)
    assert found.ranks.p == pytest.approx(2 / 362880)
    assert found.reading == "grows"
    # A set is half a doubling, and 0.3 nats of bigrams.
    assert trends["4x3", "loss", "bigram_loss"].slope == pytest.approx(0.02 * 0.5 / 0.3)
    own = {r.data: r.perplexity_gain for r in exhibit.rows if r.setting == "4x3"}
    truth = np.polyfit([i / 2 for i in range(9)], [own[data] for data in SETS], 1)[0]
    assert trends["4x3", "perplexity", "perplexity_ratio"].slope == pytest.approx(truth)
    down = write(suite_of(tmp_path), tmp_path / "down", lambda *a: planted(*a, slope=-0.02)).exhibit
    assert isinstance(down, ThinkingShiftExhibit)
    assert {t.trend.reading for t in down.trends if t.of.setting == "4x3"} == {"shrinks"}


def test_magnitude_is_never_taken_from_a_model_that_thinks(tmp_path: Path) -> None:
    alone = "{ebt: {adapter: ebt_text}}"
    gathered = write(suite_of(tmp_path, adapters=alone), tmp_path, planted)
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ThinkingShiftExhibit)
    assert {s.perplexity_ratio for s in exhibit.shifts} == {None}
    assert {t.magnitude for t in exhibit.trends} == {"bigram_loss"}
    notes = " ".join(section_tables(gathered)[0].notes)
    assert "never taken from a model whose gain is shown" in notes
    assert "the perplexity ratio is" not in notes

    def louder(run: PlannedRun, data: str, setting: Any) -> float:
        return planted(run, data, setting) * (1 if not isinstance(setting, Descent) else 1.7)

    both = [write(suite_of(tmp_path), tmp_path / n, f) for n, f in (("a", planted), ("b", louder))]
    magnitudes = [[s.perplexity_ratio for s in g.exhibit.shifts] for g in both]  # type: ignore[union-attr]
    assert magnitudes[0] == magnitudes[1]
    assert "the perplexity ratio is transformer++'s" in section_tables(both[0])[0].notes[0]


def test_magnitudes_are_those_of_one_model_which_is_named(tmp_path: Path) -> None:
    """Of two budgets of equally large models, the longer trained one's alone."""

    def by_budget(run: PlannedRun, data: str, setting: Any) -> float:
        loss = planted(run, data, setting)
        short = run.labels["tokens"] == "1280"
        return loss * 3 if short and not isinstance(setting, Descent) else loss

    axes = "{tokens: {path: budget.tokens, values: [1280, 2560]}}"
    suite = suite_of(tmp_path, axes=axes)
    gathered = write(suite, tmp_path, by_budget, tokens=lambda run: run.spec.budget.tokens or 0)
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ThinkingShiftExhibit)
    ratios = {s.data: s.perplexity_ratio for s in exhibit.shifts}
    assert ratios == pytest.approx({data: 2 ** (i / 2) for i, data in enumerate(SETS)})
    assert exhibit.measured_by == "transformer++ 2560"
    assert "the perplexity ratio is transformer++ 2560's" in section_tables(gathered)[0].notes[0]


@pytest.mark.parametrize(
    ("lost", "section"),
    [(float("inf"), SHIFT), (float("nan"), SHIFT.replace("thinking_shift", "thinking"))],
)
def test_a_loss_that_is_not_finite_is_missing_and_named(
    lost: float, section: str, tmp_path: Path
) -> None:
    def diverging(run: PlannedRun, data: str, setting: Any) -> float:
        gone = data == "builtin/dyck" and run.spec.seed == 1
        thinks = getattr(setting, "samples", 3) == 3
        return lost if gone and thinks else planted(run, data, setting)

    gathered = write(suite_of(tmp_path, section=section), tmp_path, diverging)
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ThinkingShiftExhibit | ThinkingExhibit)
    on_dyck = {r.setting for r in exhibit.rows if r.data == "builtin/dyck"}
    assert on_dyck - {"2x1"} == {"4x1"}
    assert [s.perplexity_ratio for s in exhibit.shifts].count(None) == 1
    tables = section_tables(gathered)
    notes = " ".join(note for table in tables for note in table.notes)
    assert "No row, since a loss is not finite: transformer++, single on builtin/dyck" in notes
    assert "ebt, 4x3 on builtin/dyck" in notes
    assert "nan" not in notes + str([table.rows for table in tables])
    assert section_drawings(gathered)
    if isinstance(exhibit, ThinkingShiftExhibit):
        points = {(t.of.setting, t.magnitude): t.trend.points for t in exhibit.trends}
        assert (points["4x3", "bigram_loss"], points["4x1", "bigram_loss"]) == (8, 9)


def test_too_few_sets_give_no_verdict(tmp_path: Path) -> None:
    gathered = write(suite_of(tmp_path, data=", ".join(SETS[:7])), tmp_path, planted)
    trends = gathered.exhibit.trends  # type: ignore[union-attr]
    assert {(t.trend.reading, t.trend.reason) for t in trends} == {
        ("descriptive", "7 sets, 8 needed")
    }
    table = section_tables(gathered)[0]
    assert "Descriptive, no verdict: 7 sets, 8 needed." in table.notes
    assert not any(cell.bold for row in table.rows for cell in row)


def test_a_set_of_few_documents_is_named_where_there_is_no_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.analysis.test_thinking_sections.DOCUMENTS", 9)
    monkeypatch.setattr("tests.analysis.test_thinking_sections.TOKENS", TOKENS[:9])
    gathered = write(suite_of(tmp_path), tmp_path, planted)
    (first, *_) = gathered.exhibit.trends  # type: ignore[union-attr]
    assert (first.trend.interval, first.trend.reading) == (None, "undecided")
    reason = "no interval of the slope: fewer than 10 documents of builtin/docs, "
    assert first.trend.reason.startswith(reason)
    assert reason in section_tables(gathered)[0].notes[1]


def test_what_is_followed_is_what_is_said(tmp_path: Path) -> None:
    named = SHIFT.removesuffix("}") + ", thinking: [{kind: descent, steps: 4, samples: [1, 3]}]}"
    for section, settings, drawn in ((SHIFT, 3, ["4x3"]), (named, 2, ["4x1", "4x3"])):
        folder = tmp_path / str(settings)
        folder.mkdir()
        gathered = write(suite_of(folder, section=section), folder, planted)
        exhibit = gathered.exhibit
        assert isinstance(exhibit, ThinkingShiftExhibit)
        assert [r.setting for r in exhibit.drawn()] == drawn
        trends, gains = section_tables(gathered)
        assert len(trends.rows) == settings * 2 * 2
        assert len(gains.rows) == len(drawn) * 9
        assert len(gains.data) == settings * 9
        (drawing,) = section_drawings(gathered)
        parts = [row["part"] for row in drawing.data]
        assert (parts.count("gain"), parts.count("trend")) == (settings * 9, settings * 4)
        row = next(r for r in drawing.data if r["part"] == "gain")
        for key in ("nfe", "flops", "seconds", "n", "documents", "seeds", "gain_low", "gain_high"):
            assert row[key] is not None


# --- along training --------------------------------------------------------------------------


def test_gain_along_training_is_per_doubling(tmp_path: Path) -> None:
    tokens = [1280, 2560, 5120, 10240, 20480]

    def growing(run: PlannedRun, data: str, setting: Any) -> float:
        assert run.spec.budget.tokens is not None
        trained = 3.0 + 0.02 * run.spec.seed
        gain = 0.01 + 0.005 * log2(run.spec.budget.tokens / 1280)
        return trained if (setting.steps, setting.samples) == (2, 1) else trained * (1 - gain)

    given = {
        "adapters": "{ebt: {adapter: ebt_text}}", "section": SCALE, "seeds": "[0, 1, 2]",
        "data": "builtin/docs, builtin/dyck",
    }  # fmt: skip
    axes = f"{{tokens: {{path: budget.tokens, values: {tokens}}}}}"
    gathered = write(suite_of(tmp_path, axes=axes, **given), tmp_path, growing)
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ThinkingScaleExhibit)
    assert sorted({p.x for p in exhibit.points}) == tokens
    for found in exhibit.trends:
        if found.measure == "loss":
            assert found.trend.slope == pytest.approx(0.005)
            assert found.trend.reading == "grows"
            assert found.trend.ranks.p == pytest.approx(2 / 120)
    assert "a run of its own with its own complete schedule" in section_tables(gathered)[0].notes[1]
    (drawing,) = section_drawings(gathered)
    assert len([r for r in drawing.data if r["part"] == "gain"]) == 3 * 2 * 5
    only = f", only: {{tokens: {tokens[:3]}}}}}"
    part = SCALE.removesuffix("}") + only
    (tmp_path / "part").mkdir()
    held = suite_of(tmp_path / "part", axes=axes, **(given | {"section": part}))
    kept = gather(held, load_frame(held, tmp_path / "nothing"))[0].missing
    assert (kept.count, kept.planned) == (3 * 3 * 2, 3 * 3 * 2)
    few = f"{{tokens: {{path: budget.tokens, values: {tokens[:3]}}}}}"
    (tmp_path / "few").mkdir()
    short = write(suite_of(tmp_path / "few", axes=few, **given), tmp_path / "few", growing).exhibit
    assert isinstance(short, ThinkingScaleExhibit)
    assert {t.trend.reason for t in short.trends} == {"3 points, 5 needed"}


# --- ablation --------------------------------------------------------------------------------

ABLATED = "{less: {adapter: ebt_text, config: {width: 32}}, full: {adapter: ebt_text}}"


def ablated(run: PlannedRun, data: str, setting: Any) -> float:
    """Full gains 0.2 nats, by any seed; less 0.1, all of 2 + seed nats."""
    trained = 2.0 + run.spec.seed
    if (setting.steps, setting.samples) == (2, 1):
        return trained
    return trained - (0.2 if run.adapter_label == "full" else 0.1)


def test_an_ablation_is_paired_with_the_full_model(tmp_path: Path) -> None:
    given = {"adapters": ABLATED, "section": ABLATION, "data": "builtin/docs, builtin/dyck"}
    given["seeds"] = "[0, 1]"
    gathered = write(suite_of(tmp_path, **given), tmp_path, ablated, spread=0.0)
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ThinkingAblationExhibit)
    assert [(r.data, r.adapter, r.full) for r in exhibit.rows] == [
        ("builtin/docs", "full", True), ("builtin/docs", "less", False),
        ("builtin/dyck", "full", True), ("builtin/dyck", "less", False),
    ]  # fmt: skip
    full, less = exhibit.rows[:2]
    assert full.differences == {"longer": None, "verify": None}
    difference = less.differences["longer"]
    assert difference is not None
    assert difference.perplexity == pytest.approx(-expm1(-0.1) + expm1(-0.2))
    # Seeds differ by a nat, and every one of them has the same difference of perplexity gains.
    assert difference.perplexity_interval == pytest.approx((difference.perplexity,) * 2)
    assert difference.loss == pytest.approx(0.1 / 2.5 - 0.2 / 2.5)
    # Two seeds a nat apart are stretched below no loss at all, over which nothing is a gain.
    assert difference.loss_interval is None
    assert (difference.seeds, difference.excludes_zero) == (2, True)
    table = section_tables(gathered)[0]
    assert "bold where the interval excludes 0: 4 of 4" in " ".join(table.notes)
    row = next(r for r in table.data if r["model"] == "less" and r["way"] == "verify")
    assert row["paired_seeds"] == 2
    assert row["perplexity_gain"] == pytest.approx(1 - exp(-0.1))
    (drawing,) = section_drawings(gathered)
    assert len(drawing.data) == 2 * 2 * 2


def test_gains_of_a_few_seeds_have_students_interval(tmp_path: Path) -> None:
    """Two seeds that gain 0.05 and 0.15 nats do not show that seeds gain: t says so."""

    def seeds_apart(run: PlannedRun, data: str, setting: Any) -> float:
        thinks = (setting.steps, setting.samples) != (2, 1)
        gain = 0.05 + 0.1 * run.spec.seed if run.adapter_label == "less" else 0.3
        return 2.0 - gain * thinks

    given = {"adapters": ABLATED, "section": ABLATION, "data": "builtin/docs", "seeds": "[0, 1]"}
    gathered = write(suite_of(tmp_path, **given), tmp_path, seeds_apart, spread=0.0)
    full, less = gathered.exhibit.rows  # type: ignore[union-attr]
    assert full.ways["longer"].gain_interval == pytest.approx((0.15, 0.15))
    half = 0.05 * stats.t.ppf(0.975, 1) / stats.norm.ppf(0.975) * 2**0.5
    for interval, middle in (
        (less.ways["longer"].gain_interval, 0.1),
        (less.differences["longer"].loss_interval, 0.1 - 0.3),
    ):
        assert interval == pytest.approx(((middle - half) / 2, (middle + half) / 2))
    assert less.ways["longer"].perplexity_interval[0] < 0
    assert not less.differences["longer"].excludes_zero
    assert "2 training seeds (deviations stretched to Student's t), then documents" in " ".join(
        section_tables(gathered)[0].notes
    )


def test_a_difference_that_is_chance_is_not_bold(tmp_path: Path) -> None:
    def same(run: PlannedRun, data: str, setting: Any) -> float:
        return 2.0 if (setting.steps, setting.samples) == (2, 1) else 1.9

    def scattered(run: PlannedRun, data: str, setting: Any) -> float:
        return same(run, data, setting) + 0.05 * (run.spec.seed - 0.5) * (setting.steps - 2) * (
            1 if run.adapter_label == "full" else -1
        )

    given = {"adapters": ABLATED, "section": ABLATION, "data": "builtin/docs"}
    gathered = write(suite_of(tmp_path, **given), tmp_path, scattered)
    (_, less) = gathered.exhibit.rows  # type: ignore[union-attr]
    assert not less.differences["longer"].excludes_zero
    assert not any(cell.bold for row in section_tables(gathered)[0].rows for cell in row)


def test_other_documents_than_the_full_models_are_an_error(tmp_path: Path) -> None:
    given = {"adapters": ABLATED, "section": ABLATION, "data": "builtin/docs"}
    suite = suite_of(tmp_path, **given)
    write(suite, tmp_path, ablated)
    for run in suite.runs:
        if run.adapter_label == "less":
            (path,) = (tmp_path / "runs" / run.run_id).glob("evals/*/by_document.npz")
            with np.load(path) as stored:
                kept = {k: stored[k] for k in stored.files}
            np.savez(path, **(kept | {"n": kept["n"] + 1}))
    with pytest.raises(HarnessError, match="evaluated on different documents"):
        gather(suite, load_frame(suite, tmp_path))


# --- stopping --------------------------------------------------------------------------------


def test_settings_that_differ_in_tolerance_are_one_line(tmp_path: Path) -> None:
    grid = "[{kind: descent, steps: [2, 12]}, {kind: descent, steps: 12, tolerance: [0.1, 0.01]}]"
    given = {
        "adapters": "{ebt: {adapter: ebt_text}}", "data": "builtin/docs", "thinking": grid,
        "section": "{kind: thinking, experiment: text, evaluation: thinking}",
    }  # fmt: skip

    def stopping(run: PlannedRun, data: str, setting: Any) -> float:
        return 2.0 - 0.1 * (setting.steps > 2) - 0.01 * (setting.tolerance == 0.1)

    gathered = write(suite_of(tmp_path, **given), tmp_path, stopping)
    assert isinstance(gathered.exhibit, ThinkingExhibit)
    used = {r.setting: r.steps_used for r in gathered.exhibit.rows}
    assert used == {
        "2x1": None, "12x1": None, "12x1 tolerance 0.1": 2.0, "12x1 tolerance 0.01": 3.0,
    }  # fmt: skip
    gains, stops = section_drawings(gathered)
    assert stops.name == "thinking-stopping"
    drawn = [line for line in stops.figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert [2.0, 3.0] in [list(line.get_xdata()) for line in drawn]
    assert [2.0, 12.0] in [list(line.get_xdata()) for line in drawn]
    rows = {r["setting"]: (r["adaptive"], r["mean_steps"]) for r in stops.data}
    assert rows["12x1 tolerance 0.01"] == (True, 3.0)
    assert rows["12x1"] == (False, 12.0)
    labels = [t.get_text() for legend in gains.figure.legends for t in legend.get_texts()]
    assert "ebt stopping within 12 steps, 1 sample" in labels
    table = section_tables(gathered)[0]
    place = list(table.header).index("steps used")
    assert {row[2].text: row[place].text for row in table.rows}["12 × 1 tolerance 0.1"] == "2.00"


# --- what is cut off -------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 4])
def test_labels_of_what_is_cut_off_never_overlap(columns: int) -> None:
    figure = Figure(figsize=(6.9, 2))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0][0]
    axes.set_xscale("log")
    axes.set_xlim(0.8, 80)
    axes.set_ylim(-20, 5)
    places = [1, 1, 1.02, 2, 3, 3, 5, 6, 10, 15, 30, 60]
    cuts = [Cut(x, -20.0 - 13 * i**2, f"#0000{i:02x}") for i, x in enumerate(places)]
    mark_cuts(axes, cuts, -18)
    figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in axes.texts]
    assert len(boxes) >= (3 if columns == 1 else 1)
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
    inside = axes.get_window_extent()
    assert all(inside.x0 - 1 <= b.x0 and b.x1 <= inside.x1 + 1 for b in boxes)
    said = " ".join(t.get_text() for t in axes.texts)
    assert "−20" in said
    assert f"−{20 + 13 * 121}" in said


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "where", "problem"),
    [
        (ABLATION.replace("full: full", "full: ful"), "report[0].full", "did you mean 'full'"),
        (ABLATION.replace("{steps: 4}", "{steps: 5}"), "report[0].longer", "5x1"),
        (ABLATION.replace("{steps: 4, s", "{steps: 4.5, s"), "report[0].verify.steps", "number"),
        (
            ABLATION.replace("evaluation: thinking", "evaluation: loss"),
            "evaluation",
            "of kind thinking",
        ),
        (
            SHIFT.removesuffix("}") + ", thinking: [{kind: descent, steps: [2, 9]}]}",
            "report[0].thinking[0]",
            "9x1",
        ),
        (SHIFT.removesuffix("}") + ", thinking: []}", "report[0].thinking", "must not be empty"),
        (SHIFT.removesuffix("}") + ", thinking: [{kind: descent, stps: 2}]}", "stps", "steps"),
        (SCALE.replace("x: data", "x: tokens"), "report[0].x", "data"),
        (SCALE.replace("x: data", "x: depth"), "report[0].x", "varies more than the section's x"),
    ],
)
def test_mistakes_are_located(section: str, where: str, problem: str, tmp_path: Path) -> None:
    axes = "{tokens: {path: budget.tokens, values: [1e4, 2e4]}}"
    with pytest.raises(HarnessError) as caught:
        suite_of(tmp_path, adapters=ABLATED, section=section, axes=axes)
    message = str(caught.value)
    assert where in message
    assert problem in message
    assert "suite.yaml" in message


@pytest.mark.parametrize("section", [SHIFT, SCALE, ABLATION])
def test_nothing_recorded_draws_nothing(section: str, tmp_path: Path) -> None:
    adapters = ABLATED if section is ABLATION else BOTH
    suite = suite_of(tmp_path, section=section, adapters=adapters)
    (gathered,) = gather(suite, load_frame(suite, tmp_path))
    assert section_drawings(gathered) == []
    assert not any(table.rows for table in section_tables(gathered))
