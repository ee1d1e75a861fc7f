"""The inside of a worker: it executes one run after another and answers each with exactly one packed result.

A worker is a process of its own with one socket to the coordinator. A message is eight bytes of length and then itself.
It first says b"" (ready), then answers each run, its run_id and canonical form, with one flag byte (1: do not use me
again) and the result. This file is loaded where processes can be started and signalled, and nowhere else.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import random
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from attnlab.plugins import configure
from attnlab.process import DEVICE
from attnlab.sweeps.executors.attempt import Execute, attempt
from attnlab.sweeps.executors.kin import adopt_orphans, below, die_with_parent, end_descendants
from attnlab.sweeps.run import Run

__all__ = ["ends", "frame", "keep_freed_memory", "serve"]

ends: set[int] = set()  # the coordinator's ends of sockets, which no other process may hold

_LENGTH = struct.Struct("!Q")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def frame(message: bytes) -> bytes:
    """A message as it goes over the socket: its length, then itself."""
    return _LENGTH.pack(len(message)) + message


def serve(
    channel: socket.socket,
    output: socket.socket,
    inherited: Sequence[int],
    coordinator: int,
    execute: Execute,
    memory_limit: int | None,
    time_limit: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """The life of a worker. It ends when the coordinator closes its end of `channel`, or dies.

    `coordinator` is its parent process. `inherited` are file descriptors that a fork has copied here and that are not
    for runs. `time_limit` is what the coordinator allows a run, in seconds. `options` are those of the plugins, for a
    new interpreter.
    """
    _leave_home(coordinator)
    for descriptor in inherited:
        os.close(descriptor)
    _redirect(output)
    adopt_orphans()
    if options is not None:  # a new interpreter
        keep_freed_memory()
        configure(**options)
    gc.enable()
    with contextlib.suppress(OSError):  # the coordinator is gone, and with it the reason to go on
        channel.sendall(frame(b""))
        while (message := _receive(channel)) is not None:
            run_id, metrics, canonical, device = message.decode("ascii").split("\n")
            if device:
                os.environ[DEVICE] = device
            run = Run(canonical, run_id, tuple(json.loads(metrics)), time_limit)
            seed_everything(run)
            reply, spent = attempt(execute, run, "local", memory_limit)
            signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm it left behind is not for the next run
            if below(os.getpid()):
                end_descendants(os.getpid())  # nor are processes
            channel.sendall(frame(bytes([spent]) + reply))
    os._exit(os.EX_OK)  # past threads and exit handlers that runs may have left


def seed_everything(run: Run) -> None:
    """Set the random streams that a process has one of, which attnlab never uses: a run has its own, and always the same."""
    number = int.from_bytes(run.run_id.encode()[:16], "big")
    random.seed(number)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(number % 2**32)


def _receive(channel: socket.socket) -> bytes | None:
    header = _exactly(channel, _LENGTH.size)
    return None if header is None else _exactly(channel, _LENGTH.unpack(header)[0])


def _exactly(channel: socket.socket, n_bytes: int) -> bytes | None:
    received = bytearray()
    while len(received) < n_bytes:
        chunk = channel.recv(n_bytes - len(received))
        if not chunk:
            return None
        received += chunk
    return bytes(received)


def _leave_home(coordinator: int) -> None:
    """A process group of its own, no Ctrl-C (the coordinator decides), and death with the coordinator."""
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    if sys.platform == "linux":
        die_with_parent()
        if os.getppid() != coordinator:  # it died before the line above
            os._exit(os.EX_OK)


def _redirect(output: socket.socket) -> None:
    """Send the output of runs to the coordinator, which keeps the end of it to explain a crash.

    The Python stack goes there too, at a segmentation fault or on SIGUSR1.
    """
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    sys.stdin = os.fdopen(0, "r", closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(d, "w", 1, errors="backslashreplace", closefd=False) for d in (1, 2))
    faulthandler.enable(2, all_threads=False)
    faulthandler.register(signal.SIGUSR1, 2, all_threads=False)


def keep_freed_memory() -> None:
    """Large temporaries are reused and not given back to the system each time.

    Measured on an additive similarity in NumPy, (64, 32, 64, 32) in float64: 36 ms a step instead of 52.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**30)
        libc.mallopt(_M_TOP_PAD, 2**26)
