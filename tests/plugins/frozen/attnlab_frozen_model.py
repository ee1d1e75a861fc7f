"""FrozenModel, a model for attnlab."""

from sklearn.base import BaseEstimator
from attnlab import Mechanism, Model, hookimpl


class FrozenModel(Model, BaseEstimator):
    """The mechanism as it starts."""
    name = "frozen_model"

    def __init__(self, mechanism=None, random_state=None):
        self.mechanism = mechanism
        self.random_state = random_state

    def fit(self, data, y=None):
        import numpy as np
        rng = np.random.default_rng(self.random_state)
        self.mechanism_ = self.mechanism or Mechanism()
        d, e, v = data.Q.shape[2], data.K.shape[2], data.V.shape[2]
        self.params_ = self.mechanism_.init(rng, d, e, v)
        return self

    def predict(self, data):
        return self.mechanism_.attend(self.params_, data.Q, data.K, data.V, data.mask)

    def align(self, data):
        return self.mechanism_.weights(self.params_, data.Q, data.K, data.mask)

    def score(self, data, y=None):
        return -float(((self.predict(data) - data.target) ** 2).mean())


@hookimpl
def attnlab_models():
    return [FrozenModel]
