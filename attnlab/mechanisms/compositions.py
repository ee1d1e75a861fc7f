"""Mechanisms made of mechanisms: several heads, and a mixture of two."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab.arrays import as_float, namespace
from attnlab.errors import SettingError
from attnlab.interfaces import MechanismComponent, Source
from attnlab.mechanisms.binding import attended, weighed, with_heads
from attnlab.mechanisms.heads import (
    grouped,
    head_of,
    in_heads,
    operations_of,
    out_of_heads,
    own_of,
    refused,
    with_features,
)
from attnlab.precision import in_range
from attnlab.registry import Own, build

__all__ = ["Mixture", "MultiHead"]


def _mechanism(given: Any) -> Any:
    """A mechanism as an object; a mapping of parts is a `Mechanism`."""
    return build("mechanism", given)


class MultiHead(MechanismComponent):
    """Several heads side by side; each has its own learned projections.

    y = concat_h(A_h(Q Wq_h, K Wk_h, V Wv_h)) Wo. Learned: Wq (d_query, heads e), Wk (d_key, kv_heads e),
    Wv (d_value, kv_heads e), Wo (heads e, d_value), each started at N(0, 1/rows), and the arrays of the inner mechanism. The
    weights are the mean over heads. Cost: that of the mechanism for each head, and 2 e operations a vector for each column.

    Parameters
    ----------
    mechanism : mechanism, or a list of one for each head
        One mechanism, whose own arrays all heads share; or one for each head.
    heads : int > 0
    head_dim : int > 0 or None, features
        Width e of a head; None: d_query / heads, at least 1.
    kv_heads : int > 0 or None
        Heads of keys and values, each shared by heads / kv_heads heads of queries (grouped queries); None: `heads`.

    Raises
    ------
    SettingError
        When kv_heads does not divide heads, or the list has not one mechanism for each head.
    Unsupported
        When an inner mechanism's contexts have one feature for each key, as those of the aggregator `pointer` have.

    Notes
    -----
    The inner mechanism has the mask, the position and the modifier; they act in each head. Other software calls kv_heads = 1
    multi-query attention. There are no biases.

    References
    ----------
    Vaswani et al. (2017), section 3.2.2; Ainslie et al. (2023), section 2.2, for grouped queries.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> heads = attnlab.get("mechanism", "multi_head", heads=2, head_dim=3)
    >>> params = heads.init(np.random.default_rng(0), d_query=4, d_key=4, d_value=5)
    >>> heads.attend(params, np.ones((2, 4)), np.ones((6, 4)), np.ones((6, 5))).shape
    (2, 5)
    >>> heads.weights(params, np.ones((2, 4)), np.ones((6, 4)), heads=True).shape
    (2, 2, 6)
    """

    name = "multi_head"
    mixes_values = False
    source = Source("Attention Is All You Need", "Vaswani et al.", 2017, "NeurIPS")

    def __init__(
        self,
        mechanism: MechanismComponent | list[MechanismComponent] = Own("single_head"),  # type: ignore[assignment]
        heads: Annotated[int, Gt(0)] = 4,
        head_dim: Annotated[int, Gt(0)] | None = None,
        kv_heads: Annotated[int, Gt(0)] | None = None,
    ) -> None:
        self.mechanism = mechanism
        self.heads = heads
        self.head_dim = head_dim
        self.kv_heads = kv_heads

    def _sizes(self, d_query: int) -> tuple[int, int, int]:
        """(heads, heads of keys, width of a head)."""
        kv = self.heads if self.kv_heads is None else self.kv_heads
        if self.heads % kv:
            raise SettingError(f"multi_head: kv_heads must divide heads = {self.heads}; got {kv}")
        return self.heads, kv, max(1, d_query // self.heads) if self.head_dim is None else self.head_dim

    def _inside(self) -> Any:
        """The shared mechanism, or a list of one for each head."""
        if not isinstance(self.mechanism, (list, tuple)):
            one = self.mechanism if hasattr(self.mechanism, "attend") else _mechanism(self.mechanism)
            return with_features("multi_head", one)
        if len(self.mechanism) != self.heads:
            raise SettingError(
                f"multi_head: a list has one mechanism for each of {self.heads} heads; got {len(self.mechanism)}"
            )
        several = [one if hasattr(one, "attend") else _mechanism(one) for one in self.mechanism]
        return with_features("multi_head", several)

    def refusal(self) -> str:
        return super().refusal() or refused(self._inside)

    @property
    def is_stateful(self) -> bool:
        inside = self._inside()
        return any(getattr(one, "is_stateful", False) for one in (inside if isinstance(inside, list) else [inside]))

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        heads, kv, e = self._sizes(d_query)
        inside = self._inside()
        widths = {
            "Wq": (d_query, heads * e),
            "Wk": (d_key, kv * e),
            "Wv": (d_value, kv * e),
            "Wo": (heads * e, d_value),
        }
        own = {name: rng.normal(size=shape) / math.sqrt(max(1, shape[0])) for name, shape in widths.items()}
        if isinstance(inside, list):
            return {**own, "mechanism": {str(i): one.init(rng, e, e, e) for i, one in enumerate(inside)}}
        return {**own, "mechanism": inside.init(rng, e, e, e)}

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        nouns = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        params, (Q, K, V), cast = in_range(own_of(self, params), *nouns)
        heads, kv, _ = self._sizes(Q.shape[-1])
        inside, given = self._inside(), with_heads({"mask": mask, **context})
        split = [in_heads(X, params[w], n) for X, w, n in ((Q, "Wq", heads), (K, "Wk", kv), (V, "Wv", kv))]
        if isinstance(inside, list):
            rows = [
                attended(one, params["mechanism"][str(i)], *head_of(i, kv, split), mask=mask, **context)
                for i, one in enumerate(inside)
            ]
            joined = namespace(rows[0]).concat(rows, axis=-1)
        else:
            Y = attended(inside, params["mechanism"], *grouped(heads, kv, split), **given)
            joined = out_of_heads(Y)
        return cast(namespace(joined, params["Wo"]).matmul(joined, params["Wo"]))

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, *, heads: bool = False, **context: Any) -> Any:
        """The weights, averaged over heads, W (..., q, k); with heads=True those of each head, (..., h, q, k)."""
        params, (Q, K), cast = in_range(own_of(self, params), as_float(Q, "Q"), as_float(K, "K"))
        h, kv, _ = self._sizes(Q.shape[-1])
        inside, given = self._inside(), with_heads({"mask": mask, **context})
        split = [in_heads(X, params[w], n) for X, w, n in ((Q, "Wq", h), (K, "Wk", kv))]
        if isinstance(inside, list):
            rows = [
                weighed(one, params["mechanism"][str(i)], *head_of(i, kv, split), mask=mask, **context)
                for i, one in enumerate(inside)
            ]
            W = namespace(rows[0]).stack(rows, axis=-3)
        else:
            W = weighed(inside, params["mechanism"], *grouped(h, kv, split), **given)
        return cast(W if heads else namespace(W).mean(W, axis=-3))

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        heads, kv, e = self._sizes(d_query)
        inside = self._inside()
        several = inside if isinstance(inside, list) else [inside] * heads
        own = 2.0 * e * (heads * d_query + kv * n_keys * (d_key + d_value) + heads * d_value)
        return own + sum(operations_of(one, n_keys, e, e, e) for one in several)


class Mixture(MechanismComponent):
    """Two mechanisms, mixed in a learned proportion.

    y = g A(Q, K, V) + (1 - g) B(Q, K, V), g = sigmoid(logit). The weights are mixed in the same way. Learned: logit (), which
    starts at 0 (half and half), and the arrays of both mechanisms. Cost: that of both.

    Parameters
    ----------
    first, second : mechanism

    Notes
    -----
    In a mixture of softmaxes the proportions depend on the query. Here they do not.

    References
    ----------
    Yang et al. (2018), section 2.4, for mixing distributions.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> mixture = attnlab.get("mechanism", "mixture", first=attnlab.Mechanism("dot"), second=attnlab.Mechanism("uniform"))
    >>> params = mixture.init(np.random.default_rng(0), d_query=2, d_key=2, d_value=1)
    >>> mixture.weights(params, np.array([[9.0, 0.0]]), np.eye(2)).round(3)
    array([[0.75, 0.25]])
    """

    name = "mixture"
    source = Source("Breaking the Softmax Bottleneck: A High-Rank RNN Language Model", "Yang et al.", 2018, "ICLR")

    def __init__(
        self,
        first: MechanismComponent = Own("single_head"),  # type: ignore[assignment]
        second: MechanismComponent = Own("single_head"),  # type: ignore[assignment]
    ) -> None:
        self.first = first
        self.second = second

    def _both(self) -> tuple[Any, Any]:
        first, second = (m if hasattr(m, "attend") else _mechanism(m) for m in (self.first, self.second))
        return first, second

    @property
    def mixes_values(self) -> bool | None:  # type: ignore[override]
        """Whether both do."""
        said = [one.mixes_values for one in self._both()]
        return False if False in said else None if None in said else True

    @property
    def is_stateful(self) -> bool:
        return any(getattr(one, "is_stateful", False) for one in self._both())

    def init(self, rng: Any, d_query: int, d_key: int, d_value: int) -> dict[str, Any]:
        first, second = self._both()
        dims = {"d_query": d_query, "d_key": d_key, "d_value": d_value}
        return {"logit": np.zeros(()), "first": first.init(rng, **dims), "second": second.init(rng, **dims)}

    def attend(self, params: Any, Q: Any, K: Any, V: Any, mask: Any = None, **context: Any) -> Any:
        nouns = as_float(Q, "Q"), as_float(K, "K"), as_float(V, "V")
        params, (Q, K, V), cast = in_range(own_of(self, params), *nouns)
        first, second = self._both()
        one = attended(first, params["first"], Q, K, V, mask=mask, **context)
        return cast(self._mixed(params, one, attended(second, params["second"], Q, K, V, mask=mask, **context)))

    def weights(self, params: Any, Q: Any, K: Any, mask: Any = None, **context: Any) -> Any:
        params, (Q, K), cast = in_range(own_of(self, params), as_float(Q, "Q"), as_float(K, "K"))
        first, second = self._both()
        one = weighed(first, params["first"], Q, K, mask=mask, **context)
        return cast(self._mixed(params, one, weighed(second, params["second"], Q, K, mask=mask, **context)))

    @staticmethod
    def _mixed(params: Any, one: Any, other: Any) -> Any:
        share = namespace(one, params["logit"]).sigmoid(params["logit"])
        return share * one + (1 - share) * other

    def operations(self, n_keys: int, d_query: int, d_key: int, d_value: int) -> float:
        return sum(operations_of(one, n_keys, d_query, d_key, d_value) for one in self._both()) + 3.0 * d_value
