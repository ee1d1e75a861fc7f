"""What the shell completes: names of components, experiments of a store, ids of runs. What cannot be had completes to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import click
from click.shell_completion import CompletionItem

__all__ = ["complete_components", "complete_experiments", "complete_kinds", "complete_metrics", "complete_runs"]

STORE = "results/attnlab.db"
Items = Iterable[tuple[str, str]]  # what is completed, and a word about it
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completes(find: Callable[[click.Context], Items]) -> Complete:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            found = dict(find(ctx))
        except (
            Exception
        ):  # a store that is not there, a plugin that cannot be loaded: the shell is no place for an error
            return []
        return [CompletionItem(value, help=said) for value, said in found.items() if value.startswith(incomplete)]

    return complete


def _experiments(ctx: click.Context) -> list[Any]:
    from attnlab.sweeps.store import Store

    with Store(ctx.params.get("store") or STORE, create=False) as opened:
        return opened.experiments()


def _components(ctx: click.Context) -> Items:
    from attnlab.registry import KINDS, names

    return [(name, kind) for kind in KINDS for name in names(kind)]


def _metrics(ctx: click.Context) -> Items:
    from attnlab.registry import names

    return [(name, "metric") for name in names("metric")]


def _kinds(ctx: click.Context) -> Items:
    from attnlab.kinds import KINDS

    return [(kind, "kind") for kind in KINDS]


complete_components = _completes(_components)
complete_metrics = _completes(_metrics)
complete_kinds = _completes(_kinds)
complete_experiments = _completes(lambda ctx: [(linked.key, linked.question) for linked in _experiments(ctx)])
complete_runs = _completes(lambda ctx: [(run, linked.key) for linked in _experiments(ctx) for run in linked.run_ids])
