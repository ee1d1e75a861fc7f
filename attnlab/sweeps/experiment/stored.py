"""Reading an experiment that a store holds: the text that was swept, checked like a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from attnlab.errors import AmbiguousName, AttnlabError, ExperimentError, UnknownName
from attnlab.registry import entry
from attnlab.sweeps.experiment.read import Experiment, Layout, read
from attnlab.sweeps.experiment.source import Document

if TYPE_CHECKING:
    from attnlab.sweeps.store import Linked

__all__ = ["budget_of", "metrics_of", "read_stored"]


def read_stored(linked: Linked) -> Experiment:
    """The experiment that was swept, read from its text in the store.

    The file itself is not needed, and what it says by now does not matter. Input files with a relative path are looked for
    beside the place where the file was.

    Raises
    ------
    ExperimentError
        When the text cannot be read here: a plugin is not loaded, an input file is missing, or it is no experiment.
    """
    return read(_document(linked)).model_copy(update={"name": linked.key})


def metrics_of(linked: Linked) -> list[str]:
    """The columns of the metrics that a stored experiment shows, the first ranks; [] if its text says none.

    Nothing but the text is needed: the plugins and input files of the experiment may be missing.
    """
    try:
        value = _document(linked).value
    except ExperimentError:
        return []
    if not isinstance(value, dict):
        return []
    named = value.get("metrics", Layout.model_fields["metrics"].default)
    named = [named] if isinstance(named, str) else named
    return list(dict.fromkeys(_column(str(name)) for name in named)) if isinstance(named, list) else []


def budget_of(linked: Linked) -> tuple[str, float, list[str]] | None:
    """The column that the budget of a stored experiment is about, how many, and the columns that it chooses; None without one."""
    if "budget" not in linked.text:
        return None
    try:
        experiment = read_stored(linked)
    except AttnlabError:
        return None
    return experiment.allowance


def _column(metric: str) -> str:
    try:
        return entry("metric", metric).shown
    except (UnknownName, AmbiguousName):
        return metric.rpartition(":")[2]


def _document(linked: Linked) -> Document:
    """The text with the places of its values; the text of a mapping is JSON, and has no file."""
    if linked.path:
        return Document(linked.path, text=linked.text)
    try:
        value = json.loads(linked.text)
    except ValueError:
        raise ExperimentError(f"{linked.key}: its text in the store is no experiment") from None
    if not isinstance(value, dict):
        raise ExperimentError(f"{linked.key}: its text in the store is no experiment")
    return Document(value)
