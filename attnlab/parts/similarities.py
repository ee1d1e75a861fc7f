"""Similarities: how well does key j answer query i?  score(Q (..., q, d), K (..., k, d)) -> S (..., q, k)."""

from __future__ import annotations

import math
import warnings
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt

from attnlab.arrays import detach, namespace
from attnlab.errors import NotInitialised
from attnlab.interfaces import Similarity, Source
from attnlab.precision import in_float32

__all__ = ["Additive", "Cosine", "Dot", "General", "NegL2", "ScaledDot", "Uniform"]

LUONG = Source(
    "Effective Approaches to Attention-based Neural Machine Translation", "Luong, Pham, Manning", 2015, "EMNLP"
)
VASWANI = Source("Attention Is All You Need", "Vaswani et al.", 2017, "NeurIPS")


class Dot(Similarity):
    """The dot product of query and key.

    s_ij = q_i . k_j. Cost: 2 d operations a pair.

    Notes
    -----
    With random unit-variance vectors its variance is d, so that softmax saturates as d grows; see `scaled_dot`. The name
    `dot` differs between packages. AllenNLP and OpenNMT mean this similarity. ESPnet puts tanh of learned projections on
    both sides and halves the temperature. TensorFlow Addons projects the keys first (that is `general`).

    References
    ----------
    Luong, Pham, Manning (2015), section 3.1, `dot`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("similarity", "dot").score(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [0.0, 1.0]]))
    array([[11.,  2.]])
    """

    name = "dot"
    source = LUONG
    nonnegative = False
    symmetric = True
    content_free = False
    mixes_keys = False

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        xp = namespace(Q, K)
        return xp.matmul(Q, xp.matrix_transpose(K))

    def operations(self, n_keys: int, d_query: int) -> float:
        return 2.0 * n_keys * d_query


class ScaledDot(Similarity):
    """The dot product over the square root of the dimension.

    s_ij = q_i . k_j / sqrt(d). It has variance one for random unit-variance vectors. Cost: 2 d operations a pair.

    Notes
    -----
    The factor is 1/sqrt(d), where d is the dimension that is compared, after any projection.

    References
    ----------
    Vaswani et al. (2017), equation 1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("similarity", "scaled_dot").score(np.ones((1, 4)), np.ones((2, 4)))
    array([[2., 2.]])
    """

    name = "scaled_dot"
    source = VASWANI
    nonnegative = False
    symmetric = True
    content_free = False
    mixes_keys = False

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        xp = namespace(Q, K)
        return xp.matmul(Q / Q.shape[-1] ** 0.5, xp.matrix_transpose(K))  # products stay in range where scores do

    def operations(self, n_keys: int, d_query: int) -> float:
        return (2.0 * d_query + 1.0) * n_keys


