"""Modes that a passage computes in, whatever its caller's are."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

#: Entering `torch.autocast` takes some microseconds, and decoding a token would nine times.
_AS_IT_IS: AbstractContextManager[None] = nullcontext()


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Inside, operators compute in the dtypes they are given."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return _AS_IT_IS


def inference() -> AbstractContextManager[object]:
    """Inside, nothing can be differentiated, and small operators take two thirds of their time.

    Where something watches operators (a FLOP counter), they arrive one by one all the same.
    """
    return torch.no_grad() if is_in_torch_dispatch_mode() else torch.inference_mode()


def plain(x: Tensor) -> Tensor:
    """A copy of what `inference` made, for use outside of it."""
    with torch.inference_mode(False):
        return x.clone()
