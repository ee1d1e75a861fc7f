"""What others wrote, called in this process: what it raises, prints and changes does not reach the rest.

`called` calls a function of a plugin, or imports one. An exception comes back as a value. The working directory, the
streams, signals, limits and functions of attnlab, NumPy and Python are put back, and what was changed is said. Only a real
interruption of the user comes through: a signal that arrived, whether or not the code let its exception pass.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from attnlab.relied_on import Modules
from attnlab.shared_state import SharedState, untraced
from attnlab.staying import kept_open, staying

__all__ = [
    "ASKING",
    "Called",
    "Terminated",
    "called",
    "changing",
    "interruptions",
    "on_signal",
    "settled",
    "wait_for_children",
]

ASKING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(BaseException):
    """A signal asked this process to end: as KeyboardInterrupt, for other signals than Ctrl-C's.

    Attributes
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def on_signal(number: int, frame: Any) -> None:
    """A handler of signals that ask a process to end: it raises what stands for the signal."""
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)


def wait_for_children() -> None:
    """Have the system keep the ends of children until they are asked for, also where who started this process ignored them."""
    if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class Called(NamedTuple):
    """What became of a call: its value, what it raised, and what of this process it had changed."""

    value: Any
    error: BaseException | None
    changes: list[str]


def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Called:
    """Call what others wrote. What would end this process, or close files that are not its own, raises SystemExit there.

    Raises
    ------
    KeyboardInterrupt, Terminated
        When a signal arrived meanwhile that asks this process to end. What the function itself raised is no such signal.
    """
    with staying():
        return changing(function, *args, **kwargs)


