"""The tables of every kind of section of a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.analysis.exhibits.denoising import DenoisingExhibit
from harness.analysis.exhibits.downstream import DownstreamExhibit
from harness.analysis.exhibits.gather import Exhibit, Gathered
from harness.analysis.exhibits.next_frame import NextFrameExhibit
from harness.analysis.exhibits.probe import ProbeExhibit
from harness.analysis.exhibits.scaling import ScalingExhibit
from harness.analysis.exhibits.thinking import ThinkingExhibit
from harness.analysis.exhibits.thinking_ablation import ThinkingAblationExhibit
from harness.analysis.exhibits.thinking_scale import ThinkingScaleExhibit
from harness.analysis.exhibits.thinking_shift import ThinkingShiftExhibit
from harness.analysis.exhibits.tuning import TuningExhibit
from harness.analysis.exhibits.uncertainty import UncertaintyExhibit
from harness.analysis.paper.tables import paper_tables
from harness.analysis.tables.denoising import denoising_tables
from harness.analysis.tables.downstream import downstream_tables
from harness.analysis.tables.equal_loss import equal_loss_tables
from harness.analysis.tables.next_frame import next_frame_tables
from harness.analysis.tables.probe import probe_tables
from harness.analysis.tables.scaling import scaling_tables
from harness.analysis.tables.table import Table
from harness.analysis.tables.thinking import thinking_tables
from harness.analysis.tables.thinking_ablation import thinking_ablation_tables
from harness.analysis.tables.thinking_models import thinking_model_tables
from harness.analysis.tables.thinking_scale import thinking_scale_tables
from harness.analysis.tables.thinking_shift import thinking_shift_tables
from harness.analysis.tables.tuning import tuning_tables
from harness.analysis.tables.uncertainty import uncertainty_tables

#: What makes the tables of each kind of exhibit.
_TABLES: dict[type[Exhibit], Callable[[Any, str], list[Table]]] = {
    ScalingExhibit: lambda exhibit, stem: [
        *scaling_tables(exhibit, stem),
        *equal_loss_tables(exhibit, stem),
    ],
    ThinkingExhibit: lambda exhibit, stem: [
        *thinking_tables(exhibit, stem),
        *thinking_model_tables(exhibit, stem),
    ],
    ThinkingShiftExhibit: thinking_shift_tables,
    ThinkingScaleExhibit: thinking_scale_tables,
    ThinkingAblationExhibit: thinking_ablation_tables,
    UncertaintyExhibit: uncertainty_tables,
    DownstreamExhibit: downstream_tables,
    NextFrameExhibit: next_frame_tables,
    ProbeExhibit: probe_tables,
    DenoisingExhibit: denoising_tables,
    TuningExhibit: tuning_tables,
}


def section_tables(gathered: Gathered) -> list[Table]:
    """The tables of one report section, and the paper's numbers beside them."""
    own = _TABLES[type(gathered.exhibit)](gathered.exhibit, gathered.stem)
    return [*own, *paper_tables(gathered)]
