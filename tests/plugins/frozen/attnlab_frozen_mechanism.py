"""FrozenMechanism, a mechanism for attnlab."""

from attnlab import Mechanism, MechanismComponent, hookimpl


class FrozenMechanism(MechanismComponent):
    """The mean of two mechanisms' contexts."""
    name = "frozen_mechanism"

    def __init__(self, first=None, second=None):
        self.first = first
        self.second = second

    def _two(self):
        return self.first or Mechanism("dot"), self.second or Mechanism("cosine")

    def init(self, rng, d_query, d_key, d_value):
        return {str(i): m.init(rng, d_query, d_key, d_value) for i, m in enumerate(self._two())}

    def weights(self, params, Q, K, mask=None, **context):
        return sum(m.weights(params[str(i)], Q, K, mask, **context) for i, m in enumerate(self._two())) / 2

    def attend(self, params, Q, K, V, mask=None, **context):
        return self.weights(params, Q, K, mask, **context) @ V


@hookimpl
def attnlab_mechanisms():
    return [FrozenMechanism]
