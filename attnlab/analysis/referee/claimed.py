"""Findings on claims: at their bound, or such that they cannot fail."""

from __future__ import annotations

import math
from collections.abc import Iterator

from attnlab.analysis.claims import Judgement, versions_of
from attnlab.analysis.measures import bounds_of
from attnlab.analysis.referee.case import Case
from attnlab.findings import Finding
from attnlab.sweeps.predictions import written
from attnlab.tables import shown

__all__ = ["at_bounds", "cannot_fail", "rewritten"]

NEAR = 0.25  # of the half-width of an interval, between its end and a bound
CLOSE = 0.5  # of the half-width, between the effect and a bound


# -- R113 -------------------------------------------------------------------------------------------------------------
def at_bounds(case: Case) -> Iterator[Finding]:
    """A claim at its bound."""
    for judged in case.judgements:
        decision, claim = judged.decision, judged.claim
        if claim.exact or decision.effect != decision.effect or decision.low != decision.low or _empty(judged):
            continue
        half = max(decision.high - decision.effect, decision.effect - decision.low)
        for bound in judged.region.bounds:
            away = abs(decision.effect - bound)
            slack = 1e-9 * max(1.0, abs(bound))
            decided = decision.verdict != "undecided"
            if away <= max(CLOSE * half, slack) or (decided and half * 1 <= away <= half * (1 + NEAR)):
                yield Finding(
                    "R113",
                    f"claim: {claim.say}",
                    f"{decision.verdict}: the effect is {shown(decision.effect)} [{shown(decision.low)}, {shown(decision.high)}], "
                    f"and the bound {shown(bound)}",
                    "more seeds, or a bound that was fixed before and leaves room",
                )
                break


# -- R114 -------------------------------------------------------------------------------------------------------------
def cannot_fail(case: Case) -> Iterator[Finding]:
    """A claim that cannot fail, or cannot hold."""
    for judged in case.judgements:
        if judged.claim.exact:
            continue
        if why := _empty(judged):
            yield Finding("R114", f"claim: {judged.claim.say}", why, "a narrower bound")
        elif why := _same(case, judged):
            yield Finding(
                "R114",
                f"claim: {judged.claim.say}",
                why,
                "sides that differ, or `exact: true` with `why`",
            )


def _empty(judged: Judgement) -> str:
    """Why no value could refute a claim, or none could support it; '' where either could happen."""
    claim, region = judged.claim, judged.region
    if claim.form == "correlation":
        low, high = -1.0, 1.0
    else:
        low, high = bounds_of(claim.metrics[0])
        if claim.form in ("better", "equal"):
            low, high = low - high, high - low
    if region.not_zero:
        return ""
    said = f"{', '.join(claim.metrics)} can give {shown(low)} to {shown(high)}, and claimed is {region}"
    if region.low <= low and region.high >= high and not (region.strict and region.low == low):
        return f"it cannot fail: {said}"
    beyond = region.low > high or region.high < low or (region.strict and region.low >= high)
    return f"it cannot hold: {said}" if beyond else ""


def _same(case: Case, judged: Judgement) -> str:
    """Whether the two sides of `equal` are the same in every digit, and not because both lie at an end of the metric."""
    claim, decision = judged.claim, judged.decision
    if claim.form != "equal" or decision.n < 2 or any(judged.by_seed.values()):
        return ""
    values = _side(case, judged)
    ends = bounds_of(claim.metrics[0])
    if not values or all(any(math.isclose(v, end) for end in ends if math.isfinite(end)) for v in values):
        return ""
    return f"the two sides are the same in every digit on all {decision.n} seeds ({claim.metrics[0]} from {shown(min(values))} to {shown(max(values))})"


def _side(case: Case, judged: Judgement) -> list[float]:
    """The values of the runs that a claim selects."""
    metric = judged.claim.metrics[0]
    rows = case.ok
    for column, value in judged.claim.where.items():
        if column in rows:
            rows = rows[rows[column].isin(value if isinstance(value, list) else [value])]
    return [float(v) for v in rows[metric].dropna()] if metric in rows else []


# -- R116 -------------------------------------------------------------------------------------------------------------
def rewritten(case: Case) -> Iterator[Finding]:
    """A claim was changed after results were there."""
    if case.experiment is None:
        return
    versions = versions_of(case.whole, case.experiment)
    when, notes = written(case.experiment.claims, versions)
    for claim, one in zip(case.experiment.claims, when, strict=True):
        if one.when.startswith(("changed", "added")):
            change = f": {one.change}" if one.change else ""
            yield Finding("R116", f"claim: {claim.say}", f"{one.when}{change}", "seeds that nobody has seen")
    for note in notes:
        yield Finding("R116", "dropped" if note.startswith("the claim") else "plan", note, "seeds that nobody has seen")
