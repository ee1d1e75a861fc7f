"""Runs that a comparison lacks, in words: which, why, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attnlab.tables import differs, setting_text

__all__ = ["POINT", "VARIANT", "count_missing", "list_missing", "mixed"]

POINT = ["point", "crossed", "seed"]  # what a run is run on, and
VARIANT = ["competitor", "own"]  # what is run: columns of codes


def count_missing(runs: int, units: int, of: int) -> str:
    return f"{runs} {'run is' if runs == 1 else 'runs are'} missing, on {units} of the {of} tasks"


def list_missing(
    head: str,
    frame: pd.DataFrame,
    rows: pd.DataFrame,
    lost: pd.DataFrame,
    labels: Sequence[str],
    ok: NDArray[np.bool_],
    metric: str,
) -> str:
    """The first few missing runs, each with its reason, and what the user can do."""
    bad = rows[~ok].drop_duplicates([*VARIANT, *POINT])[[*VARIANT, *POINT, "at"]].rename(columns={"at": "failed"})
    lost = lost.merge(bad, on=[*VARIANT, *POINT], how="left")
    seeds = dict(zip(rows["seed"], frame["seed"], strict=True))
    lines = []
    first: list[Any] = list(lost.head(6).itertuples())
    for row in first:
        if pd.notna(row.failed):
            record = frame.iloc[int(row.failed)]
            why = f"{record['status']}: {record.get('reason', '')} (run {record['run_id']})"
        else:
            why = f"{metric} is NaN" if pd.notna(row.at) else "was never run"
        point = rows.loc[rows["point"] == row.point, "at"].iloc[0]
        lines.append(f"  {labels[row.competitor]}, {_task(frame, point)}, seed {seeds[row.seed]}: {why}")
    more = [f"  and {len(lost) - 6} more"] if len(lost) > 6 else []
    return (
        mixed(frame)
        + "\n".join([f"{head}:", *lines, *more])
        + "\nrun them (attnlab sweep), or choose what to do about them (missing=, --missing): complete-tasks leaves those "
        "tasks out, worst-rank places a competitor last where one of its runs is missing"
    )


def mixed(frame: pd.DataFrame) -> str:
    """A sentence if the runs belong to several experiments, which may have different tasks or competitors."""
    names = [str(name) for name in frame["experiment"].unique() if name] if "experiment" in frame.columns else []
    if len(names) < 2:
        return ""
    listed = ", ".join(names[:12]) + (f", and {len(names) - 12} more" if len(names) > 12 else "")
    return (
        f"these runs belong to {len(names)} experiments, which may have different tasks and competitors; take one "
        f"(--experiment NAME, load_results(experiment=NAME)): {listed}\nall together: "
    )


def _task(frame: pd.DataFrame, at: int) -> str:
    """A task point in a few words: its name and the settings that vary."""
    settings = [c for c in frame.columns if c.startswith("task.") and differs(frame[c])]
    words = [
        f"{c.removeprefix('task.')}={setting_text(frame[c].iloc[at])}" for c in settings if pd.notna(frame[c].iloc[at])
    ]
    return " ".join([str(frame["task"].iloc[at]), *words])
