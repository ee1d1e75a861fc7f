"""The findings that the referee knows, by code. A code is stable: it is never given to another finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["CODES", "Code", "Finding", "listed"]


@dataclass(frozen=True)
class Code:
    """One kind of finding: its title, when it is given, why a reader minds, and what settles it."""

    code: str
    title: str
    given: str
    matters: str
    settles: str


@dataclass(frozen=True)
class Finding:
    """One objection to the results of an experiment.

    Parameters
    ----------
    code : str
        One of `CODES`.
    where : str
        The mechanisms, tasks or claims that it is about.
    seen : str
        What the results show.
    settle : str
        What would settle it.
    """

    code: str
    where: str
    seen: str
    settle: str

    @property
    def title(self) -> str:
        return CODES[self.code].title


def listed(places: Sequence[str], most: int = 3) -> str:
    """Some places in words: the first few, and how many more there are.

    >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
    ('a; b', 'a; b; c; and 2 more')
    """
    each = list(dict.fromkeys(places))
    return "; ".join([*each[:most], *([f"and {len(each) - most} more"] if len(each) > most else [])])


_ALL = (
    Code(
        "R101",
        "the best rate is at the edge of its grid",
        "A setting that `tune` chooses is the least or the greatest candidate in more than half of the seeds of a mechanism; or "
        "of a learning rate that is an axis of the grid, the least or the greatest is better than all others by a paired t test "
        "over seeds (5 %). A mechanism that has solved its task is left out: then many rates are good enough.",
        "A better rate may lie beyond the edge. If that is so for one mechanism and not for another, the comparison is one of grids.",
        "Widen the grid on that side, until the best candidate has a worse one on either side.",
    ),
    Code(
        "R102",
        "not tuned, or tuned unequally",
        "Mechanisms that learn are compared at one learning rate that nobody chose for them; or they have different numbers of "
        "candidates, or different grids.",
        "A rate that suits one mechanism may not suit another. More candidates are more chances.",
        "`tune: {model.learning_rate: [0.01, 0.03, 0.1]}`: chosen on validation data, with the same candidates for all.",
    ),
    Code(
        "R103",
        "still improving when training stopped",
        "In a mechanism that has not solved its task the mean loss of the last tenth of the steps lies more than 1 % below that of the "
        "tenth before: over seeds, so that the 95 % interval of the fall lies above 0, or where no loss curves are kept, in more "
        "than half of the seeds. Nothing is found if the store has the same experiment with more steps (`--longer`) and no verdict "
        "changes.",
        "The ranking is that of the moment at which training was stopped: who learns fast, and not who learns well.",
        "`attnlab sweep FILE --longer 4` runs the same with more steps, and says which verdicts change.",
    ),
    Code(
        "R104",
        "the metric cannot discriminate",
        "On at least half of the settings and test conditions of a task, all mechanisms lie within 5 % of the range from the best "
        "value, or from the worst, or from what guessing gets, and their means differ by at most 2 % of the range.",
        "A task that everybody solves, or nobody, tells mechanisms apart no better than a coin. In a mean over tasks it hides differences.",
        "Make the task harder or easier (more keys, more noise, longer tests), or rank by a metric that still differs.",
    ),
    Code(
        "R105",
        "worse than uniform weights",
        "A mechanism is worse than the similarity `uniform` in the same table, by a paired t test over seeds (5 %, Holm); or where the "
        "table has no `uniform`, its 95 % interval of `alignment_accuracy` lies below what guessing gets.",
        "It would do better if it did not attend at all. Then something is broken, or the task asks for the opposite.",
        "Look at its weights (`attnlab plot alignment RUN_ID -o weights.png`), and at its learning rate and its loss curve.",
    ),
    Code(
        "R106",
        "unequal parameters or operations",
        "On one task and with one model, mechanisms that learn differ in the number of parameters by more than 10 %, or in operations a "
        "query by more than 50 %. `uniform`, which has none, is left out; where the file has a `budget`, only what it is about counts.",
        "What is larger may be better because it is larger.",
        "`budget: {parameters: 10k}` chooses the widths so that they match.",
    ),
    Code(
        "R107",
        "one kind of task posing as many",
        "Three or more settings of one kind of task, and no other kind. Settings by which a claim selects its runs are what is asked, "
        "and do not count.",
        "Settings of one task resemble each other. A mean over them is a mean over one task, and its interval is too sure.",
        "Add tasks of other kinds, or make claims about each setting (`where: {task.n_keys: 64}`).",
    ),
    Code(
        "R108",
        "too few seeds for the spread",
        "Fewer than three seeds; or a mechanism is not shown to differ from the best, and the 95 % interval of the difference is wider "
        "than 10 % of the range of the metric on either side (25 % of the mean where it has no range); or a claim is undecided that "
        "more seeds would decide.",
        "That no difference is shown is then no sign that there is none.",
        "More seeds: only the new ones are run. `seeds_needed` of a claim says how many would decide.",
    ),
    Code(
        "R109",
        "an outlier among the seeds",
        "Of four or more seeds of a mechanism, one lies further from the median than five times the spread of the others (the median "
        "absolute deviation, scaled) and further than 10 % of the range of the metric (25 % of the median where it has none), and no "
        "other seed lies within half of that distance from it.",
        "The mean is that of an accident, and its t interval is wrong.",
        "Look at that run (`attnlab run RUN_ID`), report medians or the share that solved the task, and add seeds to learn how often "
        "it happens.",
    ),
    Code(
        "R110",
        "two modes among the seeds",
        "The seeds of a mechanism fall into two groups of at least two, and the gap between them is wider than twice the width of "
        "either, and than 20 % of the range of the metric (50 % of the median where it has none).",
        "A mean between two modes describes no run. What differs between mechanisms is how often they reach the upper one.",
        "Compare the share of seeds that solved the task (`solved`), and add seeds: a share needs more of them than a mean.",
    ),
    Code(
        "R111",
        "test examples in the training data",
        "At least 0.5 % of the test examples of the first seed, compared number by number, are training examples too; where something is "
        "chosen on validation data, also if they are among those. Tasks on which nothing is learned are left out.",
        "Learning by heart then looks like learning.",
        "A task with more possible examples, or one that keeps those of the test apart.",
    ),
    Code(
        "R112",
        "the baseline is missing",
        "Several normalisers and no `softmax`; several similarities and neither `dot` nor `scaled_dot`; several aggregators, positions or "
        "modifiers and not the default one; several compositions and no single mechanism; or one mechanism alone that is not the default.",
        "Without the usual choice nobody can say what the new one gains.",
        "Add the usual choice to the list.",
    ),
    Code(
        "R113",
        "a claim at its bound",
        "The bound that a claim names lies within a quarter of the half-width of the interval from its end, or closer to the effect than "
        "half of it; or the effect equals the bound.",
        "Another set of seeds could turn the verdict, and a bound that fits so well may have been read off the results.",
        "More seeds, or a bound that was fixed before and leaves room.",
    ),
    Code(
        "R114",
        "a claim that cannot fail",
        "Every value that the metric can have fulfils the claim, or none does; or `equal` compares two sides that are the same in every "
        "digit on every seed and not at an end of the metric, as where a model does not read the setting. Claims that say so by "
        "`exact: true` are left out.",
        "What cannot be otherwise is no evidence.",
        "A narrower bound; or `exact: true` with `why`, which makes it an identity.",
    ),
    Code(
        "R115",
        "a metric of another direction",
        "A claim says better by a metric that has no better direction; or correlates metrics of opposite directions without saying so by "
        "a bound; or there are several mechanisms and no claims, and the metric that ranks has no direction; or the best by the "
        "metric that ranks is, by another metric that is shown, worse than what it beats (paired t tests over seeds, 5 %, Holm).",
        "Who reads the one as better and the other as worse concludes the opposite.",
        "Name a metric with a direction, or say in `question` which way is better; report both metrics.",
    ),
    Code(
        "R116",
        "a claim was changed after results were there",
        "The store has registered the experiment (a sweep does, and `attnlab preregister`), and a claim was changed, added or dropped, "
        "or the plan changed, when some of the planned runs had a result.",
        "A claim that is fitted to results is supported by the same results.",
        "Seeds that nobody has seen (`seeds: [100, 101, ...]`): the claim is then there before their first run.",
    ),
)
CODES: Mapping[str, Code] = {one.code: one for one in _ALL}
