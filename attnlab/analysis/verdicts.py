"""The verdict on one number a seed: a 95 % interval, and whether it lies where the claim says.

supported    the whole interval lies inside the region that the claim allows
refuted      the whole interval lies outside
undecided    it does not say, and how many seeds would at this spread
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from attnlab.analysis.summary import t_interval
from attnlab.sweeps.experiment.claims import Claim

__all__ = ["Decision", "Region", "decide", "seeds_to_decide"]

# Of verdicts on log-normal noise whose true effect lies at the bound: seeds -> (per cent that are wrong, how many times
# wider the interval must be for 2.5 %). Measured by benchmarks/claims_simulation.py.
SKEWED = {2: (10, 4.2), 3: (16, 3.7), 5: (18, 3.2), 10: (16, 2.5), 20: (13, 2.1), 50: (10, 1.7), 100: (8, 1.5)}
MOST_SEEDS = 10**6
_SLACK = 1e-12  # of rounding, relative to the size of the numbers

NAN = float("nan")


@dataclass(frozen=True)
class Region:
    """The effects that a claim allows: from `low` to `high`, or, for a correlation without bounds, all but zero."""

    low: float = -math.inf
    high: float = math.inf
    strict: bool = False  # whether an effect that equals the bound is outside
    not_zero: bool = False

    @classmethod
    def of(cls, claim: Claim) -> Region:
        """What `claim` allows, in the units of its effect."""
        if claim.form == "better":
            return cls(low=claim.by, strict=True)
        if claim.within is not None:
            return cls(-claim.within, claim.within)
        low = -math.inf if claim.at_least is None else claim.at_least
        high = math.inf if claim.at_most is None else claim.at_most
        return cls(low, high, not_zero=claim.at_least is None and claim.at_most is None)

    @property
    def bounds(self) -> tuple[float, ...]:
        """Its finite ends."""
        return (0.0,) if self.not_zero else tuple(b for b in (self.low, self.high) if math.isfinite(b))

    def verdict(self, low: float, high: float) -> str:
        """`supported` if the interval lies wholly inside, `refuted` if wholly outside, else `undecided`."""
        slack = _SLACK * max(1.0, *map(abs, self.bounds))
        if self.not_zero:
            return "supported" if low > slack or high < -slack else "undecided"
        inner = slack if self.strict else -slack
        if low >= self.low + inner and high <= self.high - inner:
            return "supported"
        return "refuted" if high < self.low - slack or low > self.high + slack else "undecided"


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
    """The verdict of one number a seed.

    Parameters
    ----------
    values : iterable of finite floats
    region : Region
        What the claim allows.

    Notes
    -----
    The interval is exact for normal values: a claim whose effect lies at its bound is falsely supported in 2.5 % of
    cases. With skewed values it is more; `reason` says so unless a wider interval, which holds that rate with log-normal
    values, gives the same verdict.
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


@functools.lru_cache(maxsize=1024)
def _t(n: int) -> float:
    from scipy import stats

    return float(stats.t.ppf(0.975, n - 1))


def seeds_to_decide(effect: float, spread: float, region: Region) -> float:
    """The fewest seeds whose interval, at this mean and standard deviation, excludes the nearest bound; NaN if none."""
    distance = min(abs(effect - bound) for bound in region.bounds)
    if spread == 0 or distance <= 0:
        return NAN

    def decides(n: int) -> bool:
        return _t(n) * spread / math.sqrt(n) < distance

    if not decides(MOST_SEEDS):
        return NAN
    low, high = 1, MOST_SEEDS  # one does not, so many do
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return float(high)
