"""What the statistics of `attnlab compare` are worth: coverage, family-wise error and power, by simulation.

    python benchmarks/compare_simulation.py coverage [SIMULATIONS]     intervals of a mean difference
    python benchmarks/compare_simulation.py errors [SIMULATIONS]       family-wise error when nothing differs
    python benchmarks/compare_simulation.py kinds [SIMULATIONS]        the same where settings of one kind of task are alike
    python benchmarks/compare_simulation.py planning [SIMULATIONS]     whether the tasks asked for are enough
    python benchmarks/compare_simulation.py proportion                 coverage of the probability of improvement

Prints tables in Markdown, those of docs/statistics.md. The seed is fixed; the whole takes about five minutes on one processor.
"""

from __future__ import annotations

import math
import sys

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from attnlab.analysis.statistics import fewest_pairs, holm, mean_interval, signed_rank, tasks_needed, wilson

LEVEL = 0.95
SEEDS = 5  # runs a task
RESAMPLES = 2000
SEED_SPREAD = 1.0  # standard deviation of a difference from seed to seed, that of the tasks being 1
SIZES = (5, 10, 20, 50)
DISTRIBUTIONS = ("normal", "exponential", "lognormal", "mostly ties")


def draw(rng, distribution, shape):
    """Differences with mean 0 and standard deviation 1."""
    if distribution == "normal":
        return rng.standard_normal(shape)
    if distribution == "exponential":
        return rng.exponential(size=shape) - 1
    if distribution == "mostly ties":  # six tasks of ten give the same difference, the others a greater one
        return (rng.exponential(size=shape) * (rng.random(shape) < 0.4) - 0.4) / 0.8
    spread = math.sqrt((math.e - 1) * math.e)
    return (rng.lognormal(size=shape) - math.exp(0.5)) / spread


# -- intervals: each takes d (s, n), its resampled means and spreads (s, r), and gives low and high (s,) --------------
def student(d, means, spreads):
    n = d.shape[1]
    half = stdtrit(n - 1, 0.5 + LEVEL / 2) * d.std(axis=1, ddof=1) / math.sqrt(n)
    return d.mean(axis=1) - half, d.mean(axis=1) + half


def hall(d, means, spreads):
    return mean_interval(d, LEVEL)


def percentile(d, means, spreads):
    return tuple(np.quantile(means, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=1))


def expanded(d, means, spreads):
    """Hesterberg (2015): percentiles further out, as t with the unbiased spread is further out than the normal."""
    n = d.shape[1]
    tail = ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.5 + LEVEL / 2))
    return tuple(np.quantile(means, [tail, 1 - tail], axis=1))


def bca(d, means, spreads):
    """Efron (1987): corrected for bias and acceleration, the latter from the jackknife."""
    r = means.shape[1]
    below = (means < d.mean(axis=1, keepdims=True)).sum(axis=1) / r
    bias = ndtri(np.clip(below, 0.5 / r, 1 - 0.5 / r))
    centred = d - d.mean(axis=1, keepdims=True)  # the jackknife of a mean, up to a factor
    square = np.maximum((centred**2).sum(axis=1), 1e-100)
    acceleration = (centred**3).sum(axis=1) / (6 * square**1.5)
    sides = []
    for probability in (0.5 - LEVEL / 2, 0.5 + LEVEL / 2):
        z = bias + ndtri(probability)
        sides.append(_quantile_each(means, ndtr(bias + z / (1 - acceleration * z))))
    return tuple(sides)


def studentised(d, means, spreads):
    """The bootstrap-t: quantiles of the resampled t statistic; a resample without spread is infinitely far out."""
    n = d.shape[1]
    mean, error = d.mean(axis=1, keepdims=True), d.std(axis=1, ddof=1, keepdims=True) / math.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (means - mean) / (spreads / math.sqrt(n))
    t = np.sort(np.where(np.isnan(t), 0.0, t), axis=1)
    low, high = t[:, int(RESAMPLES * (0.5 - LEVEL / 2))], t[:, int(RESAMPLES * (0.5 + LEVEL / 2))]
    with np.errstate(invalid="ignore"):
        bounds = mean[:, 0] - high * error[:, 0], mean[:, 0] - low * error[:, 0]
    return tuple(np.where(error[:, 0] == 0, mean[:, 0], bound) for bound in bounds)


