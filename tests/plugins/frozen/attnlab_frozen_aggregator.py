"""FrozenAggregator, a aggregator for attnlab."""

from attnlab import Aggregator, hookimpl


class FrozenAggregator(Aggregator):
    """Half the weighted sum."""
    name = "frozen_aggregator"

    def aggregate(self, W, V):                # W (..., q, k), V (..., k, v) -> Y (..., q, v)
        return W @ V / 2


@hookimpl
def attnlab_aggregators():
    return [FrozenAggregator]
