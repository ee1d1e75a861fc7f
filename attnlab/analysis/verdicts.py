"""The verdict on a claim, from one number a seed: the 95 % interval of the mean, and whether it lies where the claim says.

supported    the whole interval lies inside the region that the claim allows
refuted      the whole interval lies outside
undecided    the interval lies on both sides of a bound

A claim that is `exact` is about every value and has no interval:

identity     every value is as the claim says, which it said could not be otherwise; this is no support
refuted      some value is not
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.analysis.statistics import t_interval, t_quantile
from attnlab.sweeps.experiment.claims import Claim
from attnlab.tables import shown

__all__ = ["Decision", "Region", "bounds_of", "decide", "decide_exact", "drawn_range", "seeds_to_decide"]

# For log-normal noise and a true effect at the bound: seeds -> (per cent of wrong verdicts, how many times wider the
# interval must be so that 2.5 % are wrong). Measured by benchmarks/claims_simulation.py.
SKEWED = {2: (10, 4.2), 3: (16, 3.7), 5: (18, 3.2), 10: (16, 2.5), 20: (13, 2.1), 50: (10, 1.7), 100: (8, 1.5)}
MOST_SEEDS = 10**6
_SLACK = 1e-12  # for rounding, relative to the size of the numbers

NAN = float("nan")


@dataclass(frozen=True)
class Region:
    """The effects that a claim allows: from `low` to `high`; for a correlation without bounds, everything but zero."""

    low: float = -math.inf
    high: float = math.inf
    strict: bool = False  # whether an effect that equals the bound is outside
    not_zero: bool = False

    @classmethod
    def of(cls, claim: Claim | Mapping[Any, Any]) -> Region:
        """What a claim, or its row in the table of `check_claims`, allows, in the units of its effect."""
        row: Mapping[Any, Any] = claim if isinstance(claim, Mapping) else {"form": claim.form, **bounds_of(claim)}
        if row["form"] == "better":
            return cls(low=row["by"], strict=True)
        if row["within"] == row["within"]:
            return cls(-row["within"], row["within"])
        least, most = row["at_least"], row["at_most"]
        return cls(
            low=least if least == least else -math.inf,
            high=most if most == most else math.inf,
            not_zero=least != least and most != most,
        )

    def __str__(self) -> str:
        """The claimed effect in a few words: "> 0.300", "within ±0.030", "≥ 0.900 and ≤ 1", "not 0"."""
        if self.not_zero:
            return "not 0"
        if self.strict:
            return f"> {shown(self.low)}"
        if self.low == self.high == 0:
            return "equal"
        if self.low == -self.high:
            return f"within ±{shown(self.high)}"
        signs = [f"{sign} {shown(end)}" for sign, end in (("≥", self.low), ("≤", self.high)) if math.isfinite(end)]
        return " and ".join(signs)

    @property
    def bounds(self) -> tuple[float, ...]:
        """Its finite ends."""
        return (0.0,) if self.not_zero else tuple(b for b in (self.low, self.high) if math.isfinite(b))

    def verdict(self, low: float, high: float) -> str:
        """`supported` if the whole interval lies inside, `refuted` if all of it lies outside, else `undecided`."""
        slack = _SLACK * max(1.0, *map(abs, self.bounds))
        if self.not_zero:
            return "supported" if low > slack or high < -slack else "undecided"
        inner = slack if self.strict else -slack
        if low >= self.low + inner and high <= self.high - inner:
            return "supported"
        return "refuted" if high < self.low - slack or low > self.high + slack else "undecided"


def bounds_of(claim: Claim) -> dict[str, float]:
    """The bounds of a claim as the columns of `check_claims`; NaN where the claim has none."""
    return {
        "by": claim.by if claim.form == "better" else NAN,
        "within": claim.within if claim.within is not None else 0.0 if claim.form == "equal" else NAN,
        "at_least": NAN if claim.at_least is None else claim.at_least,
        "at_most": NAN if claim.at_most is None else claim.at_most,
    }


def drawn_range(marks: Iterable[float]) -> tuple[float, float]:
    """The ends of the axis on which the numbers of a claim are drawn: the finite marks, with room on either side."""
    known = [float(mark) for mark in marks if math.isfinite(mark)]
    low, high = min(known), max(known)
    room = 0.08 * ((high - low) or max(abs(low), 1.0) * 0.1)
    return low - room, high + room


@dataclass(frozen=True)
class Decision:
    """What the seeds say: the mean, its 95 % t interval, the verdict, and how many seeds would decide (NaN: decided)."""

    verdict: str
    effect: float
    low: float
    high: float
    n: int
    seeds_needed: float
    reason: str


def decide(values: Iterable[float], region: Region) -> Decision:
    """The verdict on one number a seed.

    Parameters
    ----------
    values : iterable of finite floats
    region : Region
        What the claim allows.

    Notes
    -----
    The interval is exact for normal values: a claim whose effect lies at its bound is falsely supported in 2.5 % of
    cases. With skewed values the rate is higher. `reason` says so, unless a wider interval that keeps this rate for
    log-normal values gives the same verdict.
    """
    x = np.asarray(list(values), dtype=float)
    effect, low, high, n = t_interval(x)
    if n == 0:
        return Decision("undecided", NAN, NAN, NAN, 0, NAN, "no seed has a value")
    if n == 1:
        return Decision("undecided", effect, NAN, NAN, 1, NAN, "one seed has no interval; at least 2 are needed")
    same = float(np.ptp(x)) <= _SLACK * max(1.0, float(np.abs(x).max()))
    if same:
        effect = low = high = float(x[0])
    verdict = region.verdict(low, high)
    reasons, needed = [], NAN
    if same:
        reasons.append(f"the same in all {n} seeds, so the interval is a point")
    if verdict == "undecided":
        needed = seeds_to_decide(effect, 0.0 if same else float(x.std(ddof=1)), region)
        held = " and ".join(f"{bound:g}" for bound in region.bounds if low <= bound <= high)
        about = f"about {needed:.0f} seeds would decide" if needed == needed else "no number of seeds would decide"
        reasons.append(f"the interval holds {held}; at this spread {about}")
    else:
        rate, wider = next(SKEWED[fewer] for fewer in sorted(SKEWED, reverse=True) if fewer <= n)
        if region.verdict(effect - wider * (effect - low), effect + wider * (high - effect)) != verdict:
            reasons.append(
                f"{n} seeds, and near the bound: if noise is skewed up to {rate} % of such verdicts are wrong"
            )
    return Decision(verdict, effect, low, high, n, needed, "; ".join(reasons))


def decide_exact(values: Sequence[float], region: Region, n: int) -> Decision:
    """The verdict on an exact claim, from every single value (or difference) of n seeds; `low` to `high` is their range."""
    if not values:
        return Decision("undecided", NAN, NAN, NAN, 0, NAN, "no seed has a value")
    effect, low, high = float(np.mean(values)), min(values), max(values)
    wrong = [value for value in values if region.verdict(value, value) != "supported"]
    if not wrong:
        said = f"an identity, and no support: it holds of every one of {len(values)} values, from low to high"
        return Decision("identity", effect, low, high, n, NAN, said)
    said = f"said to be exact, and {len(wrong)} of {len(values)} values are otherwise, such as {wrong[0]:.6g}"
    return Decision("refuted", effect, low, high, n, NAN, said)


def seeds_to_decide(effect: float, spread: float, region: Region) -> float:
    """The fewest seeds whose interval, at this mean and standard deviation, excludes the nearest bound; NaN if none."""
    distance = min(abs(effect - bound) for bound in region.bounds)
    if spread == 0 or distance <= 0:
        return NAN

    def decides(n: int) -> bool:
        return t_quantile(n) * spread / math.sqrt(n) < distance

    if not decides(MOST_SEEDS):
        return NAN
    low, high = 1, MOST_SEEDS  # `low` seeds do not decide, `high` seeds do
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return float(high)
