"""A report's sections in their order, and the names of their files: none twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.analysis import spread as spreading
from harness.analysis.exhibits.gather import Gathered, gather
from harness.analysis.frame import load_frame
from harness.planning.suite import load_suite

SUITE = """
suite: named
experiments:
  {experiments}
report:
  [{report}]
"""
EXPERIMENT = """{name}:
    base:
      task: {{kind: denoising, data: builtin/digits}}
      batch_size: 8
      budget: {{steps: 10}}
      optimizer: {{lr: 1e-3}}
      config: {{depth: 1, width: 8, heads: 1, patch_size: 4}}
    adapters: {{ebt: {{adapter: ebt_image}}}}
    evaluations: {{{evaluations}}}
  """
EVALUATION = """{name}: {{kind: denoising, data: builtin/digits, levels: [0.1],
      thinking: [{{kind: descent, steps: 2}}]}}"""
EVALUATIONS = ("denoising", "cifar", "examples", "examples-2", "paper", "2")


def sections_of(folder: Path, *sections: tuple[str, str]) -> list[Gathered]:
    """Denoising sections of these (experiment, evaluation), of which nothing has run."""
    evaluations = ", ".join(EVALUATION.format(name=f'"{name}"') for name in EVALUATIONS)
    experiments = "".join(
        EXPERIMENT.format(name=name, evaluations=evaluations) for name in ("image", "wide")
    )
    report = ", ".join(
        f'{{kind: denoising, experiment: {experiment}, evaluation: "{evaluation}"}}'
        for experiment, evaluation in sections
    )
    path = folder / "suite.yaml"
    path.write_text(SUITE.format(experiments=experiments, report=report))
    suite = load_suite(path)
    return gather(suite, load_frame(suite, folder))


def stems(folder: Path, *sections: tuple[str, str]) -> list[str]:
    return [gathered.stem for gathered in sections_of(folder, *sections)]


@pytest.mark.parametrize("processes", [1, 4])
def test_sections_keep_their_order_whoever_gathers_them(
    processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreading, "_MOST", processes)
    given = [("image", "cifar"), ("wide", "cifar"), ("image", "paper"), ("image", "cifar")]
    found = sections_of(tmp_path, *given)
    assert [(g.section.experiment, g.exhibit.section) for g in found] == [
        (experiment, g.section) for (experiment, _), g in zip(given, found, strict=True)
    ]


@pytest.mark.parametrize("evaluation", ["denoising", "cifar", "examples"])
def test_the_first_of_a_kind_is_named_by_it(evaluation: str, tmp_path: Path) -> None:
    assert stems(tmp_path, ("image", evaluation)) == ["denoising"]


def test_another_evaluation_is_named_then_another_experiment_then_numbers(tmp_path: Path) -> None:
    sections = [("image", "denoising"), ("image", "cifar"), ("wide", "cifar"), ("wide", "cifar")]
    assert stems(tmp_path, *sections) == [
        "denoising",
        "denoising-cifar",
        "denoising-wide",
        "denoising-wide-2",
    ]


def test_an_evaluation_that_the_first_has_too_does_not_name_another(tmp_path: Path) -> None:
    assert stems(tmp_path, ("image", "cifar"), ("wide", "cifar")) == ["denoising", "denoising-wide"]


@pytest.mark.parametrize("evaluation", ["examples", "examples-2", "paper", "2"])
def test_no_section_is_named_as_another_s_further_file(evaluation: str, tmp_path: Path) -> None:
    """`denoising-examples` holds example images of the section `denoising`."""
    found = stems(tmp_path, ("image", "denoising"), ("image", evaluation))
    assert found == ["denoising", "denoising-image"]
