"""S1xx to M5xx: what similarities, normalisers, aggregators, positions and masks say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from attnlab.errors import ComponentError
from attnlab.mechanisms.allowed import by_content, is_rule, of_content, of_mask
from attnlab.parts.normalisers import Softmax
from attnlab.testing.checks import check, declared, finite, furthest, global_chance, same, untouched
from attnlab.testing.report import Failed, Skipped, Warned
from attnlab.testing.subject import Draw, Subject


# -- similarities ---------------------------------------------------------------------------------------------------------
@check("S101", "similarity")
def symmetric_as_declared(s: Subject) -> None:
    """score(Q, K) is score(K, Q) transposed: if, and only if, `symmetric` says so."""
    _stateless(s)
    away = 0.0
    for draw in s.draws("S101", n=4):
        learned = s.learned(s.params(draw))
        one = _score(s, learned, draw)
        two = _score(s, learned, draw.replace(Q=draw.K, K=draw.Q))
        away = max(away, furthest(one, np.swapaxes(two, -1, -2)))
    declared(s, "symmetric", away < 1e-9, "score(Q, K) is score(K, Q) transposed")


@check("S102", "similarity")
def content_free_as_declared(s: Subject) -> None:
    """The scores do not depend on what queries and keys hold: if, and only if, `content_free` says so."""
    _stateless(s)
    away = 0.0
    for draw in s.draws("S102", n=4):
        learned = s.learned(s.params(draw))
        others = [draw.rng.normal(size=a.shape) for a in (draw.Q, draw.K)]
        found = _score(s, learned, draw.replace(Q=others[0], K=others[1]))
        away = max(away, furthest(found, _score(s, learned, draw)))
    declared(s, "content_free", away < 1e-9, "scores do not depend on the contents of Q and K")


@check("S103", "similarity")
def special_vectors_are_scored(s: Subject) -> None:
    """A query of zeros, a key of zeros and a key equal to the query have finite scores and gradients."""
    for draw in s.draws("S103"):
        params = s.params(draw)
        Q, K = draw.Q.copy(), draw.K.copy()
        Q[..., 0, :] = 0.0
        K[..., 0, :] = 0.0
        K[..., 1, :] = Q[..., 1, :]
        special = draw.replace(Q=Q, K=K)
        finite(s.output("W", params, special), "scores")
        for name, g in s.gradients("W", params, special).items():
            finite(g, f"the gradient of scores with respect to {name}")


def _score(s: Subject, learned: dict[str, Any], draw: Draw) -> Any:
    S = s.direct("score", learned, s.nouns("score", draw, learned))
    finite(S, "scores of finite queries and keys")
    return S


def _stateless(s: Subject) -> None:
    if s.is_stateful:
        raise Skipped("its scores depend on the steps before")


# -- normalisers ----------------------------------------------------------------------------------------------------------
def _weighed(s: Subject, code: str, scale: float, shift: float = 0.0) -> Iterator[tuple[Draw, Any, Any]]:
    """Draws with scores of a given spread, S = Q K' with the identity for keys, and W without and with a mask."""
    for draw in s.draws(code, n=6):
        lead = draw.Q.shape[:-2]
        S = scale * draw.rng.normal(size=(*lead, draw.q, draw.k)) + shift
        K = np.broadcast_to(np.eye(draw.k), (*lead, draw.k, draw.k))
        now = draw.replace(Q=S, K=K)
        params = s.params(now)
        for mask in (None, now.M):
            W = s.output("W", params, now, mask)
            finite(W, f"weights of finite scores{'' if mask is None else ', where the mask forbids some'}")
            yield now, params, W


@check("N201", "normaliser")
def rows_sum_as_declared(s: Subject) -> None:
    """Every row of weights sums to one, masked or not: if, and only if, `rows_sum_to_one` says so."""
    away = 0.0
    for shift in (-3.0, 0.0, 3.0):
        for _, _, W in _weighed(s, "N201", 2.0, shift):
            away = max(away, furthest(W.sum(axis=-1), 1))
    declared(s, "rows_sum_to_one", away < 1e-6, "every row sums to one")


@check("N202", "normaliser")
def sign_as_declared(s: Subject) -> None:
    """No weight is negative: if, and only if, `nonnegative` says so."""
    least = min(float(W.min()) for scale in (1.0, 4.0) for _, _, W in _weighed(s, "N202", scale))
    declared(s, "nonnegative", least >= 0, "no weight is negative")


