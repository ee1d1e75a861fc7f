"""FrozenPosition, a position for attnlab."""

from attnlab import Position, hookimpl, namespace


class FrozenPosition(Position):
    """A penalty that grows with distance."""
    name = "frozen_position"

    def __init__(self, slope=0.5):
        self.slope = slope

    def bias(self, S, q_index, k_index):
        away = abs(q_index[:, None] - k_index[None, :])           # int (q, k)
        return S - self.slope * namespace(S).astype(away, S.dtype)


@hookimpl
def attnlab_positions():
    return [FrozenPosition]
