from attnlab import AlignmentData, Splits, Task, hookimpl


class Nearest(Task):
    """Which key is the query, with noise?"""

    name = "nearest"

    def __init__(self, n_keys: int = 4, noise: float = 0.5):
        self.n_keys = n_keys
        self.noise = noise

    def make(self, rng):
        def drawn(n):
            K = rng.normal(size=(n, self.n_keys, 3))
            right = rng.integers(self.n_keys, size=n)
            Q = K[range(n), right][:, None] + self.noise * rng.normal(size=(n, 1, 3))
            gold = (right[:, None, None] == range(self.n_keys)).astype(float)
            return AlignmentData(Q, K, K, gold=gold, target=K[range(n), right][:, None])

        return Splits(drawn(16), drawn(4), {"test": drawn(8)})


@hookimpl
def attnlab_tasks():
    return [Nearest]
