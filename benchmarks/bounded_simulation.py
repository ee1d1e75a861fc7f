"""What can few seeds tell of the mean of a metric that has bounds, and of one that seldom fails?

    python benchmarks/bounded_simulation.py intervals [REPEATS]      coverage and width of 95 % intervals
    python benchmarks/bounded_simulation.py verdicts [REPEATS]       false support, as `attnlab claims` judges
    python benchmarks/bounded_simulation.py stopping [REPEATS]       false support if seeds are added until a claim is decided

Values lie between 0 and 1, differences between -1 and 1; the true effect lies at the bound of the claim, the hardest case,
unless the table says otherwise. Numbers are per cent. docs/claims.md has the tables.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from attnlab.analysis import verdicts
from attnlab.analysis.bounded import chance_below, sure_interval
from attnlab.analysis.statistics import mean_interval
from attnlab.analysis.verdicts import Region, at_end, decide

Array = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]
SEEDS = (2, 3, 5, 10, 20)
UNIT, ABOVE_0, ANY = (0.0, 1.0), (0.0, math.inf), (-math.inf, math.inf)


def mixture(p: float, high: float, low: float, spread: float = 0.0) -> Draw:
    """`high` with probability p, else `low`; both less something half-normal."""

    def draw(rng: np.random.Generator, size: tuple[int, int]) -> Array:
        values = np.where(rng.random(size) < p, high, low)
        return np.clip(values - spread * np.abs(rng.normal(size=size)), 0, 1)

    return draw


def normal(mean: float, spread: float) -> Draw:
    return lambda rng, size: np.clip(rng.normal(mean, spread, size), 0, 1)


# name -> draw, its bounds
VALUES: dict[str, tuple[Draw, tuple[float, float]]] = {
    "1 with .98, else 0": (mixture(0.98, 1, 0), UNIT),
    "right in 256 items of .999": (lambda rng, size: rng.binomial(256, 0.999, size) / 256, UNIT),
    "1 with .9, else .19": (mixture(0.9, 1, 0.19), UNIT),
    "1 with .5, else .19": (mixture(0.5, 1, 0.19), UNIT),
    "1 with .1, else .19": (mixture(0.1, 1, 0.19), UNIT),
    "1 with .9, else .19, less N(0, .02)": (mixture(0.9, 1, 0.19, 0.02), UNIT),
    "normal (.6, .1)": (normal(0.6, 0.1), UNIT),
    "beta (9, 1/2)": (lambda rng, size: rng.beta(9, 0.5, size), UNIT),
    "beta (1, 3)": (lambda rng, size: rng.beta(1, 3, size), UNIT),
    "exponential": (lambda rng, size: rng.exponential(size=size), ABOVE_0),
    "gamma (.3)": (lambda rng, size: rng.gamma(0.3, size=size), ABOVE_0),
    "log-normal (1.5)": (lambda rng, size: rng.lognormal(sigma=1.5, size=size), ABOVE_0),
    "normal, no bounds": (lambda rng, size: rng.normal(size=size), ANY),
    "1 with .95, else 5, no bounds": (lambda rng, size: np.where(rng.random(size) < 0.95, 1.0, 5.0), ANY),
}
# name -> the two sides of a difference
PAIRS: dict[str, tuple[Draw, Draw]] = {
    "equal but for .2 with .1": (mixture(0.1, 0.7, 0.5), mixture(1, 0.5, 0.5)),
    "1 with .9, else .19, and normal (.5, .05)": (mixture(0.9, 1, 0.19), normal(0.5, 0.05)),
    "normal (.6, .1) twice": (normal(0.6, 0.1), normal(0.6, 0.1)),
    "beta (9, 1/2) twice": (VALUES["beta (9, 1/2)"][0], VALUES["beta (9, 1/2)"][0]),
}


@functools.cache
def true_mean(draw: Draw) -> float:
    return float(draw(np.random.default_rng(99), (1, 4_000_000)).mean())


# -- intervals ----------------------------------------------------------------------------------------------------------
def student(x: Array) -> tuple[float, float]:
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return max(0.0, x.mean() - half), min(1.0, x.mean() + half)


def hall(x: Array) -> tuple[float, float]:
    low, high = mean_interval(x)
    return max(0.0, float(low)), min(1.0, float(high))


def wilson(x: Array) -> tuple[float, float]:
    """Wilson's, for as many yes-or-no trials as would spread so; n where there is no spread."""
    n, mean, spread = len(x), x.mean(), x.var(ddof=1)
    trials = n * min(mean * (1 - mean) / spread, 1e6) if spread > 0 else n
    z = 1.96
    centre, half = mean + z * z / (2 * trials), z * math.sqrt(mean * (1 - mean) / trials + (z / (2 * trials)) ** 2)
    return max(0.0, (centre - half) / (1 + z * z / trials)), min(1.0, (centre + half) / (1 + z * z / trials))


