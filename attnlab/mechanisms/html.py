"""Mechanisms in a notebook: a small table of their parts, in the notebook's own colours."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from attnlab.interfaces import Component, settings_of

__all__ = ["facts_html", "mechanism_html"]


def facts_html(title: str, facts: Iterable[tuple[str, Any, str]]) -> str:
    """A title and a table of (name, value, remark), everything escaped.

    Examples
    --------
    >>> facts_html("<Mine>", [("similarity", "dot", "")])
    '<table><caption>&lt;Mine&gt;</caption><tr><th scope="row">similarity</th><td><code>dot</code></td><td></td></tr></table>'
    """
    rows = (
        f'<tr><th scope="row">{escape(name)}</th><td><code>{escape(str(value))}</code></td><td>{escape(remark)}</td></tr>'
        for name, value, remark in facts
    )
    return f"<table><caption>{escape(title)}</caption>{''.join(rows)}</table>"


def mechanism_html(mechanism: Any) -> str:
    """The parts of a mechanism with their settings, and what each is in a line.

    Parameters
    ----------
    mechanism : object with `parts()`, as `Mechanism` has
    """
    parts = mechanism.parts()
    named = [(path[0], part) for path, part in parts.learning()] + [("mask", mask) for mask in parts.masks]
    facts = [(role, _written(part), part.summary() if isinstance(part, Component) else "") for role, part in named]
    return facts_html(
        f"{type(mechanism).__name__}: Y = aggregator(normaliser(modifier(similarity(position(Q, K))), mask), V)", facts
    )


def _written(part: Any) -> str:
    if not isinstance(part, Component):
        return f"boolean array {part.shape}"
    settings = {name: getattr(part, name) for name in settings_of(type(part))}
    shown = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return f"{part.name}({shown})"
