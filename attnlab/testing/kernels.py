"""K90x: a kernel has the values and gradients of what it replaces, on every kind of array that the engine may give it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.injection import asks_for, call
from attnlab.interfaces import Part
from attnlab.kinds import VERBS
from attnlab.mechanisms.bound import BoundMechanism, Parts
from attnlab.mechanisms.plan import prepared
from attnlab.mechanisms.pullback import leaves, pulled, unbroadcast
from attnlab.parts.positions import NoPosition
from attnlab.testing.checks import check
from attnlab.testing.report import Failed, Skipped
from attnlab.testing.subject import Subject

TOLERANCE = {"float64": (1e-9, 1e-9), "float32": (1e-4, 1e-3)}  # of values, and of gradients
LEADS = (((), ()), ((2,), (2,)), ((2, 2), (2, 2)))
BROADCAST = (((2, 1), (2,)), ((), (3,)), ((3,), ()))  # of queries, and of keys and values


@dataclass
class _Case:
    """One call of a kernel's verb: its arguments by name, split into those that have gradients and the rest."""

    verb: str
    part: Any
    live: dict[str, Any]
    still: dict[str, Any]
    forbidden: Any = None  # where weights must be exactly zero

    def reference(self) -> tuple[Any, Any]:
        return pulled(
            functools.partial(getattr(self.part, self.verb), **self._known(self.part)), self._asked(self.part)
        )

    def kernel(self, kernel: Any, wants: frozenset[str]) -> tuple[Any, Any]:
        given = {**self._asked(kernel), **self._known(kernel)}
        verb = getattr(kernel, self.verb)
        if self.verb == "score" and callable(getattr(kernel, "prepare", None)):
            verb, given = prepared(kernel), {**self.live, "wants": wants}
        elif "wants" in asks_for(kernel, self.verb):
            given["wants"] = wants
        found: tuple[Any, Any] = verb(self.part, **given)
        return found

    def _asked(self, of: Any) -> dict[str, Any]:
        asked = asks_for(of, self.verb)
        return {name: array for name, array in self.live.items() if name in asked}

    def _known(self, of: Any) -> dict[str, Any]:
        asked = asks_for(of, self.verb)
        return {name: value for name, value in self.still.items() if name in asked}


def _parts(s: Subject) -> Any:
    """What the kernel replaces, with settings by default: a part, or three of them, the first three where there are several."""
    replaced = s.cls.replaces  # type: ignore[attr-defined]
    if isinstance(replaced, tuple):
        return next(_threes(s))
    if not (isinstance(replaced, type) and issubclass(replaced, Part)):
        raise Skipped(f"it replaces {getattr(replaced, '__name__', replaced)}, which is no part of a mechanism")
    return replaced()


def _threes(s: Subject) -> Iterator[tuple[Any, ...]]:
    """All threes of parts that a fused kernel replaces; none of another kernel."""
    replaced = s.cls.replaces  # type: ignore[attr-defined]
    if isinstance(replaced, tuple):
        for three in replaced if isinstance(replaced[0], tuple) else (replaced,):
            yield tuple(cls() for cls in three)


