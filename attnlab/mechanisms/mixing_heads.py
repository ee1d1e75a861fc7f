"""Mechanisms whose heads work on each other: talking heads, and differences of two attentions."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt

from attnlab.arrays import as_float, namespace
from attnlab.errors import Unsupported
from attnlab.interfaces import MechanismComponent, Normaliser, Similarity, Source
from attnlab.mechanisms.binding import attended, weighed, with_heads
from attnlab.mechanisms.context import context_of
from attnlab.mechanisms.heads import in_heads, operations_of, out_of_heads, own_of, readable, refused, with_features
from attnlab.mechanisms.mechanism import Mechanism
from attnlab.precision import in_range
from attnlab.registry import Own, build

__all__ = ["Differential", "TalkingHeads", "lambda_init"]

EPSILON = 1e-5  # keeps the norm of a context of zeros finite


class _Scored(Similarity):
    """Queries that hold their scores already."""

    name = "scored"
    content_free = True
    nonnegative = False

    def score(self, Q: Any) -> Any:
        return Q


class TalkingHeads(MechanismComponent):
    """Several heads that mix their scores before the normaliser, and their weights after it.

    S_h = Q_h K_h' / sqrt(e), W_g = normaliser(sum_h A_hg S_h), U_m = sum_g B_gm W_g, y = concat_m(U_m V_m) Wo, with
    Q_h = Q Wq_h and so on. Learned: Wq (d_query, heads e), Wk (d_key, heads e), Wv (d_value, heads e), Wo (heads e, d_value), each
    started at N(0, 1/rows), A and B (heads, heads), which start at the identity, with which it is `multi_head`, and the arrays of
    the normaliser. The weights are the mean of the U_m. Cost: that of `multi_head`, and 4 heads^2 operations a pair.

    Parameters
    ----------
    heads : int > 0
    head_dim : int > 0 or None, features
        Width e of a head; None: d_query / heads, at least 1.
    normaliser : normaliser
        It sees the mixed scores. All heads share its arrays.

    Raises
    ------
    Unsupported
        When the normaliser remembers the queries before.

    Notes
    -----
    A weight U may be negative, and its row sums to the sum of a column of B. The paper lets queries and keys, weights and values
    each have a number of heads of their own; here all are the same.

    References
    ----------
    Shazeer et al. (2020), section 4.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> talking = attnlab.get("mechanism", "talking_heads", heads=2, head_dim=3)
    >>> params = talking.init(np.random.default_rng(0), d_query=4, d_key=4, d_value=5)
    >>> talking.attend(params, np.ones((2, 4)), np.ones((6, 4)), np.ones((6, 5))).shape
    (2, 5)
    >>> talking.weights(params, np.ones((2, 4)), np.ones((6, 4)), heads=True).shape
    (2, 2, 6)
    """

    name = "talking_heads"
    mixes_values = False
    source = Source("Talking-Heads Attention", "Shazeer et al.", 2020, "arXiv:2003.02436")

    def __init__(
        self,
        heads: Annotated[int, Gt(0)] = 4,
        head_dim: Annotated[int, Gt(0)] | None = None,
        normaliser: Normaliser = Own("softmax"),  # type: ignore[assignment]
    ) -> None:
        self.heads = heads
        self.head_dim = head_dim
        self.normaliser = normaliser

    def _width(self, d_query: int) -> int:
        return max(1, d_query // self.heads) if self.head_dim is None else self.head_dim

    def _inside(self) -> Mechanism:
        """A mechanism that turns given scores into weights."""
        inside = Mechanism(_Scored(), self.normaliser)
        if inside.is_stateful:
            raise Unsupported(
                f"talking_heads mixes the weights of all heads after the normaliser; {build('normaliser', self.normaliser).name!r} "
                "remembers the weights of each query before they are mixed: choose one that does not"
            )
        return inside

    def refusal(self) -> str:
        return refused(self._inside) or self._inside().refusal()

    def refusal_of_steps(self) -> str:
        return refused(self._inside) or self._inside().refusal_of_steps()

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        e, h = self._width(d_query), self.heads
        sizes = {"Wq": (d_query, h * e), "Wk": (d_key, h * e), "Wv": (d_value, h * e), "Wo": (h * e, d_value)}
        own = {name: rng.normal(size=size) / math.sqrt(max(1, size[0])) for name, size in sizes.items()}
        return {**own, "A": np.eye(h), "B": np.eye(h), "normaliser": self._inside().init(rng, e, e, e)["normaliser"]}

    def _mixed(self, params: Any, Q: Any, K: Any, given: Any) -> Any:
        """The weights of each head after mixing, (..., h, q, k)."""
        Q, K = in_heads(Q, params["Wq"], self.heads), in_heads(K, params["Wk"], self.heads)
        xp = namespace(Q, K)
        S = _talk(xp.matmul(Q, xp.matrix_transpose(K)) / Q.shape[-1] ** 0.5, params["A"])
        keys = xp.ones((S.shape[-1], 1), dtype=S.dtype)
        W = self._inside().weights({"normaliser": params["normaliser"]}, S, keys, **given)
        return _talk(W, params["B"])

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        nouns = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        params, (Q, K, V), cast = in_range(own_of(self, params), *nouns)
        M = context_of((mask,), Q, K, V, features="free").M
        W = self._mixed(params, Q, readable(K, M), with_heads({"mask": M, **context}))
        V = in_heads(readable(V, M), params["Wv"], self.heads)
        Y = out_of_heads(namespace(W, V).matmul(W, V))
        return cast(namespace(Y).matmul(Y, params["Wo"]))

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, *, heads: bool = False, **context: Any) -> Any:
        """The mixed weights, averaged over heads, W (..., q, k); with heads=True those of each head, (..., h, q, k)."""
        params, (Q, K), cast = in_range(own_of(self, params), as_float(Q, "Q"), as_float(K, "K"))
        M = context_of((mask,), Q, K, None, features="free").M
        W = self._mixed(params, Q, readable(K, M), with_heads({"mask": M, **context}))
        return cast(W if heads else namespace(W).mean(W, axis=-3))

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        e, h = self._width(d_query), self.heads
        own = 2.0 * e * h * (d_query + n_keys * (d_key + d_value) + d_value) + 4.0 * h * h * n_keys
        inside = build("normaliser", self.normaliser)
        each = inside.operations(n_keys) if hasattr(inside, "operations") else float("nan")
        return own + h * (4.0 * e * n_keys + each)


def _talk(X: Any, A: Any) -> Any:
    """sum_h A_hg X_h for X (..., h, q, k)."""
    xp = namespace(X, A)
    flat = xp.reshape(X, (*X.shape[:-2], X.shape[-2] * X.shape[-1]))
    return xp.reshape(xp.matmul(xp.matrix_transpose(A), flat), X.shape)


def lambda_init(layer: int) -> float:
    """What the differential transformer's lambda starts at in a layer counted from 1: .8 - .6 exp(-.3 (layer - 1))."""
    return 0.8 - 0.6 * math.exp(-0.3 * (layer - 1))