class Cosine(Similarity):
    """The cosine of the angle between query and key, over a temperature.

    s_ij = q_i . k_j / (|q_i| |k_j|) / temperature; a vector of zeros has cosine 0 with every other. Cost: 2 d operations
    a pair, 3 d a vector.

    Parameters
    ----------
    temperature : float > 0 or "learned", dimensionless
        "learned" starts at 0.1, and its logarithm is learned, `log_temperature` ().

    Warns
    -----
    UserWarning
        When the temperature is fixed at 1 or above: cosines lie in [-1, 1], so that softmax cannot give more than
        1 / (1 + (n - 1) exp(-2)) of its weight to one of n keys: .45 of 10, .07 of 100. It cannot align.

    Notes
    -----
    The key strength beta of Neural Turing Machines and the factor g of query-key normalisation are 1 / temperature.
    AllenNLP's `cosine` has no temperature, which is the same as temperature 1.

    References
    ----------
    Graves, Wayne, Danihelka (2014), equation 6; Henry et al. (2020), equation 2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> cosine = attnlab.get("similarity", "cosine", temperature=0.5)
    >>> cosine.score(np.array([[2.0, 0.0]]), np.array([[5.0, 0.0], [0.0, 1.0]]))
    array([[2., 0.]])
    """

    name = "cosine"
    source = Source(
        "Query-Key Normalization for Transformers", "Henry, Dachapally, Pawar, Chen", 2020, "Findings of EMNLP"
    )
    nonnegative = False
    symmetric = True
    content_free = False
    mixes_keys = False

    def __init__(self, temperature: Annotated[float, Gt(0)] | Literal["learned"] = "learned") -> None:
        self.temperature = temperature

    def init(self) -> dict[str, Any]:
        if self.temperature == "learned":
            return {"log_temperature": np.asarray(math.log(0.1))}
        if float(self.temperature) >= 1:
            warnings.warn(
                f"cosine with its temperature fixed at {self.temperature} cannot align: cosines lie in [-1, 1], so softmax "
                'gives one of n keys at most 1/(1+(n-1)exp(-2)), .07 of 100; use temperature="learned" or about 0.1',
                stacklevel=2,
            )
        return {}

    @in_float32
    def score(self, Q: Any, K: Any, log_temperature: Any = None) -> Any:
        if log_temperature is None and self.temperature == "learned":
            raise NotInitialised("cosine learns its temperature, and was not given log_temperature; see init")
        xp = namespace(Q, K, log_temperature)
        temperature = float(self.temperature) if log_temperature is None else xp.exp(log_temperature)
        return xp.matmul(_unit(xp, Q), xp.matrix_transpose(_unit(xp, K))) / temperature

    def operations(self, n_keys: int, d_query: int) -> float:
        return (2.0 * d_query + 1.0) * n_keys + 3.0 * d_query * (n_keys + 1)


def _unit(xp: Any, X: Any) -> Any:
    """Vectors of length one; zeros stay zeros. The largest entry scales them first, so squares stay in range."""
    top = xp.max(xp.abs(detach(X)), axis=-1, keepdims=True)
    X = X / xp.where(top > 0, top, xp.ones_like(top))
    squares = xp.sum(X * X, axis=-1, keepdims=True)
    return X / xp.sqrt(xp.where(top > 0, squares, xp.ones_like(squares)))


class General(Similarity):
    """A learned bilinear form.

    s_ij = q_i' W k_j, learned W (d_query, d_key), started at N(0, 1/d_key). Cost: 2 d d_key operations a query, 2 d_key a
    pair.

    Notes
    -----
    It is also called bilinear, or multiplicative. Queries and keys may have different dimensions.

    References
    ----------
    Luong, Pham, Manning (2015), section 3.1, `general`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> W = np.eye(2)
    >>> attnlab.get("similarity", "general").score(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), W)
    array([[11.]])
    """

    name = "general"
    source = LUONG
    nonnegative = False
    symmetric = False
    content_free = False
    mixes_keys = False

    def init(self, rng: Any, d_query: int, d_key: int) -> dict[str, Any]:
        return {"W": rng.normal(size=(d_query, d_key)) / math.sqrt(d_key)}

    @in_float32
    def score(self, Q: Any, K: Any, W: Any) -> Any:
        xp = namespace(Q, K, W)
        return xp.matmul(xp.matmul(Q, W), xp.matrix_transpose(K))

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        return 2.0 * d_query * d_key + 2.0 * n_keys * d_key


