"""Metrics of others: each measures copies, in a process of its own where that can be had, and with a limit of its own.

attnlab's own metrics are measured before them. So a metric that raises, exits, hangs, writes or changes its process has no
number, which a note of the run says, and costs no other metric and no run.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from attnlab.data import AlignmentData
from attnlab.errors import message_of
from attnlab.guard import called, wait_for_children
from attnlab.injection import call
from attnlab.registry import Entry, entries

__all__ = ["SECONDS", "Tested", "measure_others", "number_of", "read_only", "sealed", "unshared"]

SECONDS = 30.0  # that a metric of others may take with all test conditions of a run
_SHARE = 0.8  # of the time that a run has left, which metrics of others may use up
_NOTE = 2000  # characters of a note at most
_MESSAGE = 2**20  # bytes at most that a metric's process may send


class Tested(NamedTuple):
    """What is measured in one test condition."""

    data: AlignmentData
    W: Any
    Y: Any


class Outcome(NamedTuple):
    """What a metric gave: its value by test condition, where it applies, and notes."""

    values: dict[str, float]
    notes: list[str]


def measure_others(
    columns: Sequence[str],
    tested: Mapping[str, Tested],
    model: Any,
    fit_seconds: float,
    left: float | None = None,
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The metrics of others that have these columns, by test condition and column, and notes on those without a number.

    Parameters
    ----------
    columns : sequence of str
    tested : mapping of test condition to Tested
    model : object
        The fitted model.
    fit_seconds : float
    left : float, optional
        Seconds that the run has left. Default: no limit.
    """
    found = [e for given in entries("metric").values() for e in given if e.shown in columns]
    end = None if left is None else time.monotonic() + _SHARE * left
    values: dict[str, dict[str, float]] = {condition: {} for condition in tested}
    notes: list[str] = []
    for i, e in enumerate(found):
        limit = SECONDS if end is None else min(SECONDS, max(0.05, (end - time.monotonic()) / (len(found) - i)))
        outcome = _one(e, tested, model, fit_seconds, limit)
        for condition, value in outcome.values.items():
            values[condition][e.shown] = value
        notes += outcome.notes
    return values, notes


def _one(e: Entry, tested: Mapping[str, Tested], model: Any, fit_seconds: float, limit: float) -> Outcome:
    def work() -> Outcome:
        return _measured(e, tested, model, fit_seconds)

    alone = sys.platform == "linux" and threading.active_count() == 1
    if not alone:
        with contextlib.suppress(Exception):  # a model of others that cannot be copied is measured as it is
            model = copy.deepcopy(model)
    outcome = _in_a_fork(work, limit) if alone else _here(work, limit)
    if isinstance(outcome, str):
        return Outcome(dict.fromkeys(tested, float("nan")), [f"metric {e.shown} {outcome}"[:_NOTE]])
    return outcome


def _measured(e: Entry, tested: Mapping[str, Tested], model: Any, fit_seconds: float) -> Outcome:
    values: dict[str, float] = {}
    notes: list[str] = []
    for condition, (data, W, Y) in tested.items():
        mine = _copied(data)
        available = {"data": mine, "W": _fixed(W), "Y": _fixed(Y), "model": model, "fit_seconds": fit_seconds}
        try:
            metric: Any = e.cls()
            if metric.applies(mine):
                values[condition] = value = number_of(call(metric, "measure", **available))
                if np.isinf(value):
                    notes.append(f"metric {e.shown} is infinite, and counts as no value")
        except _TooLong:
            raise
        except BaseException as error:  # SystemExit too: it is no reason to end the run
            values[condition] = float("nan")
            notes.append(f"metric {e.shown} raised {type(error).__name__}: {message_of(error)}"[:_NOTE])
    return Outcome(values, list(dict.fromkeys(notes)))