def _cases(s: Subject, code: str, dtype: str, leads: Any = LEADS, masked: bool = False) -> Iterator[_Case]:
    part = _parts(s)
    if isinstance(part, tuple):
        return
    kernel = s.object
    for i, (q_lead, k_lead) in enumerate(leads):
        rng = np.random.default_rng([s.seed, sum(map(ord, s.label + code)), i])
        q, k, d, v = (int(rng.integers(low, high)) for low, high in ((2, 5), (3, 7), (2, 5), (1, 4)))
        lead = np.broadcast_shapes(q_lead, k_lead)
        nouns = {
            "Q": rng.normal(size=(*q_lead, q, d)),
            "K": rng.normal(size=(*k_lead, k, d)),
            "V": rng.normal(size=(*k_lead, k, v)),
            "S": 2 * rng.normal(size=(*lead, q, k)),
        }
        M = rng.random((*lead, q, k)) < 0.6
        M[..., np.arange(q), rng.integers(k, size=q)] = True
        if masked:
            nouns["S"] = np.where(M, nouns["S"], -np.inf)
        E = np.exp(nouns["S"])
        nouns["W"] = E / E.sum(axis=-1, keepdims=True)
        dims = {"d_query": d, "d_key": d, "d_value": v}
        learned = {} if part.init is None else call(part, "init", rng=rng, **dims)
        learned = {n: np.asarray(a) + 0.1 * rng.normal(size=np.shape(a)) for n, a in learned.items()}
        shown = M if masked else np.ones((1, 1), dtype=bool)
        still = {
            "mask": shown,
            "n_allowed": np.broadcast_to(shown, (*shown.shape[:-1], k)).sum(-1, keepdims=True).astype(dtype),
            "q_index": np.arange(q),
            "k_index": np.arange(k),
            "lengths": np.broadcast_to([q, k], (*lead, 2)),
            "rng": np.random.default_rng(i),
            "training": False,
        }
        for verb, reads in VERBS[part.kind].items():
            if callable(getattr(kernel, verb, None)):
                live = {n: nouns[n] for n in reads} | learned
                live = {n: np.asarray(a).astype(dtype) for n, a in live.items()}
                yield _Case(verb, part, live, still, ~M if masked and verb == "normalise" else None)


def _supported(s: Subject, part: Any) -> list[str]:
    found = [dtype for dtype in TOLERANCE if s.object.supports(part, "numpy", dtype)]
    if not found:
        raise Skipped("it supports no NumPy arrays of float32 or float64 with the settings by default")
    return found


def _alike(found: Any, expected: Any, tolerance: float, what: str) -> None:
    for a, b in zip(_several(found), _several(expected), strict=True):
        if np.shape(a) != np.shape(b):
            raise Failed(f"{what}: shape {np.shape(a)} instead of {np.shape(b)}")
        if np.asarray(a).dtype != np.asarray(b).dtype:
            raise Failed(f"{what}: dtype {np.asarray(a).dtype} instead of {np.asarray(b).dtype}")
        if not np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True):
            with np.errstate(all="ignore"):
                away = float(np.nanmax(np.abs(np.asarray(a) - np.asarray(b)))) if np.size(a) else 0.0
            raise Failed(f"{what}: off by {away:.3g}")


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _compare(s: Subject, case: _Case, dtype: str, wants: frozenset[str] | None = None) -> None:
    """Values, and every gradient that is wanted (None: all), of a case."""
    near, steep = TOLERANCE[dtype]
    expected, reference = case.reference()
    wants = frozenset(case.live) if wants is None else wants
    before = {name: array.copy() for name, array in case.live.items()}
    value, back = case.kernel(s.object, wants)
    _alike(value, expected, near, case.verb)
    rng = np.random.default_rng(0)
    g = tuple(rng.normal(size=np.shape(one)).astype(dtype) for one in _several(expected))
    given = g if isinstance(expected, tuple) else g[0]
    kept = tuple(one.copy() for one in g)
    true, found, again = reference(given), back(given), back(given)
    for name in sorted(wants):
        zero = np.zeros_like(case.live[name])
        one, two = (unbroadcast(f.get(name, zero), case.live[name]) for f in (found, again))
        _alike(one, unbroadcast(true.get(name, zero), case.live[name]), steep, f"the gradient of {case.verb} by {name}")
        if not np.array_equal(one, two, equal_nan=True):
            raise Failed(f"{case.verb}: back gives another gradient of {name} the second time")
    if any(not np.array_equal(before[n], a, equal_nan=True) for n, a in case.live.items()):
        raise Failed(f"{case.verb} writes into its arguments")
    if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(kept, g, strict=True)):
        raise Failed(f"back of {case.verb} writes into the gradient that it is given")


def _fused(s: Subject, dtype: str, masked: bool) -> Iterator[tuple[Any, ...]]:
    """(what the reference gives, what the kernel gives) for a fused kernel: values and gradients by name."""
    for parts in _threes(s):
        yield from _fused_three(s, parts, dtype, masked)


