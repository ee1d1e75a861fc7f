"""Whether this process is attnlab's own: a command, or a process that it started to do runs, and what that was given."""

from __future__ import annotations

import sys

__all__ = ["DEVICE", "claim", "is_own"]

DEVICE = "ATTNLAB_DEVICE"  # in the environment of a worker: the number of the GPU that its run has

_own = False


def claim() -> None:
    """Say that this process is attnlab's own. It must come before models are imported; where scikit-learn is here, it changes nothing."""
    global _own
    _own = "sklearn" not in sys.modules


def is_own() -> bool:
    """Whether nobody but attnlab's commands and runs uses this process, so that what they do not need can be left out."""
    return _own
