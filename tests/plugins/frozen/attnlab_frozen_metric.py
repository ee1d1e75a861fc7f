"""FrozenMetric, a metric for attnlab."""

from attnlab import Metric, hookimpl


class FrozenMetric(Metric):
    """The mean weight of the first key."""
    name = "frozen_metric"
    direction = None

    def measure(self, data, W):               # may also ask for Y, model, fit_seconds
        return float(W[..., 0][data.alive].mean())


@hookimpl
def attnlab_metrics():
    return [FrozenMetric]
