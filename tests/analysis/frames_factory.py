"""Next-frame sections of planted records: what each clip's loss is under each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.exhibits.gather import gather
from harness.analysis.exhibits.next_frame import FrameRow, NextFrameExhibit
from harness.analysis.figures.page import Drawing
from harness.analysis.frame import load_frame
from harness.planning.planned import PlannedRun, Suite
from harness.planning.suite import load_suite
from harness.records import Measurement
from tests.analysis.records_factory import measured, write_suite

#: The beginning of a suite: what comes next are the experiment's seeds or axes.
VIDEO = """
suite: video
experiments:
  video:
    base:
      task: {kind: next_frame, context: 5}
      config: {depth: 1, width: 16, heads: 2}
      batch_size: 8
      budget: {steps: 10}
      optimizer: {lr: 1e-3}
    adapters:
      transformer++: {adapter: transformer_pp_video}
      ebt: {adapter: ebt_video}
"""
SUITE = f"""{VIDEO}    seeds: SEEDS
    evaluations:
      validation: {{kind: next_frame, data: builtin/moving-digits, noise_seeds: [0, 1]}}
report:
  - {{kind: next_frame, title: Frames, experiment: video, evaluation: validation,
     baseline: transformer++}}
"""
TAGS = {"data": "builtin/moving-digits", "split": "validation"}
COST = {"nfe": 2.0, "flops": 1e5, "seconds": 2e-4}
#: Mean loss per frame of each clip, of copies and as a base of the models'.
COPIED = np.linspace(0.02, 0.2, 24)
FRAMES = np.full(24, 15.0)

ClipLosses = Callable[[PlannedRun], np.ndarray]


def suite_of(text: str, folder: Path) -> Suite:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "suite.yaml"
    path.write_text(text)
    return load_suite(path)


def record(
    run: PlannedRun,
    folder: Path,
    per_clip: np.ndarray,
    *,
    copied: np.ndarray,
    psnr: bool,
    decoded: bool,
    videos: np.ndarray | None = None,
) -> list[Measurement]:
    """What the evaluator writes of mean losses per clip, +- 1 % by noise seed.

    The PSNR of a frame is 20 dB at a loss of 0.1 and falls by one dB per 0.01.
    """
    n = FRAMES[: len(per_clip)]
    kept: dict[str, Any] = {"n": n, "copy_last_loss": copied * n}
    if videos is not None:
        kept["video"] = videos
    found = []

    def add(name: str, value: float | None, noise_seed: int | None, **given: Any) -> None:
        facts = {"unit": "smooth L1", "tags": TAGS, "n": int(n.sum())} | given
        found.append(measured(run, name, value, noise_seed=noise_seed, **facts))

    for noise_seed, factor in ((0, 0.99), (1, 1.01)):
        losses = factor * per_clip
        add("loss", float((losses * n).sum() / n.sum()), noise_seed, cost=COST)
        add("mse", float(2 * (losses * n).sum() / n.sum()), noise_seed, cost=COST)
        kept["loss"] = np.stack([*kept.get("loss", ()), losses * n])
        kept["mse"] = 2 * kept["loss"]
        if psnr:
            each = 20 - 100 * (losses - 0.1)
            kept["psnr_per_frame"] = np.stack([*kept.get("psnr_per_frame", ()), each * n])
            add("psnr_per_frame", float((each * n).sum() / n.sum()), noise_seed)
            add("psnr", 19.0, noise_seed)
    add("copy_last_loss", float((copied * n).sum() / n.sum()), None)
    add("copy_last_mse", 1.0, None)
    if psnr:
        add("copy_last_psnr", 15.0, None)
        add("copy_last_psnr_per_frame", 15.5, None)
    if decoded:
        add("reconstruction_psnr", 30.0, None)
        add("reconstruction_psnr_per_frame", 31.0, None)
    np.savez(folder / "per_clip.npz", **kept)
    return found


def exhibit_of(
    folder: Path,
    losses: ClipLosses,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    copied: Callable[[PlannedRun], np.ndarray] = lambda run: COPIED,
    psnr: bool = True,
    decoded: bool = False,
    examples: int = 0,
    predicted: float = 0.5,
    videos: np.ndarray | None = None,
) -> NextFrameExhibit:
    suite = suite_of(SUITE.replace("SEEDS", str(list(seeds))), folder)

    def evaluator(run: PlannedRun, spec: Any, where: Path) -> list[Measurement]:
        if examples:
            images = np.zeros((examples, 1, 4, 4), np.float32)
            kept = {"last": images - 1, "truth": images, "predicted": images + predicted}
            np.savez(where / "examples.npz", rows=10 * np.arange(examples), **kept)
        clips = losses(run)
        about = {"psnr": psnr, "decoded": decoded, "videos": videos}
        return record(run, where, clips, copied=copied(run)[: len(clips)], **about)

    write_suite(suite, folder, evaluator)
    (gathered,) = gather(suite, load_frame(suite, folder))
    assert isinstance(gathered.exhibit, NextFrameExhibit)
    assert gathered.stem == "next_frame"
    return gathered.exhibit


def row_of(exhibit: NextFrameExhibit, model: str) -> FrameRow:
    return next(row for row in exhibit.rows if row.model == model)


def plain(run: PlannedRun) -> np.ndarray:
    """EBT at 0.8, Transformer++ at 0.9 of the copies' losses, with a little scatter by seed."""
    share = 0.8 if run.adapter_label == "ebt" else 0.9
    return COPIED * (share + 0.01 * (run.spec.seed - 1))


def words(drawing: Drawing) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in drawing.figure.texts)
