"""Competitors compared over tasks: against a baseline, each with each, or in order of merit."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attnlab.analysis.conclusion import conclude_against, conclude_order, conclude_pairs
from attnlab.analysis.measures import cut
from attnlab.analysis.presentation import Comparison
from attnlab.analysis.replicates import Scores, score_table
from attnlab.analysis.rounding import alike, differences, signs, tolerance
from attnlab.analysis.statistics import (
    bayesian_signed_rank,
    fewest_pairs,
    holm,
    interquartile_mean,
    mean,
    mean_interval,
    rescaled,
    seeds_needed,
    signed_rank,
    tasks_needed,
    wilson,
)
from attnlab.errors import SettingError

__all__ = ["compare", "pairwise", "performance_profile"]


@dataclass(frozen=True)
class _Terms:
    """How pairs are judged."""

    alpha: float
    rope: float | None
    n_resamples: int
    random_state: int

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise SettingError(f"alpha: must lie between 0 and 0.5, such as 0.05 (--alpha); got {self.alpha}")
        if self.rope is not None and not 0 <= self.rope < np.inf:
            raise SettingError(
                f"rope: must be a half width in units of the metric, 0 or more (--rope); got {self.rope}"
            )
        if self.n_resamples < 1000:
            raise SettingError(f"n_resamples: must be at least 1000; got {self.n_resamples}")


def compare(
    frame: pd.DataFrame,
    metric: str,
    by: str | Sequence[str],
    baseline: Any = None,
    *,
    direction: str | None = None,
    missing: str = "error",
    unit: str | None = None,
    rope: float | None = None,
    alpha: float = 0.05,
    n_resamples: int = 50_000,
    random_state: int = 0,
) -> pd.DataFrame:
    """Compare competitors over tasks, each with a baseline, or all in order of merit.

    A kind of task is one replicate where there are enough kinds for a finding, and else a task with its settings and its
    test condition; the verdicts then say that they are about these few kinds. Within a replicate, seeds are averaged first,
    and so is everything else that varies in the grid, such as a learning rate that is an axis. The conclusion says what was
    averaged. What was tuned on validation data is part of the competitor. A metric of a whole run, such as its cost, counts
    once, whatever the run is tested on.

    Parameters
    ----------
    frame : DataFrame
        The results table of `sweep` or `load_results`, or a part of its rows.
    metric : str
        A metric, or another column of numbers, such as `n_parameters` or `fit_seconds`.
    by : str or list of str
        The columns that tell competitors apart: "similarity", or ["similarity", "normaliser"].
    baseline : value, tuple of values or label, or None
        The competitor that the others are compared with ("dot", or ("dot", "softmax"), or "dot, softmax").
    direction : "up", "down" or None
        Which way is better, if the metric itself does not say.
    missing : "error", "complete-tasks" or "worst-rank"
        What to do about a run that did not succeed or was never run: refuse; leave its task out for every competitor; or
        place its competitor last on that task, even if its other seeds succeeded. A last place has a rank and no value.
        Means and intervals are then NaN. The interquartile mean is NaN if the competitor is last on more than a quarter
        of the tasks.
    unit : "setting", "task" or None
        "task" averages the settings and test conditions of a task too, for fewer and independent replicates. None is
        "task" where a finding on all kinds of task would be significant at `alpha`, all comparisons counted; else "setting".
    rope : float or None
        Half the width of the region of practical equivalence, in units of the metric. With it the table has the posterior
        of the Bayesian signed-rank test.
    alpha : float
        Family-wise error of the verdicts. Each interval by itself has level 1 - alpha.
    n_resamples, random_state : int
        Monte Carlo draws of that posterior, and their seed.

    Returns
    -------
    DataFrame
        With a baseline, one row a competitor, best first. `improvement` is the mean difference in units of the metric,
        positive if the competitor is better than the baseline, for metrics of either direction. `low` to `high` is its
        interval (Hall's t), within what the bounds of the metric allow. wins + ties + losses = n_tasks. `p_value` is the two-sided p value of Wilcoxon's signed-rank
        test, and `p_holm` is adjusted by Holm over the rows. `rank_biserial` runs from -1 to 1. `p_improvement` is the
        chance to be better on a new task, ties shared, with Wilson's interval. `mean`, `iqm` (interquartile mean) and
        `baseline_mean` are in units of the metric. With `rope` there are `p_better`, `p_equivalent` and `p_worse`.
        `verdict` is better or worse (by ranks: p_holm <= alpha), equivalent (p_equivalent >= 1 - alpha), both ("better,
        equivalent": a difference that is shown and does not matter), or undecided; "better, on these 3 kinds of task" where
        several replicates are of one kind. `reason` says why there is no p value or no mean, and where ranks and mean
        disagree.

        Without a baseline, one row a competitor, ordered by interquartile mean: `mean` with `low` and `high`, `iqm`,
        `mean_rank` (1 is best), and `p_holm` and `verdict` of the difference to the first row, adjusted over all pairs.

        `attrs["conclusion"]` says in words what the comparison shows, and about how many more tasks or seeds would settle
        the rest. A notebook shows it above the chief columns.

    Raises
    ------
    SettingError
        When the frame is no results table, runs are missing, a column, the baseline or the metric is unknown, the metric
        has no direction, or there is nothing to compare.

    References
    ----------
    Demšar (2006), Statistical comparisons of classifiers over multiple data sets; Agarwal et al. (2021), Deep
    reinforcement learning at the edge of the statistical precipice; Benavoli et al. (2017), Time for a change.
    """
    terms = _Terms(alpha, rope, n_resamples, random_state)
    against = baseline is not None
    scores = score_table(frame, metric, by, direction, missing, unit, functools.partial(_enough, alpha, against))
    if not against:
        return _order_of_merit(scores, terms)
    base = scores.index(baseline)
    others = [i for i in range(len(scores.names)) if i != base]
    rows = _judged(scores, [(i, base) for i in others], terms)
    table = pd.DataFrame(
        [
            {
                **dict(zip(scores.by, scores.names[i], strict=True)),
                "baseline": scores.labels[base],
                "n_tasks": scores.n,
                "n_seeds": _seeds(scores),
                "mean": _raw(scores, float(mean(scores.good[i]))),
                "baseline_mean": _raw(scores, float(mean(scores.good[base]))),
                **row,
                "iqm": _raw(scores, interquartile_mean(scores.good[i])),
            }
            for i, row in zip(others, rows, strict=True)
        ]
    )
    table["label"] = [scores.labels[i] for i in others]
    table["_merit"] = alike(table["improvement"], _largest(scores))
    table = table.sort_values(["_merit", "rank_biserial", "label"], ascending=[False, False, True])
    table = table.drop(columns="_merit").reset_index(drop=True)
    return _finished(table, scores, terms, conclude_against(table, scores, base, terms.alpha, terms.rope))


def _enough(alpha: float, against_one: bool, kinds: int, competitors: int) -> bool:
    """Whether a difference that goes one way on all kinds of task is significant, all comparisons counted."""
    tests = competitors - 1 if against_one else competitors * (competitors - 1) // 2
    return kinds >= fewest_pairs(alpha, tests)


def pairwise(
    frame: pd.DataFrame,
    metric: str,
    by: str | Sequence[str],
    *,
    tidy: bool = False,
    direction: str | None = None,
    missing: str = "error",
    unit: str | None = None,
    rope: float | None = None,
    alpha: float = 0.05,
    n_resamples: int = 50_000,
    random_state: int = 0,
) -> pd.DataFrame:
    """Compare every competitor with every other: the matrix of p values, adjusted by Holm over all pairs.

    Parameters are those of `compare`.

    Returns
    -------
    DataFrame
        Symmetric, best interquartile mean first, NaN on the diagonal and where there are too few tasks. With `tidy`, one
        row a pair in the columns of `compare`; `first` is the better competitor, `second` the other. `attrs["no_p_value"]` of
        the matrix says why a p value is not there.
    """
    terms = _Terms(alpha, rope, n_resamples, random_state)
    scores = score_table(frame, metric, by, direction, missing, unit, functools.partial(_enough, alpha, False))
    order = _best_first(scores)
    pairs = [(i, j) for at, i in enumerate(order) for j in order[at + 1 :]]
    labels = scores.labels
    table = pd.DataFrame(
        [
            {
                "first": labels[i],
                "second": labels[j],
                "n_tasks": scores.n,
                "n_seeds": _seeds(scores),
                **row,
                "label": "",
            }
            for (i, j), row in zip(pairs, _judged(scores, pairs, terms), strict=True)
        ]
    )
    table = _finished(table, scores, terms, conclude_pairs(table, scores, terms.alpha, terms.rope))
    if tidy:
        return table
    matrix = Comparison(np.nan, index=[labels[i] for i in order], columns=[labels[i] for i in order])
    for first, second, p in zip(table["first"], table["second"], table["p_holm"], strict=True):
        matrix.loc[first, second] = matrix.loc[second, first] = p
    matrix.attrs = dict(table.attrs)
    matrix.attrs["no_p_value"] = list(dict.fromkeys(table.loc[table["p_holm"].isna(), "reason"]))
    return matrix


def performance_profile(
    frame: pd.DataFrame,
    metric: str,
    by: str | Sequence[str],
    thresholds: Sequence[float] | None = None,
    *,
    direction: str | None = None,
    missing: str = "error",
    unit: str | None = None,
) -> pd.DataFrame:
    """The share of tasks on which each competitor is at least as good as a threshold.

    Parameters
    ----------
    frame, metric, by, direction, missing, unit : as of `compare`, but that a `unit` of None is "setting"
    thresholds : sequence of float or None
        In units of the metric. None takes every value in the table.

    Returns
    -------
    DataFrame
        One row a threshold (the index, easiest first), one column a competitor, best interquartile mean first.

    References
    ----------
    Dolan and Moré (2002), Benchmarking optimization software with performance profiles; Agarwal et al. (2021).
    """
    scores = score_table(frame, metric, by, direction, missing, unit)
    asked = scores.good[np.isfinite(scores.good)] if thresholds is None else scores.sign * np.asarray(thresholds, float)
    at = np.unique(alike(asked))
    share = (signs(scores.good[:, None, :], at[:, None]) >= 0).mean(axis=2)
    order = _best_first(scores)
    index = pd.Index(scores.sign * at, name=metric)
    return pd.DataFrame(share[order].T, index=index, columns=[scores.labels[i] for i in order])


def _judged(scores: Scores, pairs: Sequence[tuple[int, int]], terms: _Terms) -> list[dict[str, Any]]:
    """The numbers of each pair. The p values are adjusted over all pairs."""
    rows = [_pair(scores, i, j, len(pairs), terms) for i, j in pairs]
    for row, adjusted in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
        decided = bool(adjusted <= terms.alpha)
        verdict = "undecided" if not decided else "better" if row["rank_biserial"] > 0 else "worse"
        if row.get("p_equivalent", 0.0) >= 1 - terms.alpha - 1e-12:
            verdict = f"{verdict}, equivalent" if decided else "equivalent"
        row["verdict"] = verdict
    return rows


def _pair(scores: Scores, i: int, j: int, tests: int, terms: _Terms) -> dict[str, Any]:
    d = differences(scores.good[i], scores.good[j])
    n, ranks = len(d), signed_rank(d)
    finite = bool(np.isfinite(d).all())
    reach = scores.bounds[1] - scores.bounds[0]
    low, high = cut(mean_interval(d, 1 - terms.alpha), (-reach, reach))
    improvement = float(mean(d))
    fewest = fewest_pairs(terms.alpha)
    reasons = []
    if n < fewest:
        least = 2.0 ** (1 - n)
        reasons.append(f"{n} tasks cannot give p <= {terms.alpha:g} (at best {least:.3g}); at least {fewest} can")
    if not finite:
        reasons.append("a missing or infinite value has a rank and no mean")
    elif ranks.rank_biserial * improvement < 0 and abs(improvement) > tolerance(np.abs(d).max()):
        by_ranks, by_mean = ("better", "worse") if improvement < 0 else ("worse", "better")
        reasons.append(f"ranks and mean disagree: {by_ranks} by ranks, {by_mean} by the mean")
    wins, ties = int((d > 0).sum()), int((d == 0).sum())
    better_low, better_high = wilson(wins + ties / 2, n, 1 - terms.alpha)
    row: dict[str, Any] = {
        "improvement": improvement if finite else np.nan,
        "low": low if finite else np.nan,
        "high": high if finite else np.nan,
        "wins": wins,
        "ties": ties,
        "losses": n - wins - ties,
        "p_value": ranks.p_value if n >= fewest else np.nan,
        "p_holm": np.nan,
        "rank_biserial": ranks.rank_biserial,
        "p_improvement": (wins + ties / 2) / n,
        "p_improvement_low": better_low,
        "p_improvement_high": better_high,
    }
    if terms.rope is not None:
        posterior = bayesian_signed_rank(
            d,
            terms.rope,
            n_resamples=terms.n_resamples,
            random_state=terms.random_state,
            slack=tolerance(scores.good[i], scores.good[j]),
        )
        row |= dict(zip(("p_better", "p_equivalent", "p_worse"), posterior, strict=True))
    scaled, power = rescaled(d)
    each = _seed_variance(scores, i, j, int(power))
    row |= {
        "tasks_needed": tasks_needed(d, terms.alpha, tests),
        "seeds_needed": seeds_needed(scaled, each, float(scores.n_seeds.mean()), terms.alpha, tests),
        "verdict": "",
        "reason": "; ".join(reasons),
    }
    return row


def _seed_variance(scores: Scores, i: int, j: int, power: int) -> float:
    """Variance of the difference over seeds, in units of 2^power, averaged over tasks; NaN if no task has two seeds."""
    if not np.isfinite(scores.good[[i, j]]).all():
        return float("nan")
    several = scores.n_seeds > 1
    with np.errstate(over="ignore", invalid="ignore"):
        d = np.ldexp(scores.by_seed[i, several], -power) - np.ldexp(scores.by_seed[j, several], -power)
        return float(np.nanvar(d, axis=1, ddof=1).mean()) if len(d) else float("nan")


def _best_first(scores: Scores) -> list[int]:
    merit = alike([interquartile_mean(good) for good in scores.good], _largest(scores))
    rank = _mean_ranks(scores)
    return sorted(range(len(merit)), key=lambda i: (-merit[i], rank[i], scores.labels[i]))


def _largest(scores: Scores) -> float:
    """The greatest finite size among the scores."""
    return float(np.abs(scores.good[np.isfinite(scores.good)]).max(initial=0.0))


def _mean_ranks(scores: Scores) -> np.ndarray[Any, Any]:
    """(c,) the mean rank over tasks, where 1 is the best. Equal values share their mean rank."""
    behind = signs(scores.good[:, None, :], scores.good[None, :, :])
    ranks: np.ndarray[Any, Any] = ((behind < 0).sum(axis=1) + ((behind == 0).sum(axis=1) + 1) / 2).mean(axis=1)
    return ranks


def _order_of_merit(scores: Scores, terms: _Terms) -> pd.DataFrame:
    order, ranks = _best_first(scores), _mean_ranks(scores)
    pairs = [(i, j) for at, i in enumerate(order) for j in order[at + 1 :]]
    judged = dict(zip(pairs, _judged(scores, pairs, terms), strict=True))
    rows = []
    for i in order:
        good = scores.good[i]
        pair = judged.get((order[0], i), {})
        low, high = mean_interval(good, 1 - terms.alpha)
        bounds = cut(sorted((_raw(scores, float(low)), _raw(scores, float(high)))), scores.bounds)
        rows.append(
            {
                **dict(zip(scores.by, scores.names[i], strict=True)),
                "n_tasks": scores.n,
                "n_seeds": _seeds(scores),
                "mean": _raw(scores, float(mean(good))),
                "low": bounds[0],
                "high": bounds[1],
                "iqm": _raw(scores, interquartile_mean(good)),
                "mean_rank": ranks[i],
                "p_holm": pair.get("p_holm", np.nan),
                "verdict": _turned(pair["verdict"]) if pair else "",
                "rank_biserial": -pair["rank_biserial"] if pair else np.nan,
                "reason": pair.get("reason", ""),
                "label": scores.labels[i],
            }
        )
    table = pd.DataFrame(rows)
    conclusion = conclude_order(table, scores, terms.alpha, terms.rope)
    return _finished(table.drop(columns="rank_biserial"), scores, terms, conclusion)


def _turned(verdict: str) -> str:
    """The verdict on the second of two competitors, from that on the first."""
    swapped = {"better": "worse", "worse": "better"}
    return ", ".join(swapped.get(word, word) for word in verdict.split(", "))


def _raw(scores: Scores, good: float) -> float:
    """A score in units and direction of the metric; NaN if it is not finite."""
    return scores.sign * float(good) if np.isfinite(good) else float("nan")


def _seeds(scores: Scores) -> int | float:
    """Seeds a task; their mean if tasks differ."""
    mean = float(scores.n_seeds.mean())
    return int(mean) if mean.is_integer() else mean


def _finished(table: pd.DataFrame, scores: Scores, terms: _Terms, conclusion: str) -> pd.DataFrame:
    table = Comparison(table.drop(columns="label"))
    if scores.about:
        table["verdict"] = [v if v in ("", "undecided") else f"{v}, {scores.about}" for v in table["verdict"]]
    table.attrs = {
        "conclusion": conclusion,
        "metric": scores.metric,
        "by": list(scores.by),
        "direction": "up" if scores.sign == 1 else "down",
        "alpha": terms.alpha,
        "notes": list(scores.notes),
    }
    return table
