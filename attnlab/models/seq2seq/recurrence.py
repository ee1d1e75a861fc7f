"""Recurrence: the units of encoders and decoders, in plain maths.

`Elman` is the plain unit and `Gru` the gated one. `attnlab.kernels.gru.FastGru` is the fast twin of `Gru`, with the same
signature, values and gradients.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from attnlab.arrays import namespace

__all__ = ["Elman", "Gru"]

Params = dict[str, Any]


class Gru:
    """The gated recurrent unit.

    The input is x and the state is s. The convention is PyTorch's: the gates have the order r, z, n, and the state's bias of n
    is inside the product with r.

        r = sigmoid(x Wi_r + bi_r + s Wh_r + bh_r)          reset
        z = sigmoid(x Wi_z + bi_z + s Wh_z + bh_z)          update: z = 1 keeps the state
        n = tanh(x Wi_n + bi_n + r * (s Wh_n + bh_n))       or, without linear_before_reset, (r * s) Wh_n + bh_n
        s' = (1 - z) * n + z * s

    Learned: Wi (d, 3h), Wh (h, 3h), bi (3h,), bh (3h,); `weight_ih_l0` and `weight_hh_l0` of `torch.nn.GRU` are Wi and Wh
    transposed. Cost: 6 h (d + h) operations a step.

    Parameters
    ----------
    linear_before_reset : bool
        Whether r is applied after the matrix, or to the state before the matrix.

    Notes
    -----
    All three papers apply r to the state before the matrix, as ONNX's GRU does by default. PyTorch, and Keras by default, apply
    it after. ONNX has the gates in the order z, r, n. The z of Cho et al. (their equation 7) is the z here. The z of Chung et
    al. and of Bahdanau et al. is 1 - z here.

    References
    ----------
    Cho et al. (2014), section 2.3; Chung et al. (2014), section 3.2; Bahdanau, Cho, Bengio (2015), appendix A.1.1.

    Examples
    --------
    >>> import numpy as np
    >>> gru = Gru()
    >>> params = gru.init(np.random.default_rng(0), d_input=3, d_hidden=4)
    >>> gru.run(np.ones((2, 5, 3)), np.zeros((2, 4)), None, **params).shape
    (2, 5, 4)
    """

    def __init__(self, linear_before_reset: bool = True) -> None:
        self.linear_before_reset = linear_before_reset

    def init(self, rng: np.random.Generator, d_input: int, d_hidden: int) -> Params:
        """Wi starts at N(0, 1/d), each gate of Wh starts as a random orthogonal matrix, and the biases start at 0."""
        gates = [np.linalg.qr(rng.normal(size=(d_hidden, d_hidden)))[0] for _ in range(3)]
        return {
            "Wi": rng.normal(size=(d_input, 3 * d_hidden)) / math.sqrt(d_input),
            "Wh": np.concatenate(gates, axis=1),
            "bi": np.zeros(3 * d_hidden),
            "bh": np.zeros(3 * d_hidden),
        }

    def step(self, x: Any, s: Any, Wi: Any, Wh: Any, bi: Any, bh: Any) -> Any:
        """The state after one input: x (n, d), s (n, h) -> s' (n, h)."""
        xp = namespace(x, s, Wi)
        h = s.shape[-1]
        i = xp.matmul(x, Wi) + bi
        if self.linear_before_reset:
            a = xp.matmul(s, Wh) + bh
        else:
            a = xp.matmul(s, Wh[:, : 2 * h]) + bh[: 2 * h]
        r = xp.sigmoid(i[:, :h] + a[:, :h])
        z = xp.sigmoid(i[:, h : 2 * h] + a[:, h : 2 * h])
        after = r * a[:, 2 * h :] if self.linear_before_reset else xp.matmul(r * s, Wh[:, 2 * h :]) + bh[2 * h :]
        new = xp.tanh(i[:, 2 * h :] + after)
        return (1 - z) * new + z * s

    def run(self, X: Any, start: Any, mask: Any, Wi: Any, Wh: Any, bi: Any, bh: Any) -> Any:
        """The state after each input.

        Parameters
        ----------
        X : array (n, m, d)
        start : array (n, h), the state before the first input
        mask : bool array (n, m), or None
            Where it is False there is no input, and the state does not change.

        Returns
        -------
        array (n, m, h)
        """
        return _run(self, X, start, mask, Wi=Wi, Wh=Wh, bi=bi, bh=bh)


class Elman:
    """The plain recurrent unit: each state from the input and the state before.

        s' = tanh(x Wi + bi + s Wh + bh)

    Learned: Wi (d, h), Wh (h, h), bi (h,), bh (h,), in the convention of `torch.nn.RNN`, whose `weight_ih_l0` and
    `weight_hh_l0` are Wi and Wh transposed. Cost: 2 h (d + h) operations a step.

    Notes
    -----
    Without a gate, each step overwrites what was read before, so that it is harder to learn to keep it over many steps. Elman's
    units are logistic; tanh is usual now. This unit has no fast twin.

    References
    ----------
    Elman (1990), Finding Structure in Time.

    Examples
    --------
    >>> import numpy as np
    >>> unit = Elman()
    >>> params = unit.init(np.random.default_rng(0), d_input=3, d_hidden=4)
    >>> unit.run(np.ones((2, 5, 3)), np.zeros((2, 4)), None, **params).shape
    (2, 5, 4)
    """

    def init(self, rng: np.random.Generator, d_input: int, d_hidden: int) -> Params:
        """Wi starts at N(0, 1/d), Wh starts as a random orthogonal matrix, and the biases start at 0."""
        return {
            "Wi": rng.normal(size=(d_input, d_hidden)) / math.sqrt(d_input),
            "Wh": np.linalg.qr(rng.normal(size=(d_hidden, d_hidden)))[0],
            "bi": np.zeros(d_hidden),
            "bh": np.zeros(d_hidden),
        }

    def step(self, x: Any, s: Any, Wi: Any, Wh: Any, bi: Any, bh: Any) -> Any:
        """The state after one input: x (n, d), s (n, h) -> s' (n, h)."""
        xp = namespace(x, s, Wi)
        return xp.tanh(xp.matmul(x, Wi) + bi + xp.matmul(s, Wh) + bh)

    def run(self, X: Any, start: Any, mask: Any, Wi: Any, Wh: Any, bi: Any, bh: Any) -> Any:
        """The state after each input, as in `Gru`: X (n, m, d), start (n, h), mask (n, m) or None -> (n, m, h)."""
        return _run(self, X, start, mask, Wi=Wi, Wh=Wh, bi=bi, bh=bh)


def _run(unit: Any, X: Any, start: Any, mask: Any, **params: Any) -> Any:
    """One step after the other; where the mask is False the state does not change."""
    xp = namespace(X, start, params["Wi"])
    s, states = start, []
    for t in range(X.shape[1]):
        new = unit.step(X[:, t], s, **params)
        s = new if mask is None else xp.where(mask[:, t, None], new, s)
        states.append(s)
    return xp.stack(states, axis=1) if states else xp.zeros((X.shape[0], 0, start.shape[1]), dtype=start.dtype)
