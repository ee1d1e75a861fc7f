"""The matrix similarity x normaliser x aggregator x position x modifier: each cell works, or is refused with a reason.

    python -m tools.matrix                 each pair of axes completely, on NumPy in both precisions and on PyTorch where it is
    python -m tools.matrix --sample 40     some of these cells

A pair of parts is covered by a cell that works, where there is one: the other parts are chosen so. A cell works if all numbers
are finite, a forbidden weight is 0, the engine gives what the formulas give when they are called one after the other, gradients
are finite, and float32 and PyTorch give the same. A cell that is refused must be refused when it attends, too. Whatever else is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import autograd
import numpy as np

import attnlab
from attnlab.arrays import to_numpy
from attnlab.errors import Unsupported
from attnlab.injection import asks_for
from attnlab.plugins import configure

__all__ = ["AXES", "Found", "cells", "judged", "main", "pairs"]

AXES = ("similarity", "normaliser", "aggregator", "position", "modifier")
LEAD, Q_ROWS, K_ROWS, WIDTH = 2, 3, 4, 4
SETTINGS: Mapping[tuple[str, str], Mapping[str, Any]] = {  # parts that have no settings by default
    ("modifier", "bias"): {"array": np.linspace(-1, 1, Q_ROWS * K_ROWS).reshape(Q_ROWS, K_ROWS)},
}
TRIES = 60  # fillings of a pair, before it counts as refused
DRAWS = 30  # inputs of a refused cell, one of which must be refused when it attends
Cell = tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What became of a cell: "works", "refused" with a reason, or "wrong" with what is."""

    cell: Cell
    verdict: str
    reason: str = ""


def mechanism_of(cell: Sequence[str]) -> attnlab.Mechanism:
    """The mechanism of a cell, its parts as objects."""
    made = {
        axis: attnlab.get(axis, name, **SETTINGS.get((axis, name), {})) for axis, name in zip(AXES, cell, strict=True)
    }
    return attnlab.Mechanism(**made)


# -- which cells --------------------------------------------------------------------------------------------------------
def names() -> dict[str, list[str]]:
    """What there is on each axis."""
    return {axis: attnlab.names(axis) for axis in AXES}


def pairs(known: Mapping[str, Sequence[str]]) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    """Each pair of parts of two different axes, as ((axis, name), (axis, name))."""
    return [
        ((i, a), (j, b))
        for i, j in itertools.combinations(range(len(AXES)), 2)
        for a in known[AXES[i]]
        for b in known[AXES[j]]
    ]


def cells(known: Mapping[str, Sequence[str]]) -> list[Cell]:
    """Cells in which each pair of parts meets; where it can work, in one that is not refused."""
    chance = random.Random(0)
    open_pairs = dict.fromkeys(pairs(known))
    refused: dict[Cell, bool] = {}
    chosen: dict[Cell, None] = {}

    def is_refused(cell: Cell) -> bool:
        if cell not in refused:
            refused[cell] = bool(mechanism_of(cell).refusal())
        return refused[cell]

    for pair in list(open_pairs):
        if pair not in open_pairs:
            continue
        filled = [_filled(pair, known, chance) for _ in range(TRIES)]
        working = [cell for cell in filled if not is_refused(cell)]
        best = max(working or filled[:1], key=lambda cell: sum(p in open_pairs for p in _in(cell)))
        chosen[best] = None
        for covered in _in(best) if working else [pair]:
            open_pairs.pop(covered, None)
    return list(chosen)


def _filled(pair: Any, known: Mapping[str, Sequence[str]], chance: random.Random) -> Cell:
    fixed = dict(pair)
    return tuple(fixed.get(i) or chance.choice(known[axis]) for i, axis in enumerate(AXES))


def _in(cell: Cell) -> Iterator[Any]:
    return itertools.combinations(enumerate(cell), 2)


# -- one cell -----------------------------------------------------------------------------------------------------------
def judged(cell: Cell) -> Found:
    """What becomes of a cell."""
    mechanism = mechanism_of(cell)
    expected = mechanism.refusal()
    wrong = f"works, and is refused: {expected}"
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if not expected:
                wrong = _wrong(mechanism, cell)
            for attempt in range(DRAWS if expected else 0):  # numbers may happen to be such that nothing is amiss
                other = cell if attempt % 2 or repr(cell[0]) in expected else ("dot", *cell[1:])  # scores of any sign
                one = mechanism_of(other)
                one.attend(*_drawn(one, other, attempt), rng=np.random.default_rng(attempt), training=True)
    except Unsupported as error:
        if expected:
            return Found(cell, "refused", expected)
        return Found(cell, "wrong", f"refused only when it attends: {error}")
    except Exception as error:
        return Found(cell, "wrong", f"raises {type(error).__name__}: {error}")
    return Found(cell, "wrong" if wrong else "works", wrong)


