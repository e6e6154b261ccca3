"""What stands beside a rate: other fits of the same losses, and the largest point foretold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.claims.judging import judge
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.tables.rate_checks import rate_checks
from harness.analysis.tables.scaling import rate_table
from tests.analysis.planted_rates import losses, written
from tests.analysis.records_factory import measured

NAMES = [
    "rate, profile likelihood",
    "rate, Huber loss",
    "rate, one E for both",
    "largest point predicted, ebt",
    "largest point predicted, transformer++",
]


def apart(run: Any, spec: Any, folder: Path) -> list[Any]:
    """EBT's exponent is a fifth lower, but its floor is 0.5 below Transformer++'s."""
    ebt = run.adapter_label == "ebt"
    x = run.cost.tokens / 1.28e5
    loss = (1.0 if ebt else 1.5) + (1.7 if ebt else 1.0) * x ** (-0.32 if ebt else -0.4)
    loss += 0.001 * (run.spec.seed - 1)
    cost = {"nfe": 1.0, "flops": 10.0, "seconds": 1e-5}
    return [measured(run, "loss", loss, cost=cost)]


def exhibit_of(shown: SuiteExhibits) -> ScalingExhibit:
    exhibit = shown.gathered[0].exhibit
    assert isinstance(exhibit, ScalingExhibit)
    return exhibit


def test_where_both_have_one_floor_every_fit_says_the_same(tmp_path: Path) -> None:
    exhibit = exhibit_of(written(tmp_path, losses(0.35, sigma=0.0005), "data"))
    checks = dict(rate_checks(exhibit))
    assert list(checks) == NAMES
    for name in NAMES[:3]:
        assert checks[name].value == pytest.approx(0.35, abs=0.03)
    profile = checks[NAMES[0]].interval
    assert profile is not None
    assert profile.low < 0.35 < profile.high
    for name in NAMES[3:]:
        assert checks[name].value == pytest.approx(0, abs=0.005)
        assert checks[name].points == 5
    assert exhibit.rate is not None
    assert not exhibit.rate.caveat


def test_a_rate_whose_sign_hangs_on_the_floors_says_so(tmp_path: Path) -> None:
    shown = written(tmp_path, apart, "data")
    exhibit = exhibit_of(shown)
    rate = exhibit.rate
    assert rate is not None
    assert rate.rho.value == pytest.approx(-0.2, abs=0.02)
    shared = dict(rate_checks(exhibit))[NAMES[2]]
    assert shared.value is not None
    assert shared.value > 0
    words = f"with one E for both it is +{100 * shared.value:.1f} %"
    table = rate_table(exhibit, "rate")
    assert any(words in note for note in table.notes)
    (verdict,) = (each for each in judge([shown]) if each.claim.name == "scaling")
    assert any(words in caveat for caveat in verdict.caveats)
    assert verdict.remedy == ""
    assert [row["quantity"] for row in table.data][2:] == NAMES
    assert [row["verdict"] for row in table.data][2:] == [""] * len(NAMES)


def test_what_was_not_worked_out_has_no_row(tmp_path: Path) -> None:
    exhibit = exhibit_of(written(tmp_path, losses(0.35), "data"))
    assert exhibit.rate is not None
    bare = replace(exhibit.rate, profile=None, huber=None, shared_floor=None)
    found = [name for name, _ in rate_checks(replace(exhibit, rate=bare))]
    assert found == NAMES[3:]
    assert not rate_checks(replace(exhibit, rate=None))
