"""The paper's gains, scores and images beside ours, from records known by construction."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.exhibits.gather import Gathered
from harness.analysis.exhibits.thinking import ThinkingExhibit
from harness.analysis.exhibits.thinking_ablation import ThinkingAblationExhibit
from harness.analysis.exhibits.thinking_shift import ThinkingShiftExhibit
from harness.analysis.paper.gains import ablation_rows, lacking, thinking_rows
from harness.analysis.paper.images import denoising_rows, papers_settings
from harness.analysis.paper.rates import next_frame_rows
from harness.analysis.paper.scores import downstream_rows, probe_rows, uncertainty_rows
from harness.analysis.paper.tables import paper_tables, paper_words
from harness.analysis.paper.trends import scale_rows, shift_rows
from harness.planning.planned import PlannedRun
from harness.protocol import Descent, Diffusion
from tests.analysis import denoising_factory, downstream_factory, drawn, frames_factory
from tests.analysis import test_probe as probes
from tests.analysis import test_thinking_sections as thoughts
from tests.analysis import test_uncertainty as energies
from tests.analysis.paper_rows import PAPER, of
from tests.analysis.records_factory import write_suite

# --- thinking ----------------------------------------------------------------------------------


def test_gains_are_those_of_the_settings_most_like_the_papers(tmp_path: Path) -> None:
    thinking = thoughts.SHIFT.replace("thinking_shift", "thinking")
    gathered = thoughts.write(
        thoughts.suite_of(tmp_path, section=thinking), tmp_path, thoughts.planted
    )
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ThinkingExhibit)
    rows = thinking_rows(exhibit, PAPER.of("Fig 6a"))
    longer = [r for r in rows if r.quantity.startswith("gain from thinking longer")]
    # The set of training is not out of distribution: eight of nine remain.
    assert [r.quantity.partition(", ")[2] for r in longer] == thoughts.SETS[1:]
    assert {r.note.partition(" at ")[0] for r in longer} == {"4 × 1"}
    best = [r for r in rows if r.quantity.startswith("gain from best of 10")]
    assert {r.note.partition(" at ")[0] for r in best} == {"2 × 3"}
    assert all("; best of 3 here; " in r.note for r in best)
    assert not any("here" in r.note for r in longer)
    assert {(r.number.value, r.derived) for r in best} == {(29, False)}
    assert {r.derived for r in longer} == {True}
    place = thoughts.SETS.index("builtin/dyck")
    trained = np.mean([3.0 - 0.1 * (place % 3) + 0.05 * s for s in range(3)])
    gain = 0.01 + 0.02 * 0.5 * place / 3
    dyck = of(rows, "longer, builtin/dyck")
    assert dyck.value == pytest.approx(100 * (1 - exp(-trained * gain)))
    assert dyck.interval is not None
    assert dyck.interval[0] < dyck.value < dyck.interval[1]  # type: ignore[operator]
    assert (dyck.n, dyck.seeds) == (int(thoughts.TOKENS.sum()), 3)
    flat = of(rows, "gain of transformer++")
    assert (flat.said, flat.number.value) == ("one pass, cannot think", None)


def test_settings_are_chosen_by_what_they_are_and_not_by_what_they_gain(tmp_path: Path) -> None:
    grid = "[{kind: single}, {kind: descent, steps: [2, 3, 4, 12], samples: [1, 3, 12, 30]}]"
    section = thoughts.SHIFT.replace("thinking_shift", "thinking")
    given = {"thinking": grid, "section": section, "data": "builtin/docs, builtin/dyck"}
    exhibit = thoughts.write(
        thoughts.suite_of(tmp_path, **given), tmp_path, thoughts.planted
    ).exhibit
    rows = thinking_rows(exhibit, PAPER.of("Fig 6a"))  # type: ignore[arg-type]
    # Twice the trained steps, and at these the nearest to ten samples.
    assert of(rows, "longer").note.startswith("4 × 1 at NFE 4;")
    assert of(rows, "best of 10").note.startswith("2 × 12 at NFE 24; best of 12 here; ")


def test_nothing_that_thinks_longer_is_said(tmp_path: Path) -> None:
    section = thoughts.SHIFT.replace("thinking_shift", "thinking")
    suite = thoughts.suite_of(
        tmp_path, section=section, thinking="[{kind: descent, steps: 2}]",
        adapters="{ebt: {adapter: ebt_text}}",
    )  # fmt: skip
    exhibit = thoughts.write(suite, tmp_path, thoughts.planted).exhibit
    rows = thinking_rows(exhibit, PAPER.of("Fig 6a"))  # type: ignore[arg-type]
    assert [r.note for r in rows] == [
        "no setting of more steps",
        "no setting of several samples",
        "no transformer++ was evaluated",
    ]
    assert not any(r.measured for r in rows)


def test_the_trend_is_read_where_the_papers_figure_begins_and_ends(tmp_path: Path) -> None:
    gathered = thoughts.write(thoughts.suite_of(tmp_path), tmp_path, thoughts.planted)
    exhibit = gathered.exhibit
    assert isinstance(exhibit, ThinkingShiftExhibit)
    rows = shift_rows(exhibit, PAPER.of("Fig 7"))
    (trend,) = [
        t.trend
        for t in exhibit.trends
        if (t.measure, t.magnitude, t.of.setting) == ("perplexity", "perplexity_ratio", "4x3")
    ]
    assert trend.slope is not None
    assert trend.intercept is not None
    assert of(rows, "gain at 1 ×").value == pytest.approx(100 * trend.intercept)
    end = of(rows, "gain at 4.4 ×")
    assert end.value == pytest.approx(100 * (trend.intercept + trend.slope * log2(4.4)))
    assert (end.n, end.counted, end.interval) == (9, "sets", None)
    slope = of(rows, "per doubling")
    assert slope.value == pytest.approx(100 * trend.slope)
    assert slope.interval == pytest.approx([100 * b for b in trend.interval or ()])
    assert slope.derived
    assert slope.note.startswith("grows: ")


def test_numbers_are_said_where_they_lie_and_many_are_pointed_at(tmp_path: Path) -> None:
    gathered = thoughts.write(
        thoughts.suite_of(tmp_path, data="builtin/docs"), tmp_path, thoughts.planted
    )
    assert paper_words(replace(gathered, paper=PAPER.of("Fig 7"))) == (
        "The paper, one seed and no interval: "
        "Fig 7, perplexity gain at 1 × the perplexity of training: ≈ +11.8 %; "
        "Fig 7, perplexity gain at 4.4 × the perplexity of training: ≈ +23 %; "
        "Fig 7, gain per doubling of that ratio, in points: ≈ +5.2 %."
    )
    section = gathered.section.model_copy(update={"title": "Denoising"})
    exhibit = drawn.denoising_exhibit_of()
    images = Gathered(
        section, exhibit, "denoising", gathered.missing, (), PAPER.of("Table 4", "Fig 10")
    )
    assert paper_words(images) == (
        "The paper's numbers (Table 4, Fig 10) stand beside ours in denoising-paper."
    )
    quality = [n for n in PAPER.of("Table 4") if n.quantity == "PSNR" and n.x == 0.1]
    said = paper_words(replace(images, paper=tuple(quality)))
    assert "PSNR of dit at noise level 0.1: 26.58 dB" in said
    assert "PSNR of ebt at noise level 0.1: 27.25 dB" in said


def test_the_trend_is_not_read_beyond_our_sets(tmp_path: Path) -> None:
    near = ", ".join(thoughts.SETS[:3])
    exhibit = thoughts.write(thoughts.suite_of(tmp_path, data=near), tmp_path, thoughts.planted)
    rows = shift_rows(exhibit.exhibit, PAPER.of("Fig 7"))  # type: ignore[arg-type]
    beyond = of(rows, "gain at 4.4 ×")
    assert not beyond.measured
    assert beyond.note == "our sets lie at 1.00 to 2.00: not extrapolated"


def test_gains_along_training_are_those_of_its_ends(tmp_path: Path) -> None:
    def growing(run: PlannedRun, data: str, setting: Any) -> float:
        trained = 3.0 + 0.02 * run.spec.seed
        gain = 0.01 + 0.005 * log2((run.spec.budget.tokens or 0) / 1280)
        return trained if (setting.steps, setting.samples) == (2, 1) else trained * (1 - gain)

    axes = "{tokens: {path: budget.tokens, values: [1280, 2560, 5120]}}"
    given = {"adapters": "{ebt: {adapter: ebt_text}}", "section": thoughts.SCALE, "axes": axes}
    suite = thoughts.suite_of(tmp_path, data="builtin/docs, builtin/dyck", **given)
    exhibit = thoughts.write(suite, tmp_path, growing).exhibit
    rows = scale_rows(exhibit, PAPER.of("Fig 6b"))  # type: ignore[arg-type]
    assert all(r.quantity.endswith("builtin/dyck") for r in rows), "the paper's set is among ours"
    early, late = of(rows, "early in training"), of(rows, "late in training")
    assert (early.number.value, early.number.high, late.number.high) == (4, 8, 14)
    assert early.value == pytest.approx(100 * (1 - exp(-0.01 * 3.02)), rel=1e-6)
    assert late.value == pytest.approx(100 * (1 - exp(-0.02 * 3.02)), rel=1e-6)
    assert "least of 3 points" in early.note
    assert early.interval is not None


@pytest.mark.parametrize("samples", ["[1, 3]", "1"])
def test_gains_of_several_samples_are_of_no_single_one(tmp_path: Path, samples: str) -> None:
    axes = "{tokens: {path: budget.tokens, values: [1280, 2560]}}"
    drawn_too = f", thinking: [{{kind: descent, steps: 4, samples: {samples}}}]}}"
    section = thoughts.SCALE.removesuffix("}") + drawn_too
    given = {"adapters": "{ebt: {adapter: ebt_text}}", "section": section, "axes": axes}
    suite = thoughts.suite_of(tmp_path, data="builtin/docs, builtin/dyck", **given)
    exhibit = thoughts.write(suite, tmp_path, lambda run, data, setting: 3.0).exhibit
    rows = scale_rows(exhibit, PAPER.of("Fig 6b"))  # type: ignore[arg-type]
    assert len(rows) == 2
    if samples == "1":
        assert {r.note for r in rows} == {"no setting of several samples"}
        assert not any(r.measured for r in rows)
    else:
        assert {r.model for r in rows} == {"ebt, 4 × 3"}


def test_an_ablation_is_found_by_what_it_lacks(tmp_path: Path) -> None:
    names = ("full", "no random alpha", "without Langevin noise", "no replay")
    adapters = ", ".join(f"{n}: {{adapter: ebt_text}}" for n in names)
    given = {"adapters": f"{{{adapters}}}", "section": thoughts.ABLATION}
    suite = thoughts.suite_of(tmp_path, data="builtin/docs, builtin/dyck", **given)

    def losses(run: PlannedRun, data: str, setting: Any) -> float:
        assert isinstance(setting, Descent)
        gain = 0.0 if setting.steps == 2 else 0.02 * names.index(run.adapter_label)
        return 3.0 * (1 - gain * (2 if setting.samples == 3 else 1))

    # Adapters of equal settings are one run, so each has a learning rate of its own.
    text = suite.path.read_text()
    for index, name in enumerate(names):
        own = f"{name}: {{adapter: ebt_text, optimizer.lr: {index + 1}e-3}}"
        text = text.replace(f"{name}: {{adapter: ebt_text}}", own)
    suite = downstream_factory.suite_of(tmp_path, text)
    exhibit = thoughts.write(suite, tmp_path, losses).exhibit
    rows = ablation_rows(exhibit, PAPER.of("Table 2"))  # type: ignore[arg-type]
    assert len(rows) == 10, "five models, two ways, on Dyck alone"
    for index, words in enumerate(("full", "alpha", "Langevin", "replay")):
        for way, factor, setting in (("longer,", 1, "4 × 1"), ("verified", 2, "4 × 3")):
            (row,) = [r for r in rows if words in r.quantity and way in r.quantity]
            assert row.value == pytest.approx(100 * (1 - exp(-3.0 * 0.02 * index * factor)))
            assert row.note == setting
    lacking = [r for r in rows if "random steps" in r.quantity]
    assert [r.note for r in lacking] == ["no such model"] * 2
    paper = {r.quantity.partition(", builtin")[0]: r.number.value for r in rows}
    assert paper["gain of full, longer and verified"] == 18.7


@pytest.mark.parametrize(
    ("label", "lacks"),
    [
        ("no random alpha", {"alpha"}),
        ("without Langevin noise", {"langevin"}),
        ("no-replay", {"replay"}),
        ("two steps", set()),
        ("alpha 5", set()),
        ("no alphabet", set()),
        ("no random alpha, no replay", {"alpha", "replay"}),
    ],
)
def test_what_a_model_lacks_is_read_off_whole_words(label: str, lacks: set[str]) -> None:
    assert lacking(label) == lacks


def ablation(folder: Path, names: tuple[str, ...]) -> ThinkingAblationExhibit:
    """Models of the same losses, `full` first."""
    adapters = ", ".join(f"{n}: {{adapter: ebt_text}}" for n in names)
    given = {"adapters": f"{{{adapters}}}", "section": thoughts.ABLATION}
    text = thoughts.suite_of(folder, data="builtin/dyck", **given).path.read_text()
    for index, name in enumerate(names):
        own = f"{name}: {{adapter: ebt_text, optimizer.lr: {index + 1}e-3}}"
        text = text.replace(f"{name}: {{adapter: ebt_text}}", own)
    suite = downstream_factory.suite_of(folder, text)
    exhibit = thoughts.write(suite, folder, lambda run, data, setting: 3.0).exhibit
    assert isinstance(exhibit, ThinkingAblationExhibit)
    return exhibit


def test_an_ablation_takes_its_own_numbers_alone(tmp_path: Path) -> None:
    """Fig 6a has a setting that is called "longer" too."""
    exhibit = ablation(tmp_path, ("full", "two steps", "no alpha and replay"))
    rows = ablation_rows(exhibit, PAPER.of("Table 2", "Fig 6a", "Fig 6b"))
    assert {r.number.exhibit for r in rows} == {"Table 2"}
    assert len(rows) == 10
    assert {r.model for r in rows if r.measured} == {"full"}, "two steps are no lack of steps"


def test_gains_are_within_one_exhibit_of_the_paper(tmp_path: Path) -> None:
    section = thoughts.SHIFT.replace("thinking_shift", "thinking")
    gathered = thoughts.write(
        thoughts.suite_of(tmp_path, section=section), tmp_path, thoughts.planted
    )
    both = PAPER.of("Table 3", "Fig 6a", "Fig 6b", "Fig 7", "Table 2")
    rows = thinking_rows(gathered.exhibit, both)  # type: ignore[arg-type]
    assert rows == thinking_rows(gathered.exhibit, PAPER.of("Fig 6a"))  # type: ignore[arg-type]
    assert {r.number.exhibit for r in rows} == {"Fig 6a"}


# --- downstream, probe, uncertainty ------------------------------------------------------------


def test_perplexities_are_those_of_sets_named_like_the_papers(tmp_path: Path) -> None:
    suite = downstream_factory.suite_of(tmp_path)
    write_suite(suite, tmp_path, downstream_factory.planted())
    exhibit = downstream_factory.exhibit_of(suite, tmp_path)
    rows = downstream_rows(exhibit, PAPER.of("Table 3"))
    home = of(rows, "perplexity of pretraining", "ebt")
    assert home.number.value == 33.43
    assert home.value == pytest.approx(exp(3.11))
    assert home.n == downstream_factory.DOCUMENTS * downstream_factory.TOKENS
    dyck = of(rows, "perplexity of dyck", "plain")
    assert (dyck.number.value, dyck.number.model) == (131.5, "transformer++")
    assert dyck.value == pytest.approx(exp(4.01)), "over all tokens, not the answers'"
    assert dyck.note == "builtin/dyck (test), rolling windows"
    absent = [r for r in rows if not r.measured]
    assert {r.note for r in absent} == {
        f"no set named like {n}" for n in ("gsm8k", "squad", "math_qa")
    }
    assert len(absent) == 6
    more = downstream_rows(exhibit, PAPER.of("Table 3", "Fig 6a"))
    assert {r.number.exhibit for r in more} == {"Table 3"}, "a mean of four sets is of none of ours"


def test_accuracies_stand_beside_the_papers_in_percent(tmp_path: Path) -> None:
    rows = probe_rows(probes.exhibit_of(tmp_path), PAPER.of("Table 4"))
    assert len(rows) == 4, "no PSNR among them"
    top1 = of(rows, "top-1", "ebt")
    assert top1.value == pytest.approx(100 * (240 + 2) / probes.IMAGES)
    assert top1.number.value == 5.32
    assert (top1.n, top1.counted, top1.seeds) == (probes.IMAGES, "images", 3)
    assert "10 classes: guessing gives 10 %" in top1.note
    assert of(rows, "top-5", "dit").number.value == 1.36


def test_five_classes_or_fewer_have_no_second_accuracy(tmp_path: Path) -> None:
    rows = probe_rows(probes.exhibit_of(tmp_path, classes=5), PAPER.of("Table 4"))
    assert [r.measured for r in rows if "top-5" in r.quantity] == [False, False]


def test_what_the_paper_shows_by_example_is_measured(tmp_path: Path) -> None:
    found = energies.gathered(energies.TEXT, energies.Planted(), tmp_path)
    rows = uncertainty_rows(found.exhibit, PAPER.of("Fig 8", "Fig B.2"))  # type: ignore[arg-type]
    assert [r.quantity for r in rows] == ["hard tokens end high", "random text ends higher"]
    row = found.exhibit.rows[0]  # type: ignore[union-attr]
    assert of(rows, "hard tokens").value == row.correlation.value  # type: ignore[union-attr]
    random = of(rows, "random text")
    auroc = {c.content: c.auroc.value for c in row.contents}  # type: ignore[union-attr]
    assert random.value == auroc["random"] != auroc["shuffled"]
    assert random.value > 0.5, "random input lies above the rest by construction"
    assert random.interval is not None
    assert random.counted == "tokens"
    table = paper_tables(replace(found, paper=PAPER.of("Fig 8", "Fig B.2")))[0]
    assert "Fig 8: told of Figs 8, 11 and B.2 together." in table.notes


def test_of_frames_it_is_said_of_frames(tmp_path: Path) -> None:
    found = energies.gathered(energies.VIDEO, energies.Planted(video=True), tmp_path)
    (row,) = uncertainty_rows(found.exhibit, PAPER.of("Fig 11"))  # type: ignore[arg-type]
    assert (row.quantity, row.counted) == ("hard frames end high", "frames")
    table = paper_tables(replace(found, paper=PAPER.of("Fig 11")))[0]
    assert any("of frames nothing by themselves" in note for note in table.notes)


# --- images and video --------------------------------------------------------------------------


def test_qualities_are_those_of_the_papers_passes(tmp_path: Path) -> None:
    exhibit = denoising_factory.exhibit_of(tmp_path, denoising_factory.hard)
    rows = denoising_rows(exhibit, PAPER.of("Table 4", "Fig 10"))
    assert [r.model for r in rows if "0.1, dit" in r.quantity] == ["dit, 100 calls"]
    # At the training's noise the paper applies a model once.
    (ebt,) = [r for r in rows if "0.1, ebt" in r.quantity]
    row = denoising_factory.row_of(exhibit, "1x1")
    assert (ebt.model, ebt.value, ebt.interval) == (
        "ebt, 1 step",
        row.psnr.value,
        row.psnr.interval,
    )
    assert f"MSE {row.mse:.4g} against the paper's 122.55" == ebt.note
    assert [r.note for r in rows if "0.2" in r.quantity] == [
        "no dit at this level", "no ebt at this level"
    ]  # fmt: skip
    gap = of(rows, "1 pass against 100")
    assert gap.value == pytest.approx(-0.05, abs=1e-6)
    assert gap.n == denoising_factory.IMAGES
    pairs = [r for r in rows if "2 passes against 200" in r.quantity]
    assert {r.model for r in pairs} == {
        "ebt, 2 steps, less dit, 100 calls × 2", "ebt, 1 step × 2, less dit, 100 calls × 2"
    }  # fmt: skip
    assert not [r for r in rows if "top" in r.quantity]


def test_only_settings_of_the_papers_kind_stand_for_it() -> None:
    rows = [r for r in drawn.denoising_exhibit_of().models if r.adapter == "dit"]
    trained, beyond = ([r for r in rows if r.place.level == level] for level in (0.1, 0.2))
    assert [r.setting for r in papers_settings(trained)] == ["100 calls"]
    # A hundred calls from the matched start are half of the paper's, which there has 200.
    assert [r.setting for r in papers_settings(beyond)] == ["100 calls", "100 calls × 2"]
    other = replace(trained[1], thinking=Diffusion(steps=100, sampler="ddpm"), setting="DDPM")
    assert [r.setting for r in papers_settings([trained[0], other])] == ["1 call"]
    assert papers_settings([other]) == []


def test_whether_frames_are_worse_is_counted(tmp_path: Path) -> None:
    exhibit = frames_factory.exhibit_of(tmp_path, frames_factory.plain)
    row = of(next_frame_rows(exhibit, PAPER.of("Fig 9")), "worse at each size")
    assert row.said == "worse at 0 of 1"
    assert row.note == "better at 1, by the whole 95 % interval"
    assert row.number.note == "EBT is worse at each size"