def hoeffding(x: Array) -> tuple[float, float]:
    half = math.sqrt(math.log(2 / 0.05) / (2 * len(x)))
    return max(0.0, x.mean() - half), min(1.0, x.mean() + half)


def bernstein(x: Array) -> tuple[float, float]:
    """Maurer and Pontil (2009), the empirical Bernstein bound."""
    n, log = len(x), math.log(2 * 2 / 0.05)
    half = math.sqrt(2 * x.var(ddof=1) * log / n) + 7 * log / (3 * (n - 1))
    return max(0.0, x.mean() - half), min(1.0, x.mean() + half)


def anderson(x: Array) -> tuple[float, float]:
    """Anderson (1969): the mean of every distribution within the one-sided band of Kolmogorov and Smirnov."""

    def low(z: Array) -> float:
        n = len(z)
        band = stats.ksone.ppf(0.975, n)
        above = np.clip(1 - np.arange(n) / n - band, 0, 1)  # at least this share lies at z_(i) or above
        return float((np.diff(np.sort(z), prepend=0.0) * above).sum())

    return low(x), 1 - low(1 - x)


def betting(x: Array) -> tuple[float, float]:
    """Waudby-Smith and Ramdas (2024), hedged capital with predictable plug-in bets."""
    m, n = np.linspace(0.001, 0.999, 400), len(x)
    up, down = np.ones_like(m), np.ones_like(m)
    kept = np.ones_like(m, dtype=bool)
    for i, value in enumerate(x):
        mean = (0.5 + x[:i].sum()) / (i + 1)
        variance = (0.25 + ((x[:i] - mean) ** 2).sum()) / (i + 1)
        bet = math.sqrt(2 * math.log(2 / 0.05) / (n * variance))
        up *= 1 + np.minimum(bet, 0.5 / m) * (value - m)
        down *= 1 - np.minimum(bet, 0.5 / (1 - m)) * (value - m)
        kept &= np.maximum(up, down) / 2 < 1 / 0.05
    inside = m[kept]
    return (float(inside.min()) - 0.0025, float(inside.max()) + 0.0025) if len(inside) else (x.mean(), x.mean())


def gaffke(x: Array) -> tuple[float, float]:
    return sure_interval(x, UNIT)


INTERVALS = {
    "Student's t, cut": student,
    "Hall's t, cut": hall,
    "Wilson, effective n": wilson,
    "Hoeffding": hoeffding,
    "empirical Bernstein": bernstein,
    "Anderson": anderson,
    "betting": betting,
    "Gaffke": gaffke,
}


def covers(name: str, x: Array, mean: float) -> bool:
    """Whether an interval holds the mean; of Gaffke's this is known without its ends."""
    if name == "Gaffke":
        below = chance_below(np.concatenate([[0.0], x]), mean), chance_below(np.concatenate([[0.0], 1 - x]), 1 - mean)
        return min(below) >= 0.025
    low, high = INTERVALS[name](x)
    return low - 1e-9 <= mean <= high + 1e-9


