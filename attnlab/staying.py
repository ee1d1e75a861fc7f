"""A process that the code of others does not end, and whose files it does not close, while it is called."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from attnlab.descriptors import opened

__all__ = ["kept_open", "staying"]

kept_open: set[int | None] = set()  # descriptors of whoever guards the call

_theirs: dict[int, tuple[int, int]] = {}  # descriptors that the code of others opened, and on what
_CLOSING = ("close", "closerange")
_ENDING = ("_exit", "execv", "execve")  # the rest of `os.exec*` calls these


@contextlib.contextmanager
def staying() -> Iterator[None]:
    """Within, functions of `os` that end this process at once, or close what others opened, raise SystemExit.

    In a fork, in other threads, and later, they do what they did.
    """
    before = opened()
    ours = {descriptor for descriptor, found in before.items() if descriptor > 2 and _theirs.get(descriptor) != found}
    owner, thread, is_within = os.getpid(), threading.get_ident(), [True]
    real = {name: getattr(os, name) for name in (*_ENDING, *_CLOSING) if hasattr(os, name)}

    def guarded(name: str) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            if is_within and os.getpid() == owner and is_refused(name, *args):
                raise SystemExit(f"os.{name}{args!r:.200}")
            return real[name](*args, **kwargs)

        return function

    def is_refused(name: str, *args: Any) -> bool:
        if name in _ENDING:
            return True
        if threading.get_ident() != thread or not all(isinstance(one, int) for one in args):
            return False
        closed = range(*args[:2]) if name == "closerange" else args[:1]
        return any(descriptor in closed for descriptor in (*ours, *kept_open) if descriptor is not None)

    for name in real:
        setattr(os, name, guarded(name))
    try:
        yield
    finally:
        is_within.clear()
        for name, function in real.items():
            setattr(os, name, function)
        after = opened()
        for descriptor in {*before, *after}:
            if descriptor not in ours and descriptor in after:
                _theirs[descriptor] = after[descriptor]
            else:
                _theirs.pop(descriptor, None)