class Differential(MechanismComponent):
    """In each head the difference of two attentions, so that what both attend to cancels.

    Version 1:  y = concat_h((1 - l0) norm(A(Q1_h, K1_h, V_h) - l A(Q2_h, K2_h, V_h))) Wo, with
    l = exp(a1 . b1) - exp(a2 . b2) + l0, l0 = .8 - .6 exp(-.3 (layer - 1)), V_h of 2 e features, and norm(y) = g y / rms(y).
    Version 2:  y = concat_h(A(Q1_h, K_h, V_h) - sigmoid(q . w_h) A(Q2_h, K_h, V_h)) Wo, without norm.
    Learned: Wq (d_query, 2 heads e), Wk (d_key, 2 heads e or heads e), Wv (d_value, 2 heads e or heads e), Wo, each started at
    N(0, 1/rows); in version 1 a1, b1, a2, b2 (e,) at N(0, .01) and g (2 e,) at 1, in version 2 w (d_query, heads) at N(0, 1/d_query);
    and the arrays of the mechanism A. The weights are the mean over heads of the differences. Cost: that of A twice a head, and
    2 e operations a vector for each column.

    Parameters
    ----------
    mechanism : mechanism
        A, whose own arrays all heads and both sides share.
    heads : int > 0
    head_dim : int > 0 or None, features
        Width e of a query; None: d_query / (2 heads), at least 1.
    version : 1 or 2
    layer : int > 0
        The place of the layer, from 1; it sets where version 1 starts.

    Raises
    ------
    Unsupported
        When the contexts of A have one feature for each key, as those of the aggregator `pointer` have.

    Notes
    -----
    Weights may be negative, and a row sums to 1 - l. In version 1 the norm comes after the sum over values, so that the weights
    do not say all. In version 2 both sides share keys and values, and l is of each query and head; it follows a description,
    and was not compared with the authors' code.

    References
    ----------
    Ye et al. (2024), equations 1 to 3.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> differential = attnlab.get("mechanism", "differential", heads=2, head_dim=3)
    >>> params = differential.init(np.random.default_rng(0), d_query=4, d_key=4, d_value=5)
    >>> differential.attend(params, np.ones((2, 4)), np.ones((6, 4)), np.ones((6, 5))).shape
    (2, 5)
    >>> differential.weights(params, np.ones((2, 4)), np.ones((6, 4)), heads=True).shape
    (2, 2, 6)
    """

    name = "differential"
    mixes_values = False
    source = Source("Differential Transformer", "Ye et al.", 2024, "arXiv:2410.05258")

    def __init__(
        self,
        mechanism: MechanismComponent = Own("single_head"),  # type: ignore[assignment]
        heads: Annotated[int, Gt(0)] = 2,
        head_dim: Annotated[int, Gt(0)] | None = None,
        version: Literal[1, 2] = 1,
        layer: Annotated[int, Ge(1)] = 1,
    ) -> None:
        self.mechanism = mechanism
        self.heads = heads
        self.head_dim = head_dim
        self.version = version
        self.layer = layer

    def _sizes(self, d_query: int) -> tuple[int, int, int]:
        """(width of a query, heads of keys, width of a value)."""
        e = max(1, d_query // (2 * self.heads)) if self.head_dim is None else self.head_dim
        return (e, 2 * self.heads, 2 * e) if self.version == 1 else (e, self.heads, e)

    def _inside(self) -> Any:
        one = self.mechanism if hasattr(self.mechanism, "attend") else build("mechanism", self.mechanism)
        return with_features("differential", one)

    def refusal(self) -> str:
        return super().refusal() or refused(self._inside)

    @property
    def is_stateful(self) -> bool:
        return bool(getattr(self._inside(), "is_stateful", False))

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        (e, kv, v), h = self._sizes(d_query), self.heads
        sizes = {"Wq": (d_query, 2 * h * e), "Wk": (d_key, kv * e), "Wv": (d_value, h * v), "Wo": (h * v, d_value)}
        own = {name: rng.normal(size=size) / math.sqrt(max(1, size[0])) for name, size in sizes.items()}
        if self.version == 1:
            own |= {name: 0.1 * rng.normal(size=e) for name in ("a1", "b1", "a2", "b2")} | {"g": np.ones(v)}
        else:
            own["w"] = rng.normal(size=(d_query, h)) / math.sqrt(max(1, d_query))
        return {**own, "mechanism": self._inside().init(rng, e, e, v)}

    def _sides(self, params: Any, Q: Any, K: Any) -> tuple[Any, Any, Any]:
        """((Q1, K1), (Q2, K2), l): queries and keys of both sides, and the share of the second, () or (..., h, q, 1)."""
        h, (_, kv, _) = self.heads, self._sizes(Q.shape[-1])
        xp = namespace(Q, params["Wq"])
        q, k = in_heads(Q, params["Wq"], 2 * h), in_heads(K, params["Wk"], kv)
        first, second = q[..., :h, :, :], q[..., h:, :, :]
        if self.version == 2:
            share = xp.matrix_transpose(xp.sigmoid(xp.matmul(Q, params["w"])))[..., None]
            return (first, k), (second, k), share
        one, other = (xp.exp(xp.sum(params[a] * params[b])) for a, b in (("a1", "b1"), ("a2", "b2")))
        return (first, k[..., :h, :, :]), (second, k[..., h:, :, :]), one - other + lambda_init(self.layer)

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        nouns = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        params, (Q, K, V), cast = in_range(own_of(self, params), *nouns)
        inside, given = self._inside(), with_heads({"mask": mask, **context})
        one, other, share = self._sides(params, Q, K)
        values, own = in_heads(V, params["Wv"], self.heads), params["mechanism"]
        Y = attended(inside, own, one[0], one[1], values, **given)
        Y = Y - share * attended(inside, own, other[0], other[1], values, **given)
        xp = namespace(Y)
        if self.version == 1:
            length = xp.sqrt(xp.mean(Y * Y, axis=-1, keepdims=True) + EPSILON)
            Y = (1 - lambda_init(self.layer)) * params["g"] * (Y / length)
        return cast(xp.matmul(out_of_heads(Y), params["Wo"]))

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, *, heads: bool = False, **context: Any) -> Any:
        """The differences, averaged over heads, W (..., q, k); with heads=True those of each head, (..., h, q, k)."""
        params, (Q, K), cast = in_range(own_of(self, params), as_float(Q, "Q"), as_float(K, "K"))
        inside, given = self._inside(), with_heads({"mask": mask, **context})
        one, other, share = self._sides(params, Q, K)
        own = params["mechanism"]
        W = weighed(inside, own, one[0], one[1], **given)
        W = W - share * weighed(inside, own, other[0], other[1], **given)
        return cast(W if heads else namespace(W).mean(W, axis=-3))

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        (e, kv, v), h = self._sizes(d_query), self.heads
        own = 4.0 * h * e * d_query + 2.0 * n_keys * (kv * e * d_key + h * v * d_value) + 2.0 * h * v * d_value
        return own + 2 * h * operations_of(self._inside(), n_keys, e, e, v) + 8.0 * h * v
