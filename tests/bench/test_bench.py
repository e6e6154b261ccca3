"""The benchmark itself: every case runs, compares equals, and its verdicts follow its numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.analysis.exhibits.suites import suite_exhibits
from harness.analysis.figures.sections import section_drawings
from harness.analysis.tables.sections import section_tables
from harness.cost import FlopCounter
from harness.planning.suite import load_suite
from harness.records import RunFolder
from tests.bench import exhibits, image, measure, prepare, reference, report, text
from tests.bench.case import Case, NotYet, Pair, Result, Setting
from tests.bench.run import run
from tests.bench.synthetic import write_records

CPU = torch.device("cpu")
SMALL = Setting(CPU, tiny=True)
CASES = [case for part in (text, reference, image) for case in part.cases(CPU)]
LOAD = text.Load("4xs", 256, 4)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_runs_and_agrees_with_its_reference(case: Case) -> None:
    try:
        pair = case.build(SMALL)
    except NotYet as reason:
        pytest.skip(f"not yet: {reason}")
    if pair.gap is not None:
        _below(pair.gap(), 1e-4)
    timing = measure.interleave(pair, CPU, measure.TINY)
    assert len(timing.ours) == len(timing.theirs) == 1
    assert measure.flops(pair.count or pair.ours, pair.prepare) > 0
    assert measure.flops(pair.theirs) > 0


EXACT = [
    text.training(LOAD, "S1", dtype=torch.float64),
    text.training(LOAD, "S2", dtype=torch.float64),
    text.thinking(LOAD, dtype=torch.float64),
    image.ebt_training(image.TINY, dtype=torch.float64),
    *(image.ebt_on_diffusers(image.TINY, training=t, dtype=torch.float64) for t in (True, False)),
]
NAMES = ["S1", "S2", "thinking", "image", "image on diffusers", "image step on diffusers"]


@pytest.mark.parametrize("build", EXACT, ids=NAMES)
def test_the_textbook_forms_are_exactly_the_adapters(build: Callable[[Setting], Pair]) -> None:
    try:
        pair = build(SMALL)
    except NotYet as reason:
        pytest.skip(f"not yet: {reason}")
    assert pair.gap is not None
    _below(pair.gap(), 1e-9)


def _below(gap: float, limit: float) -> None:
    assert gap < limit, f"relative error {gap:.1e}"


@pytest.mark.parametrize(("variant", "limit"), [("S1", 21.8e9), ("S2", 18.2e9)])
def test_the_textbook_computes_no_more_than_it_must(variant: text.Variant, limit: float) -> None:
    """The N x (N + 1) form at 4xs, V 256, batch 4, context 256: no padding to 2S x 2S."""
    setting = Setting(CPU)
    made = text.build(LOAD, "S1", setting)
    weights = dict(made.naive.weights)
    if variant == "S2":
        del weights["step_embed.weight"]
    naive = type(made.naive)(weights, made.naive.heads)
    tokens, mask = made.batch.tokens, made.batch.mask
    inputs = [w for name, w in weights.items() if variant == "S1" or name != "alpha"]
    with FlopCounter() as counter:
        if variant == "S1":
            loss = naive.training_loss(tokens, mask, made.starts(1)[0], 2)
        else:
            start, *noise = made.starts(4)
            loss = naive.truncated_loss(tokens, mask, start, noise, torch.ones(4, 256, 1))
        loss.backward(inputs=inputs)
    assert 0.95 * limit < counter.total <= limit


def test_preparing_gives_the_tokens_of_the_bare_tokenizer() -> None:
    pair = prepare.preparing(SMALL)
    assert pair.gap is not None
    assert pair.gap() == 0
    assert pair.tokens > 1000


def _case(build: Callable[[Setting], Pair], target: float = 1.0) -> Case:
    return Case("a case", "a group", "a reference", build, target)


def _multiply(n: int) -> Callable[[], object]:
    a = torch.ones(n, n)
    return lambda: a @ a


def _effort() -> measure.Effort:
    return measure.Effort(seconds=0.0, fewest=3, most=3, memory=False, warmup=1)


def test_verdicts_follow_the_ratio_of_the_pairs() -> None:
    def pair(_: Setting) -> Pair:
        return Pair(_multiply(8), _multiply(600), tokens=1)

    fast = run(_case(pair, target=2.0), SMALL, _effort(), peak=1e9)
    assert fast.status == "passed"
    assert fast.flops == (2 * 8**3, 2 * 600**3)
    assert fast.pairs == 3
    slow = run(_case(pair, target=1e9), SMALL, _effort(), peak=1e9)
    assert slow.status == "missed"
    assert slow.value is not None


def test_a_rate_divides_flops_by_seconds() -> None:
    def pair(_: Setting) -> Pair:
        return Pair(_multiply(300), _multiply(300), tokens=1)

    plain = run(_case(pair), SMALL, _effort(), peak=1e9)
    case = Case("a case", "a group", "a reference", pair, 1.0, compares="rate")
    rate = run(case, SMALL, _effort(), peak=1e9)
    assert plain.value is not None
    assert rate.value is not None
    assert rate.flops == (2 * 300**3,) * 2


def test_a_failing_case_keeps_its_reason_and_spares_the_rest() -> None:
    def broken(_: Setting) -> Pair:
        raise ValueError("no such thing")

    def missing(_: Setting) -> Pair:
        raise NotYet("it cannot")

    def different(_: Setting) -> Pair:
        return Pair(_multiply(2), _multiply(2), tokens=1, gap=lambda: float("nan"))

    failed = run(_case(broken), SMALL, _effort(), peak=1e9)
    assert failed.status == "failed"
    assert "ValueError" in failed.reason
    assert "no such thing" in failed.reason
    assert run(_case(missing), SMALL, _effort(), peak=1e9).status == "not yet"
    assert run(_case(different), SMALL, _effort(), peak=1e9).status == "failed"


@pytest.mark.parametrize(
    ("precision", "bf16_tolerance", "status"),
    [("float32", 2e-2, "failed"), ("bf16", 2e-2, "passed"), ("bf16", 5e-3, "failed")],
)
def test_bf16_is_allowed_more_where_a_case_says_so(
    precision: Any, bf16_tolerance: float, status: str
) -> None:
    def build(_: Setting) -> Pair:
        return Pair(_multiply(2), _multiply(2), tokens=1, gap=lambda: 1e-2)

    case = Case("one", "text", "another", build, 0.0, bf16_tolerance=bf16_tolerance)
    assert run(case, Setting(CPU, precision), _effort(), 1e9).status == status


def test_peak_memory_is_what_a_step_adds() -> None:
    def build() -> Callable[[], object]:
        kept = torch.ones(4 * 2**20)  # stands before the step
        return lambda: torch.ones(64 * 2**20).add_(kept[0])

    megabytes = measure.peak_bytes_here(build, SMALL) / 2**20
    assert 200 < megabytes < 280  # a freed heap may lend some of the 256


def test_quartiles_are_those_of_the_pairs() -> None:
    timing = measure.Timing([1.0, 2.0, 1.0, 1.0, 1.0], [1.0, 4.0, 3.0, 4.0, 5.0])
    assert timing.ratios() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert timing.speed_up() == 3.0
    assert timing.quartiles() == (2.0, 4.0)


def test_the_report_is_readable_by_people_and_programs(tmp_path: Path) -> None:
    done = Result("S1, 4xs", "text", "the textbook", "time", 2.0, "passed", value=2.5, pairs=3)
    done.seconds, done.flops, done.gap = (0.1, 0.25), (1e9, 2e9), 1e-6
    lost = Result("S2, 4xs", "text", "the textbook", "time", 2.0, "failed", "RuntimeError: no")
    document, page = report.write(tmp_path, "AMD EPYC (2 threads)", {"device": "AMD"}, [done, lost])
    assert document.name == "amd-epyc-2-threads.json"
    kept = json.loads(document.read_text())["results"]
    assert [(r["name"], r["status"], r["value"]) for r in kept] == [
        ("S1, 4xs", "passed", 2.5),
        ("S2, 4xs", "failed", None),
    ]
    lines = page.read_text().splitlines()
    (row,) = (line for line in lines if line.startswith("| S1, 4xs"))
    assert "**2.50×** | ≥ 2× | ✓" in row
    assert "100 / 250" in row
    assert "- S2, 4xs: failed: RuntimeError: no" in lines


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_records(tmp_path_factory.mktemp("records"), sizes=3, seeds=2, lines=5)


def test_synthetic_records_are_runs_that_every_section_shows(synthetic: Path) -> None:
    """A case on records that nothing reads would time nothing."""
    suite = load_suite(synthetic)
    shown = suite_exhibits(suite, synthetic.parent / "results")
    assert shown.frame.missing == ()
    assert shown.frame.changed == ()
    assert len({run.run_id for run in suite.runs}) == 2 * 3 * 2
    logs = [RunFolder(synthetic.parent / "results", run.run_id).train_log for run in suite.runs]
    assert {len(log.read_text().splitlines()) for log in logs} == {5}
    for gathered in shown.gathered:
        assert all(table.rows for table in section_tables(gathered)[:1]), gathered.stem
        assert section_drawings(gathered), gathered.stem


@pytest.mark.parametrize("case", exhibits.cases(), ids=lambda case: case.name)
def test_exhibits_are_held_to_their_limits(case: exhibits.Limited, synthetic: Path) -> None:
    result = exhibits.run(case, repeats=1, suite=synthetic)
    assert result.status in ("passed", "missed"), result.reason
    ours, limit = result.seconds or result.peak_bytes or (0, 0)
    assert limit == case.limit
    assert result.value == pytest.approx(limit / ours)
    impossible = exhibits.run(replace(case, limit=1e-6), repeats=1, suite=synthetic)
    assert impossible.status == "missed"
    assert report.cells(result)[0] == case.name


def test_a_verb_that_fails_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text("suite: broken\n")
    result = exhibits.run(exhibits.cases()[0], repeats=1, suite=tmp_path / "suite.yaml")
    assert result.status == "failed"
    assert "harness table" in result.reason
