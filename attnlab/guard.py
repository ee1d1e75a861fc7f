"""What others wrote, called in this process: what it raises, prints and changes does not reach the rest.

`called` calls a function of a plugin, or imports one. An exception comes back as a value. The working directory, the
streams, signals, limits and functions of attnlab, NumPy and Python are put back, and what was changed is said. Only a real
interruption of the user comes through: a signal that arrived, whether or not the code let its exception pass.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import operator
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from attnlab.shared_state import SharedState
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
        before = _Process()
        try:
            value = function(*args, **kwargs)
        except BaseException as error:  # SystemExit and KeyboardInterrupt too
            raised = error
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


class _Process:
    """What a process has one of, as it was: put back where somebody changed it."""

    def __init__(self) -> None:
        settled()
        self.folder = _opened_folder()
        self.streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
        self.lists = {name: (found := getattr(sys, name), [*found]) for name in ("path", "meta_path", "path_hooks")}
        self.modules = dict(sys.modules)
        self.copies = {descriptor: _copy(descriptor) for descriptor in (0, 1, 2)}
        self.mine = {self.folder, *self.copies.values()}
        kept_open.update(self.mine)
        self.handlers = {number: signal.getsignal(number) for number in _signals()}
        self.state = SharedState()
        self.masked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if hasattr(signal, "pthread_sigmask") else set()
        self.limits = _limits()
        self.recursion = sys.getrecursionlimit()
        self.mask = _umask()
        self.filters = list(warnings.filters)
        self.errors = _numpy().geterr() if _numpy() else None
        self.functions = _functions()
        self.watch = _Watch(self.functions)
        sys.meta_path.insert(0, self.watch)

    def put_back(self) -> list[str]:
        """Put everything back; what had been changed, in words."""
        kept_open.difference_update(self.mine)
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self.watch)
        changes = [  # functions first, on which the rest relies
            *self._functions(),
            *self._imports(),
            *self._folder(),
            *self._streams(),
            *self._signals(),
            *self.state.put_back(),
            *self._limits(),
        ]
        warnings.filters[:] = self.filters  # type: ignore[index]
        getattr(warnings, "_filters_mutated", lambda: None)()
        if self.errors is not None:
            _numpy().seterr(**self.errors)
        os.umask(self.mask)
        return changes

    def _imports(self) -> list[str]:
        """Modules, and where they are found; more may be added."""
        changes = []
        for name, (found, items) in self.lists.items():
            now: Any = getattr(sys, name, None)
            if now is not found or any(item not in found for item in items):
                changes.append(f"sys.{name}")
                setattr(sys, name, found)
                found[:] = [*items, *(item for item in found if item not in items)]
        gone = {name: module for name, module in self.modules.items() if name not in sys.modules}
        sys.modules.update(gone)
        return changes + [
            f"sys.modules[{name!r}]" for name in gone if name in _RELIED_ON or name.startswith("attnlab.")
        ]

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
            if name != "stdin" and getattr(stream, "closed", False):
                changes.append(f"sys.{name}, which it closed,")
                descriptor = 1 if name == "stdout" else 2
                with contextlib.suppress(OSError):
                    setattr(sys, name, os.fdopen(descriptor, "w", errors="backslashreplace", closefd=False))
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
        for name, limits in self.limits.items():
            import resource

            which = getattr(resource, name)
            if resource.getrlimit(which) != limits:
                changes.append(f"the limit {name}")
                with contextlib.suppress(OSError, ValueError):  # a hard limit that was lowered stays
                    resource.setrlimit(which, limits)
        return changes

    def _functions(self) -> list[str]:
        changes = []
        for owner, shown, names in self.functions:
            now = vars(owner)
            if all(map(operator.is_, map(now.get, names), names.values())):
                continue
            for name, value in names.items():
                if now.get(name) is not value and (callable(value) or isinstance(value, _METHODS)):
                    changes.append(f"{shown}.{name}")
                    setattr(owner, name, value)
        return changes


def _signals() -> list[int]:
    return [n for n in signal.valid_signals() if isinstance(n, signal.Signals)] if sys.platform != "emscripten" else []


def _limits() -> dict[str, tuple[int, int]]:
    try:
        import resource
    except ImportError:
        return {}
    return {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}


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


def _numpy() -> Any:
    return sys.modules.get("numpy")


_METHODS = (staticmethod, classmethod, property)
_RELIED_ON = {  # by numbers, names of runs and stores
    *(
        "builtins",
        "copy",
        "functools",
        "hashlib",
        "importlib",
        "io",
        "itertools",
        "json",
        "math",
        "operator",
        "os",
        "random",
    ),
    *(
        "re",
        "sqlite3",
        "struct",
        "time",
        "zlib",
        "scipy.special",
        "json.encoder",
        "json.decoder",
        "contextlib",
        "pathlib",
    ),
}
_PACKAGES = ("attnlab", "numpy", "autograd")  # with all their modules


_classes: dict[tuple[str, int, int], list[type]] = {}  # of modules that were looked through
_CHANGEABLE = 1 << 9  # the flag of classes that are no builtin ones
_Owner = tuple[Any, str, dict[str, Any]]  # a module or class, what it is called, and what it has


def _is_relied_on(name: str) -> bool:
    return name in _RELIED_ON or name.partition(".")[0] in _PACKAGES


def _functions() -> list[_Owner]:
    """The functions and classes of modules that everybody relies on, and the methods of their classes."""
    found: list[_Owner] = []
    for name, module in list(sys.modules.items()):
        if _is_relied_on(name) and isinstance(module, ModuleType):
            found += _functions_of(module, name)
    return found


def _functions_of(module: ModuleType, name: str) -> list[_Owner]:
    own = dict(vars(module))
    key = (name, id(module), len(own))
    if key not in _classes:
        mine = (c for c in own.values() if isinstance(c, type) and c.__module__ == name)
        _classes[key] = [c for c in mine if c.__flags__ & _CHANGEABLE]
    return [(module, name, own), *((cls, f"{name}.{cls.__name__}", dict(vars(cls))) for cls in _classes[key])]


class _Watch(importlib.abc.MetaPathFinder):
    """Sees modules that everybody relies on as they are when they have just been imported, and nobody has changed them."""

    def __init__(self, seen: list[_Owner]) -> None:
        self.seen = seen

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if not _is_relied_on(name):
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target)) is not None), None)
        loader: Any = getattr(spec, "loader", None)
        if not isinstance(loader, type) and hasattr(loader, "exec_module"):
            real = loader.exec_module

            def and_look(module: ModuleType) -> None:
                real(module)
                self.seen += _functions_of(module, name)

            with contextlib.suppress(AttributeError):  # a loader that takes no attribute
                loader.exec_module = and_look
        return spec
