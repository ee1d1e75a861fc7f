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
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlab.analysis.bounded import sure_interval, unseen
from attnlab.analysis.statistics import t_interval, t_quantile
from attnlab.sweeps.experiment.claims import Claim
from attnlab.tables import shown

__all__ = ["Decision", "Region", "at_end", "bounds_of", "decide", "decide_exact", "drawn_range", "seeds_to_decide"]

# For log-normal noise and a true effect at the bound: seeds -> (per cent of wrong verdicts, how many times wider the
# interval must be so that 2.5 % are wrong). Measured by benchmarks/claims_simulation.py.
SKEWED = {2: (10, 4.2), 3: (16, 3.7), 5: (18, 3.2), 10: (16, 2.5), 20: (13, 2.1), 50: (10, 1.7), 100: (8, 1.5)}
# The same for values near the only end of what is possible: the worse of gamma (shape .3) and log-normal (sigma 1.5), rounded
# up, as where nothing is near such an end `SKEWED` is used.
AT_ONLY_END = {2: (23, 80), 3: (30, 30), 5: (32, 9.0), 10: (29, 5.0), 20: (24, 3.6), 50: (19, 2.6), 100: (15, 2.2)}
MOST_SEEDS = 10**6
ALIKE = 0.01  # of the range of an effect: seeds that differ by no more are alike
SEEN = 5  # values, of fewer of which skewness cannot be seen
AT_END = 0.05  # of the range of a metric: a value that is no further from an end of it lies there
_SLACK = 1e-12  # for rounding, relative to the size of the numbers

NAN = float("nan")
Floats = NDArray[np.float64]


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
    """What the seeds say: the mean, its 95 % t interval, the verdict, and how many seeds would decide (NaN: decided).

    `doubtful` marks a verdict whose error is not assured to be nominal; `reason` then says what is not excluded. From
    `sure_low` to `sure_high` is what the bounds of the metric alone tell (`attnlab.analysis.bounded.sure_interval`).
    """

    verdict: str
    effect: float
    low: float
    high: float
    n: int
    seeds_needed: float
    reason: str
    doubtful: bool = False
    sure_low: float = NAN
    sure_high: float = NAN


def decide(
    values: Iterable[float],
    region: Region,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    at_end: int = 0,
    overlap: float = 0.0,
) -> Decision:
    """The verdict on one number a seed.

    Parameters
    ----------
    values : iterable of finite floats
    region : Region
        What the claim allows.
    bounds : two floats
        The least and the greatest value that is possible.
    at_end : int
        In how many seeds a side of the claim lies at an end of what its metric can be (`at_end`).
    overlap : float, at least 0
        `Task.overlap`: the variance that all seeds share because they draw from the same examples, by that between them.

    Notes
    -----
    The interval is Student's t, cut at the bounds. It is right for normal values: a claim whose effect lies at its bound is
    falsely supported in 2.5 % of cases. It is not right

    * where all seeds are alike, or a side lies at an end of what its metric can be: then a few seeds show nothing of those
      that fail. The verdict is doubtful unless `sure_interval`, for which the bounds suffice, gives the same one.
    * for skewed values. The verdict is doubtful unless `sure_interval`, or a wider t interval that is right for log-normal
      values, gives the same one.
    """
    x = np.asarray(list(values), dtype=float)
    effect, _, _, n = t_interval(x)
    if n == 0:
        return Decision("undecided", NAN, NAN, NAN, 0, NAN, "no seed has a value")
    if n == 1:
        return Decision("undecided", effect, NAN, NAN, 1, NAN, "one seed has no interval; at least 2 are needed")
    same = float(np.ptp(x)) <= _SLACK * max(1.0, float(np.abs(x).max()))
    effect, spread = (float(x[0]), 0.0) if same else (effect, float(x.std(ddof=1)))
    half = t_quantile(n) * spread * math.sqrt(1 / n + overlap)
    low, high = max(effect - half, bounds[0]), min(effect + half, bounds[1])
    sure = (-math.inf, math.inf) if overlap else sure_interval(x, bounds)
    verdict = region.verdict(low, high)
    reasons, needed, doubt = [], NAN, ""
    if same:
        reasons.append(f"the same in all {n} seeds, so the interval is a point")
    if verdict == "undecided":
        needed = seeds_to_decide(effect, spread, region, overlap)
        held = " and ".join(f"{bound:g}" for bound in region.bounds if low <= bound <= high)
        about = f"about {needed:.0f} seeds would decide" if needed == needed else "no number of seeds would decide"
        reasons.append(f"the interval holds {held}; at this spread {about}")
    elif region.verdict(*sure) != verdict:
        doubt = _doubt(x, region, bounds, at_end, (effect, half), verdict, sure)
    known = [limit if math.isfinite(limit) else NAN for limit in sure]
    said = "; ".join([*reasons, *([f"doubtful: {doubt}"] if doubt else [])])
    return Decision(verdict, effect, low, high, n, needed, said, bool(doubt), *known)


