"""The columns of the results table besides the metrics: what a run is, the axes of the grid, what became of it."""

from __future__ import annotations

from attnlab.kinds import AXES

__all__ = ["AXES", "FIRST", "LAST", "TAKEN"]

FIRST = ("experiment", "run_id")
LAST = (
    "status",
    "reason",
    "notes",
    "attempts",
    "fit_seconds",
    "n_parameters",
    "operations_per_query",
    "off_budget",
    "converged",
    "n_tuned",
    "backend",
    "executor",
    "plugin_versions",
    "attnlab_version",
    "started_at",
)
_FACTS = ("fit_seconds", "n_parameters", "operations_per_query")  # columns that are metrics as well

# Names that no metric may have; "metric" and "value" are columns of the tidy table.
TAKEN = (*(c for c in (*FIRST, *AXES, *LAST) if c not in _FACTS), "metric", "value")
