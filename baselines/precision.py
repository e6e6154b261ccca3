"""Which precision a passage computes in, whatever its caller's autocast says."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

#: Entering `torch.autocast` takes ten microseconds, a fiftieth of a small decoding step each.
_AS_IT_IS: AbstractContextManager[None] = nullcontext()


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Inside, operators compute in the dtypes they are given."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return _AS_IT_IS
