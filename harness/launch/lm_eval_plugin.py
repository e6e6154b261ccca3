"""Trained runs as lm-eval's model `harness`, for its own command line.

    lm_eval --model harness --model_args run=ID,results=results,steps=3,samples=5 --tasks NAME

Published under the entry-point group `lm_eval.models`. Versions that do not load it, such as
0.4.13, register it by hand: `lm_eval.api.registry.register_model("harness")(HarnessLM)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from harness.errors import HarnessError
from harness.evals.language_model import AdapterLM
from harness.launch.trained import trained
from harness.planning.evaluations import thinking_for
from harness.planning.lm_tasks import thinking_given
from harness.planning.located import Key, Located, Place
from harness.planning.spec import TrainSpec
from harness.protocol import Descent
from harness.records import find_run, read_json
from harness.training.parallel import device_of

_PLACE = "--model_args"
_DEFAULT_BATCH = 32


class HarnessLM(AdapterLM):
    """The run `run` (an id, or how one begins) under `results`, thinking as it was trained.

    Any field of a descent, such as `steps` and `samples`, changes that. HarnessError for a run, a
    field or a value that cannot be.
    """

    def __init__(
        self,
        run: str,
        results: str = "results",
        noise_seed: int = 0,
        batch_size: int | str | None = None,
        device: str | None = None,
        **fields: Any,
    ) -> None:
        fields.pop("max_batch_size", None)
        folder = find_run(Path(results), str(run))
        spec = TrainSpec.model_validate(read_json(folder.spec))
        _check_fields(fields)
        tree = {"kind": "lm_task", "tasks": ["any"], "thinking": thinking_given(spec, fields)}
        places: dict[Key, Place] = {(): Place(_PLACE), ("thinking",): Place(_PLACE)}
        thinking = thinking_for(Located(tree, places), spec)
        super().__init__(
            trained(folder, _device(device), Path(results)),
            thinking,
            batch_size=_whole(batch_size),
            noise_seed=noise_seed,
        )


def _check_fields(fields: dict[str, Any]) -> None:
    known = [name for name in Descent.model_fields if name != "kind"]
    for name in fields:
        if name not in known:
            raise HarnessError(
                "no such argument",
                where=_PLACE,
                given=name,
                allowed=["run", "results", "noise_seed", "batch_size", "device", *known],
            )


def _device(given: str | None) -> torch.device:
    """As lm-eval's `hf` models take it, to which its command line says `cuda:0` by default."""
    if given is None or (given.startswith("cuda") and not torch.cuda.is_available()):
        return device_of("auto")
    return torch.device(given)


def _whole(batch_size: int | str | None) -> int:
    """Rows at once; lm-eval's `auto` is the default, as there is nothing to find out."""
    if batch_size is None or str(batch_size).startswith("auto"):
        return _DEFAULT_BATCH
    return int(batch_size)