def _doubt(
    x: Floats,
    region: Region,
    bounds: tuple[float, float],
    at_end: int,
    interval: tuple[float, float],
    verdict: str,
    sure: tuple[float, float],
) -> str:
    """What a verdict that the bounds alone do not bear out leaves open; empty where it is not doubtful."""
    n, (effect, half) = len(x), interval
    width = bounds[1] - bounds[0]
    if float(np.ptp(x)) <= max(ALIKE * width if math.isfinite(width) else 0.0, _SLACK * max(1.0, np.abs(x).max())):
        return f"{n} of {n} seeds alike: seeds that fail up to {100 * unseen(n):.0f} % of the time are not excluded"
    if at_end and math.isfinite(width):
        down = sure[0] < region.low if verdict == "supported" else effect > region.high
        where = "at an end of what is possible, where spread tells little of seeds that fail"
        mean = f"a mean of {shown(sure[0 if down else 1])}" if math.isfinite(sure[0]) else "another mean"
        return f"{at_end} of {n} seeds lie {where}: {mean} is not excluded"
    table = AT_ONLY_END if at_end else SKEWED
    rate, wider = next(table[fewer] for fewer in sorted(table, reverse=True) if fewer <= n)
    if region.verdict(effect - wider * half, effect + wider * half) == verdict:
        return ""
    return f"{n} seeds, and near the bound: if noise is skewed up to {rate} % of such verdicts are wrong"


def at_end(sides: Sequence[Floats], bounds: tuple[float, float]) -> int:
    """In how many seeds a side of a claim lies at an end of what its metric can be.

    It does within 5 % of the range of a metric that is bounded on both sides. Of a metric with one bound it does in all seeds
    where the mean is within three standard deviations of the bound, as where values are skewed, and where there are so few
    seeds that this cannot be seen.

    Parameters
    ----------
    sides : sequence of (n,) array
        The metric in each seed.

    Examples
    --------
    >>> at_end([np.array([0.98, 0.7]), np.array([0.5, 0.4])], (0.0, 1.0))
    1
    >>> at_end([np.array([0.1, 0.2])], (0.0, math.inf)), at_end([0.1 + 0.01 * np.arange(5)], (0.0, math.inf))
    (2, 0)
    """
    if not any(map(len, sides)):
        return 0
    low, high = bounds
    if math.isfinite(high - low):
        room = AT_END * (high - low)
        return int(np.any([(x <= low + room) | (x >= high - room) for x in sides], axis=0).sum())
    ends = [end for end in bounds if math.isfinite(end)]
    near = any(abs(x.mean() - end) <= 3 * x.std(ddof=min(1, len(x) - 1)) for x in sides for end in ends)
    return len(sides[0]) if ends and (near or len(sides[0]) < SEEN) else 0


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


def decide_correlation(points: Floats, region: Region) -> Decision:
    """The verdict on a correlation, from the means (mechanisms, 2) of two metrics: Pearson's r with Fisher's 95 % interval.

    References
    ----------
    Fisher (1921), On the "probable error" of a coefficient of correlation deduced from a small sample.
    """
    n = len(points)
    if n < 4:
        said = f"there {'is' if n == 1 else 'are'} {n} mechanism{'s' if n != 1 else ''}, and a correlation takes 4"
        return Decision("undecided", NAN, NAN, NAN, n, NAN, said)
    if any(np.ptp(x) <= _SLACK * np.abs(x).max() for x in points.T):
        return Decision("undecided", NAN, NAN, NAN, n, NAN, f"a metric does not vary over {n} mechanisms")
    r = _pearson(*points.T)
    if abs(r) >= 1 - _SLACK:
        said = f"doubtful: {n} of {n} mechanisms on one line, so the interval is a point, and noise is not excluded"
        r = math.copysign(1.0, r)
        verdict = region.verdict(r, r)
        return Decision(verdict, r, r, r, n, NAN, said, verdict != "undecided")
    half = NormalDist().inv_cdf(0.975) / math.sqrt(n - 3)
    low, high = (math.tanh(math.atanh(r) + end) for end in (-half, half))
    verdict = region.verdict(low, high)
    if verdict != "undecided":
        return Decision(verdict, r, low, high, n, NAN, "")
    ends = [math.atanh(bound) for bound in region.bounds if abs(bound) < 1]
    distance = min((abs(math.atanh(r) - end) for end in ends), default=0.0)
    held = " and ".join(f"{bound:g}" for bound in region.bounds if low <= bound <= high)
    needed = 3 + (half * math.sqrt(n - 3) / distance) ** 2 if distance > 0.01 else NAN
    about = f"about {math.ceil(needed)} mechanisms" if needed == needed else "no number of mechanisms"
    return Decision(
        verdict, r, low, high, n, NAN, f"the interval holds {held}; at this correlation {about} would decide"
    )


def _pearson(x: Floats, y: Floats) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / math.sqrt(float(x @ x) * float(y @ y)), -1, 1))


def seeds_to_decide(effect: float, spread: float, region: Region, overlap: float = 0.0) -> float:
    """The fewest seeds whose interval, at this mean and standard deviation, excludes the nearest bound; NaN if none."""
    distance = min(abs(effect - bound) for bound in region.bounds)
    if spread == 0 or distance <= 0:
        return NAN

    def decides(n: int) -> bool:
        return t_quantile(n) * spread * math.sqrt(1 / n + overlap) < distance

    if not decides(MOST_SEEDS):
        return NAN
    low, high = 1, MOST_SEEDS  # `low` seeds do not decide, `high` seeds do
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return float(high)
