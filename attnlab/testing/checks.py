"""A check: a function with a stable code, the kinds it applies to, and one line that says what it holds."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.boxes import place_of
from attnlab.errors import Unsupported, message_of
from attnlab.testing.hints import hint
from attnlab.testing.report import Failed, Outcome, Skipped, Status, Warned

if TYPE_CHECKING:
    from attnlab.testing.subject import Subject

__all__ = [
    "CHECKS",
    "Check",
    "check",
    "checks_for",
    "declared",
    "finite",
    "furthest",
    "global_chance",
    "same",
    "untouched",
]


@dataclass(frozen=True)
class Check:
    """A check of a contract. `run` gives an Outcome and never raises for what the component does."""

    code: str
    statement: str
    kinds: tuple[str, ...]
    function: Callable[[Subject], str | None]  # what it returns says on what the check was made

    def run(self, subject: Subject) -> Outcome:
        """Make the check: an exception of the component's is a failure, its refusal (`Unsupported`) a skip."""
        status: Status = "passed"
        reason = place = ""
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                reason = self.function(subject) or ""
        except Skipped as skip:
            status, reason = "skipped", str(skip)
        except Unsupported as refusal:
            status, reason = "skipped", f"refused: {refusal}"
        except Warned as warned:
            status, reason = "warned", str(warned)
        except Failed as failure:
            status, reason = "failed", str(failure)
        except Exception as error:
            status, place = "failed", place_of(error)
            where = f" ({place})" if place and f"{place}:" not in message_of(error) else ""
            reason = f"raised {type(error).__name__}: {message_of(error)}{where}"
        if status == "failed":
            words, slip = hint(subject.cls, subject.kind, reason)
            reason, place = reason + words, place or slip
        return Outcome(subject.label, subject.kind, self.code, self.statement, status, reason, place)


CHECKS: dict[str, Check] = {}  # every check of the contract, by code


def check(code: str, *kinds: str) -> Callable[[Callable[[Subject], str | None]], Check]:
    """Make a function a check of components of these kinds; its docstring's first line is the statement."""

    def make(function: Callable[[Subject], str | None]) -> Check:
        if code in CHECKS:
            raise ValueError(f"two checks have the code {code}")
        statement = inspect.cleandoc(function.__doc__ or "").splitlines()[0]
        CHECKS[code] = Check(code, statement, kinds, function)
        return CHECKS[code]

    return make


def checks_for(kind: str) -> list[Check]:
    """The checks that apply to a kind, by code."""
    return [c for _, c in sorted(CHECKS.items()) if kind in c.kinds]


def same(found: Any, expected: Any, what: str, tolerance: float = 1e-9) -> None:
    """Fail unless two arrays have the same shape and, within `tolerance` (absolute and relative), the same numbers.

    NaN equals nothing.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        raise Failed(f"{what}: shape {found.shape} instead of {expected.shape}")
    if not np.allclose(found, expected, rtol=tolerance, atol=tolerance):
        finite(found, what)
        finite(expected, f"{what}, what it is compared with")
        raise Failed(f"{what}: off by {furthest(found, expected):.3g}")


def furthest(found: Any, expected: Any) -> float:
    """The largest absolute difference of two arrays, 0 where there are no numbers; infinite where one is NaN, which equals nothing."""
    away = np.abs(np.asarray(found, dtype=float) - np.asarray(expected, dtype=float))
    if away.size == 0:
        return 0.0
    largest = float(np.max(away))
    return np.inf if np.isnan(largest) else largest


def finite(array: Any, what: str) -> None:
    """Fail unless every number is finite."""
    bad = ~np.isfinite(np.asarray(array))
    if bad.any():
        raise Failed(f"{what}: {int(bad.sum())} of {bad.size} numbers are NaN or inf")


def global_chance() -> tuple[bytes, int]:
    """The state of numpy's global random generator, which no component may move."""
    state: Any = np.random.get_state()  # noqa: NPY002
    return state[1].tobytes(), int(state[2])


def untouched(subject: Subject, before: dict[str, Any], verb: str) -> None:
    """Fail unless the object has the attributes that it had before a verb ran."""
    now = vars(subject.object)
    if now.keys() != before.keys() or any(now[name] is not value for name, value in before.items()):
        raise Failed(f"{verb} changed the object itself: its attributes {before} became {now}")


def declared(subject: Subject, flag: str, holds: bool, found: str) -> None:
    """Fail unless the class flag says what was found; a flag that is None says nothing, and is only told of if it holds."""
    says = getattr(subject.cls, flag)
    if says is None:
        if holds and not subject.own:
            raise Warned(f"{found} on every draw: the class may say {flag} = True")
    elif says and not holds:
        raise Failed(f"{flag} = True is declared, but not: {found}")
    elif holds and not says:
        raise Failed(f"{flag} = False is declared, but: {found}, on every draw")