def number_of(value: Any) -> float:
    """What a metric gave, where that is one real number; True and False are 1 and 0, and a masked number is none.

    Raises
    ------
    TypeError
        For everything else: text that looks like a number, None, complex numbers, dates, lists and arrays of numbers.
    """
    if isinstance(value, (Real, Decimal, np.bool_)) and not isinstance(value, np.timedelta64):
        return float(value)
    if np.ma.is_masked(value):
        return float("nan")
    scalar = getattr(value, "shape", None) == () and hasattr(
        value, "dtype"
    )  # an array of no dimensions, of any library
    if scalar and getattr(value.dtype, "kind", "f") not in "OSUTcmM":
        return float(value)
    raise TypeError(f"measure must give a number; got {type(value).__name__} {value!r:.60}")


def _in_a_fork(work: Callable[[], Outcome], limit: float) -> Outcome | str:
    """What `work` gives in a process that is forked for it, or in words why it gives nothing."""
    wait_for_children()  # a part of the run may have ignored them
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(ours)
            with os.fdopen(theirs, "wb") as pipe:
                pipe.write(json.dumps(work()).encode("ascii"))
        finally:
            os._exit(0)
    os.close(theirs)
    try:
        heard = _heard(ours, limit)
    finally:
        os.close(ours)
        os.kill(pid, signal.SIGKILL)  # it has said all it has to say, or takes too long
        _, status = os.waitpid(pid, 0)
    if heard is None:
        return f"took longer than the {limit:.3g} s it has, and counts as no value"
    try:
        values, notes = json.loads(heard)
        return Outcome({str(k): float(v) for k, v in values.items()}, [str(note)[:_NOTE] for note in notes])
    except (TypeError, ValueError, AttributeError):
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended its process (exit code {code})"
        return f"{how} instead of giving a number"


def _heard(pipe: int, limit: float) -> bytes | None:
    """All that comes until the pipe is closed; None when that takes longer than the limit."""
    end, heard = time.monotonic() + limit, bytearray()
    while len(heard) <= _MESSAGE:
        if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            return None
        chunk = os.read(pipe, 2**16)
        if not chunk:
            break
        heard += chunk
    return bytes(heard)


def _here(work: Callable[[], Outcome], limit: float) -> Outcome | str:
    """The same in this process, on copies; with a limit where there is a clock that interrupts."""
    clock = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()

    def too_long(number: int, frame: Any) -> None:
        raise _TooLong

    def timed() -> Outcome:
        if not clock:
            return work()
        before = signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            return work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    outcome, error, _ = called(timed)
    if isinstance(error, _TooLong):
        return f"took longer than the {limit:.3g} s it has, and counts as no value"
    return outcome if error is None else f"raised {type(error).__name__}: {message_of(error)}"


class _TooLong(BaseException):
    pass


# -- copies -----------------------------------------------------------------------------------------------------------
def read_only(array: Any) -> Any:
    """The array, which nobody may write to any more."""
    array.setflags(write=False)
    return array


def _fixed(array: Any) -> Any:
    """A copy in memory that cannot be made writable."""
    return array if array.dtype == object else np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def sealed(data: AlignmentData) -> AlignmentData:
    """The same examples in memory that cannot be made writable; what is no array of numbers, packed."""
    own = copy.copy(data)
    for name, value in vars(data).items():
        if isinstance(value, np.ndarray) and value.dtype != object:
            setattr(own, name, _fixed(value))
        elif value is not None:
            setattr(own, name, _Packed(pickle.dumps(value)))
    return own


class _Packed(NamedTuple):
    value: bytes


def unshared(data: AlignmentData) -> AlignmentData:
    """The same arrays, and a copy of everything else."""
    own = copy.copy(data)
    for name, value in vars(data).items():
        if isinstance(value, _Packed):
            setattr(own, name, pickle.loads(value.value))
    return own


def _copied(data: AlignmentData) -> AlignmentData:
    """Examples that share nothing with these."""
    try:
        return unshared(sealed(data))
    except Exception:  # something of a task of others that cannot be packed
        return copy.deepcopy(data)