def _quantile_each(means, probabilities):
    ordered = np.sort(means, axis=1)
    at = np.clip((probabilities * means.shape[1]).astype(int), 0, means.shape[1] - 1)
    return np.take_along_axis(ordered, at[:, None], axis=1)[:, 0]


OVER_TASKS = {
    "Student t": student,
    "Hall's t (chosen)": hall,
    "percentile bootstrap": percentile,
    "expanded percentile": expanded,
    "BCa": bca,
    "bootstrap-t": studentised,
}


def coverage(simulations):
    """Coverage of each interval, and its median and 95th percentile of width over the median width of Student's t."""
    names = [*OVER_TASKS, "seeds within tasks", "tasks, then seeds"]
    print(f"{simulations} simulations, {RESAMPLES} resamples, {SEEDS} seeds a task")
    away = {name: [] for name in names}
    for distribution in DISTRIBUTIONS:
        print(f"\n| {distribution} | " + " | ".join(f"n = {n}" for n in SIZES) + " |\n|---|" + "---|" * len(SIZES))
        cells = {name: [] for name in names}
        for n in SIZES:
            for name, (covered, width, wide) in coverage_at(distribution, n, simulations).items():
                cells[name].append(f"{covered:.3f} ({width:.2f}; {wide:.1f})")
                away[name].append(abs(covered - LEVEL))
        for name in names:
            print(f"| {name} | " + " | ".join(cells[name]) + " |", flush=True)
    print("\n| mean distance from nominal | |\n|---|---|")
    for name in names:
        print(f"| {name} | {np.mean(away[name]):.3f} |")


