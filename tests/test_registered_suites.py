"""What shipped suites promise: designs that may decide, runs in common, tuned learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from harness.analysis.exhibits.suites import suite_exhibits
from harness.analysis.exhibits.tuning import TuningExhibit, chosen_rates
from harness.analysis.rates.verdict import gate_design
from harness.planning.budget import scaling_designs
from harness.planning.planned import Suite
from harness.planning.sections import PaperExhibit
from harness.planning.suite import load_suite

ROOT = Path(__file__).parents[1]
REGISTERED = sorted((ROOT / "suites" / "registered").glob("*.yaml"))
TUNED = [path for path in REGISTERED if path.stem != "tuning"]


def _load(name: str) -> Suite:
    return load_suite(ROOT / "suites" / name)


def test_registered_designs_may_decide_on_data_parameters_flops_and_seconds() -> None:
    decided = set()
    for path in REGISTERED:
        for section, design in scaling_designs(load_suite(path)):
            gate = gate_design(
                design.axis, xs=(design.xs, design.xs), seeds=design.seeds, resamples=2000
            )
            if gate.passed:
                decided.add(section.x)
    assert decided == {"data", "parameters", "flops", "seconds"}


@pytest.mark.parametrize("folder", ["cpu", "paper"])
def test_parameters_and_flops_are_of_the_same_runs(folder: str) -> None:
    parameters, flops = (_load(f"{folder}/text_{x}.yaml") for x in ("params", "flops"))
    assert [run.run_id for run in parameters.runs] == [run.run_id for run in flops.runs]


def test_every_exhibit_of_the_paper_has_its_counterpart_on_two_cores() -> None:
    suites = [load_suite(path) for path in sorted((ROOT / "suites" / "cpu").glob("*.yaml"))]
    named = {exhibit for suite in suites for section in suite.report for exhibit in section.paper}
    # More data with a longer context: no counterpart fits two cores.
    assert set(get_args(PaperExhibit)) - named == {"Fig B.3"}


@pytest.mark.parametrize("path", TUNED, ids=lambda p: p.stem)
def test_learning_rates_are_those_that_the_published_tuning_chose(path: Path) -> None:
    tuning = suite_exhibits(_load("registered/tuning.yaml"), ROOT / "results")
    assert not tuning.frame.missing
    chosen = {}
    for gathered in tuning.gathered:
        assert isinstance(gathered.exhibit, TuningExhibit)
        for (adapter, labels), rate in chosen_rates(gathered.exhibit).items():
            chosen[adapter, dict(labels)["size"]] = rate
    for run in load_suite(path).runs:
        size = f"{run.spec.config['depth']}×{run.spec.config['width']}"
        assert run.spec.optimizer.lr == chosen[run.adapter_label, size], run.name
