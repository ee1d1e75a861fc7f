"""What a check found, and the report of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["STATUSES", "ContractBroken", "Failed", "Outcome", "Report", "Skipped", "Warned"]

Status = Literal["passed", "failed", "warned", "skipped"]
STATUSES: tuple[Status, ...] = ("passed", "failed", "warned", "skipped")


class Failed(AssertionError):
    """A check does not hold; the message says what was found."""


class Skipped(Exception):
    """A check cannot be made of this component; the message says why."""


class Warned(Exception):
    """Something that attnlab asks of its own components and only recommends to others."""


class ContractBroken(AssertionError):
    """At least one check failed, or none could be made."""


@dataclass(frozen=True)
class Outcome:
    """One check of one component.

    Attributes
    ----------
    component, kind, code, statement : str
    status : "passed", "failed", "warned" or "skipped"
    reason : str
        What was found, or why the check was not made.
    place : str
        file:line of the component's own code that raised, or that holds a slip which is known to lead to this.
    cause : str
        The code of another check that failed for the same reason, and is to be mended first; empty where there is none.
    """

    component: str
    kind: str
    code: str
    statement: str
    status: Status
    reason: str = ""
    place: str = ""
    cause: str = ""


class Report:
    """The outcomes of all checks of some components. True when something ran and nothing failed.

    Printed, it is a line of counts with the reasons of what was skipped, a line for each other library on which the
    component ran, then each outcome that failed or warned, with its reason. Checks that failed for one reason are told once.
    """

    def __init__(self, outcomes: Iterable[Outcome] = ()) -> None:
        self.outcomes = tuple(outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __add__(self, other: Report) -> Report:
        return Report(self.outcomes + other.outcomes)

    def __bool__(self) -> bool:
        return self.n_ran > 0 and not self.codes("failed")

    @property
    def n_ran(self) -> int:
        """How many checks were made: all but those skipped."""
        return sum(o.status != "skipped" for o in self)

    def codes(self, status: Status) -> list[str]:
        """The codes of the checks with that status, in order."""
        return [o.code for o in self if o.status == status]

    def to_frame(self) -> pd.DataFrame:
        """One row a check: component, kind, code, statement, status, reason."""
        import pandas as pd

        names = ["component", "kind", "code", "statement", "status", "reason"]
        return pd.DataFrame([[getattr(o, n) for n in names] for o in self], columns=names)

    def __str__(self) -> str:
        counts = Counter(o.status for o in self)
        skips = Counter(o.reason for o in self if o.status == "skipped")
        why = "; ".join(reason if n == 1 else f"{reason} ({n} times)" for reason, n in skips.items())
        head = (
            f"ran {self.n_ran}, passed {counts['passed']}, warned {counts['warned']}, "
            f"skipped {counts['skipped']}{f' ({why})' if why else ''}, failed {counts['failed']}"
        )
        told = [o for o in self if o.status in ("failed", "warned") and not o.cause]
        if (causes := sum(o.status == "failed" for o in told)) < counts["failed"]:
            head += f" (for {causes} reason{'s' if causes > 1 else ''})"
        ran = dict.fromkeys(o.reason for o in self if o.status == "passed" and o.reason)
        return "\n".join(
            [head, *(f"also on {where}" for where in ran)]
            + [f"{o.status:7} {o.code} {o.component}: {o.statement}\n        {o.reason}{self._more(o)}" for o in told]
        )

    def _more(self, root: Outcome) -> str:
        """A line on the checks that failed for the same reason."""
        same = [o.code for o in self if o.cause == root.code and (o.component, o.kind) == (root.component, root.kind)]
        return f"\n        and {len(same)} more, for the same reason: {', '.join(same)}" if same else ""

    def __repr__(self) -> str:
        return f"<Report: {str(self).splitlines()[0]}>"

    def raise_for_failures(self) -> None:
        """Raise ContractBroken, with the whole report, when a check failed or nothing ran."""
        if not self:
            raise ContractBroken(str(self) if self.n_ran else f"nothing ran: {self}")
