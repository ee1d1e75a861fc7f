"""Settings of Python's own modules that a whole process has one of, as they were: put back where somebody changed one."""

from __future__ import annotations

import signal
import sys
from typing import Any

__all__ = ["SharedState"]

_TIMERS = ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
_STORED = (float, int, str, bytes, bytearray)  # what SQLite keeps as it is, unless somebody registers an adapter


class SharedState:
    """Clocks that end the process, the timeout of new sockets, and what SQLite makes of numbers and text."""

    def __init__(self) -> None:
        self.timers = [number for name in _TIMERS if (number := getattr(signal, name, None)) is not None]
        self.running = [number for number in self.timers if signal.getitimer(number) != (0.0, 0.0)]
        self.timeout = socket.getdefaulttimeout() if (socket := sys.modules.get("socket")) is not None else None

    def put_back(self) -> list[str]:
        """Put everything back; what had been changed, in words."""
        changes = []
        for number in self.timers:
            if number not in self.running and signal.getitimer(number) != (0.0, 0.0):
                signal.setitimer(number, 0)
                changes.append("an alarm clock")
        if (faulthandler := sys.modules.get("faulthandler")) is not None:
            faulthandler.cancel_dump_traceback_later()  # which may end the process; nobody can ask whether one is set
        if (socket := sys.modules.get("socket")) is not None and socket.getdefaulttimeout() != self.timeout:
            socket.setdefaulttimeout(self.timeout)
            changes.append("the timeout of sockets")
        adapters: Any = getattr(sys.modules.get("sqlite3"), "adapters", {})
        for key in [key for key in adapters if key[0] in _STORED]:
            del adapters[key]
            changes.append(f"what sqlite3 makes of {key[0].__name__}")
        return changes
