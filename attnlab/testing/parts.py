"""C01x to C03x: what similarities, normalisers, aggregators, positions and whole mechanisms keep in the engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.arrays import to_numpy
from attnlab.boxes import only_the_namespace, place_of
from attnlab.injection import asks_for, call, check_learned
from attnlab.kinds import LEARNING
from attnlab.testing.checks import check, declared, finite, furthest, global_chance, same, untouched
from attnlab.testing.report import Failed, Skipped
from attnlab.testing.subject import Draw, Subject, flat

ENGINE = (*LEARNING, "mechanism")
STEP = 1e-6  # of central differences, float64


# -- first of all -------------------------------------------------------------------------------------------------------
@check("C008", *ENGINE)
def finite_gives_finite(s: Subject) -> None:
    """Finite inputs give finite weights and contexts: NaN equals nothing, so that nothing else can be judged without this."""
    for draw in s.draws("C008"):
        params = s.params(draw)
        for view in s.views:
            finite(s.output(view, params, draw), f"{view} of finite inputs")
            finite(s.output(view, params, draw, draw.M), f"{view} of finite inputs, where the mask forbids some keys")


@check("C009", *ENGINE)
def functions_are_the_namespaces(s: Subject) -> None:
    """No function of NumPy's meets an array that is traced for its gradient: all come from `namespace(...)`."""
    for draw in s.draws("C009", n=1, lead=(2,)):
        params = s.params(draw)
        with only_the_namespace():
            for view in s.views:
                s.gradients(view, params, draw, draw.M)


# -- what is learned ----------------------------------------------------------------------------------------------------
@check("C010", *LEARNING)
def init_gives_what_verbs_ask(s: Subject) -> None:
    """`init` gives finite arrays of floats, just those that the verbs ask for by name."""
    _learns(s)
    for draw in s.draws("C010"):
        for name, array in _init(s, draw, 0).items():
            if np.asarray(array).dtype.kind != "f":
                raise Failed(f"{name} must be an array of floats; got {np.asarray(array).dtype}")
            finite(array, name)


@check("C011", *ENGINE)
def init_follows_rng(s: Subject) -> None:
    """`init` gives the same arrays for the same `rng`, others for another, and uses no other chance."""
    _learns(s)
    varied = False
    for i, draw in enumerate(s.draws("C011")):
        one, two, other = (flat(_init(s, draw, seed)) for seed in (i, i, i + 100))
        for name, array in one.items():
            if not np.array_equal(array, two[name]):
                raise Failed(f"{name} differs for the same rng")
        varied |= any(not np.array_equal(a, other[name]) for name, a in one.items())
    if not varied and s.kind != "mechanism" and "rng" in asks_for(s.object, "init"):
        raise Failed("init asks for rng, and gives the same arrays whatever it is")


def _learns(s: Subject) -> None:
    if s.kind != "mechanism" and s.object.init is None:
        raise Skipped("it has nothing to learn")
    if not any(flat(_init(s, draw, 0)) for draw in s.draws("C010", n=1)):
        raise Skipped("with these settings it has nothing to learn")


def _init(s: Subject, draw: Draw, seed: int) -> dict[str, Any]:
    d, v = draw.Q.shape[-1], draw.V.shape[-1]
    rng = np.random.default_rng(seed)
    if s.kind == "mechanism":
        return dict(s.object.init(rng, d, d, v))
    return check_learned(s.object, call(s.object, "init", rng=rng, d_query=d, d_key=d, d_value=v))


# -- purity ---------------------------------------------------------------------------------------------------------------
@check("C012", *ENGINE)
def nothing_but_rng_is_random(s: Subject) -> None:
    """Without `rng` the output is the same each time, with it the same for the same `rng`; nothing global is drawn on."""
    before = global_chance()
    for draw in s.draws("C012"):
        params = s.params(draw)
        for view in s.views:
            same(s.output(view, params, draw), s.output(view, params, draw), f"{view} of a second call", 0)
            one, two = (s.output(view, params, draw, rng=np.random.default_rng(7), training=True) for _ in range(2))
            same(one, two, f"{view} of a second call with the same rng, training", 0)
    if global_chance() != before:
        raise Failed("numpy's global random state was drawn on; ask for rng instead")


