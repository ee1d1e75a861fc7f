"""The decoder that attends with the state before each step, as one function with a hand-written gradient.

It handles scores that use a key only through an array P computed once, s . P_j or v . tanh(s Wq + P_j), under softmax. As in
`gru.py`, arrays of the recurrence are (time, features, examples). Those of the attention are (examples, keys, features).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from autograd.extend import defvjp_argnums, primitive
from autograd.tracer import getval

from attnlab.arrays import namespace
from attnlab.interfaces import Kernel, Source
from attnlab.kernels.gru import (
    FastGru,
    backward_step,
    flattened,
    forward_step,
    halved,
    n_first,
    n_last,
)
from attnlab.kernels.layers import dense
from attnlab.mechanisms.mechanism import Mechanism
from attnlab.models.seq2seq.decoders import Memory, PreviousState
from attnlab.parts.aggregators import WeightedSum
from attnlab.parts.masks import AllKeys
from attnlab.parts.normalisers import Softmax
from attnlab.parts.positions import NoPosition
from attnlab.parts.similarities import Additive, Dot, General, ScaledDot
from attnlab.shapes import check_shapes

__all__ = ["FastPreviousState"]

Array = np.ndarray[Any, Any]


# --------------------------------------------------------------------------------------------------------------------
# one look
# --------------------------------------------------------------------------------------------------------------------
def _hidden(P: Array, q: Array, out: Array | None = None) -> Array:
    """tanh(q_i + P_ij), (n, m, a)."""
    U = np.add(P, q[:, None, :], out=out)
    return np.tanh(U, out=U)


def _weigh(scores: Array, mask: Array | None) -> Array:
    """Softmax over the keys that exist; a row without keys is zero."""
    if mask is not None:
        np.copyto(scores, -np.inf, where=~mask)
    top = scores.max(axis=1, keepdims=True, initial=np.finfo(scores.dtype).min)
    if np.isposinf(top).any():  # keys with score +inf share all the weight
        np.copyto(scores, np.where(np.isposinf(scores), 0, -np.inf), where=np.isposinf(top))
        top[np.isposinf(top)] = 0
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(axis=1, keepdims=True)
    total[total == 0] = 1
    scores /= total
    return scores


def _scores(
    P: Array, s: Array, Wq: Array | None, v: Array | None, out: Array | None = None
) -> tuple[Array, Array | None]:
    """The scores (n, m) of the states s (h, n), and s Wq (n, a)."""
    if Wq is None or v is None:
        return np.matmul(P, s.T[:, :, None])[..., 0], None
    q = s.T @ Wq
    n, m, a = P.shape
    return (_hidden(P, q, out).reshape(n * m, a) @ v).reshape(n, m), q


# --------------------------------------------------------------------------------------------------------------------
# all steps
# --------------------------------------------------------------------------------------------------------------------
def _forward(
    E: Array,
    start: Array,
    P: Array,
    H: Array,
    Wi: Array,
    Wh: Array,
    bi: Array,
    bh: Array,
    Wq: Array | None,
    v: Array | None,
    mask: Array | None,
    tape: dict[str, Any],
) -> Array:
    n, T, e = E.shape
    P, H = np.ascontiguousarray(P), np.ascontiguousarray(H)
    h, m, d = start.shape[1], H.shape[1], H.shape[2]
    Wi, WhT, b, bh = halved(Wi, h), halved(Wh, h).T, halved(bi, h), halved(bh, h)
    I = np.matmul(Wi[:e].T, E.transpose(1, 2, 0))  # (T, 3h, n): the inputs' share, and in the loop the contexts'
    b[: 2 * h] += bh[: 2 * h]
    I += b[:, None]
    WcT, bh_n, dtype = Wi[e:].T, bh[2 * h :, None], I.dtype
    states = np.empty((T + 1, h, n), dtype=dtype)
    states[0] = start.T
    gates, A_n, A = np.empty_like(I), np.empty((T, h, n), dtype=dtype), np.empty((3 * h, n), dtype=dtype)
    C, W = np.empty((T, n, d), dtype=dtype), np.empty((T, n, m), dtype=dtype)
    queries = []
    U = None if v is None else np.empty(P.shape, dtype=dtype)
    for t in range(T):
        scores, q = _scores(P, states[t], Wq, v, U)
        queries.append(q)
        W[t] = _weigh(scores, mask)
        np.matmul(W[t][:, None, :], H, out=C[t][:, None, :])
        I[t] += WcT @ C[t].T
        np.matmul(WhT, states[t], out=A)
        np.add(A[2 * h :], bh_n, out=A_n[t])
        forward_step(I[t], A, A_n[t], states[t], gates[t], states[t + 1])
    tape.update(E=E, states=states, gates=gates, A_n=A_n, C=C, W=W, queries=queries)
    SC = np.empty((n, T, h + d), dtype=dtype)
    SC[..., :h] = states[1:].transpose(2, 0, 1)
    SC[..., h:] = C.transpose(1, 0, 2)
    return SC


def _backward(g: Array, P: Array, H: Array, Wi: Array, Wh: Array, Wq: Any, v: Any, tape: Any) -> tuple[Any, ...]:
    """The gradients of E, start, P, H, Wi, Wh, bi, bh, Wq and v."""
    E, states, gates, A_n = tape["E"], tape["states"], tape["gates"], tape["A_n"]
    C, W, e = tape["C"], tape["W"], tape["E"].shape[2]
    P, H = np.ascontiguousarray(P), np.ascontiguousarray(H)
    T, h3, n = gates.shape
    h, m, a = h3 // 3, P.shape[1], P.shape[2]
    Wi_n = n_first(Wi, h)
    Wc_T = Wi_n[e:].T
    dC = np.ascontiguousarray(g[..., h:].transpose(1, 0, 2))
    D = np.empty((T, 4 * h, n), dtype=gates.dtype)
    carry = np.zeros((h, n), dtype=gates.dtype)
    dscores = np.empty_like(W)
    squares, dv = np.zeros_like(P), None if v is None else np.zeros_like(v)
    U = np.empty_like(P)
    dqueries = np.empty((T, n, a), dtype=P.dtype)
    for t in range(T - 1, -1, -1):
        carry += g[:, t, :h].T
        carry = backward_step(carry, gates[t], A_n[t], states[t], D[t])
        carry += Wh @ D[t, h:]
        dC[t] += D[t, :h3].T @ Wc_T
        dW = np.matmul(H, dC[t][:, :, None])[..., 0]
        dW -= (dW * W[t]).sum(axis=1, keepdims=True)
        np.multiply(dW, W[t], out=dscores[t])
        if v is None:
            carry += np.matmul(dscores[t][:, None, :], P)[:, 0].T
            continue
        # with U = tanh(q + P), the gradient of q + P is v (1 - U^2) dscore; the dscores of a row sum to zero
        _hidden(P, tape["queries"][t], U)
        dv += dscores[t].reshape(n * m) @ U.reshape(n * m, a)
        U *= U
        np.multiply(np.matmul(dscores[t][:, None, :], U)[:, 0], -v, out=dqueries[t])
        U *= dscores[t][:, :, None]
        squares += U
        carry += Wq @ dqueries[t].T
    before = flattened(states[:-1])
    if v is None:
        dP, dWq = np.matmul(dscores.transpose(1, 2, 0), states[:-1].transpose(2, 0, 1)), None
    else:
        dP = np.subtract(dscores.sum(axis=0)[:, :, None], squares, out=squares)
        dP *= v
        dWq = before @ dqueries.reshape(T * n, a)
    flat = flattened(D)
    dI, dA = flat[:h3], flat[h:]
    dH = np.matmul(W.transpose(1, 2, 0), dC.transpose(1, 0, 2))
    dWi = np.empty_like(Wi_n)
    np.matmul(E.transpose(2, 1, 0).reshape(e, T * n), dI.T, out=dWi[:e])
    np.matmul(C.reshape(T * n, C.shape[2]).T, dI.T, out=dWi[e:])
    dE = (dI.T @ Wi_n[:e].T).reshape(T, n, e).transpose(1, 0, 2)
    biases = n_last(dI.sum(axis=1), h), dA.sum(axis=1)
    return dE, carry.T, dP, dH, n_last(dWi, h), before @ dA.T, *biases, dWq, dv


_attentive = primitive(_forward)


def _vjps(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    plain = [getval(x) for x in args]
    _, _, P, H, Wi, Wh, _, _, Wq, v, _, tape = plain

    def back(g: Any) -> Any:
        found = _backward(g, P, H, Wi, Wh, Wq, v, tape)
        return [found[i].astype(plain[i].dtype, copy=False) for i in argnums]

    return back


defvjp_argnums(_attentive, _vjps)


# --------------------------------------------------------------------------------------------------------------------
class FastPreviousState(Kernel):
    """The decoder that attends with the state before each step, with a hand-written gradient.

    It replaces `PreviousState`: `init`, `step` and `run` give the same values and gradients, for NumPy arrays. It handles the
    similarities dot, scaled_dot, general and additive under softmax and the weighted sum, without position and mask; `supports`
    says whether it handles a mechanism. The W that `run` returns has no gradient. Cost: for each step and example, 6 h (d + h)
    operations of the unit, 2 h a of the query and about 3 a + 2 d for each key; twice that for the gradient.

    Parameters
    ----------
    mechanism : Mechanism for which `supports` is True

    References
    ----------
    Bahdanau, Cho, Bengio (2015), section 3.1.

    Examples
    --------
    >>> import attnlab
    >>> FastPreviousState.fits(attnlab.Mechanism("additive")), FastPreviousState.fits(attnlab.Mechanism("cosine"))
    (True, False)
    """

    name = "previous_state_fast"
    replaces = PreviousState
    source = Source(
        "Neural Machine Translation by Jointly Learning to Align and Translate", "Bahdanau, Cho, Bengio", 2015, "ICLR"
    )

    def __init__(self, mechanism: Any) -> None:
        self.mechanism = mechanism

    gru = FastGru()

    @functools.cached_property
    def _parts(self) -> Any:
        return self.mechanism.parts()

    init = PreviousState.init

    @staticmethod
    def fits(mechanism: Any) -> bool:
        """Whether there is a fast way for this mechanism."""
        if type(mechanism) is not Mechanism:
            return False
        parts = mechanism.parts()
        return (
            type(parts.similarity) in (Dot, ScaledDot, General, Additive)
            and type(parts.normaliser) is Softmax
            and type(parts.aggregator) is WeightedSum
            and type(parts.position) is NoPosition
            and all(type(mask) is AllKeys for mask in parts.masks)
            and not parts.modifiers
        )

    def _compared(self, learned: Any, H: Any, s: Any) -> Any:
        """P (n, m, h or a), computed once from the encoder's states; a state s (n, h) is compared with it."""
        similarity, temperature = self._parts.similarity, self._parts.normaliser.temperature
        own = learned["similarity"]
        if isinstance(similarity, Additive):
            return dense(H, own["Wk"], own["b"])
        if isinstance(similarity, General):
            return dense(H, namespace(H, own["W"]).matrix_transpose(own["W"]), 0) / temperature
        check_shapes(Q=("n d", s), K=("n k d", H))
        return H / (temperature * (H.shape[-1] ** 0.5 if isinstance(similarity, ScaledDot) else 1.0))

    def _asking(self, learned: Any) -> tuple[Any, Any]:
        """(Wq, v) of `additive`, else None."""
        own = learned["similarity"]
        return (own["Wq"], own["v"] / self._parts.normaliser.temperature) if "Wq" in own else (None, None)

    def step(self, params: Any, e: Any, s: Any, memory: Memory, t: int, **context: Any) -> tuple[Any, Any, Any, Memory]:
        """One step without gradient; see `PreviousState.step`."""
        P = self._compared(params["mechanism"], memory.H, s) if memory.state is None else memory.state
        W = _weigh(_scores(P, s.T, *self._asking(params["mechanism"]))[0], memory.mask)
        c = np.matmul(W[:, None, :], memory.H)[:, 0]
        s = self.gru.step(np.concatenate([e, c], axis=1), s, **params["gru"])
        return s, c, W, memory._replace(state=P)

    def run(self, params: Any, E: Any, start: Any, memory: Memory, **context: Any) -> tuple[Any, Any]:
        """All steps; see `PreviousState.run`."""
        P = self._compared(params["mechanism"], memory.H, start)
        Wq, v = self._asking(params["mechanism"])
        mask = None if memory.mask is None or memory.mask.all() else memory.mask
        gru = params["gru"]
        tape: dict[str, Any] = {}
        SC = _attentive(E, start, P, memory.H, gru["Wi"], gru["Wh"], gru["bi"], gru["bh"], Wq, v, mask, tape)
        return SC, tape["W"].transpose(1, 0, 2)
