"""The contract, as checks that plugin authors can run.

    report = attnlab.testing.check_component(Laplace)        # a class, or an object with settings
    print(report);  report.raise_for_failures()

    @attnlab.testing.parametrize_with_checks([Laplace, Gaussian(sigma=2.0)])      # in pytest: one test a check
    def test_contract(component, check):
        check(component)

Where PyTorch and JAX are installed, C031 and C032 compare a part's values and gradients on them with NumPy's. The report says
on what it ran; a library that is not installed is a skip, with that reason.

A wrong signature, a wrong shape or NaN makes many checks fail: they are told once, with the check to mend first.

Each check has a stable code: C0xx every component, S1xx similarities, N2xx normalisers, A3xx aggregators, P4xx positions,
M5xx masks, T6xx tasks, E7xx metrics, D8xx models, K9xx kernels, X9xx executors.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from attnlab.errors import UnknownName, did_you_mean
from attnlab.testing import (  # noqa: F401 - each brings its checks
    blocks,
    every,
    executors,
    kernels,
    kinds,
    libraries,
    metrics,
    models,
    parts,
    refusals,
    tasks,
)
from attnlab.testing.causes import ROOTS, with_causes
from attnlab.testing.checks import CHECKS, Check, checks_for
from attnlab.testing.report import ContractBroken, Outcome, Report
from attnlab.testing.subject import Subject
from attnlab.testing.target import resolve_target

__all__ = [
    "CHECKS",
    "Check",
    "ContractBroken",
    "Outcome",
    "Report",
    "check_component",
    "checks_for",
    "parametrize_with_checks",
    "resolve_target",
]


def check_component(component: Any, *, only: Iterable[str] | None = None, seed: int = 0) -> Report:
    """Check a component against the contract of its kind.

    Parameters
    ----------
    component : class, or object
        A class is checked with the default settings; of one that needs settings only what can be seen on the class.
    only : iterable of codes, or None
        The checks to make; None makes all that apply.
    seed : int
        Another seed draws other inputs.

    Returns
    -------
    Report
        True when something ran and nothing failed; `print` it, `to_frame()` it, or `raise_for_failures()`.

    Raises
    ------
    ComponentError
        When it is no component of any kind.
    UnknownName
        When `only` names a check that there is not.

    Examples
    --------
    >>> import attnlab
    >>> attnlab.testing.check_component(attnlab.get("mask", "causal"), only=["M501", "M502", "M503"])
    <Report: ran 3, passed 3, warned 0, skipped 0, failed 0>
    """
    subject = Subject(component, seed)
    wanted = checks_for(subject.kind)
    if only is not None:
        codes = list(only)
        for code in codes:
            if code not in CHECKS:
                raise UnknownName(
                    f"no check {code!r}{did_you_mean(code, CHECKS)}; there are {', '.join(sorted(CHECKS))}"
                )
        wanted = [c for c in wanted if c.code in codes]
    return Report(with_causes([c.run(subject) for c in wanted]))


def parametrize_with_checks(components: Iterable[Any], *, seed: int = 0) -> Any:
    """A pytest decorator: the test gets `component` and `check` and calls `check(component)`, once for each check.

    A failure is an AssertionError, a check that does not apply is skipped with its reason, and what is only recommended
    is a UserWarning.
    """
    import pytest

    cases = []
    for component in components:
        subject = Subject(component, seed)
        for one in checks_for(subject.kind):
            run = _raising(one, subject)
            cases.append(pytest.param(component, run, id=f"{subject.kind}:{subject.label}-{one.code}"))
    return pytest.mark.parametrize(("component", "check"), cases)


def _raising(one: Check, subject: Subject) -> Callable[[Any], None]:
    @functools.wraps(one.function)
    def run(component: Any) -> None:
        import pytest

        outcome = one.run(subject)
        if outcome.status == "failed":
            roots = [CHECKS[code].run(subject) for code in ROOTS if subject.kind in CHECKS[code].kinds]
            told = {o.code: o for o in with_causes([o for o in roots if o.code != one.code] + [outcome])}
            cause = told[one.code].cause
            first = f"first mend {cause} ({told[cause].reason}), from which this follows: " if cause else ""
            raise AssertionError(f"{first}{outcome.code} {outcome.component}: {outcome.statement} -- {outcome.reason}")
        if outcome.status == "skipped":
            pytest.skip(outcome.reason)
        if outcome.status == "warned":
            warnings.warn(f"{outcome.code} {outcome.component}: {outcome.reason}", UserWarning, stacklevel=2)

    return run