def _drawn(mechanism: Any, cell: Cell, attempt: int = 0) -> tuple[Any, ...]:
    """Learned arrays that are not where they start, queries, keys, values, and a mask that leaves each query a key."""
    rng = np.random.default_rng([attempt, *(sum(map(ord, name)) for name in cell)])
    scale = (1.0, 0.3, 3.0)[attempt % 3]
    Q, K, V = (scale * rng.normal(size=(LEAD, rows, WIDTH)) for rows in (Q_ROWS, K_ROWS, K_ROWS))
    M = rng.random((LEAD, Q_ROWS, K_ROWS)) < 0.7
    M[..., 0, 0], M[..., 1:, 1], M[..., 0, -1] = True, True, False
    started = mechanism.init(rng, WIDTH, WIDTH, WIDTH)
    params = _each(started, lambda a: np.asarray(a) + 0.1 * (1 + attempt) * rng.normal(size=np.shape(a)))
    return params, Q, K, V, M


def _wrong(mechanism: Any, cell: Cell) -> str:
    params, Q, K, V, M = _drawn(mechanism, cell)
    W, Y = mechanism.weights(params, Q, K, M), mechanism.attend(params, Q, K, V, M)
    if W.shape != M.shape or Y.shape != (LEAD, Q_ROWS, WIDTH):
        return f"shapes {W.shape} and {Y.shape}"
    if not (np.isfinite(W).all() and np.isfinite(Y).all()):
        return "weights or contexts are not finite"
    if W[~M].any():
        return "a forbidden weight is not 0"
    by_hand = _by_hand(mechanism.parts(), params, Q, K, V, M)
    for noun, found, plain in zip("WY", (W, Y), by_hand, strict=True):
        if away := _away(found, plain, 1e-9):
            return f"{noun} is {away:.2g} away from what the formulas give one after the other"
    dead = M.copy()
    dead[0, 1] = False
    W0, Y0 = mechanism.weights(params, Q, K, dead), mechanism.attend(params, Q, K, V, dead)
    if W0[0, 1].any() or Y0[0, 1].any() or not (np.isfinite(W0).all() and np.isfinite(Y0).all()):
        return "a query that may attend to nothing has weights, or a context"
    return _gradients(mechanism, params, (Q, K, V), dead) or _elsewhere(mechanism, cell, params, (Q, K, V, M), (W, Y))


def _gradients(mechanism: Any, params: Any, nouns: tuple[Any, ...], M: Any) -> str:
    def loss(given: Any) -> Any:
        (Q, K, V), learned = given
        Y = mechanism.attend(learned, Q, K, V, M)
        return (Y * Y).sum()

    found = autograd.grad(loss)((nouns, params))
    bad = [
        name for name, g in _leaves({**dict(zip("QKV", found[0], strict=True)), **found[1]}) if not np.isfinite(g).all()
    ]
    return f"the gradient of {bad[0]} is not finite" if bad else ""


def _elsewhere(mechanism: Any, cell: Cell, params: Any, arrays: tuple[Any, ...], expected: tuple[Any, Any]) -> str:
    """What differs in float32, and on PyTorch where it is installed."""
    *nouns, M = arrays

    def both(cast: Any, M: Any) -> tuple[Any, Any]:
        Q, K, V = map(cast, nouns)
        learned = _each(params, cast)
        return mechanism.weights(learned, Q, K, M), mechanism.attend(learned, Q, K, V, M)

    # the largest weight is gathered: of two that are alike, rounding chooses
    clear = np.diff(np.sort(expected[0], axis=-1)[..., -2:])[..., 0] > 1e-4 if cell[2] == "gather" else ...
    small = both(lambda a: np.asarray(a, np.float32), M)
    for noun, found, plain in zip("WY", small, expected, strict=True):
        if found.dtype != np.float32:
            return f"{noun} of float32 is {found.dtype}"
        if away := _away(found[clear], plain[clear], 2e-3):
            return f"{noun} of float32 is {away:.2g} away"
    if (torch := _torch()) is None:
        return ""
    there = both(lambda a: torch.asarray(np.array(a)), torch.asarray(M))
    for noun, found, plain in zip("WY", there, expected, strict=True):
        if away := _away(to_numpy(found)[clear], plain[clear], 1e-7):
            return f"{noun} on PyTorch is {away:.2g} away"
    return ""


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch


def _away(found: Any, expected: Any, tolerance: float) -> float:
    """How far numbers are away, where that is more than the tolerance, absolute and relative; else 0."""
    if np.allclose(found, expected, rtol=tolerance, atol=tolerance):
        return 0.0
    return float(np.max(np.abs(found - expected)))


