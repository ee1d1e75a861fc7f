"""A table for papers: competitors by tasks, the best of each task, and what is not shown to differ from it."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attnlab.analysis.conclusion import percent
from attnlab.analysis.presentation import latex_text, markdown_rows, markdown_text
from attnlab.analysis.replicates import Scores, score_table
from attnlab.analysis.rounding import alike
from attnlab.analysis.statistics import holm, interquartile_mean
from attnlab.errors import SettingError
from attnlab.tables import natural, shown

__all__ = ["TaskTable", "task_table"]

WIDE = 4  # tasks side by side on a page; more go below each other
DAGGER = r"^{\dagger}"
NAN = float("nan")


@dataclass(frozen=True)
class TaskTable:
    """Competitors by tasks.

    Attributes
    ----------
    scores : Scores
        What was compared.
    order : tuple of int
        The competitors, best interquartile mean over the tasks first.
    mean, spread : array (c, n)
        Mean and standard deviation over seeds, in units of the metric; NaN where there is no value, or one seed only.
    best : bool array (c, n)
        Which competitors have the best mean on a task: several where means are equal to twelve digits.
    p : array (c, n)
        Of the difference to the best, over seeds, adjusted for all comparisons of the table; NaN where there is no test.
    alpha : float
    comparisons : int
        How many tests there are.
    by_signs : bool
        Whether some of them are sign tests, because a difference is the same in every seed.
    """

    scores: Scores
    order: tuple[int, ...]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    best: NDArray[np.bool_]
    p: NDArray[np.float64]
    alpha: float
    comparisons: int
    by_signs: bool

    @functools.cached_property
    def tasks(self) -> tuple[int, ...]:
        """The tasks in the order of their columns: numbers in their names by size, n=64 before n=256."""
        return tuple(sorted(range(self.scores.n), key=lambda j: natural(self.scores.units[j])))

    @property
    def alike(self) -> NDArray[np.bool_]:
        """Which competitors are not shown to differ from the best of a task, which they are not."""
        return ~self.best & ~(self.p <= self.alpha) & np.isfinite(self.mean)

    def to_frame(self) -> pd.DataFrame:
        """One row a competitor and task: mean, sd, n (seeds), best, p_holm, not_shown_to_differ."""
        rows = [
            {
                **dict(zip(self.scores.by, self.scores.names[i], strict=True)),
                "task": unit,
                "mean": self.mean[i, j],
                "sd": self.spread[i, j],
                "n": int(self.scores.n_seeds[j]),
                "best": bool(self.best[i, j]),
                "p_holm": self.p[i, j],
                "not_shown_to_differ": bool(self.alike[i, j]),
            }
            for i in self.order
            for j, unit in ((j, self.scores.units[j]) for j in self.tasks)
        ]
        return pd.DataFrame(rows)

    def cells(self) -> pd.DataFrame:
        """The table as text: `0.912 ± 0.020`, with * at the best of a task and † at what is not shown to differ from it."""
        columns: dict[str, list[str]] = {self._head: [self.scores.labels[i] for i in self.order]}
        for j in self.tasks:
            columns[self.scores.units[j]] = [self._plain(i, j) + self._mark(i, j, " *", " †") for i in self.order]
        return pd.DataFrame(columns)

    def markdown(self) -> str:
        """The table as Markdown, the best of a task in bold, with its caption below."""
        columns = [[self._head, *(self.scores.labels[i] for i in self.order)]]
        columns[0] = [markdown_text(cell) for cell in columns[0]]
        for j in self.tasks:
            cells = [f"**{self._plain(i, j)}**" if self.best[i, j] else self._plain(i, j) for i in self.order]
            marks = [self._mark(i, j, "", " †") for i in self.order]
            columns.append(
                [markdown_text(self.scores.units[j]), *(f"{c}{m}" for c, m in zip(cells, marks, strict=True))]
            )
        table = markdown_rows(columns, [False] * len(columns))
        return f"{table}\n\n{markdown_text(self.caption(bold=True))}"

    def latex(self) -> str:
        r"""The table as a `table` with its caption, in which the best of a task is bold; its preamble needs `\usepackage{booktabs}`."""
        n = self.scores.n
        each = math.ceil(n / math.ceil(n / WIDE))
        blocks = [self._block(self.tasks[at : at + each]) for at in range(0, n, each)]
        label = re.sub(r"[^a-z0-9]+", "-", f"{self.scores.metric} by {' '.join(self.scores.by)}".lower()).strip("-")
        caption = latex_text(self.caption(bold=True)).replace("†", r"$\dagger$")
        top = [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{label}}}",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{4pt}",
        ]
        return "\n".join([*top, "\n\n\\medskip\n\n".join(blocks), r"\end{table}"])

    def _block(self, units: Sequence[int]) -> str:
        """Some tasks side by side, each above its settings, so that columns stay narrow."""
        lines = [unit.split(", ") for unit in (self.scores.units[j] for j in units)]
        heads = [
            " & ".join([first, *(latex_text(words[at]) if at < len(words) else "" for words in lines)]) + r" \\"
            for at in range(max(map(len, lines)))
            for first in [latex_text(self._head) if at == 0 else ""]
        ]
        rows = [
            " & ".join([latex_text(self.scores.labels[i]), *(self._latex_cell(i, j) for j in units)]) + r" \\"
            for i in self.order
        ]
        columns = "l" + "c" * len(units)
        top = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", *heads, r"\midrule"]
        return "\n".join([*top, *rows, r"\bottomrule", r"\end{tabular}"])

    def _latex_cell(self, i: int, j: int) -> str:
        if not np.isfinite(self.mean[i, j]):
            return latex_text(self._plain(i, j))
        mean, _, spread = self._plain(i, j).partition(" ± ")
        number = rf"\mathbf{{{_power(mean)}}}" if self.best[i, j] else _power(mean)
        spread = rf" \pm {_power(spread)}" if spread else ""
        return f"${number}{spread}{self._mark(i, j, '', DAGGER)}$"

    @property
    def _head(self) -> str:
        return ", ".join(self.scores.by)

    def _plain(self, i: int, j: int) -> str:
        mean, spread = self.mean[i, j], self.spread[i, j]
        if not np.isfinite(mean):
            return shown(None)
        digits = self._digits(j)
        written = [f"{value:.{digits}f}" if digits >= 0 else shown(value) for value in (mean, spread) if value == value]
        return " ± ".join(written)

    def _digits(self, j: int) -> int:
        """Decimals for a task, the same in all its cells; -1 where the numbers are too small or too large for decimals."""
        sizes = np.abs(self.mean[:, j][np.isfinite(self.mean[:, j])])
        largest = float(sizes.max(initial=0.0))
        return 3 if 0.05 <= largest < 100 or largest == 0 else 1 if 100 <= largest < 1e6 else -1

    def _mark(self, i: int, j: int, best: str, alike: str) -> str:
        return best if self.best[i, j] else alike if self.alike[i, j] else ""

    def caption(self, bold: bool = False) -> str:
        """What the numbers and marks mean: n, the test, the correction, and how ties are marked."""
        s = self.scores
        few, many = int(s.n_seeds.min()), int(s.n_seeds.max())
        n = f"{many}" if few == many else f"{few} to {many}"
        way = "greater" if s.sign == 1 else "less"
        spread = "mean ± standard deviation" if np.isfinite(self.spread).any() else "values"
        said = [
            f"{s.metric} ({way} is better), {spread} over n = {n} {'seed' if many == 1 else 'seeds'}.",
            f"{'Bold' if bold else '*'}: the best mean of each task; means that are equal to it, to twelve digits, are marked too.",
        ]
        if self.comparisons:
            test = "a paired t test over seeds, two-sided" + (
                ", or a sign test where a difference is the same in every seed" if self.by_signs else ""
            )
            said.append(
                f"†: not shown to differ from the best of its task, which does not mean equal ({test}, adjusted by Holm's method "
                f"for all {self.comparisons} comparisons of the table, at {percent(self.alpha)})."
            )
        elif self.alike.any():
            said.append(
                "†: not shown to differ from the best of its task: one seed has no spread, so nothing can be tested."
            )
        return " ".join([*said, *(note for note in s.notes if note.startswith("Averaged"))])


def _power(number: str) -> str:
    """A number for math mode: 3.2e-17 with its power of ten."""
    mantissa, e, power = number.partition("e")
    return rf"{mantissa} \times 10^{{{int(power)}}}" if e else mantissa


def task_table(
    frame: pd.DataFrame,
    metric: str,
    by: str | Sequence[str],
    *,
    direction: str | None = None,
    missing: str = "error",
    unit: str | None = None,
    alpha: float = 0.05,
) -> TaskTable:
    """Competitors by tasks, with mean and spread over seeds.

    The best competitor of a task is compared with each other one by a paired t test over seeds, which draw the same examples
    for all competitors. Where a difference is the same in every seed, which has no spread, it is the sign test. All p values of
    the table are adjusted together by Holm's method.

    Parameters
    ----------
    frame, metric, by, direction, missing : as of `compare`
    unit : "setting", "task" or None
        A column is a task with its settings and its test condition ("setting", which is None), or a kind of task.
    alpha : float
        Family-wise error of all marks.

    Raises
    ------
    SettingError
        As `compare` does.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    if not 0 < alpha < 0.5:
        raise SettingError(f"alpha: must lie between 0 and 0.5, such as 0.05 (--alpha); got {alpha}")
    scores = score_table(frame, metric, by, direction, missing, unit)
    good = np.array([alike(column) for column in scores.good.T]).T
    best = (good == good.max(axis=0)) & np.isfinite(good)
    p = np.full(good.shape, NAN)
    by_signs = False
    for j in range(scores.n):
        first = int(np.argmax(good[:, j]))
        for i in np.flatnonzero(~best[:, j] & np.isfinite(good[:, j])):
            p[i, j], signs = _p_value(scores.by_seed[first, j] - scores.by_seed[i, j])
            by_signs |= signs
    tested = np.isfinite(p)
    if tested.any():
        p[tested] = holm(p[tested])
    with np.errstate(invalid="ignore"):
        several = np.isfinite(scores.by_seed).sum(axis=2) > 1
        spread = np.full(good.shape, NAN)
        for i, j in np.argwhere(several):
            spread[i, j] = np.std(scores.by_seed[i, j][np.isfinite(scores.by_seed[i, j])], ddof=1)
    mean = np.where(np.isfinite(scores.good), scores.sign * scores.good, NAN)
    merit = [interquartile_mean(row) for row in good]
    order = sorted(range(len(merit)), key=lambda i: (-merit[i], scores.labels[i]))
    return TaskTable(scores, tuple(order), mean, spread, best, p, alpha, int(tested.sum()), by_signs)


def _p_value(d: Any) -> tuple[float, bool]:
    """Two-sided p of the mean of differences, by Student's t; by signs, which is then said, where all are the same. NaN below two."""
    from scipy.special import stdtr

    d = d[np.isfinite(d)]
    n = len(d)
    if n < 2:
        return NAN, False
    spread = float(d.std(ddof=1))
    if spread <= 1e-12 * float(np.abs(d).max()):
        return 2.0 ** (1 - n), True
    return 2 * float(stdtr(n - 1, -abs(float(d.mean())) / (spread / math.sqrt(n)))), False
