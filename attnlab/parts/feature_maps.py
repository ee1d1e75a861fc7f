"""Similarities of the dot product z = q.k: kernels that are never negative, for `l1`, and one that opposite vectors match by."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Gt, MultipleOf

from attnlab.arrays import detach, namespace
from attnlab.interfaces import Similarity, Source
from attnlab.precision import in_float32

__all__ = ["Expressive", "FeatureMapElu", "PolyKernel", "Taylor"]


def _dot(Q: Any, K: Any) -> tuple[Any, Any]:
    """(the namespace, q_i . k_j)."""
    xp = namespace(Q, K)
    return xp, xp.matmul(Q, xp.matrix_transpose(K))


class PolyKernel(Similarity):
    """An even power of the dot product plus a constant; it is never negative.

    s_ij = (q_i . k_j + offset)^power. Use it with the normaliser `l1`, so that the weights are kernels over their sum. Cost:
    2 d + power operations a pair.

    Parameters
    ----------
    power : int > 0, even
        Of an odd power, scores would be negative.
    offset : float, in the unit of the dot product
        0 compares products of `power` features alone; above it, also products of fewer.

    Notes
    -----
    Tsai et al. compare kernels inside attention; theirs of degree two is on q.k / sqrt(d). Scikit-learn's `polynomial_kernel`
    also has a factor, gamma, on q.k. With an even power opposite vectors may match as well as equal ones.

    References
    ----------
    Tsai et al. (2019), section 3.2.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("similarity", "poly_kernel").score(np.array([[1.0, 2.0]]), np.array([[3.0, 0.0], [0.0, -1.0]]))
    array([[16.,  1.]])
    """

    name = "poly_kernel"
    source = Source(
        "Transformer Dissection: A Unified Understanding of Transformer's Attention via the Lens of Kernel",
        "Tsai et al.",
        2019,
        "EMNLP",
    )
    nonnegative = True
    symmetric = True
    content_free = False
    mixes_keys = False

    def __init__(self, power: Annotated[int, Gt(0), MultipleOf(2)] = 2, offset: float = 1.0) -> None:
        self.power = power
        self.offset = offset

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        _, Z = _dot(Q, K)
        return (Z + self.offset) ** self.power

    def operations(self, n_keys: int, d_query: int) -> float:
        return (2.0 * d_query + self.power) * n_keys


class FeatureMapElu(Similarity):
    """The dot product of positive features, elu + 1: the kernel of the linear transformer.

    s_ij = phi(q_i) . phi(k_j), phi(x) = elu(x) + 1, that is exp(x) below zero and 1 + x from zero on. It is positive. Use it
    with the normaliser `l1`. Cost: 2 d operations a pair, 2 d a vector.

    Notes
    -----
    With `l1` and no mask this is linear attention. attnlab forms the weights, so that its cost grows with the number of pairs.

    References
    ----------
    Katharopoulos et al. (2020), equation 7.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("similarity", "feature_map_elu").score(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [-50.0, 3.0]]))
    array([[7., 4.]])
    """

    name = "feature_map_elu"
    source = Source(
        "Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention",
        "Katharopoulos et al.",
        2020,
        "ICML",
    )
    nonnegative = True
    symmetric = True
    content_free = False
    mixes_keys = False

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        return _dot(_elu_plus_one(Q), _elu_plus_one(K))[1]

    def operations(self, n_keys: int, d_query: int) -> float:
        return 2.0 * d_query * (2.0 * n_keys + 1.0)


def _elu_plus_one(X: Any) -> Any:
    xp = namespace(X)
    zero = xp.zeros_like(detach(X))
    above = ~(detach(X) <= 0)  # with NaN, which stays NaN
    return xp.where(above, X + 1, xp.exp(xp.where(above, zero, X)))


class Taylor(Similarity):
    """The exponential of the scaled dot product, up to its second power.

    s_ij = 1 + z + z^2 / 2, z = q_i . k_j / sqrt(d). It is at least 1/2. Use it with the normaliser `l1`, which then comes near
    softmax of `scaled_dot` where |z| is small. Cost: 2 d + 4 operations a pair.

    Notes
    -----
    Based writes it as the dot product of features: a constant, the vector, and the products of its pairs. The values are the
    same. A large negative z gets a large score, which exp(z) does not give.

    References
    ----------
    Arora et al. (2024), section 4.1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("similarity", "taylor").score(np.array([[1.0]]), np.array([[1.0], [0.0], [-1.0]]))
    array([[2.5, 1. , 0.5]])
    """

    name = "taylor"
    source = Source(
        "Simple Linear Attention Language Models Balance the Recall-Throughput Tradeoff", "Arora et al.", 2024, "ICML"
    )
    nonnegative = True
    symmetric = True
    content_free = False
    mixes_keys = False

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        _, Z = _dot(Q / Q.shape[-1] ** 0.5, K)
        return 1 + Z + Z * Z / 2

    def operations(self, n_keys: int, d_query: int) -> float:
        return (2.0 * d_query + 5.0) * n_keys


class Expressive(Similarity):
    """How far query and key are from orthogonal: vectors that point the same way or opposite ways match.

    s_ij = log((z^2 + eps) / (1 + z^2)), z = q_i . k_j / sqrt(d). Under softmax the weights are z^2 / (1 + z^2) over their sum.
    Scores lie between log(eps) and 0. Cost: 2 d + 6 operations a pair.

    Parameters
    ----------
    eps : float > 0, dimensionless
        What an orthogonal key has in the place of 0.

    Notes
    -----
    The paper gives the weights without logarithm and softmax, z^2 / (1 + z^2) over their sum. That is the same up to eps.

    References
    ----------
    Gros (2024), equations 3 and 4.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> K = np.array([[-2.0], [0.0], [0.5]])
    >>> attnlab.attention_weights(np.ones((1, 1)), K, similarity="expressive").round(6)
    array([[0.8, 0. , 0.2]])
    """

    name = "expressive"
    source = Source("Reorganizing attention-space geometry with expressive attention", "Gros", 2024, "arXiv:2407.18601")
    nonnegative = False
    symmetric = True
    content_free = False
    mixes_keys = False

    def __init__(self, eps: Annotated[float, Gt(0)] = 1e-9) -> None:
        self.eps = eps

    @in_float32
    def score(self, Q: Any, K: Any) -> Any:
        xp, Z = _dot(Q / Q.shape[-1] ** 0.5, K)
        size = xp.abs(detach(Z))
        large = size > 1
        # z^2 where |z| <= 1, else 1 / z^2: no square leaves the range of the dtype
        square = (
            xp.where(large, 1 / xp.where(large, Z, xp.ones_like(size)), xp.where(large, xp.zeros_like(size), Z)) ** 2
        )
        inside = xp.log(xp.where(large, 1 + self.eps * square, square + self.eps))
        return inside - xp.log1p(square)

    def operations(self, n_keys: int, d_query: int) -> float:
        return (2.0 * d_query + 6.0) * n_keys