# -- the formulas, one after the other ------------------------------------------------------------------------------------
def _by_hand(parts: Any, params: Any, Q: Any, K: Any, V: Any, M: Any) -> tuple[Any, Any]:
    """W and Y of plain calls of the parts. Every query has a key."""
    owners = [("similarity", parts.similarity), ("normaliser", parts.normaliser), ("position", parts.position)]
    states = {role: part for role, part in owners if any("state" in asks_for(type(part), v) for v in _VERBS[role])}
    if not states:
        return _pass(parts, params, Q, K, V, M, np.arange(Q_ROWS), {})
    now = {
        role: attnlab.call(part, "initial_state", n_keys=K_ROWS, leading=(LEAD,), Q=Q, K=K, **_own(params, role))
        for role, part in states.items()
    }
    rows = []
    for t in range(Q_ROWS):
        here = slice(t, t + 1)
        rows.append(_pass(parts, params, Q[:, here], K, V, M[:, here], np.arange(Q_ROWS)[here], now))
        now = {
            role: attnlab.call(part, "update", state=now[role], W=rows[-1][0], mask=M[:, here], **_own(params, role))
            for role, part in states.items()
        }
    W, Y = (np.concatenate(one, axis=1) for one in zip(*rows, strict=True))
    return W, Y


_VERBS = {"similarity": ("score",), "normaliser": ("normalise",), "position": ("place", "bias", "reweigh")}


def _own(params: Any, role: str, name: str = "") -> dict[str, Any]:
    own = params.get(role, {})
    return dict(own.get(name, {}) if role == "modifier" else own)


def _pass(parts: Any, params: Any, Q: Any, K: Any, V: Any, M: Any, q_index: Any, states: Any) -> tuple[Any, Any]:
    given = {
        "mask": M,
        "q_index": q_index,
        "k_index": np.arange(K_ROWS),
        "n_allowed": M.sum(axis=-1, keepdims=True).astype(Q.dtype),
        "lengths": np.broadcast_to([Q_ROWS, K_ROWS], (LEAD, 2)),
        "rng": None,
        "training": False,
    }

    def do(part: Any, verb: str, **nouns: Any) -> Any:
        state = {"state": states[part.kind]} if part.kind in states else {}
        return attnlab.call(part, verb, **{**given, **state, **nouns, **_own(params, part.kind, part.name)})

    position = parts.position
    q, k = do(position, "place", Q=Q, K=K)
    S = np.broadcast_to(do(parts.similarity, "score", Q=q, K=k), M.shape)
    S = do(position, "bias", S=S, Q=q, K=k)
    for modifier in parts.modifiers:
        S = do(modifier, "modify", S=S, Q=q, K=k)
    W = np.where(M, do(parts.normaliser, "normalise", S=np.where(M, S, -np.inf)), 0)
    W = np.where(M, do(position, "reweigh", W=W, Q=q, K=k), 0)
    return W, do(parts.aggregator, "aggregate", W=W, V=V, Q=Q, K=K)


def _each(tree: Any, change: Any) -> Any:
    return {name: _each(one, change) for name, one in tree.items()} if isinstance(tree, dict) else change(tree)


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, one in tree.items():
        if isinstance(one, dict):
            yield from _leaves(one, f"{path}{name}.")
        else:
            yield path + name, one


# -- the command ----------------------------------------------------------------------------------------------------------
def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the cells, and print how many work, are refused and are wrong; the exit status is 1 if some are wrong."""
    parser = argparse.ArgumentParser(prog="python -m tools.matrix", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sample", type=int, metavar="N", help="judge N of the cells, evenly")
    parser.add_argument("--own", action="store_true", help="attnlab's own parts, without those of plugins/")
    parser.add_argument("--refused", action="store_true", help="list the cells that are refused")
    asked = parser.parse_args(arguments)
    files = [] if asked.own else sorted(map(str, Path(__file__).parents[1].glob("plugins/*/attnlab_*.py")))
    configure((), files)
    known = names()
    every = cells(known)
    chosen = every if asked.sample is None else every[:: max(1, len(every) // asked.sample)]
    began = time.perf_counter()
    found = [judged(cell) for cell in chosen]
    counts = Counter(one.verdict for one in found)
    sizes = " x ".join(f"{len(known[axis])} {axis}" for axis in AXES)
    libraries = "NumPy float64 and float32" + (", PyTorch" if _torch() is not None else "; PyTorch is not installed")
    print(f"{sizes}: {len(pairs(known))} pairs in {len(every)} cells; {len(found)} judged on {libraries}")
    print(f"works {counts['works']}, refused {counts['refused']}, wrong {counts['wrong']}")
    for reason, n in Counter(_kind(one) for one in found if one.verdict == "refused").most_common():
        print(f"  refused {n}: {reason}")
    for one in found:
        if one.verdict == "wrong" or (asked.refused and one.verdict == "refused"):
            print(f"  {one.verdict}: {' '.join(one.cell)}: {one.reason}")
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    return 1 if counts["wrong"] else 0


def _kind(found: Found) -> str:
    """The reason of a refusal, without the names of its parts."""
    words = found.reason.partition(": ")[0]
    for axis, name in zip(AXES, found.cell, strict=True):
        words = words.replace(f"the {axis} {name!r}", f"the {axis}")
    return words


if __name__ == "__main__":
    sys.exit(main())
