"""A process made cheap to fork, for runs that have one each. This file is loaded in zygotes, and nowhere else."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import warnings

from attnlab.sweeps import execute as _execute
from attnlab.sweeps.executors.strangers import is_apart
from attnlab.sweeps.run import Run

__all__ = ["prepare"]

_MADV_COLLAPSE = 25  # Linux 6.1
_HUGE = 2**21  # bytes of a large page
# A run of attnlab's own that takes milliseconds. Its similarity has no compiled step, whose compilation would take seconds.
_SMALL = {
    "task": {"lookup": {"n_keys": 2, "d": 2, "n_train": 2, "n_validation": 1, "n_test": 2}},
    "mechanism": {"single_head": {"similarity": {"neg_l2": {}}}},
    "model": {"aligner": {"projection": 2, "steps": 2, "batch_size": 2}},
    "seed": 0,
}


def prepare() -> None:
    """Do once what each run of a forked process would do for the first time, and lay memory in large pages.

    Without it such a run takes 7 ms of processor time longer, mostly to make pydantic's checks and to read signatures, and its fork
    and end as much again, since the system looks at each small page of the parent. No code of others is called.
    """
    rehearse()
    gc.freeze()  # what is here now stays here, too
    collapse()


def rehearse() -> None:
    """Carry out a small run, whose result nobody sees."""
    run = Run.of(_SMALL)
    if is_apart(run):  # a kernel of others takes the place of one of attnlab's own
        return
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _execute.execute(run)
    _execute.DRAWN.kept.clear()


def collapse() -> None:
    """Ask for large pages where this process has memory of its own; a system that has none refuses."""
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    for place, access, _, _, inode, *name in lines:
        if access != "rw-p" or inode != "0" or name not in ([], ["[heap]"]):
            continue
        first, last = (int(end, 16) for end in place.split("-"))
        for at in range(-(-first // _HUGE) * _HUGE, last - _HUGE + 1, _HUGE):
            libc.madvise(at, _HUGE, _MADV_COLLAPSE)