def changing(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Called:
    """The same for a process that may end."""
    value, raised, owner = None, None, os.getpid()
    with interruptions():
        before, steps = _Process(), (sys.gettrace(), sys.getprofile())
        try:
            value = function(*args, **kwargs)
        except BaseException as error:  # SystemExit and KeyboardInterrupt too
            raised = error
        for _ in range(_TRIES):
            try:
                untraced(*steps)
                before.state.silence()
                break
            except BaseException:  # what is called at each step, or at a signal, raised before it was taken away
                continue
        if os.getpid() != owner:  # the function forked, and this is the copy
            os._exit(1)
        changes = before.put_back()
    return Called(value, raised, changes)


@contextlib.contextmanager
def interruptions() -> Iterator[None]:
    """Within, signals that ask this process to end are noted; at the end the first that arrived is raised for certain.

    The handlers of this process are put back. A handler that is none of Python's is left alone.
    """
    if threading.current_thread() is not threading.main_thread():  # signals arrive elsewhere
        yield
        return
    arrived: list[BaseException] = []
    handlers = {number: signal.getsignal(number) for number in ASKING}

    def note(number: int, frame: Any) -> None:
        try:
            handlers[number](number, frame)  # type: ignore[operator,misc]
        except BaseException as error:
            arrived.append(error)
            raise

    for number in [n for n, handler in handlers.items() if callable(handler)]:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
        if arrived:
            raise arrived[0] from None


def settled() -> None:
    """Have attnlab's own changes of autograd be made, so that nobody is blamed for them whose code imports it first."""
    importlib.import_module("attnlab.arrays")


_STREAMS = ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__")
_TRIES = 4  # to take away what raises while it is taken away


class _Process:
    """What a process has one of, as it was: put back where somebody changed it."""

    def __init__(self) -> None:
        settled()
        self.folder = _opened_folder()
        self.streams = {name: getattr(sys, name) for name in _STREAMS}
        self.forms = {name: _form(stream) for name, stream in self.streams.items()}
        self.copies = {descriptor: _copy(descriptor) for descriptor in (0, 1, 2)}
        self.mine = {self.folder, *self.copies.values()}
        kept_open.update(self.mine)
        self.handlers = {number: signal.getsignal(number) for number in _signals()}
        self.state = SharedState()
        self.masked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if hasattr(signal, "pthread_sigmask") else set()
        self.limits, self.set_limit = _limits()
        self.recursion = sys.getrecursionlimit()
        self.mask = _umask()
        self.filters = list(warnings.filters)
        self.relied_on = Modules()

    def put_back(self) -> list[str]:
        """Put everything back; what had been changed, in words."""
        self.relied_on.first_of_all()
        kept_open.difference_update(self.mine)
        changes = [
            *self._limits(),  # so that there is memory, and room on the stack, for the rest
            *self.relied_on.put_back(),
            *self._folder(),
            *self._streams(),
            *self._signals(),
            *self.state.put_back(),
        ]
        warnings.filters[:] = self.filters  # type: ignore[index]
        getattr(warnings, "_filters_mutated", lambda: None)()
        os.umask(self.mask)
        return changes

    def _folder(self) -> list[str]:
        if self.folder is None:
            return []
        try:
            now = os.stat(".")
            same = os.path.samestat(now, os.fstat(self.folder))
        except OSError:  # its folder is gone
            same = False
        if not same:
            with contextlib.suppress(OSError):
                os.fchdir(self.folder)
        os.close(self.folder)
        return [] if same else ["the working directory"]

    def _streams(self) -> list[str]:
        changes = []
        for name, stream in self.streams.items():
            if getattr(sys, name, None) is not stream:
                changes.append(f"sys.{name}")
                setattr(sys, name, stream)
        for descriptor, copy in self.copies.items():
            try:
                now = os.fstat(descriptor)
            except OSError:
                now = None
            if copy is None:
                continue
            if now is None or not os.path.samestat(now, os.fstat(copy)):
                changes.append(f"file descriptor {descriptor}")
                os.dup2(copy, descriptor)
            os.close(copy)
        for name, stream in self.streams.items():
            for method in [
                n for n, f in [*getattr(stream, "__dict__", {}).items()] if callable(f) and hasattr(type(stream), n)
            ]:
                changes.append(f"sys.{name}.{method}")
                delattr(stream, method)
            if (form := self.forms[name]) is None:
                continue
            if type(stream) is not form.kind:
                changes.append(f"sys.{name}.__class__")
                stream.__class__ = form.kind
            if (writes := _form(stream)) is None and "stdin" not in name:
                changes.append(f"sys.{name}, which it closed,")
                descriptor = 1 if "stdout" in name else 2
                with contextlib.suppress(OSError):
                    setattr(sys, name, os.fdopen(descriptor, "w", errors="backslashreplace", closefd=False))
            elif writes is not None and writes.options != form.options:
                changes.append(f"the encoding or the buffer of sys.{name}")
                stream.reconfigure(**form.options)
        return changes

    def _signals(self) -> list[str]:
        changes: list[str] = []
        if threading.current_thread() is not threading.main_thread():
            return changes
        for number, handler in self.handlers.items():
            if signal.getsignal(number) is not handler and handler is not None:
                changes.append(f"what happens at {signal.Signals(number).name}")
                signal.signal(number, handler)
        if (
            hasattr(signal, "pthread_sigmask")
            and signal.pthread_sigmask(signal.SIG_SETMASK, self.masked) != self.masked
        ):
            changes.append("which signals are blocked")
        return changes

    def _limits(self) -> list[str]:
        changes = []
        if sys.getrecursionlimit() != self.recursion:
            sys.setrecursionlimit(self.recursion)
            changes.append("the recursion limit")
        now, _ = _limits()
        for name, limits in self.limits.items():
            if now.get(name) != limits:
                try:
                    self.set_limit(_which(name), limits)
                    changes.append(f"the limit {name}")
                except (OSError, ValueError):
                    changes.append(f"the limit {name}, which stays {now.get(name)} since nobody may raise it again,")
        return changes


def _signals() -> list[int]:
    return [n for n in signal.valid_signals() if isinstance(n, signal.Signals)] if sys.platform != "emscripten" else []


def _limits() -> tuple[dict[str, tuple[int, int]], Callable[[int, tuple[int, int]], None]]:
    """The limits of this process by name, and the function that sets one."""
    try:
        import resource
    except ImportError:
        return {}, lambda which, limits: None
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}, resource.setrlimit


def _which(name: str) -> int:
    import resource

    return int(getattr(resource, name))


class _Form(NamedTuple):
    """How a stream writes text."""

    kind: type
    options: dict[str, Any]


def _form(stream: Any) -> _Form | None:
    """That of a text stream; None of one that is closed, or no text stream of Python's."""
    try:
        names = ("encoding", "errors", "line_buffering", "write_through")
        return None if stream.closed else _Form(type(stream), {name: getattr(stream, name) for name in names})
    except (AttributeError, ValueError):
        return None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _opened_folder() -> int | None:
    try:
        return os.open(".", os.O_RDONLY) if hasattr(os, "fchdir") else None
    except OSError:
        return None


def _copy(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:
        return None
