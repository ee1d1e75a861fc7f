"""Encoders: the states h_1..h_m of a sequence.  encode(X (n, m, d), mask (n, m)) -> H (n, m, d').

Besides `init` and `encode` an encoder may have `last(H, mask) -> (n, d')`: one vector for the states at the end. Without
it, the state at the last token is used.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from attnlab.arrays import namespace
from attnlab.interfaces import Encoder, Source
from attnlab.kernels.gru import FastGru
from attnlab.models.seq2seq.recurrence import Elman, Gru

__all__ = ["BiRnn", "Embedding", "Rnn"]

Backend = Literal["fast", "reference"]
Cell = Literal["gru", "rnn"]


def _unit(encoder: Any) -> Any:
    """The recurrent unit of an encoder."""
    if encoder.cell == "rnn":
        return Elman()
    return (FastGru if encoder.backend == "fast" else Gru)(encoder.linear_before_reset)


def _zeros(X: Any, width: int) -> Any:
    return np.zeros((X.shape[0], width), dtype=X.dtype)


class Embedding(Encoder):
    """The embeddings themselves: a bag of words, unless something adds positions.

    h_j = x_j. Nothing is learned beyond the embeddings. Cost: none.

    References
    ----------
    None: a control.

    Examples
    --------
    >>> import numpy as np
    >>> Embedding().encode(np.ones((1, 2, 3)), None).shape
    (1, 2, 3)
    """

    name = "embedding"
    source = Source("A control without recurrence", "attnlab", 2026)

    def init(self, rng: Any, d_input: int, d_hidden: int) -> dict[str, Any]:
        return {}

    def encode(self, X: Any, mask: Any) -> Any:
        return X


class Rnn(Encoder):
    """A recurrent network over the sequence, from its first token to its last.

    h_j = GRU(x_j, h_{j-1}), h_0 = 0, of width d_hidden; after the last token the state stays as it is. Cost: 6 h (d + h)
    operations a token, or 2 h (d + h) for a plain unit.

    Parameters
    ----------
    backend : "fast" or "reference"
        The hand-written gradient, or plain maths under autograd. Both give the same numbers. A plain unit has only the latter.
    cell : "gru" or "rnn"
        The gated recurrent unit, or Elman's plain one, h_j = tanh(x_j Wi + bi + h_{j-1} Wh + bh).
    linear_before_reset : bool
        For the gated unit: the reset gate acts after the matrix, as in PyTorch, or on the state itself, as in the papers and by
        ONNX's default.

    References
    ----------
    Cho et al. (2014), section 2; Elman (1990) for the plain unit.

    Examples
    --------
    >>> import numpy as np
    >>> rnn = Rnn()
    >>> params = rnn.init(np.random.default_rng(0), d_input=3, d_hidden=4)
    >>> rnn.encode(np.ones((1, 2, 3)), np.array([[True, True]]), **params).shape
    (1, 2, 4)
    """

    name = "rnn"
    source = FastGru.source

    def __init__(self, backend: Backend = "fast", cell: Cell = "gru", linear_before_reset: bool = True) -> None:
        self.backend = backend
        self.cell = cell
        self.linear_before_reset = linear_before_reset

    def init(self, rng: Any, d_input: int, d_hidden: int) -> dict[str, Any]:
        return _unit(self).init(rng, d_input, d_hidden)

    def encode(self, X: Any, mask: Any, Wi: Any, Wh: Any, bi: Any, bh: Any) -> Any:
        return _unit(self).run(X, _zeros(X, Wh.shape[0]), mask, Wi, Wh, bi, bh)

    def last(self, H: Any, mask: Any) -> Any:
        return H[:, -1]


class BiRnn(Encoder):
    """Two recurrent networks, one forward and one backward, so that each state knows the whole sequence.

    h_j = [forward GRU up to j; backward GRU down to j]. Each has half the width d_hidden, so that H has the same width as with
    `rnn`. Cost: 3 h (2 d + h) operations a token, where h is the whole width.

    Parameters
    ----------
    backend : "fast" or "reference"
    cell : "gru" or "rnn"
    linear_before_reset : bool
        As for `rnn`.

    Notes
    -----
    `last` joins the end of both: the forward state at the last token and the backward state at the first. Bahdanau et al. give
    each direction the whole width.

    References
    ----------
    Schuster and Paliwal (1997); Bahdanau, Cho, Bengio (2015), section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> birnn = BiRnn()
    >>> params = birnn.init(np.random.default_rng(0), d_input=3, d_hidden=4)
    >>> birnn.encode(np.ones((1, 2, 3)), np.array([[True, True]]), **params).shape
    (1, 2, 4)
    """

    name = "birnn"
    source = Source(
        "Neural Machine Translation by Jointly Learning to Align and Translate", "Bahdanau, Cho, Bengio", 2015, "ICLR"
    )

    def __init__(self, backend: Backend = "fast", cell: Cell = "gru", linear_before_reset: bool = True) -> None:
        self.backend = backend
        self.cell = cell
        self.linear_before_reset = linear_before_reset

    def init(self, rng: Any, d_input: int, d_hidden: int) -> dict[str, Any]:
        there = _unit(self).init(rng, d_input, d_hidden - d_hidden // 2)
        back = _unit(self).init(rng, d_input, d_hidden // 2)
        return {**there, **{f"{name}_back": array for name, array in back.items()}}

    def encode(
        self,
        X: Any,
        mask: Any,
        Wi: Any,
        Wh: Any,
        bi: Any,
        bh: Any,
        Wi_back: Any,
        Wh_back: Any,
        bi_back: Any,
        bh_back: Any,
    ) -> Any:
        xp, unit = namespace(X, Wi), _unit(self)
        there = unit.run(X, _zeros(X, Wh.shape[0]), mask, Wi, Wh, bi, bh)
        reverse = None if mask is None else mask[:, ::-1]  # padding comes first and keeps the state at zero
        back = unit.run(X[:, ::-1], _zeros(X, Wh_back.shape[0]), reverse, Wi_back, Wh_back, bi_back, bh_back)
        return xp.concat([there, back[:, ::-1]], axis=-1)

    def last(self, H: Any, mask: Any) -> Any:
        half = H.shape[-1] - H.shape[-1] // 2
        return namespace(H).concat([H[:, -1, :half], H[:, 0, half:]], axis=-1)
