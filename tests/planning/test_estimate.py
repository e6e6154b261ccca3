"""Hours, arrays, wall time, attempts and storage, by hand and by the bounds of list scheduling."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.planning.estimate import (
    Job,
    RunTime,
    attempts,
    checkpoint_bytes,
    estimate,
    layout,
    makespan,
    storage,
    total,
    training_seconds,
)
from harness.planning.planned import RunCost
from harness.planning.speed import Speed

JOB = Job(nodes=1, gpus=2, cores=8, attempt_seconds=100.0, attempts=3, slots=2, array_size=4)
COST = RunCost(parameters=1000, non_embedding=500, steps=50, tokens=None, flops=1e6)


def _time(seconds: float | None, *, left: float | None = -1.0, to_do: bool = True) -> RunTime:
    return RunTime("id", "e/a", seconds, seconds if left == -1.0 else left, to_do, None, None)


# --- time ------------------------------------------------------------------------------------


def test_a_run_takes_its_budget_or_its_steps() -> None:
    speed = Speed(0.5, "probe")
    assert training_seconds(COST, None, speed) == 25.0
    assert training_seconds(replace(COST, steps=None), 60.0, speed) == 60.0
    assert training_seconds(COST, None, None) is None, "unknown, not nothing"


def test_unknown_stays_missing() -> None:
    some = total([10.0, None, 5.0])
    assert (some.runs, some.unknown, some.seconds) == (3, 1, 15.0)
    assert total([None, None]).seconds is None
    assert total([None, 0.0]).seconds is None, "a run with no training left tells no time"
    assert total([]).seconds == 0.0
    assert layout([None, None], JOB).wall_seconds is None
    assert layout([None, 7.0], JOB).wall_seconds == 7.0


def test_the_longest_runs_go_first() -> None:
    # 5 | 4 at once, then 3 after the 4 (7), 3 after the 5 (8), 2 after the 7 (9): by hand.
    assert makespan([3, 5, 2, 4, 3], 2) == 9
    assert makespan([3, 5, 2, 4, 3], 5) == 5
    assert makespan([3, 5, 2, 4, 3], 1) == 17
    assert makespan([], 3) == 0


@given(
    seconds=st.lists(st.floats(0, 1e6), min_size=1, max_size=40),
    slots=st.integers(1, 10),
)
def test_list_scheduling_keeps_its_bounds(seconds: list[float], slots: int) -> None:
    found = makespan(seconds, slots)
    share, longest = sum(seconds) / slots, max(seconds)
    assert found >= max(longest, share) * (1 - 1e-9)
    assert found <= (share + longest) * (1 + 1e-9)


@given(count=st.integers(0, 5000), size=st.integers(1, 1001))
def test_arrays_hold_every_run_once(count: int, size: int) -> None:
    arrays = layout([1.0] * count, replace(JOB, array_size=size)).arrays
    assert sum(arrays) == count
    assert all(1 <= each <= size for each in arrays)
    assert len(arrays) == -(-count // size)


def test_attempts_end_at_the_time_limit() -> None:
    assert [attempts(s, JOB) for s in (0.0, 1.0, 100.0, 100.1, 300.0)] == [1, 1, 1, 2, 3]


def test_a_run_with_too_few_attempts_is_named() -> None:
    late = RunTime("late", "e/a", 500.0, 301.0, True, None, None)
    times = [_time(300.0), late, _time(900.0, left=0.0, to_do=False), _time(None)]
    found = estimate(times, [COST] * 4, kept=2, job=JOB)
    (only,) = found.overdue
    assert only.run is late
    assert only.attempts == 4
    assert only.attempt_seconds == pytest.approx(301 / 3)
    assert attempts(301.0, replace(JOB, attempt_seconds=only.attempt_seconds + 1e-6)) == 3


def test_what_is_done_costs_nothing_more() -> None:
    done, half = _time(80.0, left=0.0, to_do=False), _time(60.0, left=30.0)
    evaluate = _time(50.0, left=0.0)
    found = estimate([done, half, evaluate], [COST] * 3, kept=2, job=JOB)
    assert (found.to_do.runs, found.to_do.seconds) == (2, 30.0)
    assert (found.whole.runs, found.whole.seconds) == (3, 190.0)
    assert found.layout is not None
    assert found.layout.arrays == (2,), "evaluations need a job too"
    assert found.layout.wall_seconds == 30.0


# --- storage ---------------------------------------------------------------------------------


def test_storage_by_hand() -> None:
    replay = replace(COST, replay_checkpoint_bytes=500)
    assert checkpoint_bytes(COST) == 12_000
    assert checkpoint_bytes(replay) == 12_500
    found = storage([(COST, True), (replay, True), (COST, False)], kept=2, slots=1)
    assert found.total == 2 * (12_000 + 12_500 + 12_000)
    assert found.to_do == 2 * (12_000 + 12_500)
    assert found.peak == found.total + 12_500, "one run at a time holds one checkpoint more"
    assert storage([(COST, True)] * 3, kept=2, slots=8).peak == 3 * 3 * 12_000
