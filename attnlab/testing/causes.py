"""One cause, one failure: which checks failed only because another one did."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from attnlab.testing.report import Outcome

__all__ = ["with_causes"]

# The first of these that failed is what all else hangs on: a wrong signature, wrong learned arrays, a wrong shape, inputs that
# are overwritten, NaN.
ROOTS = ("C001", "C010", "C014", "C013", "C008", "C023")
ONLY_NOT_FINITE = ("C008", "C023")  # from which only NaN and infinity follow
APART = (
    "C002",
    "C003",
    "C004",
    "C005",
    "C006",
    "C007",
)  # what can be judged whatever else is broken: words and settingsELSEWHERE = ("C031", "C032")  # other libraries, on which a NumPy function that C009 finds fails again

ELSEWHERE = ("C031", "C032")  # other libraries, on which a NumPy function that C009 finds fails again
_NOT_FINITE = re.compile(r"NaN|\bnan\b|\binf\b|infinite")


def with_causes(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes of one component, each failure that follows from another with that one's code as its `cause`.

    A failure follows from one of `ROOTS`, or from the first one that led to the same line of the component, or has the same
    reason.
    """
    failed = [o for o in outcomes if o.status == "failed"]
    root = next((o for code in ROOTS for o in failed if o.code == code and _is_root(o)), None)
    first: dict[str, str] = {}
    causes = {}
    for one in sorted(failed, key=lambda o: o is not root):
        if root is not None and one is not root and _follows(one, root):
            causes[one.code] = root.code
            continue
        if one.code in ELSEWHERE and "NumPy function" in one.reason and any(o.code == "C009" for o in failed):
            causes[one.code] = causes.get("C009", "C009")
            continue
        code = first.setdefault(one.place or one.reason, one.code)
        if code != one.code:
            causes[one.code] = code
    return [replace(o, cause=causes.get(o.code, "")) for o in outcomes]


def _is_root(one: Outcome) -> bool:
    return one.code not in ONLY_NOT_FINITE or bool(_NOT_FINITE.search(one.reason))


def _follows(one: Outcome, root: Outcome) -> bool:
    if one.code in APART:
        return False
    return root.code not in ONLY_NOT_FINITE or bool(_NOT_FINITE.search(one.reason))
