"""A process made cheap to fork, for runs that have one each. This file is loaded in zygotes, and nowhere else."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from attnlab.sweeps import execute as _execute
from attnlab.sweeps.executors.strangers import is_apart
from attnlab.sweeps.run import Run

__all__ = ["prepare", "write_ahead"]

_MADV_POPULATE_WRITE, _MADV_COLLAPSE = 23, 25  # Linux 5.14, 6.1
_PROCESS_MADVISE = 440  # number of the system call, which a process may use on itself for any advice since Linux 6.13
_MOST_RANGES = 1024  # in one call
_HUGE = 2**21  # bytes of a large page
_OWN_PAGE = 2**63 + 2**56  # of an entry of /proc/self/pagemap: it is there, and no other process has it
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
    with contextlib.suppress(OSError, ValueError):  # no process is to be had, or it did not end well
        _written[:] = _in_calls(_places_written())


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
    for first, last, name in _own_memory():
        if name in ("", "[heap]"):
            for at in range(-(-first // _HUGE) * _HUGE, last - _HUGE + 1, _HUGE):
                libc.madvise(at, _HUGE, _MADV_COLLAPSE)


def _own_memory() -> Iterator[tuple[int, int, str]]:
    """The parts of memory that this process can write to and has for itself: first and last address, and a name."""
    with open("/proc/self/maps") as maps:
        lines = [line.split() for line in maps]
    for place, access, _, _, _, *name in lines:
        if access == "rw-p":
            first, last = (int(end, 16) for end in place.split("-"))
            yield first, last, " ".join(name)


# -- where a run writes -----------------------------------------------------------------------------------------------
class _Range(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("size", ctypes.c_size_t))


_written: list[ctypes.Array[_Range]] = []


def write_ahead() -> None:
    """Have the system copy at once what a run will write to, in a process that was just forked and still waits for its run.

    A page that is copied when the run first writes to it costs an interruption of the run besides. Python writes to every object that
    it touches, so about 2,000 pages of any two runs are the same. Systems that cannot do it do nothing.
    """
    if not _written:
        return
    with contextlib.suppress(OSError):
        me = os.pidfd_open(os.getpid())
        call, long = ctypes.CDLL(None).syscall, ctypes.c_long
        for ranges in _written:
            call(long(_PROCESS_MADVISE), long(me), ranges, long(len(ranges)), long(_MADV_POPULATE_WRITE), long(0))
        os.close(me)


def _in_calls(places: Sequence[Sequence[int]]) -> list[ctypes.Array[_Range]]:
    """Places, (first address, bytes), in arrays as a system call takes them."""
    parts = [places[i : i + _MOST_RANGES] for i in range(0, len(places), _MOST_RANGES)]
    return [(_Range * len(part))(*(_Range(*place) for place in part)) for part in parts]


def _places_written() -> list[list[int]]:
    """Where a process that is forked from this one writes when it carries out a small run."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ours)
            before = [*_own_memory()]
            rehearse()
            with os.fdopen(theirs, "wb") as pipe:
                pipe.write(_copied(before).tobytes())
        finally:
            os._exit(os.EX_OK)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    places: list[list[int]] = np.frombuffer(told, np.int64).reshape(-1, 2).tolist()
    return places


def _copied(memory: list[tuple[int, int, str]]) -> np.ndarray:
    """The pages in parts of memory that this process has for itself by now, (ranges, 2): first address and bytes."""
    found = [np.empty((0, 2), np.int64)]
    with open("/proc/self/pagemap", "rb", buffering=0) as pages:
        for first, last, name in memory:
            if name == "[stack]":
                continue
            pages.seek(first // mmap.PAGESIZE * 8)
            entries = np.frombuffer(pages.read((last - first) // mmap.PAGESIZE * 8), np.uint64)
            own = np.flatnonzero((entries & np.uint64(_OWN_PAGE)) == np.uint64(_OWN_PAGE))
            runs = np.split(own, np.flatnonzero(np.diff(own) > 1) + 1) if own.size else []
            found += [np.array([[first + r[0] * mmap.PAGESIZE, r.size * mmap.PAGESIZE]], np.int64) for r in runs]
    return np.concatenate(found)
