"""FrozenEncoder, a encoder for attnlab."""

from attnlab import Encoder, hookimpl


class FrozenEncoder(Encoder):
    """The embeddings themselves."""
    name = "frozen_encoder"

    def init(self, rng, d_input):
        return {}

    def encode(self, X, mask):                # X (n, m, d) -> H (n, m, d)
        return X


@hookimpl
def attnlab_encoders():
    return [FrozenEncoder]
