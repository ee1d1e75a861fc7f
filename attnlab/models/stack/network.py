"""The maths of a stack of self-attention layers, for arrays of any library; `gradient.py` has its gradient by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlab.arrays import namespace
from attnlab.mechanisms.heads import in_heads, out_of_heads

__all__ = ["EPSILON", "GELU", "Network", "Places"]

EPSILON = 1e-5  # added to the mean square, or the variance, that a norm divides by
GELU = math.sqrt(2 / math.pi), 0.044715

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Places:
    """Some sequences in the form that the network reads.

    Attributes
    ----------
    ids : int array (n, L)
        Tokens; 0 where there is none that the network knows.
    known : array (n, L, 1), 1 where the token is known and 0 elsewhere; None where all are known
    contexts : list of a Context for each layer
    where : int array (m,), or None
        The places that count, numbered through all examples: example * L + place. None is all places.
    labels : int array (m,)
        Their classes. Where `where` is None, a place with -1 does not count. Or what they should say, an array (m, t); NaN then.
    inputs : array (n, L, f), or None
        Numbers beside the tokens.
    """

    ids: Any
    known: Any
    contexts: Sequence[Any]
    where: Any
    labels: Any
    inputs: Any = None


@dataclass(frozen=True)
class Network:
    """A stack of layers, and what each is made of.

        x = E[ids] (+ inputs F, if there are inputs)
        x = x + concat_h(A(h Wq_h, h Wk_h, h Wv_h)) Wo,    h = conv(norm(x))       for each layer
        x = x + gelu(norm(x) W1 + b1) W2 + b2                                       if there is an MLP
        logits = norm(x) U

    Parameters
    ----------
    bound : list of a bound mechanism for each layer
    mechanisms : list of a mechanism for each layer, whose `init` gives their arrays
    heads : int
    norm : "rms", "layer" or "none"
    mlp : int, the width of the MLP by that of the stack; 0 is none
    short_conv : int, how many places before it each place mixes in; 0 is none
    tied : bool
        Whether U is the table of embeddings, transposed and divided by sqrt(d).
    """

    bound: Sequence[Any]
    mechanisms: Sequence[Any]
    heads: int
    norm: str
    mlp: int
    short_conv: int
    tied: bool

    def init(self, rng: np.random.Generator, n_tokens: int, n_said: int, d: int, n_inputs: int = 0) -> dict[str, Any]:
        """The arrays to learn: "embedding", "layers" by number, "norm" and "readout", for n_said classes or numbers to say."""
        deep = math.sqrt(2 * len(self.mechanisms))  # so that what all layers add up to is as large as one

        def matrix(rows: int, columns: int, scale: float = 1.0) -> Array:
            return scale * rng.normal(size=(rows, columns)) / math.sqrt(rows)

        layers = {}
        for i, mechanism in enumerate(self.mechanisms):
            e = d // self.heads
            own: dict[str, Any] = {
                "attention": {name: matrix(d, d) for name in ("Wq", "Wk", "Wv")} | {"Wo": matrix(d, d, 1 / deep)},
                "mechanism": mechanism.init(rng, e, e, e),
                "norm": self._norm(d),
                "conv": {"C": np.zeros((self.short_conv, d))} if self.short_conv else {},
                "mlp": {},
                "mlp_norm": self._norm(d) if self.mlp else {},
            }
            if self.mlp:
                m = self.mlp * d
                own["mlp"] = {"W1": matrix(d, m), "b1": np.zeros(m), "W2": matrix(m, d, 1 / deep), "b2": np.zeros(d)}
            layers[str(i)] = own
        return {
            "embedding": {"E": rng.normal(size=(n_tokens, d))},
            "layers": layers,
            "norm": self._norm(d),
            "readout": {} if self.tied else {"U": matrix(d, n_said)},
            "inputs": {"F": matrix(n_inputs, d)} if n_inputs else {},
        }

    def _norm(self, d: int) -> dict[str, Array]:
        if self.norm == "none":
            return {}
        return {"gain": np.ones(d)} | ({"shift": np.zeros(d)} if self.norm == "layer" else {})

    # -- forwards -----------------------------------------------------------------------------------------------------
    def embedded(self, params: Any, places: Places) -> Any:
        """x (n, L, d) before the first layer."""
        x = params["embedding"]["E"][places.ids]
        x = x if places.known is None else x * places.known
        return x if places.inputs is None else x + namespace(x).matmul(places.inputs, params["inputs"]["F"])

    def compared(self, own: Any, x: Any) -> list[Any]:
        """Queries, keys and values of a layer, each (n, h, L, e)."""
        h = self.convolved(own["conv"], self.normed(own["norm"], x))
        return [in_heads(h, own["attention"][name], self.heads) for name in ("Wq", "Wk", "Wv")]

    def after(self, own: Any, x: Any, Y: Any) -> Any:
        """x (n, L, d) after a layer whose heads gave Y (n, h, L, e)."""
        xp = namespace(x, Y)
        x = x + xp.matmul(out_of_heads(Y), own["attention"]["Wo"])
        if not self.mlp:
            return x
        mlp = own["mlp"]
        inside = gelu(xp.matmul(self.normed(own["mlp_norm"], x), mlp["W1"]) + mlp["b1"])
        return x + xp.matmul(inside, mlp["W2"]) + mlp["b2"]

    def states(self, params: Any, places: Places) -> Any:
        """x (n, L, d) after the last layer, normed."""
        x = self.embedded(params, places)
        for i, bound in enumerate(self.bound):
            own = params["layers"][str(i)]
            x = self.after(own, x, bound.attend(own["mechanism"], *self.compared(own, x), places.contexts[i]))
        return self.normed(params["norm"], x)

    def logits(self, params: Any, states: Any) -> Any:
        """Scores of the classes, (..., c), or what is said, (..., t), of normed states (..., d)."""
        xp = namespace(states)
        if not self.tied:
            return xp.matmul(states, params["readout"]["U"])
        E = params["embedding"]["E"]
        return xp.matmul(states, xp.matrix_transpose(E)) * (1 / math.sqrt(E.shape[1]))

    def loss(self, params: Any, places: Places) -> Any:
        """The mean over the places that count: of -log p(label), in nats, or of the squared error of a number."""
        x = self.states(params, places)
        xp, labels = namespace(x), places.labels
        x = xp.reshape(x, (-1, x.shape[-1]))
        scores = self.logits(params, x if places.where is None else x[places.where])
        if scores.dtype.itemsize < 4:
            scores = xp.astype(scores, xp.float32)
        if labels.ndim == 2:
            return self._squared_error(scores, labels)
        if places.where is None:
            counts = labels >= 0
            labels = xp.where(counts, labels, xp.zeros_like(labels))
        away = xp.logsumexp(scores, axis=-1) - scores[xp.arange(len(labels)), labels]
        if places.where is not None:
            return xp.sum(away) / max(1, len(labels))
        counts = xp.astype(counts, away.dtype)
        return xp.sum(away * counts) / xp.clip(xp.sum(counts), min=1.0)

    def _squared_error(self, said: Any, labels: Any) -> Any:
        xp = namespace(said)
        counts = labels == labels  # NaN where a place does not count
        away = said - xp.where(counts, labels, xp.zeros_like(labels))
        counts = xp.astype(counts, away.dtype)
        return xp.sum(away * away * counts) / xp.clip(xp.sum(counts), min=1.0)

    def weights(self, params: Any, places: Places) -> list[Any]:
        """The weights of all heads, (n, h, L, L), by layer."""
        x, found = self.embedded(params, places), []
        for i, bound in enumerate(self.bound):
            own, context = params["layers"][str(i)], places.contexts[i]
            Q, K, V = self.compared(own, x)
            found.append(bound.weights(own["mechanism"], Q, K, context))
            if i + 1 < len(self.bound):
                x = self.after(own, x, bound.attend(own["mechanism"], Q, K, V, context))
        return found

    def normed(self, own: Any, x: Any) -> Any:
        """x before a layer reads it."""
        if self.norm == "none":
            return x
        xp = namespace(x)
        if self.norm == "rms":
            return x / (xp.mean(x * x, axis=-1, keepdims=True) + EPSILON) ** 0.5 * own["gain"]
        away = x - xp.mean(x, axis=-1, keepdims=True)
        return away / (xp.mean(away * away, axis=-1, keepdims=True) + EPSILON) ** 0.5 * own["gain"] + own["shift"]

    def convolved(self, own: Any, h: Any) -> Any:
        """h_j + sum_{t=1..width} c_t * h_{j-t}, feature by feature."""
        if not self.short_conv:
            return h
        xp, n = namespace(h, own["C"]), h.shape[-2]
        mixed = h
        for t in range(1, min(self.short_conv, n - 1) + 1):
            before = xp.zeros((*h.shape[:-2], t, h.shape[-1]), dtype=h.dtype)
            mixed = mixed + own["C"][t - 1] * xp.concat([before, h[..., : n - t, :]], axis=-2)
        return mixed

    def operations(self, length: int, n_said: int, d: int, n_inputs: int = 0) -> float:
        """Floating-point operations of one place among `length`."""
        e, total = d // self.heads, 2.0 * d * (n_said + n_inputs)
        for mechanism in self.mechanisms:
            inside = mechanism.operations(length, e, e, e) if hasattr(mechanism, "operations") else float("nan")
            total += 8.0 * d * d + self.heads * inside + 2 * self.short_conv * d + 4.0 * self.mlp * d * d
        return total


def gelu(x: Any) -> Any:
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    a, b = GELU
    return 0.5 * x * (1 + namespace(x).tanh(a * (x + b * (x * x * x))))