def coverage_at(distribution, n, simulations):
    rng = np.random.default_rng([n, DISTRIBUTIONS.index(distribution)])
    hits, widths = {}, {}
    chunk = max(1, 4_000_000 // (RESAMPLES * n))
    for begin in range(0, simulations, chunk):
        s = min(chunk, simulations - begin)
        d = draw(rng, distribution, (s, n))
        noise = SEED_SPREAD * rng.standard_normal((s, n, SEEDS))
        noise -= noise.mean(axis=2, keepdims=True)  # d is the difference averaged over seeds
        at = rng.integers(n, size=(s, RESAMPLES, n))
        again = np.take_along_axis(d[:, None, :], at, axis=2)
        means, spreads = again.mean(axis=2), again.std(axis=2, ddof=1)
        # the noise of a mean over resampled seeds, task by task, is normal to a good approximation
        of_task = noise.std(axis=2) / math.sqrt(SEEDS)
        jitter = rng.standard_normal((s, RESAMPLES, n))
        within = d.mean(axis=1, keepdims=True) + (jitter * of_task[:, None, :]).mean(axis=2)
        both = means + (jitter * np.take_along_axis(of_task[:, None, :], at, axis=2)).mean(axis=2)
        bounds = {name: interval(d, means, spreads) for name, interval in OVER_TASKS.items()}
        bounds["seeds within tasks"] = percentile(d, within, spreads)
        bounds["tasks, then seeds"] = percentile(d, both, spreads)
        for name, (low, high) in bounds.items():
            hits.setdefault(name, []).append((low <= 0) & (high >= 0))
            widths.setdefault(name, []).append(high - low)
    unit = np.median(np.concatenate(widths["Student t"]))
    table = {}
    for name, found in hits.items():
        width = np.sort(np.concatenate(widths[name]))
        table[name] = np.concatenate(found).mean(), width[len(width) // 2] / unit, width[int(0.95 * len(width))] / unit
    return table


# -- tests ------------------------------------------------------------------------------------------------------------
def errors(simulations):
    """How often at least one of 8 equal competitors is called different, at alpha = .05."""
    k = 8
    print(f"{simulations} simulations; Monte Carlo error {1.96 * math.sqrt(0.05 * 0.95 / simulations):.3f}\n")
    print("| tasks | differences | 7 against a baseline | unadjusted | all 28 pairs | unadjusted |")
    print("|---|---|---|---|---|---|")
    pairs = [(i, j) for i in range(k) for j in range(i)]
    for n in (10, 20, 50):
        for distribution in ("normal", "lognormal", "rounded", "4 alike of each kind"):
            rng = np.random.default_rng([n, len(distribution)])
            found = np.zeros((simulations, 4), dtype=bool)
            for s in range(simulations):
                scores = _null_scores(rng, distribution, n, k)
                p = {(i, j): signed_rank(scores[i] - scores[j]).p_value for i, j in pairs}
                against = [p[i, 0] for i in range(1, k)]
                found[s] = (
                    min(holm(against)) <= 0.05,
                    min(against) <= 0.05,
                    min(holm(list(p.values()))) <= 0.05,
                    min(p.values()) <= 0.05,
                )
            print(f"| {n} | {distribution} | " + " | ".join(f"{x:.3f}" for x in found.mean(axis=0)) + " |", flush=True)


def _null_scores(rng, distribution, n, k):
    if distribution == "rounded":  # accuracies in steps of .05: many ties
        return np.round(rng.normal(0.7, 0.1, (k, n)) * 20)
    if distribution == "4 alike of each kind":  # settings of one task that resemble each other: half of the variance
        kinds = np.repeat(rng.standard_normal((k, math.ceil(n / 4))), 4, axis=1)[:, :n]
        return kinds + rng.standard_normal((k, n))
    return draw(rng, distribution, (k, n))


def kinds(simulations):
    """Family-wise error where nothing differs between kinds of task, and half of the variance is common to a kind.

    "a word" is what the default does where kinds are too few: the verdict says that it is about these kinds only.
    """
    print("| tasks | kinds | comparisons | settings as replicates | kinds as replicates | default | what it takes |")
    print("|---|---|---|---|---|---|---|")
    for n_kinds, each in ((3, 4), (6, 4), (8, 3), (9, 4), (12, 2), (12, 4), (20, 3)):
        for tests in (1, 3, 7):
            rng = np.random.default_rng([n_kinds, each, tests])
            found = np.zeros((simulations, 2), dtype=bool)
            for s in range(simulations):
                of_kind = rng.standard_normal((tests + 1, n_kinds, 1))
                scores = of_kind + rng.standard_normal((tests + 1, n_kinds, each))
                for j, units in enumerate((scores.reshape(tests + 1, -1), scores.mean(axis=2))):
                    found[s, j] = min(holm([signed_rank(one - units[0]).p_value for one in units[1:]])) <= 0.05
            by_setting, by_kind = found.mean(axis=0)
            enough = n_kinds >= fewest_pairs(0.05, tests)
            default, takes = (f"{by_kind:.3f}", "kinds") if enough else ("0.000", "settings, with a word")
            print(
                f"| {n_kinds * each} | {n_kinds} | {tests} | {by_setting:.3f} | {by_kind:.3f} | {default} | {takes} |",
                flush=True,
            )


def planning(simulations):
    """Power of the first step of Holm with the number of tasks that `tasks_needed` asks for (0.8 is wanted)."""
    print("| mean / spread | comparisons | tasks asked for | power |\n|---|---|---|---|")
    for effect in (0.3, 0.5, 0.8, 1.2, 2.0):
        for tests in (1, 7):
            pilot = np.array([effect - math.sqrt(0.5), effect + math.sqrt(0.5)])  # this mean, spread 1
            n = int(tasks_needed(pilot, 0.05, tests))
            rng = np.random.default_rng([n, tests])
            p = [signed_rank(rng.normal(effect, 1, n)).p_value for _ in range(simulations)]
            print(f"| {effect} | {tests} | {n} | {np.mean(np.array(p) <= 0.05 / tests):.3f} |", flush=True)


def proportion():
    """Coverage of Wilson's interval, exactly: the sum of the binomial over what it covers."""
    print("| probability of improvement | " + " | ".join(f"n = {n}" for n in SIZES) + " |\n|---|" + "---|" * len(SIZES))
    for p in (0.5, 0.6, 0.75, 0.9):
        cells = []
        for n in SIZES:
            covered = 0.0
            for wins in range(n + 1):
                low, high = wilson(wins, n, LEVEL)
                if low <= p <= high:
                    covered += math.comb(n, wins) * p**wins * (1 - p) ** (n - wins)
            cells.append(f"{covered:.3f}")
        print(f"| {p} | " + " | ".join(cells) + " |")


def main():
    what, *rest = sys.argv[1:] or [""]
    if what == "coverage":
        coverage(int(rest[0]) if rest else 4000)
    elif what == "errors":
        errors(int(rest[0]) if rest else 2000)
    elif what == "kinds":
        kinds(int(rest[0]) if rest else 2000)
    elif what == "planning":
        planning(int(rest[0]) if rest else 4000)
    elif what == "proportion":
        proportion()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