class Additive(Similarity):
    """A small network over query and key, Bahdanau's alignment model.

    s_ij = v' tanh(q_i' Wq + k_j' Wk + b), learned Wq (d_query, h), Wk (d_key, h), b (h,), v (h,), started at N(0, 1/d),
    0 and N(0, 1/h). Cost: 2 d h operations a vector, about 4 h a pair.

    Parameters
    ----------
    hidden : int > 0, units
        The width h of the hidden layer.

    Notes
    -----
    Without the bias b the score is odd, s(-q, -k) = -s(q, k), and cannot rank sign-symmetric keys. OpenNMT calls this
    similarity `mlp`. AllenNLP and TensorFlow Addons leave out b. Keras has neither Wq nor Wk and sums tanh(q + k).

    References
    ----------
    Bahdanau, Cho, Bengio (2015), section 3.1 and appendix A.1.2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> additive = attnlab.get("similarity", "additive", hidden=8)
    >>> params = additive.init(np.random.default_rng(0), d_query=3, d_key=5)
    >>> additive.score(np.ones((2, 3)), np.ones((4, 5)), **params).shape
    (2, 4)
    """

    name = "additive"
    source = Source(
        "Neural Machine Translation by Jointly Learning to Align and Translate", "Bahdanau, Cho, Bengio", 2015, "ICLR"
    )
    nonnegative = False
    symmetric = False
    content_free = False
    mixes_keys = False

    def __init__(self, hidden: Annotated[int, Gt(0)] = 32) -> None:
        self.hidden = hidden

    def init(self, rng: Any, d_query: int, d_key: int) -> dict[str, Any]:
        h = self.hidden
        return {
            "Wq": rng.normal(size=(d_query, h)) / math.sqrt(d_query),
            "Wk": rng.normal(size=(d_key, h)) / math.sqrt(d_key),
            "b": np.zeros(h),
            "v": rng.normal(size=h) / math.sqrt(h),
        }

    @in_float32
    def score(self, Q: Any, K: Any, Wq: Any, Wk: Any, b: Any, v: Any) -> Any:
        xp = namespace(Q, K, Wq, Wk, b, v)
        H = xp.tanh(xp.matmul(Q, Wq)[..., :, None, :] + xp.matmul(K, Wk)[..., None, :, :] + b)  # (..., q, k, h)
        return xp.matmul(H, v)

    def numbers(self, n_keys: int, d: int) -> float:
        return float(self.hidden)

    def operations(self, n_keys: int, d_query: int, d_key: int) -> float:
        h = self.hidden
        return 2.0 * h * (d_query + d_key * n_keys) + 5.0 * h * n_keys


class NegL2(Similarity):
    """Minus the squared Euclidean distance, the exponent of a Gaussian kernel.

    s_ij = -|q_i - k_j|^2 / (2 sigma^2). Cost: 3 d operations a pair.

    Parameters
    ----------
    sigma : float > 0, in the unit of the queries and keys
        The bandwidth.

    Notes
    -----
    Under softmax this is Nadaraya and Watson's kernel regression with a Gaussian kernel. Because |q|^2 shifts a whole row,
    softmax(-|q-k|^2/2) = softmax(q.k - |k|^2/2).

    References
    ----------
    Nadaraya (1964); Watson (1964).

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("similarity", "neg_l2").score(np.array([[0.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 0.0]]))
    array([[-1., -0.]])
    """

    name = "neg_l2"
    source = Source("On Estimating Regression", "Nadaraya", 1964, "Theory of Probability and Its Applications")
    nonnegative = False
    symmetric = True
    content_free = False
    mixes_keys = False

    def __init__(self, sigma: Annotated[float, Gt(0)] = 1.0) -> None:
        self.sigma = sigma

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        xp = namespace(Q, K)
        away = Q[..., :, None, :] - K[..., None, :, :]  # (..., q, k, d)
        if self.sigma != 1:
            away = away / self.sigma  # before it is squared, so that squares are in range where scores are
        return -xp.sum(away * away, axis=-1) / 2

    def numbers(self, n_keys: int, d: int) -> float:
        return float(max(1, d))

    def operations(self, n_keys: int, d_query: int) -> float:
        return (3.0 * d_query + 1.0) * n_keys


class Uniform(Similarity):
    """The null model: every key answers every query alike.

    s_ij = 0. Cost: none.

    Notes
    -----
    It is a control. A mechanism that does no better than `uniform` has learned nothing from queries and keys.

    References
    ----------
    None: a control.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("similarity", "uniform").score(np.ones((1, 4)), np.ones((2, 4)))
    array([[0., 0.]])
    """

    name = "uniform"
    source = Source("A control without content", "attnlab", 2026)
    nonnegative = True
    symmetric = True
    content_free = True
    mixes_keys = False

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        xp = namespace(Q, K)
        Q, K = detach(Q), detach(K)
        return xp.zeros_like(xp.sum(Q, axis=-1)[..., :, None] + xp.sum(K, axis=-1)[..., None, :])

    def operations(self) -> float:
        return 0.0
