"""Pictures: weights with their tokens and true links, and claims with their seeds, interval and bound."""

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

__all__ = [
    "FALLBACKS",
    "alignment_figure",
    "alignments_figure",
    "claims_figure",
    "draw_alignments",
    "new_picture",
    "plot_alignment",
    "plot_alignments",
    "plot_claim",
    "save",
]
