"""What a computation costs: measured matrix-multiply FLOPs, wall seconds, peak memory.

FLOPs are counted per operator as it runs, in every pass, so an inner gradient and its double
backward are counted too (`torch.utils.flop_counter.FlopCounterMode` crashes on those).
"""

from __future__ import annotations

import platform
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_ATEN = torch.ops.aten
_Formula = Callable[..., int]


def _matrix_vector(matrix: Tensor, *_: Any, **__: Any) -> int:
    return 2 * matrix.numel()


def _added_matrix_vector(_self: Tensor, matrix: Tensor, *_: Any, **__: Any) -> int:
    return 2 * matrix.numel()


def _summed_batches(_self: Tensor, batch1: Tensor, batch2: Tensor, *_: Any, **__: Any) -> int:
    return 2 * batch1.numel() * batch2.shape[-1]


#: Formulas that torch's registry lacks. The CPU fused backward counts as torch counts the CUDA
#: ones: five products, because the scores are recomputed.
_MISSING: dict[str, _Formula] = {
    "addmm_": flop_registry[_ATEN.addmm],
    "baddbmm_": flop_registry[_ATEN.baddbmm],
    "_addmm_activation": flop_registry[_ATEN.addmm],
    "mv": _matrix_vector,
    "dot": _matrix_vector,
    "vdot": _matrix_vector,
    "addmv": _added_matrix_vector,
    "addmv_": _added_matrix_vector,
    "addbmm": _summed_batches,
    "addbmm_": _summed_batches,
    "_scaled_dot_product_flash_attention_for_cpu": flop_registry[
        _ATEN._scaled_dot_product_flash_attention
    ],
    "_scaled_dot_product_flash_attention_for_cpu_backward": flop_registry[
        _ATEN._scaled_dot_product_flash_attention_backward
    ],
}
_EXTRA: dict[Any, _Formula] = {
    getattr(_ATEN, name): formula for name, formula in _MISSING.items() if hasattr(_ATEN, name)
}

#: Names that multiply matrices. "convert" and the linear interpolations do not.
_MULTIPLIES = re.compile(
    r"(?:^|_)[a-z0-9]*mm(?:_|$)|matmul|linear|einsum|attention|conv(?!er)"
    r"|(?:^|_)(?:v|multi_)?dot(?:_|$)|(?:^|_)(?:add)?mv(?:_|$)"
)
_HARMLESS = re.compile(r"upsample_")


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run what `torch.compile` made as the code that it was made from."""
    with torch.compiler.set_stance("force_eager"):
        yield


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the matrix-multiply FLOPs (2 per multiply-add) of the code run inside, uncompiled.

    `total` adds every operator with a formula. With `vocab_size`, `vocabulary` is the part spent in
    products of two plain matrices of which one has a dimension of that size (else it is None).
    Batched products are attention and never count as vocabulary, so 257 keys beside a vocabulary of
    257 are told apart; a product over exactly `vocab_size` rows is not: measure with another batch.

    Raises RuntimeError for an operator that multiplies matrices under no known formula, and under
    `inference_mode`, where operators arrive whole and would count 0; count under `no_grad`.
    """

    def __init__(self, *, vocab_size: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vocab_size = vocab_size
        self.total = 0.0
        self.vocabulary: float | None = None if vocab_size is None else 0.0
        self._uncompiled = ExitStack()

    def __enter__(self) -> FlopCounter:
        _refuse_inference_mode()
        self._uncompiled.enter_context(uncompiled())
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._uncompiled.close()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = getattr(func, "_overloadpacket", func)
        formula = _EXTRA.get(packet) or flop_registry.get(packet)
        if formula is not None:
            _refuse_inference_mode()
            flops = float(formula(*args, **kwargs, out_val=out))
            self.total += flops
            if self.vocabulary is not None and self._touches_vocabulary(args):
                self.vocabulary += flops
        else:
            _refuse_unknown(packet)
        return out

    def _touches_vocabulary(self, args: tuple[Any, ...]) -> bool:
        operands = [shape for shape in _shapes(args) if len(shape) >= 2]
        if any(len(shape) > 3 or (len(shape) == 3 and shape[0] > 1) for shape in operands):
            return False
        return any(self.vocab_size in shape[-2:] for shape in operands)


def _shapes(args: tuple[Any, ...]) -> Iterator[torch.Size]:
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg.shape


def _refuse_inference_mode() -> None:
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "FLOPs cannot be counted under torch.inference_mode (operators arrive whole and "
            "would count 0); count under torch.no_grad instead"
        )


@cache
def _multiplies(packet: Any) -> bool:
    name = str(getattr(packet, "__name__", packet))
    return bool(_MULTIPLIES.search(name)) and not _HARMLESS.search(name)


def _refuse_unknown(packet: Any) -> None:
    if _multiplies(packet):
        _refuse_inference_mode()
        raise RuntimeError(
            f"operator {packet} multiplies matrices but has no FLOP formula, so the count would "
            "be too low; add one to harness/cost.py, or compute on tensors made outside "
            "torch.inference_mode"
        )


def _is_cuda(device: torch.device | str) -> bool:
    return torch.device(device).type == "cuda"


_CLEAR_REFS = Path("/proc/self/clear_refs")
_PROCESS_STATUS = Path("/proc/self/status")


def reset_peak_memory(device: torch.device | str) -> None:
    """Start a new peak, on CUDA and on Linux; elsewhere a process's peak cannot be taken back."""
    if _is_cuda(device):
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR_REFS.exists():
        try:
            _CLEAR_REFS.write_text("5")
        except OSError:  # a locked-down container: the peak is then the process's so far
            return


def peak_memory_bytes(device: torch.device | str) -> int:
    """Peak bytes since the last reset: of CUDA's allocator, or resident, of the whole process."""
    if _is_cuda(device):
        return int(torch.cuda.max_memory_allocated(device))
    if _PROCESS_STATUS.exists():
        for line in _PROCESS_STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def seconds_median(
    fn: Callable[[], object], repeats: int, device: torch.device | str, *, warmup: int = 1
) -> float:
    """Median wall seconds of `repeats` calls of `fn`, after `warmup` untimed ones."""
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    for _ in range(warmup):
        fn()
    return median(_seconds(fn, device) for _ in range(repeats))


def _seconds(fn: Callable[[], object], device: torch.device | str) -> float:
    if _is_cuda(device):
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    fn()
    if _is_cuda(device):
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def device_name(device: torch.device, threads: int) -> str:
    """Model of the processor that did the work, and its threads where it is a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()} ({threads} thread{'s' if threads > 1 else ''})"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.processor() or platform.machine()