def intervals(repeats: int) -> None:
    for name, (draw, bounds) in VALUES.items():
        if bounds != UNIT:
            continue
        print(f"\n| {name} | {' | '.join(f'n = {n}' for n in SEEDS)} |\n|---|{'---|' * len(SEEDS)}")
        for interval, function in INTERVALS.items():
            cells = []
            for n in SEEDS:
                x = draw(np.random.default_rng(n), (repeats, n))
                share = np.mean([covers(interval, row, true_mean(draw)) for row in x])
                width = np.mean([np.diff(function(row))[0] for row in x[:300]])
                cells.append(f"{share:.3f} ({width:.2f})")
            print(f"| {interval} | {' | '.join(cells)} |", flush=True)


# -- verdicts -----------------------------------------------------------------------------------------------------------
def judged(sides: Sequence[Array], region: Region, bounds: tuple[float, float]) -> verdicts.Decision:
    reach = bounds if len(sides) == 1 else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    effect = sides[0] if len(sides) == 1 else sides[0] - sides[1]
    return decide(effect, region, reach, at_end(sides, bounds))


def row(name: str, draws: Sequence[Draw], bounds: tuple[float, float], region: Region, repeats: int) -> None:
    cells = []
    for n in SEEDS:
        rng = np.random.default_rng(n)
        drawn = [draw(rng, (repeats, n)) for draw in draws]
        found = [judged([side[i] for side in drawn], region, bounds) for i in range(repeats)]
        supported = [d for d in found if d.verdict == "supported"]
        unmarked = sum(not d.doubtful for d in supported)
        cells.append(f"{100 * len(supported) / repeats:.1f} ({100 * unmarked / repeats:.1f})")
    claimed = (
        str(region) if math.isfinite(region.low) and math.isfinite(region.high) else str(region).split()[0] + " mean"
    )
    print(f"| {name} | {claimed} | {' | '.join(cells)} |", flush=True)


def false_support(repeats: int) -> None:
    cached = functools.cache(lambda values, bounds: sure_interval(values, bounds))
    verdicts.sure_interval = lambda values, bounds: cached(tuple(np.sort(values)), bounds)  # many samples are alike
    print(f"| truth | claimed | {' | '.join(f'n = {n}' for n in SEEDS)} |\n|---|---|{'---|' * len(SEEDS)}")
    for name, (draw, bounds) in VALUES.items():
        mean = true_mean(draw)
        for region in (Region(low=mean + 1e-6), Region(high=mean - 1e-6)):
            row(name, [draw], bounds, region, repeats)
    for name, (one, other) in PAIRS.items():
        difference = true_mean(one) - true_mean(other)
        regions = [Region(low=difference, strict=True)]
        if name.startswith("equal"):
            regions = [Region(-0.01, 0.01)]
        for region in regions:
            row(name, [one, other], UNIT, region, repeats)


# -- optional stopping --------------------------------------------------------------------------------------------------
def stopping(repeats: int) -> None:
    """Normal noise: five seeds, and more until the claim is decided, against as many as that fixed beforehand."""
    region = Region(low=0, strict=True)
    x = np.random.default_rng(0).normal(size=(repeats, 30))
    for name, looks in {
        "5": (5,),
        "5, then 10": (5, 10),
        "5, then 10, 15, 20": (5, 10, 15, 20),
        "5, then each to 30": tuple(range(5, 31)),
    }.items():
        wrong = 0
        for values in x:
            for n in looks:
                verdict = decide(values[:n], region).verdict
                if verdict != "undecided":
                    wrong += verdict == "supported"
                    break
        print(f"| {name} | {100 * wrong / repeats:.1f} |", flush=True)


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "verdicts"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 4000
    {"intervals": intervals, "verdicts": false_support, "stopping": stopping}[what](repeats)


if __name__ == "__main__":
    main()
