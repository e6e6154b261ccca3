"""Which knowledge of a run's speed is taken, and what is made of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.planning.speed import Hardware, Measured, Work, speed, work_id, work_of
from tests.training.tiny import spec_of

WORK = Work("w", "ebt_text", "float32", False, 1, 100.0)
SMALL, LARGE = replace(WORK, id="small", flops=10.0), replace(WORK, id="large", flops=1e6)
CPU = "AMD EPYC (1 thread)"
RUN = Measured(WORK, 2.0, CPU)
STATED = Hardware(flops_per_second=50.0)


def test_sources_have_an_order() -> None:
    probe, other = replace(RUN, seconds_per_step=3.0, probe=True), replace(RUN, work=SMALL)
    expected = [("probe", 3.0), ("same work", 2.0), ("other size", 20.0), ("profile", 2.0)]
    known = [probe, RUN, other]
    for source, seconds in expected:
        found = speed(WORK, known, STATED)
        assert found is not None
        assert (found.source, found.seconds_per_step) == (source, seconds)
        known = known[1:]
    assert speed(WORK, [], Hardware()) is None


def test_the_nearest_size_is_the_one_that_counts() -> None:
    found = speed(
        WORK, [replace(RUN, work=LARGE, seconds_per_step=1.0), replace(RUN, work=SMALL)], STATED
    )
    assert found is not None
    assert found.seconds_per_step == pytest.approx(20.0)
    assert found.size_ratio == pytest.approx(10.0)


@pytest.mark.parametrize(
    "change", [{"adapter": "dit_image"}, {"precision": "bf16"}, {"compiled": True}, {"threads": 2}]
)
def test_other_kinds_of_work_say_nothing(change: dict[str, object]) -> None:
    known = [replace(RUN, work=replace(SMALL, **change))]
    assert speed(WORK, known, Hardware()) is None


def test_seeds_are_summed_up_by_their_median() -> None:
    known = [replace(RUN, seconds_per_step=s, time=s) for s in (1.0, 2.0, 30.0)]
    found = speed(WORK, known, Hardware())
    assert found is not None
    assert found.seconds_per_step == 2.0


def test_processes_are_divided_unless_measured() -> None:
    eight = replace(STATED, processes=8)
    ideal, stated = speed(WORK, [RUN], eight), speed(WORK, [], eight)
    together = speed(WORK, [RUN, replace(RUN, processes=8, seconds_per_step=0.5)], eight)
    alone = speed(WORK, [replace(RUN, processes=8, seconds_per_step=0.5)], STATED)
    assert ideal is not None
    assert (ideal.seconds_per_step, ideal.divided) == (0.25, True)
    assert stated is not None
    assert (stated.seconds_per_step, stated.divided) == (0.25, True)
    assert together is not None
    assert (together.seconds_per_step, together.divided) == (0.5, False)
    assert alone is not None
    assert (alone.seconds_per_step, alone.divided) == (4.0, True)


@pytest.mark.parametrize("wanted", ["h100", "a6000|h100", "gpu:h100:4"])
def test_the_device_that_a_profile_wants_is_preferred(wanted: str) -> None:
    known = [
        replace(RUN, device="NVIDIA H100 80GB HBM3", seconds_per_step=1.0),
        replace(RUN, device="NVIDIA A100-SXM4-80GB", seconds_per_step=2.0, time=9.0),
    ]
    found, latest = speed(WORK, known, Hardware(wanted=wanted)), speed(WORK, known, Hardware())
    assert found is not None
    assert found.device == "NVIDIA H100 80GB HBM3"
    assert latest is not None
    assert latest.device == "NVIDIA A100-SXM4-80GB"


def test_a_run_of_other_code_is_the_second_choice() -> None:
    old = replace(RUN, current=False, seconds_per_step=9.0, time=9.0)
    found, alone = speed(WORK, [old, RUN], Hardware()), speed(WORK, [old], Hardware())
    assert found is not None
    assert (found.seconds_per_step, found.current) == (2.0, True)
    assert alone is not None
    assert (alone.seconds_per_step, alone.current) == (9.0, False)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"seed": 3}, True),
        ({"budget": {"steps": 7}}, True),
        ({"optimizer": {"lr": 0.5}}, True),
        ({"batch_size": 8}, False),
        ({"accumulate": 2}, False),
        ({"threads": 2}, False),
        ({"precision": "bf16"}, False),
        ({"compile": True}, False),
        ({"config": {"width": 32}}, False),
        ({"task": {"context": 8}}, False),
    ],
)
def test_work_is_what_decides_a_steps_time(changes: dict[str, object], same: bool) -> None:
    one, other = spec_of("ebt_text"), spec_of("ebt_text", **changes)
    ids = [work_id(spec.model_dump(mode="json")) for spec in (one, other)]
    assert (ids[0] == ids[1]) == same
    assert work_of(one).flops > 0
