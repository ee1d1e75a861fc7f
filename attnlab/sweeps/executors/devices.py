"""Which GPU a run gets on this machine: each GPU has one run at a time, and two runs at work never have the same."""

from __future__ import annotations

import glob
import os
import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from attnlab.sweeps.run import Run

__all__ = ["Devices", "asked_for", "n_visible"]

_AHEAD = 64  # runs that wait, of which the first one that can start does

_ASKED = re.compile(r'"device":"(?:cuda|gpu)(?::(\d+))?"')  # in the canonical text of a run


def n_visible(environ: Mapping[str, str] = os.environ, there: int | None = None) -> int:
    """How many GPUs CUDA shows to a process: those of the driver, or those of CUDA_VISIBLE_DEVICES up to one that is not there.

    Parameters
    ----------
    environ : mapping
    there : int, or None
        The GPUs that the driver has; None asks the system.
    """
    if there is None:
        there = len(glob.glob("/dev/nvidia[0-9]*")) or len(glob.glob("/proc/driver/nvidia/gpus/*"))
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None or not there:
        return there
    found: list[str] = []
    for name in (one.strip() for one in listed.split(",")):
        known = name.startswith(("GPU-", "MIG-")) or (name.isdecimal() and int(name) < there)
        if not known or name in found:
            return 0 if name in found else len(found)  # CUDA shows none where one is named twice
        found.append(name)
    return len(found)


def asked_for(run: Run) -> int | None:
    """The number of the GPU that a run asks for, -1 for any, None for none."""
    if '"device":"' not in run.canonical or (found := _ASKED.search(run.canonical)) is None:
        return None
    return -1 if found[1] is None else int(found[1])


class Devices:
    """The GPUs of this machine.

    Parameters
    ----------
    n : int, or None
        How many there are; None counts them when a run first asks for one.
    """

    def __init__(self, n: int | None = None) -> None:
        self._n = n

    def of(self, run: Run, workers: Iterable[Any], before: int | None = None) -> int | None:
        """The number of the GPU that a run gets now: the one that its worker had before, if it is free.

        None where it needs none, where it has to wait, and where it asks for one that is not there, so that it fails and says so.
        """
        return self._choice(run, workers, before)[1]

    def bring(self, waiting: deque[Run], workers: Iterable[Any]) -> bool:
        """Put first a run that need not wait for a GPU; whether there is one."""
        busy = list(workers)
        for i in range(min(len(waiting), _AHEAD)):
            if self._choice(waiting[i], busy)[0]:
                if i:
                    run = waiting[i]
                    del waiting[i]
                    waiting.appendleft(run)
                return True
        return False

    def _choice(self, run: Run, workers: Iterable[Any], before: int | None = None) -> tuple[bool, int | None]:
        """(whether it can start, the number of its GPU)."""
        number = asked_for(run)
        if number is None:
            return True, None
        if self._n is None:
            self._n = n_visible()
        if number >= self._n or not self._n:
            return True, None
        taken = {worker.device for worker in workers if worker.run is not None}
        free = [i for i in ([number] if number >= 0 else range(self._n)) if i not in taken]
        if not free:
            return False, None
        return True, before if before in free else free[0]
