"""What a run's evaluations are made of, and what they need before it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.datasets import dataset_digest
from harness.data.measured import Measured, fingerprint, remember
from harness.data.pixels.sources import split_pixels
from harness.errors import HarnessError
from harness.launch.evaluating import check_prepared, evaluation_digests
from harness.launch.job import Job
from harness.launch.stop import StopFlag
from harness.launch.worker import work
from harness.planning.eval_spec import DenoisingEval, EvalBase, ProbeEval
from harness.protocol import Diffusion
from harness.records import EvalFolder, RunFolder, read_json, write_json
from tests.training.tiny import spec_of

HUB = "hub:owner/name#image?size=8&label=label"


def probe_of(data: str) -> ProbeEval:
    return ProbeEval(data=data, split="validation", l2=(1e-2,), train_limit=200, timing_repeats=1)


def wanted(folder: Path, spec: EvalBase) -> EvalFolder:
    evaluation = EvalFolder(folder / spec.eval_id)
    write_json(evaluation.spec, spec.model_dump(mode="json"))
    return evaluation


def prepared(split: str, cache: Path) -> None:
    """The note that preparing a split leaves."""
    found = split_pixels(HUB, split)
    remember(found, fingerprint(found), Measured("d" * 64, 5, 500), cache)


def test_a_probe_is_made_of_what_it_is_fitted_on_too(tmp_path: Path) -> None:
    names = {split: f"builtin/digits/{split}" for split in ("train", "validation")}
    found = evaluation_digests(probe_of("builtin/digits"), tmp_path)
    assert found == {name: dataset_digest("builtin/digits", split) for split, name in names.items()}
    other = DenoisingEval(
        data="builtin/digits", split="validation", level=0.1, thinking=(Diffusion(steps=1),)
    )
    assert list(evaluation_digests(other, tmp_path)) == [names["validation"]]


def test_what_a_probe_reads_of_the_hub_is_prepared_before(tmp_path: Path) -> None:
    evaluation, cache = wanted(tmp_path, probe_of(HUB)), tmp_path / "data"
    own = wanted(tmp_path, probe_of("builtin/digits"))
    check_prepared([own], cache)
    for split in ("train", "validation"):
        with pytest.raises(HarnessError, match="not prepared here") as caught:
            check_prepared([own, evaluation], cache)
        assert f"{HUB}' --split {split}" in str(caught.value)
        prepared(split, cache)
    check_prepared([own, evaluation], cache)


def test_nothing_is_trained_whose_evaluation_could_not_be_read(tmp_path: Path) -> None:
    spec = spec_of("dit_image")
    folder = RunFolder(tmp_path, spec.run_id)
    write_json(folder.spec, spec.model_dump(mode="json"))
    ids = []
    for evaluation in (probe_of("builtin/digits"), probe_of(HUB)):
        write_json(folder.evaluation(evaluation.eval_id).spec, evaluation.model_dump(mode="json"))
        ids.append(evaluation.eval_id)

    def ending(*evaluations: str) -> tuple[str, str]:
        job = Job(spec.run_id, evaluations, device="cpu")
        found = work(tmp_path, job, stop=StopFlag(), emit=lambda event: None)
        return found.how, found.reason or ""

    how, reason = ending(*ids)
    assert how == "failed"
    assert "not prepared here" in reason
    assert not folder.training.exists()
    assert not any(folder.checkpoints.glob("step-*"))
    assert ending(ids[0]) == ("done", "")
    how, reason = ending(*ids)
    assert how == "failed"
    assert f"evaluation {ids[1]}" in reason, "what is trained is evaluated as far as it can be"
    assert read_json(folder.training)["steps"]
    assert folder.status().state == "done"