@check("N203", "normaliser")
def sparsity_as_declared(s: Subject) -> None:
    """Some allowed scores get exactly 0: if, and only if, `sparse` says so."""
    zeros = 0
    for draw, _, W in _weighed(s, "N203", 4.0):
        zeros += int(((W == 0) & draw.M).sum())
    declared(s, "sparse", zeros > 0, "some allowed scores get a weight of exactly 0")


@check("N204", "normaliser")
def shift_as_declared(s: Subject) -> None:
    """Adding a constant to a row of scores changes no weight: if, and only if, `shift_invariant` says so."""
    away = 0.0
    for draw, params, _ in _weighed(s, "N204", 2.0):
        moved = draw.replace(Q=draw.Q + 3 * draw.rng.normal(size=(*draw.Q.shape[:-1], 1)))
        for mask in (None, draw.M):
            found = s.output("W", params, moved, mask)
            finite(found, "weights of finite scores")
            away = max(away, furthest(found, s.output("W", params, draw, mask)))
    declared(s, "shift_invariant", away < 1e-9, "adding a constant to a row changes no weight")


@check("N205", "normaliser")
def plain_scores_are_weighed(s: Subject) -> None:
    """Equal scores, and scores of exactly +-1e4, have finite weights and gradients."""
    for draw, params, _ in _weighed(s, "N205", 1.0):
        for S in (np.zeros_like(draw.Q), np.sign(draw.Q) * 1e4, np.abs(draw.Q) - 1e4, np.abs(draw.Q) + 1e4):
            now = draw.replace(Q=S)
            finite(s.output("W", params, now, draw.M), "weights")
            for name, g in s.gradients("W", params, now, draw.M).items():
                finite(g, f"the gradient of weights with respect to {name}")


@check("N206", "normaliser")
def nan_stays_nan(s: Subject) -> None:
    """NaN in an allowed score gives NaN weights in that row and in no row before; where the mask forbids it, it does nothing."""
    for draw, params, _ in _weighed(s, "N206", 1.0):
        spoilt, M = draw.replace(K=draw.K.copy()), np.ones_like(draw.M)
        spoilt.K[..., -1, :] = np.nan
        M[..., 0, -1] = False
        found, whole = (s.output("W", params, now, M) for now in (spoilt, draw))
        if not np.isnan(found[..., 1:, :]).any(axis=-1).all():
            raise Failed("a row with NaN among the scores that may be attended to has weights without NaN")
        if not s.couples_rows:
            same(found[..., :1, :], whole[..., :1, :], "weights of a row in which the mask forbids a NaN", 0)
        M[..., -1] = False
        same(
            s.output("W", params, spoilt, M), s.output("W", params, draw, M), "weights where the mask forbids a NaN", 0
        )
        for name, g in s.gradients("W", params, spoilt, M).items():
            finite(g, f"the gradient of weights with respect to {name}, where the mask forbids a NaN")


@check("N208", "normaliser")
def is_not_softmax(s: Subject) -> None:
    """It is not softmax under another name: on some draw its weights differ from softmax's."""
    if s.cls is Softmax:
        raise Skipped("it is softmax itself")
    plain = Subject(Softmax, s.seed)
    away = 0.0
    for scale in (1.0, 4.0):
        for now, _, W in _weighed(s, "N208", scale):
            expected = [plain.output("W", {}, now, mask) for mask in (None, now.M)]
            away = max(away, min(furthest(W, one) for one in expected))
    if away < 1e-9:
        found = "its weights equal softmax's on every draw: with these settings it is softmax under another name"
        raise (Failed if s.own else Warned)(found)


# -- aggregators ----------------------------------------------------------------------------------------------------------
@check("A301", "aggregator")
def no_weight_no_context(s: Subject) -> None:
    """Weights of zero give a context of exactly zero."""
    for draw in s.draws("A301"):
        learned = s.learned(s.params(draw))
        nouns = s.nouns("aggregate", draw, learned)
        found = s.direct("aggregate", learned, {**nouns, "W": np.zeros_like(nouns["W"])})
        finite(found, "the context of weights of zero")
        if np.any(found != 0):
            raise Failed(f"weights of zero give a context of up to {np.max(np.abs(found)):.3g}")


