"""One example of a task as text and as a picture: what each query may attend to, what it should attend to and get."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.errors import SettingError

__all__ = ["draw_example", "first_example", "settings_given", "told"]

MOST_LINKS = 6  # that are listed one by one
MOST_FEATURES = 4  # of a target


def settings_given(pairs: Sequence[str]) -> dict[str, Any]:
    """Settings from words NAME=VALUE, whose values are YAML.

    Raises
    ------
    SettingError
        When a word has no "=" or a value is no YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise SettingError(f"--set takes NAME=VALUE, as in --set length=8; got {pair!r}")
        try:
            found[name] = YAML(typ="safe").load(value)
        except YAMLError:
            raise SettingError(f"--set {pair}: {value!r} is no YAML value; quote it") from None
    return found


def first_example(name: str, settings: dict[str, Any]) -> tuple[Any, AlignmentData]:
    """A task with these settings, and its first training example, for the random stream 0."""
    from attnlab.registry import get

    task = get("task", name.removeprefix("task:"), **settings)
    return task, task.make(np.random.default_rng(0)).train[0]


def told(task: Any, data: AlignmentData) -> tuple[list[str], list[dict[str, str]]]:
    """What to say of the example, and a row for each query that may attend to something; places are counted from 0."""
    source, target = _tokens(data)
    lines = [
        f"task {task.name}, the first training example: {data.n_queries} queries of {data.Q.shape[2]} features, {data.n_keys} keys "
        f"of {data.K.shape[2]}, values of {data.V.shape[2]}; chance {task.chance:.3g}"
    ]
    if source and target:
        lines += [f"source: {' '.join(source)}", f"target: {' '.join(target)}"]
    if data.ids is not None:
        lines.append(f"tokens: {' '.join(str(token) for token in data.ids[0, : data.lengths[0]].tolist())}")
    asks: Any = np.flatnonzero(data.alive[0])
    if len(asks) < data.n_queries:
        lines.append(
            f"{data.n_queries - len(asks)} queries may attend to nothing: they are padding, or places that do not ask"
        )
    rows = [
        {
            "query": f"{i} {target[i]}" if target and i < len(target) else str(i),
            "may attend to": _places(np.flatnonzero(data.allowed[0, i])),
            "gold": "–" if data.gold is None else _links(data.gold[0, i], source),
            "target": "–" if data.target is None else _target(data, i),
        }
        for i in asks.tolist()
    ]
    return lines, rows


def _tokens(data: AlignmentData) -> tuple[list[str] | None, list[str] | None]:
    """The tokens of the keys and of the queries, if the example has any."""
    if data.tokens is None:
        return None, None
    source, target = data.tokens[0]
    return list(source), list(target)


def _places(places: Any) -> str:
    """Places as ranges, "0..3, 7"."""
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    said = [f"{run[0]}..{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs if len(run)]
    return ", ".join(said) if len(said) <= MOST_LINKS else f"{len(places)} keys"


def _links(row: Any, source: Sequence[str] | None) -> str:
    """The gold links of a query, with their shares where they differ or are several."""
    keys = np.flatnonzero(row)
    if not len(keys):
        return "nothing"
    named = {j: f"{j} {source[j]}" if source and j < len(source) else str(j) for j in keys.tolist()}
    share = row[keys] / row[keys].sum()
    if len(keys) == 1:
        return named[int(keys[0])]
    if np.allclose(share, share[0]):
        where = ", ".join(named.values()) if len(keys) <= MOST_LINKS else _places(keys)
        return f"{where} ({share[0]:.2g} each)"
    heaviest = keys[np.argsort(-row[keys], kind="stable")][:MOST_LINKS]
    said = ", ".join(f"{named[int(j)]} ({row[j] / row.sum():.2g})" for j in heaviest)
    return said if len(keys) <= MOST_LINKS else f"{said}, and {len(keys) - MOST_LINKS} more"


def _target(data: AlignmentData, i: int) -> str:
    assert data.target is not None
    if data.is_classification:
        return f"class {data.target[0, i]}"
    shown = " ".join(f"{x:.2f}" for x in data.target[0, i][:MOST_FEATURES])
    return shown if data.target.shape[2] <= MOST_FEATURES else f"{shown} ..."


def draw_example(data: AlignmentData, output: str) -> None:
    """Draw the gold alignment of an example, as PNG or SVG.

    Raises
    ------
    SettingError
        When there is no gold alignment to draw, or the file cannot be written.
    """
    from attnlab.analysis.plots import alignment_figure, new_picture, plot_alignment, save

    new_picture(output)
    if data.gold is None:
        raise SettingError("these data have no gold alignment to draw; leave --output out to see the rest")
    source, target = _tokens(data)
    gold = data.gold[0][: len(target), : len(source)] if source and target else data.gold[0]
    W = np.asarray(gold, dtype=float) / np.maximum(gold.sum(axis=-1, keepdims=True), 1)
    figure, ax = alignment_figure(W.shape, source, target)
    plot_alignment(W, source, target, gold, None, ax)
    save(figure, output)
