"""FrozenNormaliser, a normaliser for attnlab."""

from attnlab import Normaliser, hookimpl, namespace


class FrozenNormaliser(Normaliser):
    """Positive scores over the number of keys that may be attended to."""
    name = "frozen_normaliser"
    nonnegative = True
    sparse = True

    def normalise(self, S, n_allowed):        # S (..., q, k), masked scores are -inf -> W (..., q, k)
        xp = namespace(S)
        return xp.maximum(S, xp.zeros_like(S)) / n_allowed


@hookimpl
def attnlab_normalisers():
    return [FrozenNormaliser]
