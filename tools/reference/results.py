"""The page of results: columns, statuses, and the checks of the contract on a page of their own."""

from __future__ import annotations

from attnlab.kinds import KINDS
from attnlab.sweeps.plan import DEFAULT_RERUN, decide
from attnlab.sweeps.run import STATUSES, Run
from attnlab.testing import CHECKS
from tools.reference import words
from tools.reference.docstrings import cell, code, table


def tried_again(status: str) -> str:
    """Whether a sweep tries a run of that status again, as the plan decides it."""
    run = Run.of({"seed": 0})
    (planned,) = decide([run], {run.run_id: (status, {})}, lambda run: {}, DEFAULT_RERUN)
    return "yes" if planned.action == "run" else "no" if status == "ok" else "no: it is a result"


def results_page() -> str:
    columns = [[", ".join(map(code, names)) or "the metrics", cell_with_links(text)] for names, text in words.COLUMNS]
    statuses = [[code(status), cell(words.STATUSES[status]), tried_again(status)] for status in STATUSES]
    return "\n\n".join(
        [
            "# Columns and statuses",
            "## Columns of the results table",
            "`attnlab results`, `attnlab.sweep` and `attnlab.load_results` give one row a run and test condition.",
            table(["column", "what it is"], columns),
            'A tuned setting has its column too, with the value that was chosen; `frame.attrs["tuned"]` lists these. With '
            "`tidy=True` (`--tidy`) the metrics become rows, in the columns `metric` and `value`. "
            '`frame.attrs["metrics"]` has the metrics that each experiment shows, the first of which ranks.',
            "## Columns of summarise",
            "`attnlab.summarise(frame, metric=None, by=None, *, standing=False)` gives the table of a sweep. Tasks and test "
            "conditions follow each other, and the best row of each comes first.",
            table(["column", "what it is"], [[cell(names), cell(text)] for names, text in words.SUMMARY]),
            "## Statuses",
            table(["status", "what happened", "tried again by the next sweep"], statuses),
            "A row that does not agree with its checksum is shown with the status `damaged`, and no number of it; the next sweep does its run again.",
            "All runs are tried again by `--rerun all`, and by default those whose code has changed since.",
        ]
    )


def cell_with_links(text: str) -> str:
    """A cell that is Markdown already, with its links and code."""
    return " ".join(text.split()).replace("|", r"\|")


def contract_page() -> str:
    made = [
        "# Checks of the contract",
        "`attnlab check` and `attnlab.testing.check_component` make these checks. A code is stable: "
        '`check_component(cls, only=["C031"])` makes one.',
    ]
    every = [check for code_, check in sorted(CHECKS.items())]
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    for check in every:
        groups.setdefault(check.kinds, []).append([code(check.code), cell(check.statement)])
    in_order = sorted(groups.items(), key=lambda item: (item[1][0][0][1] != "C", item[1][0][0]))  # of every kind first
    for kinds, rows in in_order:
        if set(kinds) == set(KINDS):
            title = "Every component"
        else:
            title = ", ".join(KINDS[kind].plural for kind in kinds).capitalize()
        made += [f"## {title}", table(["check", "what it holds"], rows)]
    return "\n\n".join(made)
