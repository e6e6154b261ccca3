"""`suites/paper`: one suite per exhibit of the paper, and what the paper shares is trained once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import get_args

import pytest

from harness.analysis.rates.verdict import MIN_RESAMPLES, gate_design
from harness.planning.budget import scaling_designs
from harness.planning.planned import Suite
from harness.planning.sections import PaperExhibit
from harness.planning.suite import load_suite
from harness.show.plan import _decisions
from tests.test_suites import DOWNLOADED, ROOT

PAPER = ROOT / "suites" / "paper"
SHARED = Path(os.environ.get("HARNESS_SHARED", ROOT.parent / "shared"))
#: Suite -> the exhibits that it is the counterpart of.
SUITES: dict[str, set[str]] = {
    "text_data": {"Fig 4a"},
    "text_batch": {"Fig 4b"},
    "text_depth": {"Fig 4c"},
    "text_params": {"Fig 5a"},
    "text_flops": {"Fig 5b"},
    "text_width": {"Fig 5c"},
    "thinking_ood": {"Fig 6a"},
    "thinking_scale": {"Fig 6b"},
    "thinking_shift": {"Fig 7"},
    "thinking_ablation": {"Table 2"},
    "downstream": {"Table 3"},
    "uncertainty": {"Fig 8", "Fig 11", "Fig B.2"},
    "video_width": {"Fig 9"},
    "video_params": {"Fig 9"},
    "image_denoising": {"Table 4", "Fig 10", "Fig 12"},
    "image_probe": {"Table 4"},
    "s1_vs_s2": {"Fig C.1"},
    "data_large": {"Fig B.3"},
}


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Suite]:
    folder = tmp_path_factory.mktemp("paper")
    for name in DOWNLOADED:
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / name).write_text('[{"id": "1"}]')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return {path.stem: load_suite(path) for path in sorted(PAPER.glob("*.yaml"))}


def test_every_row_has_its_suite_and_names_its_exhibits(suites: dict[str, Suite]) -> None:
    named = {name: {e for s in suite.report for e in s.paper} for name, suite in suites.items()}
    assert named == SUITES
    assert set.union(*named.values()) == set(get_args(PaperExhibit))


def test_the_rows_are_those_of_the_notes_on_the_paper(suites: dict[str, Suite]) -> None:
    notes = SHARED / "paper.md"
    if not notes.exists():
        pytest.skip("the notes on the paper are not on this machine")
    table = notes.read_text(encoding="utf-8").split("## 4.")[1].split("## 5.")[0]
    rows = re.findall(r"^\| ([\w-]+(?: / [\w-]+)?) \|", table, re.MULTILINE)[1:]
    ids = {one.replace("-", "_") for row in rows for one in row.split(" / ")} - {"id", ""}
    assert len(ids) > 15
    assert {"image_denoising" if one == "image_denoise" else one for one in ids} == set(SUITES)


@pytest.mark.parametrize("name", SUITES)
def test_titles_do_not_repeat_what_paper_says(suites: dict[str, Suite], name: str) -> None:
    suite = suites[name]
    assert suite.name == f"paper_{name}"
    for section in suite.report:
        assert section.paper, f"{section.title} names no exhibit"
        assert "paper" not in section.title.lower()


def runs(suite: Suite, **labels: str) -> set[str]:
    return {r.run_id for r in suite.runs if all(r.labels.get(a) == v for a, v in labels.items())}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("text_params", "text_flops"),
        ("thinking_ood", "thinking_shift"),
        ("image_denoising", "image_probe"),
    ],
)
def test_what_the_paper_trains_once_is_trained_once(
    suites: dict[str, Suite], one: str, other: str
) -> None:
    assert len(runs(suites[one])) == len(suites[one].runs)
    assert runs(suites[one]) == runs(suites[other])


@pytest.mark.parametrize(
    ("part", "whole", "seeds"),
    [
        ("downstream", "text_data", 6),  # Fig 4a's largest point is Table 3's
        ("uncertainty", "text_data", 3),  # S1
        ("uncertainty", "thinking_ood", 3),  # S2
        ("uncertainty", "video_params", 3),  # at xxs
        ("thinking_scale", "thinking_ood", 3),  # its longest
    ],
)
def test_points_in_common_are_the_same_runs(
    suites: dict[str, Suite], part: str, whole: str, seeds: int
) -> None:
    assert len(runs(suites[part]) & runs(suites[whole])) == seeds


def test_evaluations_in_common_are_made_once(suites: dict[str, Suite]) -> None:
    def evaluations(suite: Suite) -> set[tuple[str, str]]:
        return {(r.run_id, e.spec.eval_id) for r in suite.runs for e in r.evaluations}

    assert len(evaluations(suites["thinking_ood"]) & evaluations(suites["thinking_shift"])) == 6 * 4
    assert evaluations(suites["text_params"]) == evaluations(suites["text_flops"])


def test_one_axis_of_the_paper_may_give_a_verdict(suites: dict[str, Suite]) -> None:
    """FLOPs, five points over two decades, for which three seeds are ours."""
    labels = {
        name: gate_design(
            design.axis, xs=(design.xs, design.xs), seeds=design.seeds, resamples=MIN_RESAMPLES
        ).label
        for name, suite in suites.items()
        for _, design in scaling_designs(suite)
    }
    assert len(labels) == 10
    assert {name for name, label in labels.items() if label == "confirmatory"} == {"text_flops"}


@pytest.mark.parametrize(("name", "exploratory"), [("text_width", True), ("text_flops", False)])
def test_plan_says_which_design_is_exploratory(
    suites: dict[str, Suite], name: str, exploratory: bool
) -> None:
    (found,) = _decisions(suites[name])
    assert found["design"] == ("exploratory" if exploratory else "confirmatory")
    assert ("Exploratory, no verdict: 4 points × 3 seeds" in found["text"]) is exploratory


def test_sizes_and_tokens_are_the_papers(suites: dict[str, Suite]) -> None:
    def of(name: str, family: str = "transformer++") -> list[tuple[int, int | None]]:
        runs = [r for r in suites[name].runs if r.adapter_label == family and r.spec.seed == 33]
        return [(c.non_embedding, c.tokens) for c in (run.cost for run in runs)]

    sizes = [6.18e6, 12.4e6, 48.8e6, 176e6, 396e6]
    batches = [32, 46, 90, 170, 256]
    for (parameters, tokens), size, batch in zip(of("text_params"), sizes, batches, strict=True):
        assert parameters == pytest.approx(size, rel=0.02)
        assert tokens == 105_000 * batch * 256
    assert [tokens for _, tokens in of("text_data")] == pytest.approx(
        [5e8, 1e9, 2e9, 3e9, 5e9, 7e9], rel=1e-4
    )
    assert [run.spec.batch_size * 256 for run in suites["text_batch"].runs[::3]][:5] == [
        4096,
        8192,
        16384,
        32768,
        65536,
    ]
    (large,) = {c.steps for c in (run.cost for run in suites["data_large"].runs[-3:])}
    assert large == 500_000
    assert {run.spec.task.context for run in suites["data_large"].runs} == {1024}  # type: ignore[union-attr]
