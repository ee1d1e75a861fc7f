"""The standard streams of the command line: none of them ends the work because nobody can read it, or it lacks a letter."""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import sys
import threading
import time
from typing import Any, NoReturn

from attnlab.staying import staying

__all__ = ["Stream", "leave", "let_go", "prepare"]

_exit = os._exit  # before others are kept from it
PATIENCE = 10.0  # seconds for what is registered for the end
_CLOSED = (errno.EPIPE, errno.ESHUTDOWN)


class Stream(io.TextIOWrapper):
    """A text stream on a file descriptor that goes quiet where writing is no use any more.

    Characters that its encoding lacks are written as escapes, such as \\\\u2019.
    """

    def __init__(self, descriptor: int, encoding: str, forgives: tuple[int, ...] | None) -> None:
        raw = io.FileIO(descriptor, "w", closefd=False)
        terminal = raw.isatty()
        super().__init__(
            io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=terminal or descriptor == 2
        )
        self.descriptor = descriptor
        self.forgives = forgives  # numbers of errors; None: all

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._forgive(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._forgive(error)

    def _forgive(self, error: OSError) -> None:
        let_go(self.descriptor)
        if self.forgives is not None and error.errno not in self.forgives:
            error.filename = "standard output"
            raise error


def let_go(descriptor: int) -> None:
    """Let what is still to be written to a descriptor go nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def prepare() -> None:
    """Make the standard streams of this process fit for what may become of them.

    Descriptors that are closed are taken, so that no file that is opened later gets their numbers and what is printed to
    them. stderr that cannot be written goes quiet. So does stdout once its reader is gone; a disk that is full is an error.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            taken = os.open(os.devnull, os.O_RDWR)
            if taken != descriptor:
                os.dup2(taken, descriptor)
                os.close(taken)
            os.set_inheritable(descriptor, True)  # new interpreters must have it, too
    if sys.stderr is None or _is_real(sys.stderr, sys.__stderr__, 2):
        sys.stderr = Stream(2, getattr(sys.stderr, "encoding", "utf-8"), None)
    if sys.stdout is not None and _is_real(sys.stdout, sys.__stdout__, 1):
        sys.stdout = Stream(1, sys.stdout.encoding, _CLOSED)


def _is_real(stream: Any, original: Any, descriptor: int) -> bool:
    try:
        return stream is original and not isinstance(stream, Stream) and stream.fileno() == descriptor
    except (AttributeError, OSError, ValueError):
        return False


def _end(status: int) -> None:
    """End the process, if what was registered for its end does not."""
    time.sleep(PATIENCE)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(
            f"attnlab: what a plugin does at the end of the process takes longer than {PATIENCE:g} s", file=sys.stderr
        )
        sys.stdout.flush()
    _exit(status)


def leave(status: int, at_once: bool = False) -> NoReturn:
    """End the process with a status, and leave behind threads of plugins that would keep it.

    With `at_once`, Python does what is registered for the end, and does not take its modules apart: with pandas and SciPy loaded
    that takes as long as many a command.
    """
    kept = any(not t.daemon and t is not threading.current_thread() and t.is_alive() for t in threading.enumerate())
    if at_once and not kept:
        threading.Thread(target=_end, args=(status,), name="attnlab end", daemon=True).start()
        with staying(files=False):  # what a plugin has registered sets no other status
            atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    if at_once or kept:
        os._exit(status)
    sys.exit(status)
