"""FrozenMask, a mask for attnlab."""

import numpy as np
from attnlab import Mask, hookimpl


class FrozenMask(Mask):
    """Only keys at even places."""
    name = "frozen_mask"

    def allow(self, n_queries, n_keys):       # -> bool (q, k), True = may attend
        return np.broadcast_to(np.arange(n_keys) % 2 == 0, (n_queries, n_keys))


@hookimpl
def attnlab_masks():
    return [FrozenMask]
