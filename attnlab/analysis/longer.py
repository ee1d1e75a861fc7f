"""Verdicts beside those of the same experiments with more steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attnlab.analysis.claims import check_claims
from attnlab.sweeps.experiment.read import Experiment

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "verdicts_with_more_steps"]

BESIDE = ["verdict", "effect", "low", "high"]
COLUMNS = [
    "experiment",
    "say",
    "metric",
    "changes",
    *BESIDE,
    *(f"longer_{column}" for column in BESIDE),
    "longer_reason",
]


def verdicts_with_more_steps(
    found: Sequence[tuple[Experiment, pd.DataFrame]], more: Sequence[tuple[Experiment, pd.DataFrame]]
) -> pd.DataFrame:
    """The verdict of each claim, beside that of the same claim with more steps.

    Parameters
    ----------
    found, more : sequences of (Experiment, results table)
        The experiments as they are, and `attnlab.sweeps.experiment.longer.longer` of each, in the same order.

    Returns
    -------
    DataFrame
        One row a claim: `experiment`, `say`, `metric`, `changes` (whether the verdict does), `verdict` with `effect`, `low`
        and `high`, and with more steps `longer_verdict`, `longer_effect`, `longer_low`, `longer_high`, `longer_reason`.
    """
    import pandas as pd

    tables = []
    for (experiment, frame), (with_more, longer_frame) in zip(found, more, strict=True):
        if not experiment.claims:
            continue
        one, other = check_claims(frame, experiment), check_claims(longer_frame, with_more)
        table = pd.DataFrame(one[["say", "metric", *BESIDE]])
        for column in [*BESIDE, "reason"]:
            table[f"longer_{column}"] = other[column].to_numpy()
        table["changes"] = table["verdict"] != table["longer_verdict"]
        tables.append(table.assign(experiment=experiment.name)[COLUMNS])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
