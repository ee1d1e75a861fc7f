"""The command `attnlab results`: runs as they are, or the table of a sweep, in the form that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from attnlab.commands.options import experiment_option, output_format, plugin_options, store_option, use_plugins

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["notes_in", "print_question", "print_summary", "results"]

FORMS = ("table", "csv", "json", "markdown", "latex", "parquet", "xlsx")


@click.command()
@store_option
@experiment_option
@click.option("--only", metavar="EXPR", help="Only rows such as similarity=dot,task.d=16 or status=failed.")
@click.option("--columns", metavar="NAMES", help="These columns, in this order: similarity,seed,aer or 'task.*'.")
@click.option(
    "--summary", is_flag=True, help="The table of a sweep: mean, interval, n and the share of seeds that solved it."
)
@click.option("--metric", metavar="NAMES", help="With --summary: the metrics; the first ranks.")
@click.option("--by", metavar="COLUMNS", help="With --summary: the axes of its rows; all that vary if left out.")
@click.option("--tidy", is_flag=True, help="One row a run and metric.")
@click.option(
    "-o", "--output", metavar="FILE", help="Write here; .csv, .json, .md, .tex, .parquet or .xlsx says the form."
)
@output_format(*FORMS)
@click.option(
    "--escape",
    is_flag=True,
    help="In csv and xlsx, put an apostrophe before text that begins with = + - @, which a spreadsheet takes for a formula.",
)
@plugin_options
def results(
    store: str,
    experiment: str | None,
    only: str | None,
    columns: str | None,
    summary: bool,
    metric: str | None,
    by: str | None,
    tidy: bool,
    output: str | None,
    form: str | None,
    escape: bool,
    plugin_files: tuple[str, ...],
    blocked: tuple[str, ...],
) -> int:
    """Print the results, one row a run and test condition, or with --summary the table of each sweep.

    \b
    attnlab results --summary
    attnlab results --summary -o table.tex
    attnlab results --only status=failed --columns run_id,reason
    """
    use_plugins(blocked, plugin_files)
    from attnlab.sweeps.frame import load_results
    from attnlab.tables import check_new, for_spreadsheets, form_of

    if summary and tidy:
        raise click.UsageError(
            "--tidy is one row a metric of a run, --summary one row of several runs; give one of them"
        )
    if not summary and (metric or by):
        raise click.UsageError(
            f"{'--metric' if metric else '--by'} is for --summary; --columns chooses columns of runs"
        )
    form = form_of(form, output, FORMS)
    if escape and form not in ("csv", "xlsx"):
        raise click.UsageError(f"--escape is for spreadsheets: --format csv or xlsx, not {form}")
    if output is not None:
        check_new(output)
    frame = load_results(store, tidy=tidy, experiment=experiment)
    if only:
        frame = _filtered(frame, only)
    if escape:
        attributes, frame = frame.attrs, for_spreadsheets(frame)
        frame.attrs = attributes
    if summary:
        for_people = form in ("table", "markdown", "latex")
        tables = _summaries(frame, _words(metric), _words(by), for_people)
        _write_summaries(tables, _words(columns), form, output, store, refereed=not only)
    else:
        _write_runs(frame, _words(columns), form, output, store)
    return 0


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _filtered(frame: pd.DataFrame, only: str) -> pd.DataFrame:
    """The rows that a filter leaves.

    Raises
    ------
    SettingError
        When it cannot be read, names no column, or leaves no row.
    """
    from attnlab.errors import SettingError
    from attnlab.sweeps.columns import only_rows

    columns = [str(c) for c in frame.columns]
    rows = [
        {c: v for c, v in zip(columns, row, strict=True) if v == v} for row in frame.itertuples(index=False, name=None)
    ]
    kept = only_rows(rows, only, columns)
    if rows and not any(kept):
        raise SettingError(f"--only {only!r} leaves none of {len(rows)} rows; `attnlab results` shows their columns")
    left = frame[kept]
    left.attrs = frame.attrs
    return left


def _picked(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The columns that are asked for, by name or by pattern, in the order asked."""
    import fnmatch

    from attnlab.errors import SettingError, did_you_mean

    known = [str(c) for c in frame.columns]
    found: dict[str, None] = {}
    for name in columns:
        fitting = [c for c in known if c == name] or [c for c in known if fnmatch.fnmatchcase(c, name)]
        if not fitting:
            raise SettingError(
                f"--columns: no column {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
            )
        found |= dict.fromkeys(fitting)
    return frame[list(found)]


