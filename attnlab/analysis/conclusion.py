"""What a comparison shows, in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from attnlab.analysis.replicates import Scores
from attnlab.analysis.statistics import fewest_pairs

__all__ = ["conclude_against", "conclude_order", "conclude_pairs", "percent"]

FEW = 10  # tasks below which intervals are said to be too narrow
MANY = 1000  # more tasks than this are not worth asking for


def conclude_against(table: pd.DataFrame, scores: Scores, base: int, alpha: float, rope: float | None) -> str:
    """The conclusion from the table of `compare` with a baseline. Its column `label` names the rows."""
    rows: list[Any] = list(table.itertuples())
    name = scores.labels[base]
    said = [f"{_setting(scores)} {_count(len(rows), 'competitor')} {_be(len(rows))} compared with {name}."]
    same = [row for row in rows if row.ties == scores.n]
    if same:
        agree = "agrees" if len(same) == 1 else "agree"
        said.append(f"{_and([row.label for row in same])} {agree} with {name} on every task, to twelve digits.")
    decided = [row for row in rows if row.verdict.startswith(("better", "worse"))]
    for verdict, words in (("better", "Better than"), ("worse", "Worse than")):
        found = [row for row in decided if row.verdict.startswith(verdict)]
        if found:
            where = (
                f"{scores.about[0].upper()}{scores.about[1:]}, {words[0].lower()}{words[1:]}" if scores.about else words
            )
            said.append(f"{where} {name}: {_listed(found, _result)}.")
    if decided:
        said.append(_test(len(rows), alpha))
    equivalent = [row for row in rows if row.verdict.endswith("equivalent")]
    if equivalent:
        said.append(_equivalent(equivalent, lambda row: row.label, f" to {name}", alpha, rope))
    said += _disagreements(rows, lambda row: row.label, alpha)
    open_rows = [row for row in rows if row.verdict == "undecided" and row.ties < scores.n]
    if open_rows:
        said.append(_undecided(open_rows, name, scores.n, len(rows), alpha, rope))
    return " ".join([*said, *_cautions(scores)])


def conclude_order(table: pd.DataFrame, scores: Scores, alpha: float, rope: float | None) -> str:
    """The conclusion from the table of `compare` without a baseline. Its column `rank_biserial` is against the first."""
    rows: list[Any] = list(table.itertuples())
    first, others = rows[0], rows[1:]
    said = [f"{_setting(scores)} {_count(len(rows), 'competitor')} were compared."]
    said.append(f"{first.label} has the best interquartile mean ({first.iqm:.3g}).")
    tests = len(rows) * (len(rows) - 1) // 2
    if scores.n < fewest_pairs(alpha):
        said.append(_too_few(scores.n, tests, alpha))
    else:
        apart = [row.label for row in others if row.p_holm <= alpha]
        alike = [row.label for row in others if not row.p_holm <= alpha]
        if apart:
            about = f", {scores.about}" if scores.about else ""
            said += [f"It differs from {_and(apart)}{about}.", _test(tests, alpha)]
        ahead = [row.label for row in others if row.p_holm <= alpha and row.rank_biserial > 0]
        if ahead:
            said.append(
                f"Ranks and means disagree: by ranks {_and(ahead)} {'is' if len(ahead) == 1 else 'are'} better than "
                f"{first.label}, on most tasks and by less than it is ahead on the others."
            )
        equivalent = [row for row in others if row.verdict.endswith("equivalent")]
        if equivalent:
            said.append(_equivalent(equivalent, lambda row: row.label, f" to {first.label}", alpha, rope))
        if alike:
            said.append(f"Not shown to differ from it: {_and(alike)}, which does not mean that they are equal.")
            if scores.n < fewest_pairs(alpha, tests):
                said.append(_first_step(scores.n, tests, alpha))
    said.append("A baseline, named beforehand, makes fewer comparisons and so needs fewer tasks.")
    return " ".join([*said, *_cautions(scores)])


def conclude_pairs(table: pd.DataFrame, scores: Scores, alpha: float, rope: float | None) -> str:
    """The conclusion from the table of all pairs."""
    rows: list[Any] = list(table.itertuples())
    said = [f"{_setting(scores)} {_count(len(rows), 'pair')} of competitors {_be(len(rows))} compared."]
    if scores.n < fewest_pairs(alpha):
        said.append(_too_few(scores.n, len(rows), alpha))
        return " ".join([*said, *_cautions(scores)])
    apart = [row for row in rows if row.p_holm <= alpha]
    if apart:
        named = [
            f"{row.first} over {row.second}" if row.rank_biserial > 0 else f"{row.second} over {row.first}"
            for row in apart
        ]
        more = f" and {len(named) - 10} more" if len(named) > 10 else ""
        about = f"Different, {scores.about}" if scores.about else "Different"
        said += [f"{about}: {'; '.join(named[:10])}{more}.", _test(len(rows), alpha)]
        said += _disagreements(rows, _pair, alpha)
    equivalent = [row for row in rows if row.verdict.endswith("equivalent")]
    if equivalent:
        said.append(_equivalent(equivalent, _pair, "", alpha, rope))
    same = [f"{row.first} and {row.second}" for row in rows if row.ties == scores.n]
    if same:
        more = f" and {len(same) - 10} more" if len(same) > 10 else ""
        said.append(f"The same on every task, to twelve digits: {'; '.join(same[:10])}{more}.")
    left = [row for row in rows if not row.p_holm <= alpha and row.ties < scores.n]
    if left:
        is_ = "is" if len(left) == 1 else "are"
        said.append(f"{_count(len(left), 'pair')} {is_} not shown to differ, which does not mean equal.")
        if scores.n < fewest_pairs(alpha, len(rows)):
            said.append(_first_step(scores.n, len(rows), alpha))
        else:
            said += _all_need([row.tasks_needed for row in left], scores.n)
    return " ".join([*said, *_cautions(scores)])


def _setting(scores: Scores) -> str:
    way = "greater" if scores.sign == 1 else "less"
    few, many = int(scores.n_seeds.min()), int(scores.n_seeds.max())
    seeds = _count(many, "seed") if few == many else f"{few} to {many} seeds"
    over = _count(scores.n, scores.noun)
    return f"On {scores.metric} ({way} is better), over {over} with {seeds} each, averaged first,"


def _result(row: Any) -> str:
    record = f"{row.wins} won, {row.ties} tied, {row.losses} lost"
    if math.isnan(row.improvement):
        return f"{row.label} ({record}, {_p(row.p_holm)})"
    return f"{row.label} by {row.improvement:.3g} [{row.low:.3g}, {row.high:.3g}] ({record}, {_p(row.p_holm)})"


def _pair(row: Any) -> str:
    return f"{row.first} and {row.second}"


def _equivalent(rows: Sequence[Any], words: Callable[[Any], str], to: str, alpha: float, rope: float | None) -> str:
    """What does not matter, and which of it is shown to differ all the same."""
    described = _listed(
        rows, lambda row: f"{words(row)} ({row.p_equivalent:.2f})" if hasattr(row, "p_equivalent") else words(row)
    )
    both = [words(row) for row in rows if row.verdict != "equivalent"]
    said = f"Practically equivalent{to}, to within {rope:g}, with probability at least {1 - alpha:g}: {described}."
    if both:
        said += f" Of these, {_and(both)} {'differs' if len(both) == 1 else 'differ'} all the same, but by no more than that."
    return said


def _disagreements(rows: Sequence[Any], words: Callable[[Any], str], alpha: float) -> list[str]:
    """Where the test, which is about ranks, and the mean say different things."""
    said, unsure, alone = [], [], []
    for row in rows:
        if math.isnan(row.improvement) or row.ties == row.wins + row.ties + row.losses:
            continue
        excludes = row.low > 0 or row.high < 0
        if row.p_holm <= alpha:
            if "disagree" in row.reason:
                by_ranks, by_mean = ("better", "worse") if row.rank_biserial > 0 else ("worse", "better")
                said.append(
                    f"Ranks and mean disagree for {words(row)}: {by_ranks} by ranks, that is on most tasks, but {by_mean} "
                    f"by the mean ({row.improvement:.3g}), since the differences that go the other way are large."
                )
            elif not excludes:
                unsure.append(words(row))
        elif row.p_value > alpha and excludes:
            alone.append(words(row))
    if unsure:
        said.append(f"For {_and(unsure)} ranks differ, but the interval of the mean holds 0.")
    if alone:
        said.append(
            f"For {_and(alone)} the interval of the mean excludes 0, but ranks do not differ; it is for one comparison."
        )
    return said


def _test(tests: int, alpha: float) -> str:
    family = "" if tests == 1 else f", adjusted for {tests} comparisons by Holm's method"
    return (
        f"These differences are in ranks, by Wilcoxon's signed-rank test{family}: if nothing differed, such a finding "
        f"would come up in at most {percent(alpha)} of such studies."
    )


def _undecided(rows: Sequence[Any], name: str, n: int, tests: int, alpha: float, rope: float | None) -> str:
    names = _listed(rows, lambda row: f"{row.label}{_interval(row)}")
    if n < fewest_pairs(alpha):
        return f"Undecided: {names}. {_too_few(n, tests, alpha)}"
    said = [f"Not shown to differ from {name}, which does not mean equal: {names}."]
    if n < fewest_pairs(alpha, tests):
        said.append(_first_step(n, tests, alpha))
    needs = [words for row in rows if (words := _needs(row, n))]
    if needs:
        said.append(
            "About this many would show a difference of the size and spread seen here, with a chance of 80 %: "
            + "; ".join(needs)
            + "."
        )
    hopeless = [row.label for row in rows if row.tasks_needed > MANY]
    if hopeless:
        how = "say what is too small to matter (rope, --rope)" if rope is None else "more tasks narrow the posterior"
        said.append(
            f"For {_and(hopeless)} the difference seen is so small that not even {MANY} tasks would show it; to show that "
            f"it does not matter, {how}."
        )
    return " ".join(said)


def _needs(row: Any, n: int) -> str:
    if math.isnan(row.tasks_needed) or row.tasks_needed > MANY:
        return ""
    tasks = max(int(row.tasks_needed), n + 1)
    if math.isnan(row.seeds_needed):
        seeds = ""
    elif math.isinf(row.seeds_needed):
        seeds = " (more seeds on these tasks are not enough)"
    else:
        seeds = f" (or {max(int(row.seeds_needed), math.floor(row.n_seeds) + 1)} seeds on these tasks)"
    return f"{row.label} {tasks} tasks in all{seeds}"


def _all_need(needed: Sequence[float], n: int) -> list[str]:
    """How many tasks would settle some pairs; [] if none of their differences has a mean."""
    known = [tasks for tasks in needed if not math.isnan(tasks)]
    if not known:
        return []
    if max(known) > MANY:
        return ["Some of these differences are so small that no reasonable number of tasks would show them."]
    which = "them all" if len(known) == len(needed) else f"the {len(known)} whose differences have a mean"
    tasks = max(int(max(known)), n + 1)
    return [f"About {tasks} tasks would settle {which}, if the differences are as large as seen here."]


def _too_few(n: int, tests: int, alpha: float) -> str:
    several = f" ({fewest_pairs(alpha, tests)} for a finding that survives {tests} comparisons)" if tests > 1 else ""
    return (
        f"No p value is given: {_count(n, 'task')} cannot give one of {alpha:g} or less (at best {2.0 ** (1 - n):.3g}); "
        f"it takes at least {fewest_pairs(alpha)} tasks{several}. More seeds do not replace tasks"
        + ("; a claim can say what holds on this one task, over seeds." if n == 1 else ".")
    )


def _first_step(n: int, tests: int, alpha: float) -> str:
    return (
        f"With {tests} comparisons, {_count(n, 'task')} cannot show a single difference, even a clear one; it takes at "
        f"least {fewest_pairs(alpha, tests)} tasks."
    )


def _cautions(scores: Scores) -> list[str]:
    said = list(scores.notes)
    if 1 < scores.n < FEW:
        said.append(
            "With so few tasks the intervals are too narrow if differences are skewed: with 5 tasks a nominal 95 % interval "
            "covered 94 % for normal differences and 87 % for lognormal ones."
        )
    return said


def _interval(row: Any) -> str:
    if math.isnan(row.improvement):
        return ""
    bounds = "" if math.isnan(row.low) else f" [{row.low:.3g}, {row.high:.3g}]"
    return f" {row.improvement:+.3g}{bounds}"


def _listed(rows: Sequence[Any], words: Callable[[Any], str]) -> str:
    return "; ".join(words(row) for row in rows)


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _count(n: int, noun: str) -> str:
    first, space, rest = noun.partition(" ")  # 1 kind of task, 2 kinds of task
    return f"{n} {noun}" if n == 1 else f"{n} {first}s{space}{rest}"


def _be(n: int) -> str:
    return "was" if n == 1 else "were"


def percent(share: float) -> str:
    """A share in per cent, with all its digits.

    >>> percent(0.05), percent(0.025), percent(1 - 0.001)
    ('5%', '2.5%', '99.9%')
    """
    return f"{100 * share:.14g}%"


def _p(value: float) -> str:
    return "p < .001" if value < 0.001 else f"p = {value:.3f}".replace("0.", ".", 1)
