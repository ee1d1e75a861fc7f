"""FrozenSimilarity, a similarity for attnlab."""

from attnlab import Similarity, hookimpl, namespace


class FrozenSimilarity(Similarity):
    """Minus the city-block distance over a length scale."""
    name = "frozen_similarity"

    def __init__(self, scale=1.0):
        self.scale = scale

    def score(self, Q, K):                    # Q (..., q, d), K (..., k, d) -> S (..., q, k)
        xp = namespace(Q, K)
        return -xp.sum(xp.abs(Q[..., :, None, :] - K[..., None, :, :]), axis=-1) / self.scale


@hookimpl
def attnlab_similarities():
    return [FrozenSimilarity]
