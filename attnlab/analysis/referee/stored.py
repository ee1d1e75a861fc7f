"""What a store adds to a results table for the referee: loss curves, experiments as they were swept, and longer ones."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attnlab.errors import ExperimentError, StoreError
from attnlab.sweeps.artifacts import arrays_in
from attnlab.sweeps.experiment.read import Experiment
from attnlab.sweeps.experiment.stored import read_stored
from attnlab.sweeps.rows import Unfit
from attnlab.sweeps.store import Linked, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Stored"]

MOST_CURVES = 600  # that are read of one experiment


class Stored:
    """A store that is read for the referee; without a path, nothing."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = path
        self._linked: dict[str, Linked] | None = {} if path is None else None
        self._read: dict[str, tuple[Experiment | None, str]] = {}

    @classmethod
    def of(cls, path: Any) -> Stored:
        """The store that a table came from, if it is still there."""
        return cls(path) if path is not None and os.path.exists(path) else cls()

    def _experiments(self, opened: Store | None = None) -> Mapping[str, Linked]:
        """The experiments by name. A store is checked whenever it is opened, which takes time, so it is once where it can be."""
        if self._linked is None:
            assert self.path is not None
            if opened is None:
                with Store(self.path, create=False) as opened:
                    return self._experiments(opened)
            self._linked = {one.key: one for one in opened.experiments()}
        return self._linked

    def experiment(self, name: str) -> Experiment | None:
        """The experiment as it was swept; None if the store has none of that name, or its text cannot be read here."""
        if name not in self._read:
            try:
                there = self._experiments()
                found = read_stored(there[name]) if name in there else None
                self._read[name] = found, ""
            except ExperimentError as error:
                self._read[name] = None, f"its text in the store cannot be read here: {error}"
        return self._read[name][0]

    def why(self, name: str) -> str:
        """Why the experiment cannot be read; '' if it can, or if there is none."""
        self.experiment(name)
        return self._read[name][1]

    def curves(self, rows: pd.DataFrame) -> Mapping[str, Any]:
        """The loss curves of runs, by run_id; none where every run says that it has converged."""
        if self.path is None:
            return {}
        if "converged" not in rows or not (rows["converged"] == False).any():  # noqa: E712  a column of booleans and NA
            return {}
        ids = [str(run_id) for run_id in rows.loc[rows["status"] == "ok", "run_id"].unique()][:MOST_CURVES]
        found = {}
        with Store(self.path, create=False) as opened:
            self._experiments(opened)
            for run_id, content in opened.artifacts(ids).items():
                try:
                    curve = arrays_in(content, lambda name: name == "loss_curve").get("loss_curve")
                except Unfit:
                    continue  # `attnlab store verify` names it
                if curve is not None and len(curve):
                    found[run_id] = curve
        return found

    def settled(self, name: str) -> list[str]:
        """R103, if the store has the experiment with more steps, and no verdict changes."""
        more = [key for key in self._experiments() if re.fullmatch(rf"{re.escape(name)}-longer-\d+", key)]
        one = self.experiment(name) if more else None
        if one is None or not one.claims:
            return []
        from attnlab.analysis.index import results_of
        from attnlab.analysis.longer import verdicts_with_more_steps

        assert self.path is not None
        for key in more:
            longer = self.experiment(key)
            if longer is None:
                continue
            try:
                pair = [list(results_of([each], self.path)) for each in (one, longer)]
                table = verdicts_with_more_steps(*pair)
            except (StoreError, ValueError):
                continue
            decided = table["longer_verdict"] != "undecided"
            if not table["changes"].any() and decided.any():
                return ["R103"]
        return []