def _by_experiment(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each experiment, each with what the frame says of it."""
    parts = []
    for name in frame["experiment"].unique():
        part = frame[frame["experiment"] == name]
        part.attrs = {**frame.attrs, "metrics": {k: v for k, v in frame.attrs.get("metrics", {}).items() if k == name}}
        part.attrs["tuned"] = [*part.attrs.get("tuned", ()), *frame.attrs.get("widths", {}).get(name, ())]
        parts.append((str(name), part.dropna(axis=1, how="all")))
        parts[-1][1].attrs = part.attrs
    return parts


# -- runs -------------------------------------------------------------------------------------------------------------
def _write_runs(frame: pd.DataFrame, columns: Sequence[str], form: str, output: str | None, store: str) -> None:
    from attnlab.analysis.presentation import print_paper
    from attnlab.analysis.summary import shown_metrics, telling
    from attnlab.tables import print_frame, print_table

    if columns:
        frame = _picked(frame, columns)
    if form in ("csv", "json", "parquet", "xlsx"):
        print_frame(frame, form, output)
    elif columns:
        print_table(frame) if form == "table" else print_paper(frame, frame, form, output)
    elif form == "table":
        left_out = 0
        for name, part in _by_experiment(frame):
            print_question(store, name)
            short = telling(part, [m for names in shown_metrics(part) for m in names])
            whole = [c for c in ("run_id", *short.columns, "status") if c in part.columns and c != "experiment"]
            print_table(part[list(dict.fromkeys(whole))], order=[*(c for c in whole if c != "run_id"), "run_id"])
            left_out = max(left_out, len(frame.columns) - len(whole))
        if left_out:
            print(
                f"attnlab: {left_out} columns are left out; --columns NAMES chooses, --format csv has all, --summary has the "
                "table of the sweep",
                file=sys.stderr,
            )
        elif not len(frame):
            print("attnlab: this store has no runs", file=sys.stderr)
    else:
        short = telling(frame, [m for names in shown_metrics(frame) for m in names])
        print_paper(frame, short, form, output)


def print_question(store: str, name: str) -> None:
    """The name and the question of an experiment in a store, as a heading."""
    from attnlab.sweeps.store import Store

    with Store(store, create=False) as opened:
        question = next((linked.question for linked in opened.experiments() if linked.key == name), "")
    from attnlab.tables import visible

    click.echo(visible(f"\n{name}: {question}" if question else f"\n{name}"))


# -- the table of a sweep ---------------------------------------------------------------------------------------------
def _summaries(
    frame: pd.DataFrame, metric: Sequence[str], by: Sequence[str], standing: bool
) -> list[tuple[str, str, pd.DataFrame]]:
    """(experiment, the metric that ranks, table) of each experiment that shows a metric."""
    from attnlab.analysis.summary import shown_metrics, summarise

    tables = []
    for name, part in _by_experiment(frame):
        names = list(metric) or [m for shown in shown_metrics(part) for m in shown]
        names += ["off_budget"] if "off_budget" in part and names and not metric else []
        tables.append(
            (name, names[0] if names else "", summarise(part, names or None, list(by) or None, standing=standing))
        )
    return tables


def _write_summaries(
    tables: Sequence[tuple[str, str, pd.DataFrame]],
    columns: Sequence[str],
    form: str,
    output: str | None,
    store: str,
    refereed: bool = False,
) -> None:
    import pandas as pd

    from attnlab.analysis.presentation import compact_summary, print_paper
    from attnlab.tables import print_frame

    if not tables:
        print("attnlab: this store has no runs", file=sys.stderr)
        return
    if form == "table":
        for name, first, table in tables:
            print_question(store, name)
            print_summary(_picked(table, columns) if columns else table, first)
            if refereed:
                _print_referee(store, name)
        return
    if len(tables) == 1:
        whole = tables[0][2]
    else:
        whole = pd.concat([t.assign(experiment=name, ranked_by=first) for name, first, t in tables], ignore_index=True)
        whole = whole[["experiment", *(c for c in whole.columns if c != "experiment")]]
    if columns:
        whole = _picked(whole, columns)
    if form in ("markdown", "latex"):
        short = whole if columns else compact_summary(whole)
        print_paper(short, short, form, output)
    else:
        print_frame(whole, form, output)


def _print_referee(store: str, name: str) -> None:
    """What the referee says of an experiment in a store, in a line; nothing where its text cannot be read here."""
    from attnlab.analysis.index import results_of
    from attnlab.analysis.referee.judging import reported
    from attnlab.analysis.referee.stored import Stored
    from attnlab.commands.referee import print_short

    if (experiment := Stored(store).experiment(name)) is not None:
        ((_, frame),) = results_of([experiment], store)
        print_short(experiment, reported(experiment.name, frame, experiment, Stored.of(store)), store)


def notes_in(frame: pd.DataFrame) -> dict[str, int]:
    """The notes of runs, with the number of runs that have each."""
    found: dict[str, int] = {}
    for notes, n_runs in frame.drop_duplicates("run_id")["notes"].value_counts(sort=False).items():
        for note in str(notes).split(" | ") if notes else ():
            found[note] = found.get(note, 0) + int(n_runs)
    return found


def print_summary(table: pd.DataFrame, first: str) -> None:
    """Print a table of `summarise`, ranked by a metric, for people."""
    from attnlab.analysis.measures import direction_of
    from attnlab.analysis.presentation import compact_summary
    from attnlab.tables import print_table

    better = {"up": ", higher is better", "down": ", lower is better"}.get(direction_of(first) or "", "")
    short = compact_summary(table)
    said = f"{first}{better}; mean and 95 % t interval over seeds"
    if "ranked_by" in short:
        said += "; ranked_by: what ranks a task that has no such metric, the interval and n are then of it"
    if "best" in short:
        said += "; best: of its task and test condition, ~ not shown to differ from it (paired t over seeds, Holm, 5 %)"
    if "chance" in short:
        said += "; chance: what guessing gets in alignment_accuracy"
    if "off_budget" in short:
        said += "; off_budget: the share by which parameters or operations differ from the budget"
    if "solved" in short:
        said += "; solved: the share of seeds that did, with Wilson's interval"
    late: list[Any] = [
        c for c in ("solved", "mean if solved", "n", "ok") if c in short
    ]  # a narrow terminal omits them first
    print_table(short, said, order=[*(c for c in short.columns if c not in late), *late])
    for same in table.attrs.get("identical", ()):
        click.echo(f"identical in every value: {same}")
