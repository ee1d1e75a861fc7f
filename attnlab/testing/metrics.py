"""E7xx: what metrics keep."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.injection import asks_for, call
from attnlab.testing.checks import check
from attnlab.testing.report import Failed, Skipped
from attnlab.testing.subject import Array, Subject, example_data


def _cases(s: Subject, code: str, n: int = 4) -> Iterator[tuple[AlignmentData, Array, Array, np.random.Generator]]:
    """Data on which the metric applies, with weights and contexts: targets that are vectors, then classes."""
    met = False
    for i in range(n):
        rng = np.random.default_rng([s.seed, i, int(code[1:])])
        data = example_data(rng, n=4 + i, classes=i % 2 == 1)
        if not s.object.applies(data):
            continue
        met = True
        W = rng.random(data.allowed.shape) * data.allowed
        W /= W.sum(axis=-1, keepdims=True) + rng.random((*W.shape[:2], 1))
        yield data, W, W @ data.V, rng
    if not met:
        raise Skipped("it applies to none of the data that this check has")


@functools.cache
def _fitted() -> Any:
    from attnlab.models.aligner import AttentionAligner

    data = example_data(np.random.default_rng(0), n=16)
    return AttentionAligner(projection=2, steps=3, batch_size=8, random_state=0).fit(data, validation=data)


def _measure(s: Subject, data: AlignmentData, W: Array, Y: Array) -> float:
    facts = {"model": _fitted()} if "model" in asks_for(s.cls, "measure") else {}
    value = call(s.object, "measure", data=data, W=W, Y=Y, fit_seconds=1.5, **facts)
    if not isinstance(value, float) or np.isinf(value):
        raise Failed(f"measure must give a finite float, or NaN; got {value!r}")
    return value


def _sees(s: Subject, *names: str) -> None:
    if not asks_for(s.cls, "measure") & set(names):
        raise Skipped("it looks at none of the examples")


def _alike(one: float, two: float, what: str) -> None:
    if not np.isclose(one, two, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise Failed(f"{what}: {two} instead of {one}")


@check("E701", "metric")
def metric_gives_a_float(s: Subject) -> None:
    """`applies` gives a bool and `measure` a float, finite or NaN, the same each time."""
    for data, W, Y, _ in _cases(s, "E701"):
        if not isinstance(s.object.applies(data), bool):
            raise Failed(f"applies must give a bool; got {s.object.applies(data)!r}")
        _alike(_measure(s, data, W, Y), _measure(s, data, W, Y), "a second time")


@check("E702", "metric")
def metric_ignores_padding(s: Subject) -> None:
    """Padded keys and queries, forbidden by the mask, change nothing, whatever stands there."""
    _sees(s, "data", "W", "Y")
    for data, W, Y, rng in _cases(s, "E702"):
        n, q, k = W.shape
        wide = {name: _padded(getattr(data, name), 1, 2, rng) for name in ("Q", "K", "V", "target")}
        links = {name: np.pad(getattr(data, name), ((0, 0), (0, 2), (0, 2))) for name in ("gold", "possible")}
        mask = np.zeros((n, q + 2, k + 2), dtype=bool)
        mask[:, :q, :k] = data.allowed
        padded = AlignmentData(**wide, **links, mask=mask)
        heavy = np.pad(W, ((0, 0), (0, 2), (0, 2)))
        heavy[:, q:, :] = 0.5
        found = _measure(s, padded, heavy, _padded(Y, 1, 2, rng))
        _alike(_measure(s, data, W, Y), found, "with padding")


def _padded(array: Any, axis: int, by: int, rng: np.random.Generator) -> Any:
    shape = list(array.shape)
    shape[axis] = by
    more = 1e3 * rng.random(shape) if array.dtype.kind == "f" else np.zeros(shape)
    return np.concatenate([array, more.astype(array.dtype)], axis=axis)


@check("E703", "metric")
def metric_leaves_inputs(s: Subject) -> None:
    """Data, weights and contexts are as they were after measuring."""
    for data, W, Y, _ in _cases(s, "E703"):
        seen = {"W": W, "Y": Y} | {n: getattr(data, n) for n in ("Q", "K", "V", "mask", "gold", "target", "possible")}
        kept = {name: np.array(array) for name, array in seen.items()}
        _measure(s, data, W, Y)
        for name, array in seen.items():
            if not np.array_equal(array, kept[name]):
                raise Failed(f"measure modified {name}")


@check("E704", "metric")
def metric_ignores_order(s: Subject) -> None:
    """The order of the examples changes nothing."""
    _sees(s, "data", "W", "Y")
    for data, W, Y, rng in _cases(s, "E704"):
        order = np.roll(rng.permutation(len(data)), 1)
        _alike(_measure(s, data, W, Y), _measure(s, data[order], W[order], Y[order]), "in another order")


@check("E705", "metric")
def metric_points_its_way(s: Subject) -> None:
    """The gold alignment, with the target for its context, is not worse than equal weights, by the metric's direction."""
    _sees(s, "W", "Y")
    direction = s.cls.direction  # type: ignore[attr-defined]
    if direction is None:
        raise Skipped("it has no direction")
    for data, _, _, _ in _cases(s, "E705"):
        assert data.gold is not None
        gold = data.gold
        flat = data.allowed / np.maximum(data.allowed.sum(axis=-1, keepdims=True), 1)
        best, plain = _measure(s, data, gold, gold @ data.V), _measure(s, data, flat, flat @ data.V)
        if (best < plain) if direction == "up" else (best > plain):
            raise Failed(f'direction is "{direction}", and gold measures {best:.4g}, equal weights {plain:.4g}')


@check("E706", "metric")
def metric_keeps_its_bounds(s: Subject) -> None:
    """What is measured lies within `bounds`, whatever the weights: none, all on one key, gold, negative, above one."""
    low, high = s.cls.bounds  # type: ignore[attr-defined]
    if np.isinf([low, high]).all():
        raise Skipped("it declares no bounds")
    room = 1e-9 * max(1.0, *(abs(bound) for bound in (low, high) if np.isfinite(bound)))  # of rounding
    for data, W, Y, rng in _cases(s, "E706"):
        assert data.gold is not None
        loose, signed = rng.random(W.shape) * data.allowed, rng.normal(size=W.shape) * data.allowed
        one = np.eye(W.shape[2])[rng.integers(W.shape[2], size=W.shape[:2])] * data.allowed
        every: list[Array] = [W, data.gold, one, np.zeros_like(W), loose, 4 * loose, 3 * signed]
        for weights in every:
            wild = rng.normal(scale=1e3, size=(*Y.shape,))
            for contexts in (Y, weights @ data.V, wild):
                value = _measure(s, data, weights, contexts)
                if value < low - room or value > high + room:
                    raise Failed(f"bounds are {low:g} to {high:g}, and it measured {value:.6g}")