def _fused_three(s: Subject, parts: Any, dtype: str, masked: bool) -> Iterator[tuple[Any, ...]]:
    reference = BoundMechanism(Parts(parts[0], parts[1], parts[2], NoPosition()), "reference")
    asks = asks_for(s.object, "attend")
    for i, (q_lead, k_lead) in enumerate((*LEADS, *BROADCAST) if masked else LEADS):
        rng = np.random.default_rng([s.seed, i])
        q, k, d, v = (int(rng.integers(low, high)) for low, high in ((2, 5), (3, 7), (2, 5), (1, 4)))
        Q, K, V = (rng.normal(size=n).astype(dtype) for n in ((*q_lead, q, d), (*k_lead, k, d), (*k_lead, k, v)))
        M = rng.random((*np.broadcast_shapes(q_lead, k_lead), q, k)) < 0.6 if masked else None
        if M is not None:
            M[..., 0, :] = False  # a query that may attend to nothing
        learned: dict[str, Any] = {}
        for role, part in zip(("similarity", "normaliser", "aggregator"), parts, strict=True):
            own = {} if part.init is None else call(part, "init", rng=rng, d_query=d, d_key=d, d_value=v)
            learned[role] = {n: np.asarray(a, dtype=dtype) for n, a in own.items()}
        params = {**learned, "position": {}, "modifier": {}}
        context = reference.context(Q, K, V, M)
        wants = frozenset({"Q", "K", "V", "params"})
        value, back = reference.pull(params, Q, K, V, context, wants)
        asked = frozenset({"Q", "K", "V"}) | {role for role, own in learned.items() if own}
        allowed = context.allowed if context.forbids else None
        known = {"mask": context.M, "alive": context.alive, "allowed": allowed, "learned": learned, "wants": asked}
        Y, way = s.object.attend(parts, Q=Q, K=K, V=V, **{name: a for name, a in known.items() if name in asks})
        g = np.random.default_rng(1).normal(size=value.shape).astype(dtype)
        true, found = back(g), way(g)
        mine = {n: unbroadcast(found.get(n, np.zeros_like(a)), a) for n, a in (("Q", Q), ("K", K), ("V", V))}
        expected = {n: true[n] for n in mine}
        for role, own in learned.items():
            for name, array in own.items():
                zero = np.zeros_like(array)
                mine[f"{role}.{name}"] = unbroadcast(found.get(role, {}).get(name, zero), array)
                expected[f"{role}.{name}"] = dict(leaves(true["params"]))[role, name]
        yield value, Y, expected, mine


@check("K901", "kernel")
def values_are_the_references(s: Subject) -> str:
    """The values are those of what it replaces, in float64 and float32."""
    dtypes = _supported(s, _parts(s))
    for dtype in dtypes:
        for case in _cases(s, "K901", dtype):
            _alike(case.kernel(s.object, frozenset())[0], case.reference()[0], TOLERANCE[dtype][0], case.verb)
        for value, Y, _, _ in _fused(s, dtype, masked=False):
            _alike(Y, value, TOLERANCE[dtype][0], "attend")
    return f"on NumPy, {' and '.join(dtypes)}"


@check("K902", "kernel")
def gradients_are_autograds(s: Subject) -> str:
    """Every gradient is autograd's, whichever are wanted; `back` may be called twice, and nothing is written into."""
    dtypes = _supported(s, _parts(s))
    for dtype in dtypes:
        for case in _cases(s, "K902", dtype):
            for wants in (None, *(frozenset({name}) for name in case.live)):
                try:
                    _compare(s, case, dtype, wants)
                except Failed as failure:
                    if "gradient" in str(failure) or "writes" in str(failure):
                        raise
        for _, _, expected, mine in _fused(s, dtype, masked=False):
            _gradients(mine, expected, dtype)
    return f"on NumPy, {' and '.join(dtypes)}"


