"""The file descriptors of this process: which are open, on what, and whether somebody closed one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

__all__ = ["Descriptors", "identity", "opened"]

_MOST = 256  # that are looked at where the system has no list


def identity(name: str | int) -> tuple[int, int] | None:
    """What a path or a descriptor leads to, (device, inode); None where it leads nowhere."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def opened() -> dict[int, tuple[int, int]]:
    """All that this process has open."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]
    except (OSError, ValueError):
        numbers = [*range(_MOST)]
    return {number: found for number in numbers if (found := identity(number)) is not None}


class Descriptors:
    """The file descriptors by which this process has some files open, to notice when code of this process closes one.

    SQLite keeps to the numbers of its descriptors. Where one was closed, its next write goes nowhere, or into a file that was
    opened since and has the same number.

    Parameters
    ----------
    names : sequence of str
        Paths of the files.
    """

    def __init__(self, names: Sequence[str]) -> None:
        name_of = {found: name for name in names if (found := identity(name)) is not None}
        self._open = {d: (name_of[found], found) for d, found in opened().items() if found in name_of}

    def lost(self) -> list[str]:
        """The files of which a descriptor was closed, or means another file by now; it is opened again under its number."""
        lost = {d: (name, file) for d, (name, file) in self._open.items() if identity(d) != file}
        for descriptor, (name, file) in lost.items():
            with contextlib.suppress(OSError):  # the file is gone, too
                again = os.open(name, os.O_RDWR)
                if again != descriptor and identity(again) == file:
                    os.dup2(again, descriptor, inheritable=False)
                if again != descriptor:
                    os.close(again)
        return sorted({name for name, _ in lost.values()})
