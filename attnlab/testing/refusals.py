"""S104, N209, A302, A303, P403, O554 and C034: what parts say of signs, sums and mixtures, by which a sweep refuses what cannot work."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.errors import Unsupported
from attnlab.interfaces import Position
from attnlab.testing.checks import check, declared, finite, furthest
from attnlab.testing.report import Failed, Skipped
from attnlab.testing.subject import Subject


@check("S104", "similarity")
def sign_of_scores_as_declared(s: Subject) -> None:
    """No score is negative: if, and only if, `nonnegative` says so; None says nothing."""
    least = 0.0
    for draw in s.draws("S104", n=6):
        for scale in (0.3, 3.0):
            learned = s.learned(s.params(draw))
            now = draw.replace(Q=scale * draw.Q, K=scale * draw.K)
            S = s.direct("score", learned, s.nouns("score", now, learned))
            finite(S, "scores of finite queries and keys")
            least = min(least, float(np.min(S)))
    declared(s, "nonnegative", least >= 0, "no score is negative")


@check("N209", "normaliser")
def sums_of_one_or_zero(s: Subject) -> None:
    """Where `rows_sum_to_one_or_zero` says so, every row of weights sums to one or is all zeros."""
    if not s.cls.rows_sum_to_one_or_zero:  # type: ignore[attr-defined]
        raise Skipped("it does not say rows_sum_to_one_or_zero")
    for draw in s.draws("N209", n=6):
        for scale in (0.5, 2.0):
            now = draw.replace(Q=scale * draw.Q)
            params = s.params(now)
            for mask in (None, now.M):
                W = s.output("W", params, now, mask)
                total = W.sum(axis=-1)
                away = furthest(total[(W != 0).any(axis=-1)], 1)
                if not away < 1e-6:
                    raise Failed(f"rows_sum_to_one_or_zero = True is declared, but a row is {away:.3g} away from one")


@check("A302", "aggregator")
def sums_refused_as_declared(s: Subject) -> None:
    """Weights whose rows sum to a half are refused: if, and only if, `rows_must_sum_to_one` says so."""
    refused = []
    for draw in s.draws("A302"):
        learned = s.learned(s.params(draw))
        nouns = s.nouns("aggregate", draw, learned)
        s.direct("aggregate", learned, nouns)  # what it refuses of these says nothing of sums
        try:
            s.direct("aggregate", learned, {**nouns, "W": nouns["W"] / 2})
            refused.append(False)
        except Unsupported:
            refused.append(True)
    declared(s, "rows_must_sum_to_one", all(refused), "weights whose rows sum to a half are refused")


@check("A303", "aggregator")
def mixes_as_declared(s: Subject) -> None:
    """Probabilities are mixed to probabilities: if, and only if, `mixes_values` says so; None says nothing."""
    away = 0.0
    for draw in s.draws("A303", n=6):
        started = s.learned(s.params(draw))
        learned = {name: one + draw.rng.normal(size=one.shape) for name, one in started.items()}
        nouns = s.nouns("aggregate", draw, learned)
        E = np.exp(2 * draw.rng.normal(size=nouns["V"].shape))
        W = np.abs(nouns["W"])
        W = W / np.maximum(W.sum(axis=-1, keepdims=True), 1e-300)
        P = E / E.sum(axis=-1, keepdims=True)
        Y = np.asarray(s.direct("aggregate", learned, {**nouns, "W": W, "V": P}))
        alive = W.sum(axis=-1) > 0.5
        same = Y.shape[-1] == P.shape[-1]
        away = max(
            away,
            float(np.max(np.abs(Y.sum(axis=-1) - 1)[alive], initial=0)),
            -float(Y.min(initial=0)),
            0 if same else 1,
        )
    declared(s, "mixes_values", away < 1e-6, "probabilities are mixed to probabilities")


@check("P403", "position")
def bias_keeps_the_sign(s: Subject) -> None:
    """`bias` makes no score negative that was not, where `keeps_nonnegative` says so."""
    if s.cls.bias is Position.bias:  # type: ignore[attr-defined]
        raise Skipped("it has no bias")
    _keeps_nonnegative(s, "P403", "bias")


@check("O554", "modifier")
def modified_keep_the_sign(s: Subject) -> None:
    """It makes no score negative that was not, where `keeps_nonnegative` says so."""
    _keeps_nonnegative(s, "O554", "modify")


def _keeps_nonnegative(s: Subject, code: str, verb: str) -> None:
    if s.cls.keeps_nonnegative is False:  # type: ignore[attr-defined]
        raise Skipped("keeps_nonnegative = False is declared: with some settings a score becomes negative")
    if s.is_stateful:
        raise Skipped("it depends on the steps before")
    least = 0.0
    for n, draw in enumerate(s.draws(code, n=6)):
        if n == 0:
            draw = draw.replace(
                **{X: draw.rng.normal(size=(rows, draw.Q.shape[-1])) for X, rows in (("Q", 5), ("K", 6))}
            )
        learned = s.learned(s.params(draw))
        nouns = s.nouns(verb, draw, learned)
        for S in (np.abs(nouns["S"]), np.abs(nouns["S"]) * (nouns["S"] > 0), np.zeros_like(nouns["S"])):
            found: Any = s.direct(verb, learned, {**nouns, "S": S})
            finite(found, f"scores after {verb}")
            least = min(least, float(np.min(found)))
    declared(s, "keeps_nonnegative", least >= 0, f"{verb} makes no score negative that was not")


@check("C034", "mechanism")
def weights_as_declared(s: Subject) -> None:
    """`weights` gives weights: if, and only if, `forms_weights` says so; else it raises `Unsupported`."""
    if s.cls.forms_weights:  # type: ignore[attr-defined]
        raise Skipped("it forms weights, which all other checks look at")
    for draw in s.draws("C034", n=1):
        try:
            s.mechanism.weights(s.params(draw), draw.Q, draw.K)
        except Unsupported:
            continue
        raise Failed("forms_weights = False is declared, but `weights` gives some")
