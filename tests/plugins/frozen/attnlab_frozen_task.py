"""FrozenTask, a task for attnlab."""

import numpy as np
from attnlab import AlignmentData, Splits, Task, hookimpl


class FrozenTask(Task):
    """Each query is one of the keys."""
    name = "frozen_task"

    def __init__(self, n_keys=8):
        self.n_keys = n_keys

    @property
    def chance(self):
        return 1 / self.n_keys

    def make(self, rng):
        def draw(n):
            K = rng.normal(size=(n, self.n_keys, 4))
            i = rng.integers(self.n_keys, size=n)
            gold = np.eye(self.n_keys)[i][:, None, :]
            return AlignmentData(gold @ K, K, K, gold=gold, target=gold @ K)
        return Splits(draw(256), draw(64), {"test": draw(128)})


@hookimpl
def attnlab_tasks():
    return [FrozenTask]