@check("C013", *LEARNING)
def inputs_stay(s: Subject) -> None:
    """Inputs, learned arrays and the component itself are as they were after a verb has run."""
    s = s.renewed()
    for draw in s.draws("C013"):
        learned = s.learned(s.params(draw))
        for verb in s.verbs:
            nouns = s.nouns(verb, draw, learned)
            seen = {n: a for n, a in {**nouns, **learned}.items() if isinstance(a, np.ndarray)}
            kept = {n: a.copy() for n, a in seen.items()}
            attributes = dict(vars(s.object))
            s.direct(verb, learned, nouns)
            for name, array in seen.items():
                if not np.array_equal(array, kept[name]):
                    raise Failed(f"{verb} modified {name}{_where(s, verb, learned, nouns)}")
            untouched(s, attributes, verb)


def _where(s: Subject, verb: str, learned: dict[str, Any], nouns: dict[str, Any]) -> str:
    """The line that wrote into an input, found by inputs that cannot be written to, and what to do instead."""
    arrays = {n: np.array(a) for n, a in {**nouns, **learned}.items() if isinstance(a, np.ndarray)}
    for array in arrays.values():
        array.setflags(write=False)
    try:
        s.direct(
            verb, {n: arrays.get(n, a) for n, a in learned.items()}, {n: arrays.get(n, a) for n, a in nouns.items()}
        )
    except ValueError as error:
        return f" ({place_of(error)}): make a new array instead, as xp.where(condition, new, old) does"
    return ""


# -- shapes, dtypes, layouts ------------------------------------------------------------------------------------------
@check("C014", *ENGINE)
def shapes_are_right(s: Subject) -> None:
    """W is (..., q, k) and Y (..., q, v), with leading axes broadcast between queries and keys."""
    for draw in s.draws("C014", n=6):
        params = s.params(draw)
        lead = draw.Q.shape[:-2]
        wider = draw.replace(K=np.stack([draw.K] * 2), V=np.stack([draw.V] * 2))
        for view in s.views:
            last = draw.k if s.by_key(view) else draw.V.shape[-1]
            for now, front in ((draw, lead), (wider, (2, *lead))):
                found = np.shape(s.output(view, params, now))
                if found != (*front, draw.q, last):
                    raise Failed(f"{view} has shape {found} instead of {(*front, draw.q, last)}")


@check("C015", *ENGINE)
def dtype_stays(s: Subject) -> None:
    """float32 stays float32 and float64 float64, in values and in gradients."""
    for dtype in (np.float32, np.float64):
        for draw in s.draws("C015", dtype=dtype):
            params = s.params(draw)
            for view in s.views:
                found = to_numpy(s.output(view, params, draw, draw.M)).dtype
                if found != dtype:
                    raise Failed(f"{view} is {found} for inputs of {np.dtype(dtype)}")
                for name, g in s.gradients(view, params, draw, draw.M).items():
                    if g.dtype != dtype:
                        raise Failed(
                            f"the gradient with respect to {name} is {g.dtype} for inputs of {np.dtype(dtype)}"
                        )


@check("C016", *ENGINE)
def leading_axes_are_a_loop(s: Subject) -> None:
    """Many examples at once give what each gives alone."""
    for draw in s.draws("C016", lead=(2, 3)):
        params = s.params(draw)
        for view in s.views:
            whole = s.output(view, params, draw, draw.M)
            for at in np.ndindex(2, 3):
                alone = draw.replace(Q=draw.Q[at], K=draw.K[at], V=draw.V[at])
                same(whole[at], s.output(view, params, alone, draw.M[at]), f"{view} of example {at} alone")


