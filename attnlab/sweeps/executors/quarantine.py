"""Components that kill their workers again and again: their runs are no longer tried in this sweep."""

from __future__ import annotations

from attnlab.sweeps.columns import ROLES, components_of
from attnlab.sweeps.run import Run

__all__ = ["DEATHS", "Quarantine"]

DEATHS = 3  # workers in a row


class Quarantine:
    """Counts the deaths of workers by the components of their runs that are not attnlab's own.

    After `DEATHS` deaths in a row of runs with a component it is barred until the sweep ends. Where several were in all of
    these runs, nobody knows which it is: runs that have all of them are barred, and no others.
    """

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}
        self._barred: list[frozenset[str]] = []

    def died(self, run: Run) -> None:
        """A worker died of a run."""
        strangers = _strangers(run)
        for name in strangers:
            self._in_a_row[name] = self._in_a_row.get(name, 0) + 1
        suspects = frozenset(name for name in strangers if self._in_a_row[name] >= DEATHS)
        if suspects and suspects not in self._barred:
            self._barred.append(suspects)

    def lived(self, run: Run) -> None:
        """A run was answered, whatever the answer."""
        if self._in_a_row:
            for name in _strangers(run):
                self._in_a_row.pop(name, None)

    def refuses(self, run: Run) -> str:
        """Why a run is not to be tried; empty if it is."""
        if self._barred:
            strangers = _strangers(run)
            for suspects in self._barred:
                if suspects <= strangers:
                    names = " and ".join(sorted(suspects))
                    return f"not tried: {names} killed {DEATHS} workers in a row; mend it, and sweep again"
        return ""


def _strangers(run: Run) -> frozenset[str]:
    """The components of a run, `kind distribution:name`, that are not attnlab's own."""
    roles = [role for role in ROLES if role in run.spec]
    found = (one for role in roles for one in components_of(role, run.spec[role]))
    return frozenset(f"{kind} {name}" for _, kind, name, _ in found if ":" in name)