# -- positions ------------------------------------------------------------------------------------------------------------
@check("P401", "position")
def verbs_keep_shapes(s: Subject) -> None:
    """`place`, `bias` and `reweigh` give back the shapes and dtypes they were given; placed vectors have `features(d)` features."""
    _overrides(s)
    for dtype in (np.float32, np.float64):
        for draw in s.draws("P401", dtype=dtype):
            learned = s.learned(s.params(draw))
            for verb, given in (("place", ("Q", "K")), ("bias", ("S",)), ("reweigh", ("W",))):
                if verb not in s.verbs:
                    continue
                nouns = s.nouns(verb, draw, learned)
                found = s.direct(verb, learned, nouns)
                for name, array in zip(given, found if verb == "place" else (found,), strict=True):
                    shape = nouns[name].shape
                    shape = (*shape[:-1], s.object.features(shape[-1])) if verb == "place" else shape
                    if array.shape != shape or array.dtype != nouns[name].dtype:
                        raise Failed(
                            f"{verb} gives {name} {array.dtype} {array.shape} instead of {nouns[name].dtype} {shape}"
                        )


@check("P402", "position")
def verbs_follow_q_index(s: Subject) -> None:
    """Each verb, given a block of queries and their `q_index`, gives those rows of the whole."""
    _overrides(s)
    _stateless(s)
    for draw in s.draws("P402"):
        learned = s.learned(s.params(draw))
        for verb in s.verbs:
            nouns = s.nouns(verb, draw, learned)
            whole = s.direct(verb, learned, nouns)
            for here in (slice(1, None), slice(0, 1)):
                block: dict[str, Any] = {n: nouns[n][..., here, :] for n in ("Q", "S", "W") if n in nouns}
                found = s.direct(verb, learned, {**nouns, **block, "q_index": nouns["q_index"][here]})
                one, two = (found[0], whole[0]) if verb == "place" else (found, whole)
                same(one, two[..., here, :], f"{verb} of a block of queries")
                if verb == "place":
                    same(found[1], whole[1], "the keys that place gives with a block of queries")


def _overrides(s: Subject) -> None:
    if not s.verbs:
        raise Skipped("it overrides no verb")


# -- modifiers ------------------------------------------------------------------------------------------------------------
@check("O551", "modifier")
def finite_scores_stay_finite(s: Subject) -> None:
    """Finite scores, however large, give finite scores in the same shape and dtype."""
    _stateless(s)
    for dtype in (np.float32, np.float64):
        for draw in s.draws("O551", dtype=dtype):
            learned = s.learned(s.params(draw))
            nouns = s.nouns("modify", draw, learned)
            for scale in (1.0, 1e4):
                S = (scale * nouns["S"]).astype(dtype)
                found = s.direct("modify", learned, {**nouns, "S": S})
                if found.shape != S.shape or found.dtype != S.dtype:
                    raise Failed(f"modify gives S {found.dtype} {found.shape} for {S.dtype} {S.shape}")
                finite(found, f"scores modified from up to {np.abs(S).max():.3g}")


@check("O552", "modifier")
def elementwise_as_declared(s: Subject) -> None:
    """A score changes no other score: if, and only if, `elementwise` says so."""
    _stateless(s)
    others = 0.0
    for nouns, learned in _modified(s, "O552"):
        before = s.direct("modify", learned, nouns)
        for i, j in np.ndindex(nouns["S"].shape[-2:]):
            S = nouns["S"].copy()
            S[..., i, j] += 3.0
            after = np.array(s.direct("modify", learned, {**nouns, "S": S}))
            finite(after, "scores modified from finite ones")
            after[..., i, j] = before[..., i, j]
            others = max(others, furthest(after, before))
    declared(s, "elementwise", others == 0, "a score changes no other score")


@check("O553", "modifier")
def rows_couple_as_declared(s: Subject) -> None:
    """A score changes the scores of other queries: if, and only if, `couples_rows` says so."""
    _stateless(s)
    others = 0.0
    for nouns, learned in _modified(s, "O553"):
        before = s.direct("modify", learned, nouns)
        for i in range(nouns["S"].shape[-2]):
            S = nouns["S"].copy()
            S[..., i, :] += 3.0 * np.random.default_rng(i).normal(size=S[..., i, :].shape)
            after = np.array(s.direct("modify", learned, {**nouns, "S": S}))
            finite(after, "scores modified from finite ones")
            after[..., i, :] = before[..., i, :]
            others = max(others, furthest(after, before))
    declared(s, "couples_rows", others > 0, "a score changes the scores of other queries")