@check("C017", *ENGINE)
def layout_does_not_matter(s: Subject) -> None:
    """Arrays that do not lie contiguously in memory give the same numbers."""
    for draw in s.draws("C017"):
        params = s.params(draw)
        spread = draw.replace(**{n: _spread(getattr(draw, n)) for n in ("Q", "K", "V")})
        for view in s.views:
            same(s.output(view, params, spread, draw.M), s.output(view, params, draw, draw.M), view)


def _spread(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, dtype=array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


# -- queries, keys and masks ------------------------------------------------------------------------------------------
@check("C018", *ENGINE)
def blocks_are_the_whole(s: Subject) -> None:
    """Queries in blocks, each at its `q_index` and told the whole's `lengths`, give the rows of the whole."""
    _rows_alone(s)
    for draw in s.draws("C018"):
        params = s.params(draw)
        for view in s.views:
            lengths = np.array([draw.q, draw.k])
            whole = s.output(view, params, draw, draw.M, lengths=lengths)
            for here in (slice(0, 1), slice(1, None)):
                block, M = draw.replace(Q=draw.Q[..., here, :]), draw.M[..., here, :]
                found = s.output(view, params, block, M, q_index=np.arange(draw.q)[here], lengths=lengths)
                same(found, whole[..., here, :], f"{view} of a block of queries")


@check("C019", *LEARNING)
def keys_may_be_permuted(s: Subject) -> None:
    """Permuting keys, with values and mask, permutes the weights and nothing else: if, and only if, that is declared."""
    away = 0.0
    for draw in s.draws("C019", n=4):
        params = s.params(draw)
        order = np.roll(draw.rng.permutation(draw.k), 1)
        if np.array_equal(order, np.arange(draw.k)):
            order = order[::-1]
        moved = draw.replace(K=draw.K[..., order, :], V=draw.V[..., order, :])
        for view in s.views:
            whole = s.output(view, params, draw, draw.M)
            found = s.output(view, params, moved, draw.M[..., order])
            finite(found, f"{view} of finite inputs")
            away = max(away, furthest(found, whole[..., order] if s.by_key(view) else whole))
    declared(s, "permutation_equivariant", away < 1e-9, "permuting keys permutes the weights and nothing else")


@check("C020", *ENGINE)
def forbidden_keys_do_not_count(s: Subject) -> None:
    """A weight that the mask forbids is exactly 0, and what a forbidden key or value holds changes nothing."""
    _keys_apart(s)
    for draw in s.draws("C020", n=4):
        params = s.params(draw)
        M = draw.M.copy()
        M[..., 0] = False
        M[..., 1] = True
        K, V = draw.K.copy(), draw.V.copy()
        K[..., 0, :], V[..., 0, :] = 1e3 * draw.rng.normal(size=K[..., 0, :].shape), 1e3
        for view in s.views:
            found = s.output(view, params, draw, M)
            if s.by_key(view) and np.any(found[~M] != 0):
                raise Failed(f"a forbidden weight is {found[~M][found[~M] != 0][0]}, not 0")
            same(
                s.output(view, params, draw.replace(K=K, V=V), M),
                found,
                f"{view} with other contents of a forbidden key",
            )


@check("C021", *ENGINE)
def masked_row_is_compacted_row(s: Subject) -> None:
    """A masked row equals the same row with the forbidden keys taken out."""
    _rows_alone(s)
    _keys_apart(s)
    for draw in s.draws("C021", lead=()):
        params = s.params(draw)
        lengths = np.array([draw.q, draw.k])
        for view in s.views:
            whole = s.output(view, params, draw, draw.M, lengths=lengths)
            for i in range(draw.q):
                keys = np.flatnonzero(draw.M[i])
                row = draw.replace(Q=draw.Q[i : i + 1], K=draw.K[keys], V=draw.V[keys])
                found = s.output(view, params, row, q_index=np.array([i]), k_index=keys, lengths=lengths)
                same(found[0], whole[i, keys] if s.by_key(view) else whole[i], f"{view} of the compacted row")


@check("C022", *ENGINE)
def dead_rows_are_zero(s: Subject) -> None:
    """A query that may attend to nothing gets exactly 0, finite gradients, and does not touch the other queries."""
    for draw in s.draws("C022"):
        params = s.params(draw)
        M = draw.M.copy()
        M[..., -1, :] = False
        for view in s.views:
            found = s.output(view, params, draw, M)
            if np.any(found[..., -1, :] != 0):
                raise Failed(f"{view} of a query that may attend to nothing is not 0")
            if not s.couples_rows:
                same(
                    found[..., :-1, :],
                    s.output(view, params, draw, draw.M)[..., :-1, :],
                    f"{view} of the other queries",
                )
            for name, g in s.gradients(view, params, draw, M).items():
                finite(g, f"the gradient of {view} with respect to {name}, with a query that may attend to nothing")


@check("C023", *ENGINE)
def one_key_is_enough(s: Subject) -> None:
    """A query with one key, or with one key left by the mask, gets finite numbers and gradients."""
    for draw in s.draws("C023"):
        params = s.params(draw)
        alone = draw.replace(K=draw.K[..., :1, :], V=draw.V[..., :1, :])
        left = np.zeros_like(draw.M)
        left[..., 1] = True
        for view in s.views:
            for now, mask in ((alone, None), (draw, left)):
                found = s.output(view, params, now, mask)
                finite(found, f"{view} of one key")
                if s.kind == "normaliser" and s.cls.rows_sum_to_one:  # type: ignore[attr-defined]
                    same(found.sum(axis=-1), np.ones(found.shape[:-1]), "the one weight, with rows_sum_to_one")
                for name, g in s.gradients(view, params, now, mask).items():
                    finite(g, f"the gradient of {view} with respect to {name}, with one key")


@check("C024", *ENGINE)
def nothing_is_no_error(s: Subject) -> None:
    """No keys, no queries or no examples give arrays of the right shape; without keys they are zeros."""
    for draw in s.draws("C024", n=2, lead=(2,)):
        params = s.params(draw)
        few = {
            "no keys": draw.replace(K=draw.K[..., :0, :], V=draw.V[..., :0, :]),
            "no queries": draw.replace(Q=draw.Q[..., :0, :]),
            "no examples": draw.replace(Q=draw.Q[:0], K=draw.K[:0], V=draw.V[:0]),
        }
        for what, now in few.items():
            for view in s.views:
                found = np.asarray(s.output(view, params, now))
                last = now.k if s.by_key(view) else now.V.shape[-1]
                same(found, np.zeros((len(now.Q), now.q, last)), f"{view} with {what}")


@check("C025", *ENGINE)
def padding_changes_nothing(s: Subject) -> None:
    """Padded keys and queries, forbidden by the mask, change nothing for the others and get exactly 0."""
    for draw in s.draws("C025"):
        params = s.params(draw)
        lead, q, k = draw.Q.shape[:-2], draw.q, draw.k
        lengths = np.broadcast_to([q, k], (*lead, 2))
        more = [
            np.concatenate([a, draw.rng.normal(5.0, 1.0, (*lead, 2, a.shape[-1]))], axis=-2)
            for a in (draw.Q, draw.K, draw.V)
        ]
        padded = draw.replace(Q=draw.Q if s.couples_rows else more[0], K=more[1], V=more[2])
        M = np.zeros((*lead, padded.q, padded.k), dtype=bool)
        M[..., :q, :k] = draw.M
        for view in s.views:
            whole = s.output(view, params, draw, draw.M, lengths=lengths)
            found = s.output(view, params, padded, M, lengths=lengths)
            same(found[..., :q, :k] if s.by_key(view) else found[..., :q, :], whole, f"{view} with padding")
            if np.any(found[..., q:, :] != 0) or (s.by_key(view) and np.any(found[..., k:] != 0)):
                raise Failed(f"{view} of padding is not 0")


# -- numbers --------------------------------------------------------------------------------------------------------------
@check("C026", *ENGINE)
def gradient_is_right(s: Subject) -> None:
    """The gradient with respect to every input and learned array is that of central differences, to 1e-6 in float64."""
    if not getattr(s.cls, "differentiable", True):
        raise Skipped("differentiable = False is declared")
    for draw in s.draws("C026"):
        params = s.params(draw)
        for view in s.views:
            for mask in (None, draw.M):
                leaves, loss = s.loss(view, params, draw, mask)
                for name, g in s.gradients(view, params, draw, mask).items():
                    for towards in _directions(leaves[name], draw.rng):
                        ends = (loss({**leaves, name: leaves[name] + sign * STEP * towards}) for sign in (1, -1))
                        up, down = (float(end) for end in ends)
                        measured, told = (up - down) / (2 * STEP), float(np.sum(g * towards))
                        if not abs(measured - told) <= 1e-6 * max(1.0, abs(measured)):
                            raise Failed(
                                f"the gradient of {view} with respect to {name} is {told:.8g}; measured {measured:.8g}"
                            )


def _directions(array: Any, rng: np.random.Generator) -> Any:
    """Each axis of a small array; six random directions of a larger one."""
    size = np.size(array)
    rows = np.eye(size) if size <= 8 else rng.normal(size=(6, size))
    return rows.reshape(-1, *np.shape(array))


@check("C027", *ENGINE)
def extremes_are_finite(s: Subject) -> None:
    """Inputs that make scores of +-1e4 give finite numbers and gradients, in float32 and float64."""
    for dtype in (np.float32, np.float64):
        for draw in s.draws("C027", dtype=dtype):
            params = s.params(draw)
            loud = [(np.sign(a) * 100).astype(dtype) for a in (draw.Q, draw.K, draw.V)]
            now = draw.replace(Q=loud[0], K=loud[1], V=loud[2])
            for view in s.views:
                for mask in (None, draw.M):
                    finite(s.output(view, params, now, mask), f"{view} at scores of 1e4, {np.dtype(dtype)}")
                    for name, g in s.gradients(view, params, now, mask).items():
                        finite(g, f"the gradient of {view} with respect to {name} at scores of 1e4, {np.dtype(dtype)}")


# -- state ------------------------------------------------------------------------------------------------------------
@check("C030", *ENGINE)
def state_is_reset(s: Subject) -> None:
    """Step by step gives the whole, and a second pass gives the first again: nothing is remembered but `state`."""
    for draw in s.draws("C030"):
        params = s.params(draw)
        if not hasattr(s.mechanism, "step"):
            raise Skipped("it has no step()")
        whole = {view: s.output(view, params, draw, draw.M) for view in s.views}
        for _ in range(2):
            state = None
            for t in range(draw.q if not s.couples_rows else 0):
                Q, M = draw.Q[..., t : t + 1, :], draw.M[..., t : t + 1, :]
                Y, W, state = s.mechanism.step(params, Q, draw.K, draw.V, state, t, M, lengths=[draw.q, draw.k])
                for view, found in (("W", W), ("Y", Y)):
                    if view in whole:
                        same(found, whole[view][..., t : t + 1, :], f"{view} of step {t}")


def _keys_apart(s: Subject) -> None:
    """Skip what cannot hold for a component that mixes keys and is not told which of them are forbidden."""
    mixes = getattr(s.cls, "mixes_keys", False) is True
    if mixes and not any({"mask", "n_allowed"} & asks_for(s.object, verb) for verb in s.verbs):
        raise Skipped("mixes_keys = True is declared: C025 looks at padding")


def _rows_alone(s: Subject) -> None:
    """Skip what holds only for a component that sees each query for itself."""
    if s.couples_rows:
        raise Skipped("couples_rows = True is declared")
    if s.is_stateful:
        raise Skipped("it remembers the queries before: C030 goes step by step")
