"""Pictures: weights with their tokens and true links, claims with their seeds, interval and bound, quality against cost."""

from __future__ import annotations

from attnlab.analysis.plots.alignments import (
    alignment_figure,
    alignments_figure,
    draw_alignments,
    plot_alignment,
    plot_alignments,
)
from attnlab.analysis.plots.claims import claims_figure, plot_claim
from attnlab.analysis.plots.drawing import FALLBACKS, new_picture, save
from attnlab.analysis.plots.frontier import frontier_figure, plot_frontier

__all__ = [
    "FALLBACKS",
    "alignment_figure",
    "alignments_figure",
    "claims_figure",
    "draw_alignments",
    "frontier_figure",
    "new_picture",
    "plot_alignment",
    "plot_alignments",
    "plot_claim",
    "plot_frontier",
    "save",
]
