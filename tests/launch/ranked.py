"""What each rank does in test_ranks.py: `python -m tests.launch.ranked CASE FOLDER`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from baselines.adapters.text import TransformerPPText
from harness.launch.job import Job
from harness.launch.stop import StopFlag
from harness.launch.worker import Ending, work
from harness.planning.eval_spec import EvalSpec, LikelihoodEval
from harness.protocol import Single, StepOutput
from harness.records import RunFolder, write_json
from harness.training.parallel import ALONE, Ranks, joined
from tests.training.tiny import CORPUS, spec_of

EVALUATION: EvalSpec = LikelihoodEval(data=CORPUS, split="validation", thinking=Single())


def prepared(results: Path, **changes: Any) -> RunFolder:
    """A run of Transformer++ with one evaluation, as planning leaves it."""
    spec = spec_of("transformer_pp_text", **changes)
    folder = RunFolder(results, spec.run_id)
    write_json(folder.spec, spec.model_dump(mode="json"))
    evaluation = folder.evaluation(EVALUATION.eval_id)
    write_json(evaluation.spec, EVALUATION.model_dump(mode="json"))
    return folder


def worked(folder: RunFolder, ranks: Ranks = ALONE, *, stop_at: int | None = None) -> Ending:
    """Work on the run; what rank 0 tells of its progress brings a wish to stop at `stop_at`."""
    stop = StopFlag()

    def emit(event: dict[str, Any]) -> None:
        assert ranks.rank == 0, "the others have nothing to tell"
        if stop_at is not None and event.get("step", 0) >= stop_at:
            stop.asked = True

    job = Job(folder.run_id, (EVALUATION.eval_id,), device="cpu")
    return work(folder.path.parents[1], job, stop=stop, emit=emit, ranks=ranks)


def _note(folder: Path, case: str, rank: int, ending: Ending, began: float) -> None:
    found = {"how": ending.how, "reason": ending.reason, "seconds": time.monotonic() - began}
    write_json(folder / f"{case}-{rank}.json", found)


def whole(folder: Path) -> None:
    """To the end."""
    with joined("cpu", timeout_min=4) as ranks:
        ending = worked(prepared(folder), ranks)
    _note(folder, "whole", ranks.rank, ending, time.monotonic())


def held(folder: Path) -> None:
    """Another process holds the run."""
    with joined("cpu", timeout_min=4) as ranks:
        run, began = prepared(folder / "held"), time.monotonic()
        if ranks.rank == 1:
            with run.hold():
                ranks.barrier()
                ending = worked(run, ranks)
                ranks.barrier()
        else:
            ranks.barrier()
            ending = worked(run, ranks)
            ranks.barrier()
    _note(folder, "held", ranks.rank, ending, began)


def failing(folder: Path) -> None:
    """The run is another's; then rank 1 raises at its third step; then it dies there."""
    held(folder)
    _failing(folder, "raising", _raise)
    _failing(folder, "dying", _die)


def _failing(folder: Path, case: str, deed: Callable[[], None]) -> None:
    with joined("cpu", timeout_min=4) as ranks, pytest.MonkeyPatch.context() as patch:
        if ranks.rank == 1:
            patch.setattr(TransformerPPText, "training_loss", _at_third_call(deed))
        began = time.monotonic()
        ending = worked(prepared(folder / case), ranks)
    _note(folder, case, ranks.rank, ending, began)


def _at_third_call(deed: Callable[[], None]) -> Callable[..., StepOutput]:
    calls, real = iter(range(2)), TransformerPPText.training_loss

    def loss(*arguments: Any) -> StepOutput:
        if next(calls, None) is None:
            deed()
        return real(*arguments)

    return loss


def _raise() -> None:
    raise ArithmeticError("two and two")


def _die() -> None:
    os._exit(7)


CASES = {"whole": whole, "failing": failing}

if __name__ == "__main__":
    CASES[sys.argv[1]](Path(sys.argv[2]))