def _gradients(mine: Mapping[str, Any], expected: Mapping[str, Any], dtype: str) -> None:
    for name, one in mine.items():
        _alike(one, expected[name], TOLERANCE[dtype][1], f"the gradient of attend by {name}")


@check("K903", "kernel")
def hard_arrays_are_right_too(s: Subject) -> str:
    """Masks, strides and transposes, empty arrays, broadcast axes, NaN and infinity give what the reference gives."""
    part = _parts(s)
    dtypes = _supported(s, part)
    for dtype in dtypes:
        for case in _cases(s, "K903", dtype, masked=True):
            value, _ = case.kernel(s.object, frozenset())
            if case.forbidden is not None and np.any(value[np.broadcast_to(case.forbidden, value.shape)] != 0):
                raise Failed("a masked weight is not exactly 0")
            _compare(s, case, dtype)
            _compare(s, _strided(case), dtype)
        for case in _cases(s, "K903", dtype, BROADCAST):
            _compare(s, case, dtype)
        for case in _cases(s, "K903", dtype):
            for odd in (np.nan, np.inf):
                spoilt = _spoilt(case, odd)
                _alike(
                    spoilt.kernel(s.object, frozenset())[0], spoilt.reference()[0], TOLERANCE[dtype][0], f"with {odd}"
                )
            none = _emptied(case)
            _alike(none.kernel(s.object, frozenset())[0], none.reference()[0], TOLERANCE[dtype][0], "without examples")
        for value, Y, expected, mine in _fused(s, dtype, masked=True):
            _alike(Y, value, TOLERANCE[dtype][0], "attend with a mask")
            _gradients(mine, expected, dtype)
    return f"on NumPy, {' and '.join(dtypes)}"


def _strided(case: _Case) -> _Case:
    """The same numbers in memory that is not in order."""

    def apart(a: Any) -> Any:
        if np.ndim(a) < 2:
            return a
        wide = np.empty((*a.shape[:-1], 2 * a.shape[-1]), dtype=a.dtype)[..., ::2]
        wide = np.asfortranarray(wide.swapaxes(-1, -2)).swapaxes(-1, -2) if a.shape[-1] % 2 else wide
        wide[...] = a
        return wide

    return _Case(case.verb, case.part, {n: apart(a) for n, a in case.live.items()}, case.still, case.forbidden)


def _spoilt(case: _Case, odd: float) -> _Case:
    """One number of the first array is not finite."""
    live = {n: a.copy() for n, a in case.live.items()}
    first = next(iter(live.values()))
    first.reshape(-1)[0] = odd
    return _Case(case.verb, case.part, live, case.still, case.forbidden)


def _emptied(case: _Case) -> _Case:
    """No examples at all: an axis of size 0 in front of the nouns."""
    nouns = VERBS[case.part.kind][case.verb]
    live = {n: np.zeros((0, *np.shape(a)[-2:]), np.asarray(a).dtype) if n in nouns else a for n, a in case.live.items()}
    still = {**case.still, "lengths": np.zeros((0, 2), dtype=int)}
    return _Case(case.verb, case.part, live, still, case.forbidden)


@check("K904", "kernel")
def supports_is_honest(s: Subject) -> str:
    """`supports` says True or False, twice the same, and where it says True the kernel answers in that dtype."""
    part = _parts(s)
    ran = []
    for library in ("numpy", "torch", "jax"):
        for dtype in ("float16", "float32", "float64"):
            says = s.object.supports(part, library, dtype)
            if says not in (True, False) or s.object.supports(part, library, dtype) != says:
                raise Failed(f"supports(part, {library!r}, {dtype!r}) must be True or False, and stay so; got {says!r}")
            if not says or library != "numpy":
                continue
            ran.append(dtype)
            for case in _cases(s, "K904", dtype):
                value, expected = case.kernel(s.object, frozenset())[0], case.reference()[0]
                _alike(value, expected, TOLERANCE.get(dtype, (2e-2, 0))[0], f"{case.verb} in {dtype}")
    return f"on NumPy, {' and '.join(ran) or 'nothing'}"
