"""The page of the Attention Table, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

import attnlab
from attnlab.analysis.presentation import markdown_rows, markdown_text
from attnlab.analysis.statistics import t_interval
from attnlab.findings import CODES
from tools.table import variance
from tools.table.scores import ALPHA, BASELINE, FLOOR, LOWEST, SOLVED, Table

Ends = Mapping[str, tuple[float, float]]
Bounds = Mapping[str, Ends]
__all__ = [
    "FAMILIES",
    "NORMALISERS",
    "OF_COST",
    "OF_FAMILIES",
    "SIMILARITIES",
    "conclusions",
    "families",
    "page",
    "variance_tables",
]

OF_FAMILIES = "Means over all tasks. The intervals are over seeds, for these members."
OF_COST = (
    "The mean skill over all tasks, with its interval over tasks, against the operations for one query. Named are the mechanisms that no "
    "other beats in both."
)

SIMILARITIES = ("scaled_dot", "general", "additive", "cosine", "neg_l2")
NORMALISERS = ("softmax", "sparsemax", "entmax", "sigmoid", "topk_softmax")
_FREE = ("sigmoid", "softmax_n", "sink_softmax")
FAMILIES: Mapping[str, Sequence[str]] = {
    "normalisers with scaled_dot: dense, rows sum to one": [
        f"scaled_dot + {n}" for n in ("softmax", "adaptive_temperature", "logn_softmax", "stieltjes")
    ],
    "normalisers with scaled_dot: exact zeros, rows sum to one": [
        f"scaled_dot + {n}" for n in ("sparsemax", "entmax", "topk_softmax")
    ],
    "normalisers with scaled_dot: rows need not sum to one": [
        f"scaled_dot + {n}" for n in (*_FREE, "relu_over_n", "compact_kernel", "softpick", "cog", "stick_breaking")
    ],
    "similarities with softmax: inner products": [
        f"{s} + softmax" for s in ("dot", "scaled_dot", "general", "low_rank", "diag_mahalanobis")
    ],
    "similarities with softmax: distance and angle": ["cosine + softmax", "neg_l2 + softmax"],
    "similarities with softmax: a small network": ["additive + softmax", "additive_wn + softmax"],
    "similarities with softmax: kernels": [f"{s} + softmax" for s in ("poly_kernel", "taylor", "expressive")],
    "mechanisms of several heads": ["differential", "multi_head", "talking_heads"],
    "memories": ["hopfield", "delta_rule", "gated_delta"],
}


def page(table: Table, about: Mapping[str, Any], claims: pd.DataFrame, findings: pd.DataFrame, picture: str) -> str:
    """The whole page.

    Parameters
    ----------
    table : Table
    about : mapping
        `seconds` that the runs took together, the `machine`, what is `short` of the plan, or "", and `longer`, a section on
        longer runs that is taken over as it is, or "".
    claims, findings : DataFrame
        As `attnlab.check_claims` of each experiment and `attnlab.referee` give them.
    picture : str
        Where the frontier is, as the page links to it.
    """
    grid = table.grid(SIMILARITIES, NORMALISERS)
    bounds = variance.intervals(grid) if len(table.seeds) > 1 else {}
    parts = [
        "# The Attention Table",
        _summary(table, about),
        "## What can be concluded",
        "\n".join(f"- {line}" for line in conclusions(table, grid, bounds.get("within", {}))),
        "## All mechanisms",
        _all(table),
        "## Which part explains what",
        _variance(table, grid, bounds),
        "## Families",
        _families(table),
        "## Quality and cost",
        f"![quality against operations per query]({picture})\n\n{OF_COST}",
        "## Every task",
        "The mean skill over seeds. **▲** is shown to be better than the baseline on this task, ▼ to be worse, and no mark says that no "
        "difference is shown.",
    ]
    for kind in dict.fromkeys(table.kinds):
        parts += [f"### By {kind}", _tasks(table, kind)]
    parts += [
        *(["## Checked by longer runs", about["longer"]] if about["longer"] else []),
        "## What was predicted",
        _predictions(claims),
        "## What the referee says",
        _refereed(findings, table),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(table: Table, about: Mapping[str, Any]) -> str:
    m, t, s = table.skill.shape
    rates = (
        table.frame["model.learning_rate"].value_counts(normalize=True) if "model.learning_rate" in table.frame else {}
    )
    chosen = ", ".join(f"{rate:g} in {share:.0%} of runs" for rate, share in sorted(dict(rates).items()))
    minutes = about["seconds"] / 60
    said = [
        f"{m} mechanisms on {t} small tasks with {_seeds(s)}: {m * t * s} runs, each learned at every learning rate of the plan, of which "
        f"validation data chose one ({chosen}). The budget is the same for all. Together the chosen fits took {minutes:.0f} minutes. "
        f"{about['machine']}",
    ]
    if about["short"]:
        said.append(about["short"])
    said += [
        "```console\nattnlab sweep experiments/table/content.yaml experiments/table/order.yaml --store table.db\n"
        "python -m tools.table table.db -o docs/table.md --page table.html    # this page, and the interactive one\n```",
        "**Skill** is the scale of this page: 1 is no error, and 0 is the error of uniform weights on the same examples. The error is that of the "
        "contexts, or for classes the share of wrong ones. "
        f"A skill below {_number(LOWEST, 0)} counts as {_number(LOWEST, 0)} ({table.n_cut} of {m * t * s} runs), and so does a run without a result ({table.n_lost}). "
        "In most tasks the queries are noisy, so that a skill of 1 is out of reach for all.",
        f"The baseline is {BASELINE}. A difference is *shown* if a paired t test over seeds finds it at {100 * ALPHA:.0f} %, after Holm's "
        f"correction for the {m - 1} comparisons within its task. What is not shown may be small, or the seeds too few; it is not shown to be equal.",
    ]
    return "\n\n".join(said)


def _number(x: float, digits: int = 2) -> str:
    if x != x:
        return "–"
    text = f"{x:.{digits}f}"
    return "−" + text[1:] if text.startswith("-") and float(text) else text.removeprefix("-")


def _percent(share: float, digits: int = 0) -> str:
    return f"{_number(100 * share, digits)}%"


def _seeds(n: int) -> str:
    return f"{n} seed{'s' * (n != 1)}"


def _between(low: float, high: float) -> str:
    if low != low:
        return ""
    return f"[{_number(low)}, {_number(high)}]"


def _means(table: Table, kind: str | None = None) -> np.ndarray[Any, Any]:
    """(m, s) the mean over the tasks of a kind."""
    of_kind = [kind is None or k == kind for k in table.kinds]
    means: np.ndarray[Any, Any] = table.skill[:, of_kind].mean(axis=1)
    return means


def _order(table: Table) -> list[int]:
    return sorted(range(len(table.mechanisms)), key=lambda i: (-_means(table)[i].mean(), table.mechanisms[i]))


def _all(table: Table) -> str:
    kinds = list(dict.fromkeys(table.kinds))
    verdicts, order = table.verdicts(), _order(table)
    columns = [["mechanism", *(f"`{table.mechanisms[i]}`" for i in order)]]
    for kind in (None, *kinds):
        cells = []
        for i in order:
            mean, low, high, _ = t_interval(_means(table, kind)[i])
            cells.append(f"{_number(mean)} {_between(low, high)}".rstrip())
        columns.append([f"skill, {kind or 'all tasks'} [95 %]", *cells])
    columns.append([f"solved ({SOLVED:g})", *(f"{(table.skill[i] >= SOLVED).mean():.0%}" for i in order)])
    for head, sign in (("better", 1), ("worse", -1), ("not shown to differ", 0)):
        cells = ["–" if i == table.base else str(int((verdicts[i] == sign).sum())) for i in order]
        columns.append([head, *cells])
    columns.append(
        ["operations", *("–" if np.isnan(table.cost[i]).any() else f"{table.cost[i].mean():,.0f}" for i in order)]
    )
    rows = markdown_rows(columns, [False, *[True] * (len(columns) - 1)])
    return (
        "The intervals are Student's t over seeds, for these tasks. *Solved* is the share of runs with a skill of at least "
        f"{SOLVED:g}. The next three columns count the tasks on which a mechanism is shown to be better or worse than {BASELINE}, or is not shown "
        f"to differ. *Operations* are those for one query, the mean over tasks.\n\n{rows}"
    )


def _tasks(table: Table, kind: str) -> str:
    at = [j for j, k in enumerate(table.kinds) if k == kind]
    verdicts, mean = table.verdicts(), table.skill.mean(axis=2)
    columns = [["mechanism", *(f"`{table.mechanisms[i]}`" for i in _order(table))]]
    for j in at:
        cells = [f"{_number(mean[i, j])}{({1: ' **▲**', -1: ' ▼', 0: ''})[int(verdicts[i, j])]}" for i in _order(table)]
        columns.append([markdown_text(table.tasks[j]), *cells])
    return markdown_rows(columns, [False] * len(columns))


def variance_tables(table: Table, grid: np.ndarray[Any, Any], bounds: Bounds) -> list[tuple[str, list[list[str]]]]:
    """(what is said above it, columns of text) of each table of the decomposition."""

    def rows(found: Mapping[str, float], ends: Mapping[str, tuple[float, float]]) -> list[list[str]]:
        return [
            ["part", *found],
            ["share of the variance", *(_percent(share, 1) for share in found.values())],
            ["95 % interval", *(f"{ends[p][0]:.1%} to {ends[p][1]:.1%}" if ends else "–" for p in found)],
        ]

    by_task = [variance.within_tasks(grid[:, :, [j]]) for j in range(len(table.tasks))]
    columns = [["task", *table.tasks]]
    columns += [[part, *(_percent(found[part]) for found in by_task)] for part in variance.WITHIN]
    n = len(table.seeds)
    return [
        (
            f"The grid of {len(SIMILARITIES)} similarities and {len(NORMALISERS)} normalisers is complete on every task: {grid.size} skills. "
            "Their variance falls into parts that add up to one. An interaction is what two parts do together beyond what each "
            "does alone; *seeds* is all that differs between runs of one task and mechanism. "
            + (
                f"The intervals are bootstraps over the {_seeds(n)} of each task (1000 resamples); they say nothing about other tasks. What the "
                "noise of the seeds lends to an effect is taken from it, so that a small share may be below 0."
                if n > 1
                else "With one seed there is no interval, and the noise of the seed is in the other parts."
            ),
            rows(variance.shares(grid), bounds.get("whole", {})),
        ),
        (
            "Within a task, the difficulty of tasks left out, and a part's interaction with the task counted with the part:",
            rows(variance.within_tasks(grid), bounds.get("within", {})),
        ),
        ("Task by task:", columns),
    ]


def _variance(table: Table, grid: np.ndarray[Any, Any], bounds: Bounds) -> str:
    texts = []
    for said, columns in variance_tables(table, grid, bounds):
        first = [columns[0][0], *map(markdown_text, columns[0][1:])]
        texts += [said, markdown_rows([first, *columns[1:]], [False, *[True] * (len(columns) - 1)])]
    return "\n\n".join(texts)


def families(table: Table) -> list[list[str]]:
    """Columns of text: each family with the mean skill of its members, over all tasks."""
    columns: list[list[str]] = [["family"], ["mechanisms"], ["skill [95 %]"], ["least"], ["greatest"]]
    means = _means(table)
    for family, members in FAMILIES.items():
        at = [table.mechanisms.index(name) for name in members if name in table.mechanisms]
        if not at:
            continue
        mean, low, high, _ = t_interval(means[at].mean(axis=0))
        each = means[at].mean(axis=1)
        cells = (
            family,
            str(len(at)),
            f"{_number(mean)} {_between(low, high)}".rstrip(),
            _number(each.min()),
            _number(each.max()),
        )
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    return columns


def _families(table: Table) -> str:
    return f"{markdown_rows(families(table), [False, True, True, True, True])}\n\n{OF_FAMILIES}"


def conclusions(table: Table, grid: np.ndarray[Any, Any], ends: Ends) -> list[str]:
    """Sentences, each computed from the numbers that it names."""
    within = variance.within_tasks(grid)
    verdicts, means, order = table.verdicts(), _means(table), _order(table)
    first, second = sorted(("similarity", "normaliser"), key=lambda part: -within[part])
    apart = bool(ends) and ends[first][0] > ends[second][1]
    by_task = [variance.within_tasks(grid[:, :, [j]]) for j in range(len(table.tasks))]
    other = [t for t, f in zip(table.tasks, by_task, strict=True) if f[second] > f[first]]
    d = means - means[table.base]
    best = order[0]
    gain, low, high, n = t_interval(d[best])
    never = [table.mechanisms[i] for i in order if i != table.base and not verdicts[i].any()]
    helps = [table.mechanisms[i] for i in order if (verdicts[i] > 0).any() and not (verdicts[i] < 0).any()]
    lines = [
        f"Within a task the {first} explains {within[first]:.0%} of the variance of the grid ({_percents(ends, first)}), the {second} "
        f"{within[second]:.0%} ({_percents(ends, second)}), and both together beyond that {within['similarity x normaliser']:.0%}"
        + (
            f". The {first} matters more on these tasks."
            if apart
            else ". Which of the two matters more is not shown: "
            + ("the intervals overlap." if ends else "there is one seed.")
        )
        + (f" It is the other way round on {_listed(other)}." if other else ""),
        f"The best mean has `{table.mechanisms[best]}`: {_number(float(means[best].mean()))}, which is {_number(gain)} {_between(low, high)} more than "
        f"{BASELINE} (n = {_seeds(n)}). It was chosen among {len(order)} after the fact, so the gain is too great on average.",
        _over_tasks(table),
    ]
    if n == 1:
        lines.append("With one seed no difference on a task can be tested.")
    else:
        lines += [
            (
                f"Better than {BASELINE} on some task and shown to be worse on none: {_listed(helps)}."
                if helps
                else f"No mechanism is shown to be better than {BASELINE} on some task and worse on none."
            ),
            (
                f"Not shown to differ from it on any task: {_listed(never)}."
                if never
                else f"Each mechanism is shown to differ from {BASELINE} on some task."
            ),
        ]
    floor = [table.mechanisms[i] for i in order if means[i].mean() <= 0 and table.mechanisms[i] != FLOOR]
    if floor:
        lines.append(f"On average no better than uniform weights: {_listed(floor)}.")
    hard = [t for t, best_of in zip(table.tasks, table.skill.mean(axis=2).max(axis=0), strict=True) if best_of < 0.5]
    easy = [t for t, row in zip(table.tasks, table.skill.mean(axis=2).T, strict=True) if np.median(row) >= SOLVED]
    steps = sorted(set(table.frame["model.steps"].dropna())) if "model.steps" in table.frame else []
    if steps:
        said = " or ".join(f"{step:g}" for step in steps)
        lines.append(
            f"Each mechanism learns for {said} steps only. A low skill says that a mechanism had not learned a task by then, not that it cannot; "
            "the referee's R103, below, counts those that still improved."
        )
    if hard:
        lines.append(f"No mechanism reaches a skill of 0.5 on {_listed(hard)}.")
    if easy:
        lines.append(f"Half of all mechanisms solve {_listed(easy)}, so these tell them apart only below.")
    return lines


def _over_tasks(table: Table) -> str:
    """What the paired test over tasks says, which is about other tasks too."""
    frame = table.frame
    if len(table.tasks) < 6:
        return f"Over tasks nothing is tested: {len(table.tasks)} tasks are too few."
    kept = frame[["run_id", "test", "task", "status", "seed", "skill"]].assign(
        status="ok", attention=frame["competitor"]
    )
    judged = attnlab.compare(kept, "skill", "attention", BASELINE, direction="up", unit="task")
    found = {
        word: [
            f"`{name}`"
            for name, verdict in zip(judged["attention"], judged["verdict"], strict=True)
            if str(verdict).startswith(word)
        ]
        for word in ("better", "worse")
    }
    said = [f"{word} than {BASELINE}: {', '.join(names)}" for word, names in found.items() if names]
    return (
        f"Over the {len(table.tasks)} tasks (signed-rank test, Holm's correction for {len(judged)} comparisons) "
        + ("; ".join(said) if said else f"no mechanism is shown to be better or worse than {BASELINE}")
        + "."
    )


def _percents(ends: Ends, part: str) -> str:
    return f"{ends[part][0]:.0%} to {ends[part][1]:.0%}" if ends else "one seed, no interval"


def _listed(names: Sequence[str]) -> str:
    coded = [f"`{name}`" for name in names]
    return coded[0] if len(coded) == 1 else f"{', '.join(coded[:-1])} and {coded[-1]}"


def _predictions(claims: pd.DataFrame) -> str:
    if claims.empty:
        return "Nothing was predicted."
    counts = claims["verdict"].value_counts()
    tally = ", ".join(f"{int(counts[v])} {v}" for v in counts.index)
    shown = pd.DataFrame(
        {
            "experiment": claims["experiment"],
            "prediction": claims["say"],
            "effect [95 %]": [
                f"{_number(e, 3)} [{_number(lo, 3)}, {_number(hi, 3)}]"
                for e, lo, hi in zip(claims["effect"], claims["low"], claims["high"], strict=True)
            ],
            "verdict": claims["verdict"],
        }
    )
    columns = [[c, *(markdown_text(str(v)) if c == "prediction" else str(v) for v in shown[c])] for c in shown.columns]
    return (
        f"The predictions were written into the files before the first full run ({tally}). Effects are in units of the metric that the "
        f"file names.\n\n{markdown_rows(columns, [False] * len(columns))}"
    )


def _refereed(findings: pd.DataFrame, table: Table) -> str:
    allowed = findings.attrs.get("allowed", [])
    if findings.empty and not allowed:
        return "`attnlab referee` finds nothing."
    lines = []
    for code, rows in findings.groupby("code"):
        one = rows.iloc[0]
        where = markdown_text(str(one["where"]))
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        lines.append(
            f"- [{code}](referee/{code}.md) {markdown_text(str(one['finding']))}: {where}{more}. {markdown_text(str(one['seen']).split('; ')[0])}"
        )
    said = (
        f"`attnlab referee --store table.db` has {len(findings)} findings, here by code with the first of each."
        if lines
        else ""
    )
    reasons: dict[tuple[str, str], list[str]] = {}
    for experiment, code, _, why in allowed:
        found = reasons.setdefault((code, str(why)), [])
        found += [experiment] * (experiment not in found)
    more_said = [
        f"- [{code}](referee/{code}.md), {CODES[code].title} (`{'`, `'.join(found)}`): {markdown_text(why)}."
        for (code, why), found in sorted(reasons.items())
    ]
    heading = f"{len(allowed)} findings are allowed in the files, with these reasons:" if more_said else ""
    return "\n\n".join(part for part in (said, "\n".join(lines), heading, "\n".join(more_said)) if part)
