"""The weights that a run gave to a test example, with the tokens and links of the example."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from attnlab.errors import InputChanged, SettingError, did_you_mean

if TYPE_CHECKING:
    from attnlab.sweeps.frame import StoredRun

__all__ = ["Example", "kept_example"]


@dataclass(frozen=True)
class Example:
    """Weights (q, k) without padding, with tokens and links if there are any."""

    W: np.ndarray[Any, Any]
    source: Sequence[str] | None = None
    target: Sequence[str] | None = None
    gold: np.ndarray[Any, Any] | None = None
    possible: np.ndarray[Any, Any] | None = None


def kept_example(stored: StoredRun, condition: str | None = None, example: int = 0) -> Example:
    """One of the test examples whose weights were kept.

    Tokens and possible links are not kept. The run's task makes them again.

    Parameters
    ----------
    stored : StoredRun
    condition : str or None
        The test condition; None for the first.
    example : int
        From 0.

    Raises
    ------
    SettingError
        When the run has no such test condition, or the weights of that example were not kept.
    """
    conditions = [
        name[len("test.") : -len(".W")] for name in stored.arrays if name.startswith("test.") and name.endswith(".W")
    ]
    if not conditions:
        raise SettingError(
            f"run {stored.run.run_id} ({stored.result.status}) has no weights; they may be too large to keep"
        )
    condition = conditions[0] if condition is None else condition
    if condition not in conditions:
        near = did_you_mean(condition, conditions)
        raise SettingError(f"--test: no test condition {condition!r}{near}; this run has {', '.join(conditions)}")
    kept = {name: stored.arrays.get(f"test.{condition}.{name}") for name in ("W", "gold", "mask")}
    assert kept["W"] is not None
    if example >= len(kept["W"]):
        raise SettingError(f"--example {example}: the weights of {len(kept['W'])} examples were kept, counted from 0")
    W, gold, mask = (None if array is None else np.asarray(array)[example] for array in kept.values())
    assert W is not None
    queries = np.ones(W.shape[0], dtype=bool) if mask is None else mask.any(axis=1)
    keys = np.ones(W.shape[1], dtype=bool) if mask is None else mask.any(axis=0)
    again = _made_again(stored, condition, example, kept["gold"])
    possible, tokens = (again.possible, again.tokens) if again is not None else (None, None)
    source, target = tokens[0] if tokens is not None else (None, None)
    inside = np.ix_(queries, keys)
    return Example(
        W[inside],
        _without_padding(source, keys),
        _without_padding(target, queries),
        None if gold is None else gold[inside],
        None if possible is None else possible[0][inside],
    )


def _made_again(stored: StoredRun, condition: str, example: int, gold: Any) -> Any:
    """The example as its task makes it; None, with a warning, if it is not the example that was kept."""
    from attnlab.sweeps.execute import splits_of

    try:
        data = splits_of(stored.run).tests.get(condition)
    except InputChanged:
        data = None
    same = data is not None and (
        gold is None or (data.gold is not None and np.array_equal(data.gold[: len(gold)], gold))
    )
    if not same:
        warnings.warn(
            f"the task of run {stored.run.run_id} has changed since, so its tokens are left out; sweep it again",
            UserWarning,
            stacklevel=3,
        )
        return None
    return data[example] if data is not None else None


def _without_padding(tokens: Sequence[str] | None, inside: np.ndarray[Any, Any]) -> list[str] | None:
    """The tokens without those of padding. They may be given with padding or without it."""
    if tokens is None:
        return None
    if len(tokens) == len(inside):
        return [str(token) for token, is_inside in zip(tokens, inside, strict=True) if is_inside]
    return [str(token) for token in tokens]
