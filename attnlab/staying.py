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

__all__ = ["kept_open", "only_the_main_thread_ends_it", "staying"]

kept_open: set[int | None] = set()  # descriptors of whoever guards the call

_theirs: dict[int, tuple[int, int]] = {}  # descriptors that the code of others opened, and on what
_CLOSING = ("close", "closerange")
_ENDING = ("_exit", "execv", "execve")  # the rest of `os.exec*` calls these


@contextlib.contextmanager
def staying(files: bool = True) -> Iterator[None]:
    """Within, functions that end this process at once, close what others opened, or hear of all it does, raise SystemExit.

    In a fork, in other threads, and later, they do what they did. Without `files`, everything may be closed.
    """
    before = opened() if files else {}
    ours = {descriptor for descriptor, found in before.items() if descriptor > 2 and _theirs.get(descriptor) != found}
    owner, thread, is_within = os.getpid(), threading.get_ident(), [True]
    names = (*((os, name) for name in (*_ENDING, *(_CLOSING if files else ()))), (sys, "addaudithook"))
    real = {(module, name): getattr(module, name) for module, name in names if hasattr(module, name)}

    def guarded(module: ModuleType, name: str) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            if is_within and os.getpid() == owner and is_refused(name, *args):
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


def only_the_main_thread_ends_it() -> None:
    """From now on, `os._exit` in another thread of this process ends that thread, and says so."""
    owner, real = os.getpid(), os._exit

    def end(status: int) -> NoReturn:
        if os.getpid() == owner and threading.current_thread() is not threading.main_thread():
            print(
                f"attnlab: a thread of a plugin called os._exit({status!r}), which ended that thread", file=sys.stderr
            )
            raise SystemExit
        real(status)

    os._exit = end
