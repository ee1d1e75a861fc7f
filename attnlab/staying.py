"""A process that the code of others does not end, and whose files it does not close, while it is called."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NoReturn

from attnlab.descriptors import opened

resource: Any
try:
    import resource
except ImportError:  # not on Windows, nor in browsers
    resource = None

__all__ = ["kept_open", "nobody_else_ends_it", "staying"]

kept_open: set[int | None] = set()  # descriptors of whoever guards the call

_theirs: dict[int, tuple[int, int]] = {}  # descriptors that the code of others opened, and on what
_CLOSING = ("close", "closerange")
_AT_FORK, _LIMITS = "register_at_fork", ("setrlimit", "prlimit")
_ENDING = ("_exit", "execv", "execve")  # the rest of `os.exec*` calls these


@contextlib.contextmanager
def staying(files: bool = True) -> Iterator[None]:
    """Within, functions that end this process at once, close what others opened, or hear of all it does, raise SystemExit.

    In a fork, in other threads, and later, they do what they did. Without `files`, everything may be closed.
    """
    before = opened() if files else {}
    ours = {descriptor for descriptor, found in before.items() if descriptor > 2 and _theirs.get(descriptor) != found}
    owner, thread, is_within = os.getpid(), threading.get_ident(), [True]
    names = (*((os, name) for name in (*_ENDING, _AT_FORK, *(_CLOSING if files else ()))), (sys, "addaudithook"))
    names += tuple((resource, name) for name in _LIMITS if resource is not None)
    real = {(module, name): getattr(module, name) for module, name in names if hasattr(module, name)}

    def guarded(module: ModuleType, name: str) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            if name == _AT_FORK and is_within:
                kwargs = {when: _harmless(what) for when, what in kwargs.items()}
            elif name in _LIMITS and is_within and os.getpid() == owner and len(args) > 1:
                args = (*args[:-1], _undoable(args[-2], args[-1]))
            elif is_within and os.getpid() == owner and is_refused(name, *args):
                raise SystemExit(f"{module.__name__}.{name}{args!r:.200}")
            return real[module, name](*args, **kwargs)

        return function

    def is_refused(name: str, *args: Any) -> bool:
        if name not in _CLOSING:
            return True
        if threading.get_ident() != thread or not all(isinstance(one, int) for one in args):
            return False
        closed = range(*args[:2]) if name == "closerange" else args[:1]
        return any(descriptor in closed for descriptor in (*ours, *kept_open) if descriptor is not None)

    for module, name in real:
        setattr(module, name, guarded(module, name))
    try:
        yield
    finally:
        is_within.clear()
        for (module, name), function in real.items():
            setattr(module, name, function)
        after = opened() if files else {}
        for descriptor in {*before, *after}:
            if descriptor not in ours and descriptor in after:
                _theirs[descriptor] = after[descriptor]
            else:
                _theirs.pop(descriptor, None)


def _undoable(which: Any, limits: Any) -> Any:
    """A limit that can be put back: nobody can raise again the most that a limit may be, so that stays as it is."""
    try:
        soft, _ = limits
        _, most = resource.getrlimit(which)
        return (soft if most == resource.RLIM_INFINITY or 0 <= soft <= most else most), most
    except (TypeError, ValueError, OSError):
        return limits  # the system says what is wrong


def _harmless(function: Any) -> Callable[[], None]:
    """The same for a process that is about to fork or was just forked, which it does not end."""

    def called() -> None:
        real = {name: getattr(os, name) for name in _ENDING if hasattr(os, name)}
        for name in real:
            setattr(os, name, _refused)
        try:
            function()
        except BaseException as error:  # SystemExit too
            print(f"attnlab: what a plugin does at each fork raised {type(error).__name__}", file=sys.stderr)
        finally:
            for name, was in real.items():
                setattr(os, name, was)

    return called


def _refused(*args: Any, **kwargs: Any) -> NoReturn:
    raise SystemExit


def nobody_else_ends_it() -> None:
    """From now on, what ends this process at once raises SystemExit where code of others calls it, and in other threads.

    That is for what they do later: in a thread, or when an object of theirs is taken down.
    """
    owner = os.getpid()

    def guarded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def end(*args: Any, **kwargs: Any) -> Any:
            ours = str(sys._getframe(1).f_globals.get("__name__", "")).partition(".")[0] in ("attnlab", "__main__")
            if os.getpid() == owner and not (ours and threading.current_thread() is threading.main_thread()):
                where = "code" if threading.current_thread() is threading.main_thread() else "a thread"
                print(
                    f"attnlab: {where} of a plugin called os.{name}{args!r:.200}, which ended nothing else",
                    file=sys.stderr,
                )
                raise SystemExit
            return real(*args, **kwargs)

        return end

    for name in _ENDING:
        if hasattr(os, name):
            setattr(os, name, guarded(name, getattr(os, name)))
