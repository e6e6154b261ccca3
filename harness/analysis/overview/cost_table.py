"""The table of costs: training and one prediction, on every axis, beside the baseline's."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.exhibits.suites import SuiteExhibits
from harness.analysis.overview.costs import Asking, CostRow, cost_rows
from harness.analysis.tables.table import Cell, Table
from harness.quantities import duration, si

NAME = "costs"


def cost_tables(shown: Sequence[SuiteExhibits]) -> list[Table]:
    """Training (`costs`) and one prediction (`costs-prediction`) of every model at every point."""
    rows = cost_rows(shown)
    asked = [(row, row.asking) for row in rows if row.asking is not None]
    training = Table(
        name=NAME,
        title="What every model cost to train",
        header=(
            *("suite", "model", "point", "runs", "non-emb.", "parameters", "seen"),
            *("train FLOPs", "without vocab.", "× baseline", "time", "× baseline", "memory"),
        ),
        rows=[[*_named(row, rows), *_training_cells(row)] for row in rows],
        data=[_identity(row) | _training_data(row) for row in rows],
        notes=_training_notes(rows),
        text_columns=3,
    )
    prediction = Table(
        name=f"{NAME}-prediction",
        title="What a prediction costs: a token, a frame or an image",
        header=(
            *("suite", "model", "point", "NFE", "forward", "backward"),
            *("FLOPs", "without vocab.", "× baseline", "time", "× baseline", "evaluation"),
        ),
        rows=[[*_named(row, rows), *_asking_cells(row, asking)] for row, asking in asked],
        data=[_identity(row) | _asking_data(row, asking) for row, asking in asked],
        notes=_asking_notes(asked),
        text_columns=3,
    )
    return [training, prediction]


def _named(row: CostRow, rows: Sequence[CostRow]) -> list[Cell]:
    several = len({other.experiment for other in rows if other.suite == row.suite}) > 1
    suite = f"{row.suite}/{row.experiment}" if several else row.suite
    return [Cell(suite), Cell(row.adapter), Cell(row.point)]


def _training_cells(row: CostRow) -> list[Cell]:
    texts = [
        str(row.runs),
        si(row.non_embedding).strip(),
        si(row.parameters).strip(),
        "" if row.seen is None else f"{si(row.seen).strip()} {row.unit}",
        si(row.training_flops).strip(),
        si(row.training_flops_core).strip(),
        _times(row.training_ratio),
        duration(row.training_seconds),
        _times(row.training_seconds_ratio),
        f"{row.training_memory / 2**20:.0f} MiB",
    ]
    return [Cell(text) for text in texts]


def _asking_cells(row: CostRow, asking: Asking) -> list[Cell]:
    counts = (asking.nfe, asking.forward, asking.backward)
    texts = [
        *("" if count is None else f"{count:.3g}" for count in counts),
        si(asking.flops).strip(),
        si(asking.flops_core).strip(),
        _times(row.asking_ratio),
        "" if asking.seconds is None else _short(asking.seconds),
        _times(row.asking_seconds_ratio),
        asking.evaluation,
    ]
    return [Cell(text) for text in texts]


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.3g}×"


def _short(seconds: float) -> str:
    """Below a millisecond too: `45 µs`."""
    return f"{1e6 * seconds:.3g} µs" if seconds < 1e-3 else duration(seconds)


def _identity(row: CostRow) -> dict[str, object]:
    return {
        "suite": row.suite,
        "experiment": row.experiment,
        "model": row.adapter,
        "family": row.family,
        "point": row.point,
        "runs": row.runs,
        "baseline": row.baseline,
    }


def _training_data(row: CostRow) -> dict[str, object]:
    return {
        "non_embedding": row.non_embedding,
        "parameters": row.parameters,
        "seen": row.seen,
        "seen_unit": row.unit,
        "training_flops": row.training_flops,
        "training_flops_without_vocabulary": row.training_flops_core,
        "training_flops_ratio": row.training_ratio,
        "training_seconds": row.training_seconds,
        "training_seconds_ratio": row.training_seconds_ratio,
        "training_peak_memory_bytes": row.training_memory,
        "training_device": ", ".join(row.training_devices),
    }


def _asking_data(row: CostRow, asking: Asking) -> dict[str, object]:
    return {
        "nfe": asking.nfe,
        "forward": asking.forward,
        "backward": asking.backward,
        "flops": asking.flops,
        "flops_without_vocabulary": asking.flops_core,
        "flops_ratio": row.asking_ratio,
        "seconds": asking.seconds,
        "seconds_ratio": row.asking_seconds_ratio,
        "evaluation": asking.evaluation,
        "data": asking.data,
        "device": ", ".join(asking.devices),
    }


_BESIDE = (
    "× baseline: over what a section of the experiment compares with, else its Transformer++ or "
    "DiT, at the same point; times only where all runs of both were on one device."
)


def _training_notes(rows: Sequence[CostRow]) -> list[str]:
    if not rows:
        return []
    devices = ", ".join(sorted({d for row in rows for d in row.training_devices}))
    return [
        "Means over a point's runs (training seeds), memory the largest of them. FLOPs are counted "
        "as they run, inner gradients included; without vocab. leaves out the vocabulary "
        "projection, which dominates small models of text. Seen: tokens, predicted frames, images. "
        "Trials of learning rates are left out.",
        f"{_BESIDE} Measured on {devices}; runs that shared the machine with others took longer.",
    ]


def _asking_notes(asked: Sequence[tuple[CostRow, Asking]]) -> list[str]:
    if not asked:
        return []
    devices = ", ".join(sorted({d for _, asking in asked for d in asking.devices}))
    return [
        "At the thinking that the model was trained with. NFE counts forward calls of the network "
        "alone; forward and backward are the passes of either kind, of which an EBT's step is one "
        "each.",
        f"{_BESIDE} Timed in the named evaluation, batched, on {devices}.",
    ]
