"""The figures of every kind of section of a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
from harness.analysis.figures.denoising import denoising_figure
from harness.analysis.figures.downstream import downstream_figure
from harness.analysis.figures.energy_maps import energy_maps
from harness.analysis.figures.examples import example_figures
from harness.analysis.figures.frame_strips import frame_strips
from harness.analysis.figures.next_frame import next_frame_figure
from harness.analysis.figures.page import Drawing
from harness.analysis.figures.probe import probe_figure
from harness.analysis.figures.scaling import scaling_figure
from harness.analysis.figures.thinking import thinking_figures
from harness.analysis.figures.thinking_ablation import thinking_ablation_figures
from harness.analysis.figures.thinking_scale import thinking_scale_figures
from harness.analysis.figures.thinking_shift import thinking_shift_figure
from harness.analysis.figures.tuning import tuning_figures
from harness.analysis.figures.uncertainty import uncertainty_figures
from harness.analysis.paper.tables import paper_words
from harness.planning.sections import ScalingSection

#: What draws each kind of exhibit: None, or no drawing, where it has nothing to draw.
_FIGURES: dict[type[Exhibit], tuple[Callable[..., list[Drawing] | Drawing | None], ...]] = {
    ScalingExhibit: (scaling_figure,),
    ThinkingExhibit: (thinking_figures,),
    ThinkingShiftExhibit: (thinking_shift_figure,),
    ThinkingScaleExhibit: (thinking_scale_figures,),
    ThinkingAblationExhibit: (thinking_ablation_figures,),
    UncertaintyExhibit: (uncertainty_figures, energy_maps),
    DownstreamExhibit: (downstream_figure,),
    NextFrameExhibit: (next_frame_figure, frame_strips),
    ProbeExhibit: (probe_figure,),
    DenoisingExhibit: (denoising_figure, example_figures),
    TuningExhibit: (tuning_figures,),
}


def section_drawings(gathered: Gathered) -> list[Drawing]:
    """One report section's figures, none where nothing was found."""
    exhibit, section = gathered.exhibit, gathered.section
    base = f"scaling-{section.x}" if isinstance(section, ScalingSection) else section.kind
    said = " ".join(filter(None, (paper_words(gathered), gathered.missing.text)))
    drawings: list[Drawing] = []
    for draw in _FIGURES[type(exhibit)]:
        drawn = draw(exhibit, missing=said)
        drawings += drawn if isinstance(drawn, list) else [drawn] if drawn is not None else []
    return [replace(d, name=gathered.stem + d.name.removeprefix(base)) for d in drawings]
