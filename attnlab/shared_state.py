"""Settings of Python, NumPy and the processor that a whole process has one of: put back where somebody changed one."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["SharedState", "untraced"]

_TIMERS = ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
_STORED = (float, int, str, bytes, bytearray)  # what SQLite keeps as it is, unless somebody registers an adapter
_PLAIN = (*_STORED, bool, complex, type(None), list, tuple, dict, set, frozenset)
_DEFAULT = ctypes.c_void_p(-1)  # the state of the processor's arithmetic that each process begins with (fenv.h)
_SLACK, _SOON = 0.5, 0.01  # seconds
_HALF_A_STEP, _LEAST = 2.0**-53, sys.float_info.min


def untraced(trace: Any, profile: Any) -> None:
    """Have Python call these at each step of this thread, and nobody else's. A function that raises is asked no second time."""
    try:
        sys.setprofile(profile)
    except BaseException:
        sys.setprofile(profile)
    try:
        sys.settrace(trace)
    except BaseException:
        sys.settrace(trace)


class SharedState:
    """Clocks that end the process, what is called at each step, the arithmetic, and what Python's own modules know of classes.

    Settings with which programs play for good reasons are put back without a word.
    """

    def __init__(self) -> None:
        self.rang = False
        self.get_timer, self.set_timer = signal.getitimer, signal.setitimer
        self.timers = [number for name in _TIMERS if (number := getattr(signal, name, None)) is not None]
        self.running = {number: signal.getitimer(number) for number in self.timers}
        self.began, self.now = time.monotonic(), time.monotonic
        self.timeout = socket.getdefaulttimeout() if (socket := sys.modules.get("socket")) is not None else None
        self.settings = [(put, get(), get) for get, put in _settings()]
        self.callbacks = [*gc.callbacks]
        self.families = _families()

    def silence(self) -> None:
        """Stop the clocks that were set, and set those that went before for what they had left."""
        for number, (seconds, again) in self.running.items():
            left, repeats = self.get_timer(number)
            due = seconds - (self.now() - self.began) if seconds else 0.0
            if repeats != again or abs(left - due) > (_SLACK if seconds and number == signal.ITIMER_REAL else 0.0):
                self.rang = self.rang or not seconds or number == signal.ITIMER_REAL
                self.set_timer(number, max(due, _SOON) if seconds else 0.0, again)

    def put_back(self) -> list[str]:
        """Put everything back; what had been changed, in words."""
        changes = ["an alarm clock"] if self.rang else []
        if (faulthandler := sys.modules.get("faulthandler")) is not None:
            faulthandler.cancel_dump_traceback_later()  # which may end the process; nobody can ask whether one is set
        if (socket := sys.modules.get("socket")) is not None and socket.getdefaulttimeout() != self.timeout:
            socket.setdefaulttimeout(self.timeout)
            changes.append("the timeout of sockets")
        adapters: Any = getattr(sys.modules.get("sqlite3"), "adapters", {})
        for key in [key for key in adapters if key[0] in _STORED]:
            del adapters[key]
            changes.append(f"what sqlite3 makes of {key[0].__name__}")
        gc.callbacks[:] = self.callbacks
        for put, before, get in self.settings:
            with contextlib.suppress(OSError, ValueError):
                if get() != before:
                    put(before)
        if not _rounds_as_usual():
            changes.append("how the processor rounds")
            for name in ("libm.so.6", None):
                with contextlib.suppress(OSError, AttributeError):
                    ctypes.CDLL(name).fesetenv(_DEFAULT)
                    break
        return changes + self._families()

    def _families(self) -> list[str]:
        """Which plain types count as numbers and containers."""
        changes = []
        for family, before, registered in self.families:
            if _members(family) != before:
                _abc: Any = importlib.import_module("_abc")

                _abc._reset_registry(family)
                _abc._reset_caches(family)
                for reference in registered:
                    if (cls := reference()) is not None:
                        family.register(cls)
                changes.append(f"what is a {family.__name__}")
        return changes


def _settings() -> list[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Pairs of functions that get a setting and put it back."""
    found: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
        (sys.getswitchinterval, sys.setswitchinterval),
        (gc.get_threshold, lambda value: gc.set_threshold(*value)),
        (gc.get_debug, gc.set_debug),
        (gc.isenabled, lambda value: gc.enable() if value else gc.disable()),
        (threading.gettrace, threading.settrace),
        (threading.getprofile, threading.setprofile),
    ]
    if hasattr(sys, "set_int_max_str_digits"):
        found.append((sys.get_int_max_str_digits, sys.set_int_max_str_digits))
    if hasattr(os, "sched_setaffinity"):
        found.append((lambda: os.sched_getaffinity(0), lambda value: os.sched_setaffinity(0, value)))
    for descriptor in (0, 1, 2):
        if hasattr(os, "set_blocking"):
            found.append((_waits(descriptor), _have_wait(descriptor)))
    if (numpy := sys.modules.get("numpy")) is not None and hasattr(numpy, "set_printoptions"):
        found += [
            (numpy.geterr, lambda value: numpy.seterr(**value)),
            (numpy.geterrcall, numpy.seterrcall),
            (numpy.getbufsize, numpy.setbufsize),
            (numpy.get_printoptions, lambda value: numpy.set_printoptions(**value)),
        ]
    return found


def _waits(descriptor: int) -> Callable[[], bool | None]:
    def get() -> bool | None:
        try:
            return os.get_blocking(descriptor)
        except OSError:
            return None

    return get


def _have_wait(descriptor: int) -> Callable[[bool | None], None]:
    def put(value: bool | None) -> None:
        if value is not None:
            os.set_blocking(descriptor, value)

    return put


def _rounds_as_usual() -> bool:
    """Whether sums are rounded to the nearest number, halves to even, and the smallest numbers are kept."""
    one, half, least = 1.0, _HALF_A_STEP, _LEAST
    return one + half == one and one + 1.5 * half > one and -one - half == -one and least / 2.0 > 0.0


def _families() -> list[tuple[Any, list[bool], list[Any]]]:
    """Abstract classes, which plain types belong to each, and what was registered with it."""
    import collections.abc
    import numbers

    dump: Any = importlib.import_module("_abc")._get_dump  # Python says by no other way what was registered
    names = ("Callable", "Collection", "Hashable", "Iterable", "Mapping", "Sequence", "Set", "Sized")
    families = [numbers.Number, numbers.Real, numbers.Integral, *(getattr(collections.abc, name) for name in names)]
    return [(family, _members(family), [*dump(family)[0]]) for family in families]


def _members(family: Any) -> list[bool]:
    return [issubclass(plain, family) for plain in _PLAIN]
