"""How often is a claim supported that is not true? Simulated noise, judged as `attnlab claims` judges.

    python benchmarks/claims_simulation.py [REPEATS]

The true effect lies at the bound of the claim, the hardest case. Prints, in per cent, for each kind of noise and number of
seeds: false `supported` verdicts of a claim that the effect is above the bound and of one that it is below; those of the
worse that `reason` does not mark as near the bound; and how many times wider the interval would have to be for 2.5 %.
docs/claims.md has the numbers; `SKEWED` in attnlab/analysis/verdicts.py is taken from the log-normal rows.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy import stats

from attnlab.analysis.verdicts import Region, decide

NOISE = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "log-normal": lambda rng, size: rng.lognormal(size=size) - np.exp(0.5),
    "exponential, paired difference": lambda rng, size: rng.exponential(size=size) - rng.exponential(size=size),
    "log-normal, paired difference": lambda rng, size: rng.lognormal(size=size) - rng.lognormal(size=size),
}
SEEDS = (2, 3, 5, 10, 20, 50, 100)


def false_support(noise: str, n: int, repeats: int, seed: int = 0) -> dict[str, float]:
    """Rates of false support, in per cent, with noise of mean 0 around a bound of 0."""
    rng = np.random.default_rng(seed)
    values = NOISE[noise](rng, (repeats, n))
    found = dict.fromkeys(("above", "below", "above, unmarked", "below, unmarked"), 0)
    for row in values:
        for name, region in (("above", Region(low=0, strict=True)), ("below", Region(high=0))):
            decision = decide(row, region)
            found[name] += decision.verdict == "supported"
            found[f"{name}, unmarked"] += decision.verdict == "supported" and not decision.doubtful
    return {name: 100 * count / repeats for name, count in found.items()}


def widening(noise: str, n: int, repeats: int, seed: int = 1) -> float:
    """How many times wider the interval must be for 2.5 % on its worse side."""
    x = NOISE[noise](np.random.default_rng(seed), (repeats, n))
    t = x.mean(axis=1) / (x.std(axis=1, ddof=1) / np.sqrt(n))
    return float(max(np.quantile(t, 0.975), -np.quantile(t, 0.025)) / stats.t.ppf(0.975, n - 1))


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    error = 100 * np.sqrt(0.025 * 0.975 / repeats)
    print(f"{repeats} repeats; the Monte Carlo error of a rate of 2.5 % is {error:.2f} %\n")
    print("| noise | seeds | above | below | unmarked | wider |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for noise in NOISE:
        for n in SEEDS:
            rates = false_support(noise, n, repeats)
            unmarked = max(rates["above, unmarked"], rates["below, unmarked"])
            shown = f"{rates['above']:.1f} | {rates['below']:.1f} | {unmarked:.1f}"
            print(f"| {noise} | {n} | {shown} | {widening(noise, n, 20 * repeats):.2f} |", flush=True)


if __name__ == "__main__":
    main()
