"""The processes that a run starts: found, measured and ended, on Linux. Elsewhere nothing is found."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any

__all__ = [
    "adopt_orphans",
    "below",
    "die_with_parent",
    "end_descendants",
    "end_strays",
    "proportional",
    "resident",
    "shared",
]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_ROUNDS = 20  # a process may start others while it is being ended


def adopt_orphans() -> None:
    """From now on, processes below this one whose parent ends become children of this one: none leaves it by a double fork."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """From now on, this process is killed when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(what: int, value: int) -> None:
    _libc().prctl(what, value, 0, 0, 0)


@functools.cache
def _libc() -> Any:
    """Found once, also for the processes that are forked from this one."""
    return ctypes.CDLL(None)


def _table() -> dict[int, list[int]]:
    """The children of each process that lives."""
    children: dict[int, list[int]] = defaultdict(list)
    with contextlib.suppress(OSError):  # no /proc
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended
                    state, parent, *_ = (
                        Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(") ")[2].split()
                    )
                    if state not in "ZX":
                        children[int(parent)].append(int(name))
    return children


def _descendants(pid: int) -> list[int]:
    children, found, ahead = _table(), [], [pid]
    while ahead:
        new = children.get(ahead.pop(), [])
        found += new
        ahead += new
    return found


def end_descendants(pid: int, but: Collection[int] = ()) -> None:
    """Kill every process below one, however it came there, but not itself."""
    for _ in range(_ROUNDS):
        found = [one for one in _descendants(pid) if one not in but]
        if not found:
            return
        for one in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)


def end_strays(own: Collection[int]) -> None:
    """Kill the children of this process that are none of its `own`, and all below them: it adopted them."""
    me = os.getpid()
    for _ in range(_ROUNDS):
        try:
            children = [int(one) for one in Path(f"/proc/self/task/{me}/children").read_text().split()]
        except OSError:  # a kernel that does not tell
            children = _table().get(me, [])
        strays = [child for child in children if child not in own]
        if not strays:
            return
        for stray in strays:
            end_descendants(stray)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(stray, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(stray, 0)


def below(pid: int) -> list[int]:
    """The processes below one; quick where there are none."""
    if sys.platform != "linux":
        return []
    try:
        if not any(Path(f"/proc/{pid}/task/{task}/children").read_text() for task in os.listdir(f"/proc/{pid}/task")):
            return []
    except OSError:  # a kernel that does not tell, or a process that is gone: look at all
        return _descendants(pid)
    return _descendants(pid)


def proportional(pid: int) -> int:
    """Bytes that a process takes, where pages that several processes share are divided among them."""
    found = _rollup(pid)
    return found["Pss"] if "Pss" in found else resident(pid)


def shared(pid: int) -> tuple[int, float]:
    """(bytes of the pages of a process that others have as well, among how many processes they are divided)."""
    found = _rollup(pid)
    private = found.get("Private_Clean", 0) + found.get("Private_Dirty", 0)
    size, share = found.get("Rss", 0) - private, found.get("Pss", 0) - private
    return (size, max(1.0, size / share)) if size > 0 and share > 0 else (0, 1.0)


def _rollup(pid: int) -> dict[str, int]:
    """The sums over all pages of a process, in bytes; {} where the system does not tell, and for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name.rstrip(":"): int(size) * 1024 for name, size, *_ in map(str.split, lines)}


def resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 where the system does not tell, and for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError):
        return 0
