"""Run one case from building to verdict, so that a failure stays in its row."""

from __future__ import annotations

import gc
import traceback

import torch

from tests.bench.case import Case, NotYet, Pair, Result, Setting
from tests.bench.measure import Effort, flops, interleave, peak_bytes


def run(case: Case, setting: Setting, effort: Effort, peak: float) -> Result:
    """Measure `case`; whatever goes wrong is the result's reason."""
    result = Result(case.name, case.group, case.against, case.compares, case.target)
    try:
        _measure(case, result, setting, effort, peak)
    except NotYet as reason:
        result.status, result.reason = "not yet", str(reason)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename.rsplit('/', 1)[-1]}:{place.lineno}"
        said = (str(error).strip().splitlines() or [""])[0]
        result.status, result.reason = "failed", f"{type(error).__name__} at {where}: {said}"
    gc.collect()
    torch._dynamo.reset()
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    return result


def _measure(case: Case, result: Result, setting: Setting, effort: Effort, peak: float) -> None:
    if (effort.memory and case.memory) or case.compares == "memory":
        result.peak_bytes = peak_bytes(case, setting)
    pair = case.build(setting)
    if pair.gap is not None:
        result.gap = pair.gap()
    if case.compares == "memory":
        assert result.peak_bytes is not None
        result.value = result.peak_bytes[1] / result.peak_bytes[0]
    else:
        _time(case, result, pair, setting, effort, peak)
    assert result.value is not None
    result.status = "passed" if result.value >= case.target else "missed"
    allowed = case.tolerance if setting.precision == "float32" else case.bf16_tolerance
    if result.gap is not None and not result.gap <= allowed:
        result.status = "failed"
        result.reason = f"numbers differ by {result.gap:.1e}, allowed {allowed:g}"


def _time(
    case: Case, result: Result, pair: Pair, setting: Setting, effort: Effort, peak: float
) -> None:
    result.flops = flops(pair.count or pair.ours, pair.prepare), flops(pair.theirs)
    result.minimum_flops = pair.minimum
    timing = interleave(pair, setting.device, effort)
    ours, theirs = sorted(timing.ours), sorted(timing.theirs)
    middle = len(ours) // 2
    result.seconds, result.pairs = (ours[middle], theirs[middle]), len(ours)
    result.tokens_per_second = pair.tokens / ours[middle]
    result.share_of_peak = result.flops[0] / ours[middle] / peak
    work = result.flops[0] / result.flops[1] if case.compares == "rate" else 1.0
    low, high = timing.quartiles()
    result.value, result.spread = work * timing.speed_up(), (work * low, work * high)