def _modified(s: Subject, code: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(nouns, learned arrays) of a modifier, with five queries and six keys at least once: some changes reach far."""
    for n, draw in enumerate(s.draws(code)):
        if n == 0:
            Q, K = (draw.rng.normal(size=(rows, draw.Q.shape[-1])) for rows in (5, 6))
            draw = draw.replace(Q=Q, K=K)
        learned = s.learned(s.params(draw))
        yield s.nouns("modify", draw, learned), learned


# -- masks ------------------------------------------------------------------------------------------------------------------
SIZES = [(q, k) for q in (0, 1, 2, 5) for k in (0, 1, 3, 6)]


@check("M501", "mask")
def masks_are_boolean(s: Subject) -> None:
    """`allow` gives booleans (..., q, k) for any numbers of queries and keys, also 0 and q != k, and for several examples."""
    for q, k in SIZES:
        for lead in ((), (2, 1)):
            try:
                at = np.broadcast_to(np.arange(q), (*lead, q)), np.arange(k)
                if by_content(s.object):
                    of_content(s.object, _vectors(at[0], 0), _vectors(at[1], 1), None, *at)
                else:
                    of_mask(s.object, *at)
            except ComponentError as error:
                raise Failed(str(error)) from error


@check("M502", "mask")
def masks_are_pure(s: Subject) -> None:
    """`allow` gives the same each time, draws on no global chance, and changes nothing of the mask."""
    s = s.renewed()
    before, attributes = global_chance(), dict(vars(s.object))
    for q, k in SIZES:
        first = np.array(_allowed(s, q, k))
        same(_allowed(s, q, k), first, f"allow of {q} queries and {k} keys a second time", 0)
    if global_chance() != before:
        raise Failed("numpy's global random state was drawn on")
    untouched(s, attributes, "allow")


@check("M503", "mask")
def masks_are_rules(s: Subject) -> None:
    """What a query may attend to depends on its position and the key's alone: a decoder asks for step t, long inputs for blocks."""
    whole = _allowed(s, 8, 9)
    for q, k in SIZES if not by_content(s.object) else ():
        if not np.array_equal(_allowed(s, q, k), whole[:q, :k]):
            raise Failed(f"allow of {q} queries and {k} keys is not the corner of that of 8 and 9")
    for rows, keys in ((slice(3, 5), slice(2, 9)), (slice(7, 8), slice(0, 4)), (slice(0, 8), slice(8, 9))):
        keys = slice(0, 9) if by_content(s.object) else keys  # it sees all keys, and each query for itself
        if not np.array_equal(_of(s, np.arange(8)[rows], np.arange(9)[keys]), whole[rows, keys]):
            raise Failed(f"allow of a block of positions, {rows} and {keys}, is not that block of the whole")


@check("M504", "mask")
def forbidden_keys_choose_nothing(s: Subject) -> None:
    """A mask by content does not look at keys that other masks forbid: what they hold changes nothing."""
    if not by_content(s.object):
        raise Skipped("it is a rule about positions")
    for draw in s.draws("M504", n=6):
        at, K = (np.arange(draw.q), np.arange(draw.k)), draw.K.copy()
        M = draw.M.copy()
        M[..., 0] = False
        K[..., 0, :] = 1e3 * draw.rng.normal(size=K[..., 0, :].shape)
        first = M & of_content(s.object, draw.Q, draw.K, M, *at)
        for now in (K, np.where(np.arange(draw.k)[:, None] == 0, np.nan, K)):
            if not np.array_equal(M & of_content(s.object, draw.Q, now, M, *at), first):
                raise Failed("other contents of a forbidden key change what is allowed")


def _vectors(index: Any, stream: int) -> Any:
    """A vector for each position, the same whenever it is asked for."""
    return np.random.default_rng(stream).normal(size=(16, 3))[index]


def _allowed(s: Subject, q: int, k: int) -> Any:
    return _of(s, np.arange(q), np.arange(k))


def _of(s: Subject, q_index: Any, k_index: Any) -> Any:
    """What the mask says, with whole axes, whatever its dtype; a mask in the form of before is adapted."""
    if by_content(s.object):
        Q, K = _vectors(q_index, 0), _vectors(k_index, 1)
        found = of_content(s.object, Q, K, None, q_index, k_index)
    elif is_rule(s.object):
        found = np.asarray(s.object.allow(q_index, k_index))
    else:
        found = of_mask(s.object, q_index, k_index)
    return np.broadcast_to(found, (q_index.size, k_index.size))
