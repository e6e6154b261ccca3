"""How bodies are compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

#: Shapes and grad modes of one function that training may meet: blocks that stop early or not,
#: batches with and without replayed rows, with and without a graph, a last partial batch.
VARIANTS = 64


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` through `torch.compile`, whole and for each shape by itself."""
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, VARIANTS)
    # Float32 is meant as it is.
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores for float32")
    # Dynamo looks at the gradient of whatever it is given, and torch warns whoever does.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    return torch.compile(function, fullgraph=True, dynamic=False)
