"""Interleaved timing, matrix-multiply peak, FLOPs and peak memory of two sides of a case."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

import torch

from harness.cost import FlopCounter, peak_memory_bytes, reset_peak_memory
from tests.bench.case import Case, Pair, Setting, Step


@dataclass(frozen=True)
class Effort:
    """How long to measure: pairs fill `seconds` a case, within `fewest` and `most`.

    `clock` is wall time, or the CPU time of this process where others use the machine.
    """

    seconds: float
    fewest: int
    most: int
    memory: bool
    warmup: int = 2
    clock: Callable[[], float] = time.perf_counter


FULL = Effort(seconds=6.0, fewest=4, most=40, memory=True)
QUICK = Effort(seconds=2.0, fewest=3, most=20, memory=False)
TINY = Effort(seconds=0.0, fewest=1, most=1, memory=False, warmup=1)


@dataclass(frozen=True)
class Timing:
    """Seconds of ours and theirs, pair by pair."""

    ours: list[float]
    theirs: list[float]

    def ratios(self) -> list[float]:
        """Theirs over ours, within each pair."""
        return [b / a for a, b in zip(self.ours, self.theirs, strict=True)]

    def speed_up(self) -> float:
        """Median of the pairs' ratios."""
        return median(self.ratios())

    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the pairs' ratios."""
        ratios = self.ratios()
        if len(ratios) < 2:
            return ratios[0], ratios[0]
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        return low, high


def seconds(
    step: Step,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
    prepare: Step | None = None,
) -> float:
    """Seconds of one call, `prepare` left out, the device waited for."""
    if prepare is not None:
        prepare()
    _wait(device)
    start = clock()
    step()
    _wait(device)
    return clock() - start


def interleave(pair: Pair, device: torch.device, effort: Effort) -> Timing:
    """Time A B, B A, A B, ...: slow phases of the machine meet both sides alike."""
    timing, once = Timing([], []), 0.0

    def ours() -> float:
        return seconds(pair.ours, device, effort.clock, pair.prepare)

    def theirs() -> float:
        return seconds(pair.theirs, device, effort.clock)

    for _ in range(effort.warmup):
        once = ours() + theirs()
    pairs = min(max(effort.fewest, int(effort.seconds / max(once, 1e-6))), effort.most)
    for index in range(pairs):
        if index % 2:
            timing.theirs.append(theirs())
            timing.ours.append(ours())
        else:
            timing.ours.append(ours())
            timing.theirs.append(theirs())
    return timing


def flops(step: Step, prepare: Step | None = None) -> float:
    """Matrix-multiply FLOPs of one eager call."""
    if prepare is not None:
        prepare()
    with FlopCounter() as counter:
        step()
    return counter.total


def matmul_peak(setting: Setting, clock: Callable[[], float] = time.perf_counter) -> float:
    """FLOPs per second of a large square matrix product at these threads and this precision."""
    cuda = setting.device.type == "cuda"
    dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
    n = 8192 if cuda else 2048
    a, b = (torch.randn(n, n, device=setting.device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)

    def product() -> None:
        torch.mm(a, b, out=out)

    for _ in range(3):
        product()
    fastest = min(seconds(product, setting.device, clock) for _ in range(10))
    return 2.0 * n**3 / fastest


def peak_bytes_here(build: Callable[[], Step], setting: Setting) -> int:
    """Peak of the first call of a freshly built step, above what stood before it."""
    _open_libraries(setting.device)
    step = build()
    gc.collect()
    _wait(setting.device)
    before = _held_bytes(setting.device)
    reset_peak_memory(setting.device)
    step()
    _wait(setting.device)
    return max(0, peak_memory_bytes(setting.device) - before)


def peak_bytes(case: Case, setting: Setting) -> tuple[int, int]:
    """Peak of one step of ours and of theirs: a fresh process each, or CUDA's allocator."""
    if setting.device.type == "cuda":
        return _side_here(case, "ours", setting), _side_here(case, "theirs", setting)
    return _side_apart(case, "ours", setting), _side_apart(case, "theirs", setting)


def side_step(case: Case, side: str, setting: Setting) -> Step:
    """One side of a case, prepared."""
    pair = case.build(setting)
    if side == "theirs":
        return pair.theirs
    if pair.prepare is not None:
        pair.prepare()
    return pair.ours


def _side_here(case: Case, side: str, setting: Setting) -> int:
    gc.collect()
    torch.cuda.empty_cache()
    return peak_bytes_here(lambda: side_step(case, side, setting), setting)


def _side_apart(case: Case, side: str, setting: Setting) -> int:
    command = [sys.executable, "-m", "tests.bench", "--memory-of", case.name, "--side", side]
    command += ["--device", str(setting.device), "--precision", setting.precision]
    command += ["--threads", str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process that measures memory ended with {done.returncode}: {last}")
    return int(json.loads(done.stdout.strip().splitlines()[-1])["bytes"])


def _held_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    reset_peak_memory(device)  # the peak is now what is resident
    return peak_memory_bytes(device)


def _open_libraries(device: torch.device) -> None:
    """One small product, forward and back, so that loading kernels is not counted as a step."""
    a = torch.randn(64, 64, device=device, requires_grad=True)
    (a @ a).softmax(-1).sum().backward()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
