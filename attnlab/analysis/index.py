"""The index of experiments: a Markdown page with each question, its claims and verdicts, and a picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from attnlab.analysis.claims import Judgement, judge, table_of
from attnlab.analysis.measures import solved_at
from attnlab.analysis.plots import claims_figure, save
from attnlab.analysis.presentation import markdown_text
from attnlab.analysis.summary import summarise
from attnlab.analysis.verdicts import Region
from attnlab.errors import ExperimentError, SettingError, UnknownName
from attnlab.sweeps import migrate
from attnlab.sweeps.experiment.read import Experiment
from attnlab.sweeps.experiment.stored import read_stored
from attnlab.sweeps.frame import frame_of, registered_in
from attnlab.sweeps.plan import plan
from attnlab.sweeps.store import Store
from attnlab.tables import shown, shown_column
from attnlab.writing import together, write_whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["results_of", "stored_experiments", "write_index"]

MADE = "<!-- made by `attnlab index`; edit the experiments instead -->"
VERDICTS = ("supported", "refuted", "undecided", "identity")


# -- experiments and their results ------------------------------------------------------------------------------------
def stored_experiments(
    store: str | os.PathLike[str], name: str | None = None
) -> tuple[list[Experiment], dict[str, str]]:
    """The experiments of a store, or the one with a name, read from the text that was swept.

    Returns
    -------
    experiments : list of Experiment
    unreadable : dict of str
        Why a text can no longer be read, by the name of the experiment: a plugin or an input file is missing.

    Raises
    ------
    UnknownName
        When there is no such experiment.
    """
    with Store(store, create=False) as opened:
        linked = {entry.key: entry for entry in opened.experiments()}
    if name is not None and name not in linked:
        raise UnknownName(f"{store}: no experiment {name!r} in this store; there are: {', '.join(linked) or 'none'}")
    found, unreadable = [], {}
    for key in linked if name is None else [name]:
        try:
            found.append(read_stored(linked[key]))
        except ExperimentError as error:
            unreadable[key] = str(error)
    return found, unreadable


def results_of(
    experiments: Iterable[Experiment], store: str | os.PathLike[str]
) -> Iterator[tuple[Experiment, pd.DataFrame]]:
    """Each experiment with the results of its runs in the store, also of runs that were swept for another experiment."""
    with Store(store, create=False) as opened:
        for experiment in experiments:
            results = migrate.results(opened, [run.run_id for run in plan(experiment)])
            records = ((experiment.name, run, result) for run, result in results)
            metrics = {experiment.name: experiment.metrics}
            registered = registered_in(opened, metrics)
            budgets = {experiment.name: experiment.allowance} if experiment.allowance is not None else None
            yield experiment, frame_of(records, metrics=metrics, store=store, registered=registered, budgets=budgets)


# -- the page ---------------------------------------------------------------------------------------------------------
def write_index(found: Iterable[tuple[Experiment, pd.DataFrame]], output: str | os.PathLike[str]) -> list[str]:
    """Write the page, and a picture of each experiment's claims in the folder `pictures/` beside it.

    Where some seeds solved the task of an experiment and others did not, a table has the share that did.

    Parameters
    ----------
    found : iterable of (Experiment, results table)
    output : path of the page; a page that `write_index` made is replaced

    Returns
    -------
    list of str
        What is missing: experiments without a claim, and refuted claims without a `why`.

    Raises
    ------
    SettingError
        When the page exists and `write_index` did not make it, or when matplotlib is not installed.
    """
    page = Path(output)
    if page.exists() and not page.read_text(encoding="utf-8").startswith(MADE):
        raise SettingError(f"{page} was not made by `attnlab index` and is not overwritten; choose another name")
    judged, solved = [], []
    for experiment, frame in found:
        judged.append((experiment, judge(frame, experiment)))
        solved.append(_solved(experiment, frame))
    pictures = page.parent / "pictures"
    drawn = {pictures / _picture(experiment): judgements for experiment, judgements in judged if judgements}
    with together([*drawn, page]):
        pictures.mkdir(parents=True, exist_ok=True)
        for picture, judgements in drawn.items():
            save(claims_figure(judgements), picture)
        sections = [_section(*one, share, page) for one, share in zip(judged, solved, strict=True)]
        write_whole(page, "\n\n".join([MADE, _head(judged), *sections]) + "\n")
    lacking = [f"{experiment.name} makes no claim" for experiment, judgements in judged if not judgements]
    return lacking + [
        f"{experiment.name}: refuted, and no `why:` says why: {one.claim.say}"
        for experiment, judgements in judged
        for one in judgements
        if one.decision.verdict == "refuted" and not one.claim.why
    ]


def _head(judged: Sequence[tuple[Experiment, Sequence[Judgement]]]) -> str:
    said = (
        "Each file asks one question and makes claims about the answer. The verdicts are computed: a claim is *supported* if "
        "the whole 95 % Student t interval over seeds lies where the claim says, *refuted* if wholly elsewhere, else "
        "*undecided*. An *identity* is a claim that cannot be otherwise: it was found to hold of every value, and supports nothing. "
        "Effects are in units of the metric; differences are paired by seed, and positive where the claim points. What is marked "
        "*doubtful* may be wrong more often than its interval says, and the remark below it says why."
    )
    tested = sum(not one.claim.exact for _, judgements in judged for one in judgements)
    said += (
        f" Claims are judged one by one, {tested} here: of so many whose effects lie at their bounds, {0.025 * tested:.1f} are "
        "expected to be supported by chance."
    )
    head = ["experiment", "question", *VERDICTS, "doubtful"]
    table = [f"| {' | '.join(head)} |", "| --- | --- |" + " ---: |" * (len(VERDICTS) + 1)]
    for experiment, judgements in judged:
        counts = Counter(one.decision.verdict for one in judgements)
        counts["doubtful"] = sum(one.decision.doubtful for one in judgements)
        numbers = " | ".join(str(counts[verdict] or "") for verdict in (*VERDICTS, "doubtful"))
        table.append(
            f"| [{markdown_text(experiment.name)}](#{_anchor(experiment.name)}) | {markdown_text(experiment.question)} | {numbers} |"
        )
    return "\n\n".join(["# Experiments", said, "\n".join(table)])


def _solved(experiment: Experiment, frame: pd.DataFrame) -> str:
    """The share of seeds that solved the task, cell by cell, by the first metric that says what counts as solved.

    There is no table where all seeds solved it, or none did: it would tell nothing apart.
    """
    known = (m for m in experiment.metrics if all(solved_at(m, choice.name) is not None for choice in experiment.tasks))
    metric = next((m for m in known if m in frame), None)
    if metric is None:
        return ""
    frame = frame.copy()
    frame.attrs["tuned"] = experiment.chosen
    table = summarise(frame, metric)
    if "solved" not in table or {*table["solved"].dropna()} in (set(), {0.0}, {1.0}):
        return ""
    axes = [str(c) for c in table.columns[: list(table.columns).index(metric)]]
    lines = [
        f"| {' | '.join(map(markdown_text, axes))} | solved [95 % interval] | n |",
        "| --- " * len(axes) + "| --- | ---: |",
    ]
    settings = zip(*(shown_column(c, table[c]) for c in axes), strict=True)
    for row, cells in zip(table.to_dict("records"), settings, strict=True):
        share = f"{shown(row['solved'])} [{shown(row['solved_low'])}, {shown(row['solved_high'])}]"
        lines.append(f"| {' | '.join(map(markdown_text, cells))} | {share} | {row['n']} |")
    said = f"The share of seeds that solved the task, by {markdown_text(metric)}, with Wilson's interval:"
    return "\n\n".join([said, "\n".join(lines)])


def _section(experiment: Experiment, judgements: Sequence[Judgement], solved: str, page: Path) -> str:
    parts = [f"## {markdown_text(experiment.name)}", f"**{markdown_text(experiment.question)}**"]
    path = experiment.path
    file = "" if path is None else f"[{markdown_text(path.name)}]({quote(_relative(path, page.parent))})"
    parts.append(". ".join(filter(None, [markdown_text(experiment.source or ""), file])))
    if not judgements:
        return "\n\n".join(filter(None, [*parts, "No claim.", solved]))
    lines = [
        "| claim | metric | claimed | effect [95 % interval] | n | verdict |",
        "| --- | --- | --- | --- | ---: | --- |",
    ]
    remarks = []
    for row in table_of(judgements).to_dict("records"):
        interval = (
            f"{shown(row['effect'])} [{shown(row['low'])}, {shown(row['high'])}]" + ", doubtful" * row["doubtful"]
        )
        cells = [
            markdown_text(row["say"]),
            markdown_text(row["metric"]),
            markdown_text(str(Region.of(row))),
            interval,
            row["n"],
            f"**{row['verdict']}**",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
        why = {"refuted": row["why"] or "Nobody has said why yet.", "identity": row["why"]}.get(row["verdict"], "")
        if why or row["reason"]:
            said = ". ".join(markdown_text(text).rstrip(".") for text in (row["say"], why) if text)
            reason = f" ({markdown_text(row['reason'])})" if row["reason"] else ""
            remarks.append(f"- {row['verdict'].capitalize()}: {said}{reason}.")
    parts += [
        "\n".join(lines),
        "\n".join(remarks),
        solved,
        f"![seeds, intervals and bounds](pictures/{_picture(experiment)})",
    ]
    return "\n\n".join(filter(None, parts))


def _picture(experiment: Experiment) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in experiment.name) + ".svg"


def _anchor(name: str) -> str:
    kept = "".join(c for c in name.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()
