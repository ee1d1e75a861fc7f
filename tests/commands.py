"""`attnlab ...` as a process of its own, for tests that run many of them.

To start an interpreter and to import pandas and SciPy takes longer than most commands. So each test process keeps one
that has imported them, and forks a command from it: with its own streams, folder, arguments and end, as a shell starts it.
Before the fork no plugin is loaded and no command is called. A command that is given other variables of the interpreter has
one of its own; so has every command where processes cannot be forked.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PACKET = 2**16
_server: list[tuple[int, socket.socket, subprocess.Popen[bytes]]] = []  # with the process that it serves


def attnlab_command(
    *args: Any, cwd: Any, timeout: float = 120, input: str | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`attnlab *args` in a folder: its status, stdout and stderr."""
    command = [sys.executable, "-m", "attnlab", *map(str, args)]
    if sys.platform != "linux" or _of_interpreter(env or os.environ) != _of_interpreter(os.environ):
        return subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=timeout, input=input, env=env, check=False
        )
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write((input or "").encode())
        given.seek(0)
        order = {"args": command[3:], "cwd": str(cwd), "environment": dict(env or os.environ)}
        control = _control()
        socket.send_fds(control, [json.dumps(order).encode("ascii")], [given.fileno(), out.fileno(), err.fileno()])
        pid = int(control.recv(_PACKET))
        control.settimeout(timeout)
        try:
            status = int(control.recv(_PACKET))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            control.settimeout(None)
            control.recv(_PACKET)
            raise subprocess.TimeoutExpired(command, timeout) from None
        finally:
            control.settimeout(None)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, status, out.read().decode(), err.read().decode())


def _of_interpreter(env: Mapping[str, str]) -> set[tuple[str, str]]:
    return {
        (name, value) for name, value in env.items() if name.startswith(("PYTHON", "OPENBLAS", "OMP", "LC_", "LANG"))
    }


def _control() -> socket.socket:
    """The socket of this process's server, which ends when that is closed."""
    if not _server or _server[-1][0] != os.getpid() or _server[-1][2].poll() is not None:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        _server.append((os.getpid(), control, process))
    return _server[-1][1]


def _serve(control: socket.socket) -> None:
    """Fork a process for each order; returns in that process, ready to be the command."""
    while True:
        heard, descriptors, _, _ = socket.recv_fds(control, _PACKET, 3)
        if not heard:
            os._exit(0)
        order = json.loads(heard)
        if pid := os.fork():
            for descriptor in descriptors:
                os.close(descriptor)
            control.send(str(pid).encode())
            control.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
            continue
        control.close()
        for i, descriptor in enumerate(descriptors):
            os.dup2(descriptor, i)
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["cwd"])
        sys.path[0] = order["cwd"]  # as python -m has it
        sys.argv[:] = [str(Path(attnlab.__file__).with_name("__main__.py")), *order["args"]]
        return


if __name__ == "__main__":
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401

    import attnlab.cli
    import attnlab.sweeps.pipeline

    _serve(socket.socket(fileno=int(sys.argv[1])))
    attnlab.cli.main()
