"""What takes longer than some seconds says how far it is: a bar on a terminal, lines elsewhere where they are asked for.

@told("steps")
def fit(self, X, y=None): ...           # gains the keyword `verbose`; `at(step, steps, "steps", loss)` inside moves the bar

for chapter in over(chapters, "report", "experiments"): ...
"""

from __future__ import annotations

import functools
import inspect
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

__all__ = ["at", "duration", "over", "silent", "told", "watched"]

AFTER = 3.0  # seconds after which a bar appears by itself
EVERY = 5.0  # seconds between lines
_REDRAWN = 0.1  # seconds between drawings of a bar

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(4.26), duration(200), duration(7500)
    ('4.3 s', '3 min 20 s', '2 h 5 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


class _Watched:
    """How far something is. `verbose` None: a bar on a terminal once it takes long; True: always, and lines elsewhere."""

    def __init__(self, what: str, unit: str, verbose: bool | None) -> None:
        self.what, self.unit, self.verbose = what, unit, verbose
        self.began = self.spoke = time.monotonic()
        self.done, self.total, self.loss = 0, 0, float("nan")
        self.bar: Any = None
        self.on_terminal = _is_terminal()

    def at(self, done: int, total: int, loss: float) -> None:
        self.done, self.total, self.loss = done, total, loss
        if not self.on_terminal and not self.verbose:
            return
        now = time.monotonic()
        if not self.on_terminal:
            if now - self.spoke >= EVERY and done < total:
                self.spoke = now
                left = (now - self.began) / max(done, 1) * (total - done)
                self._say(f"{done}/{total} {self.unit}, at most {duration(left)} left{self._loss()}")
        elif self.bar is not None:
            if now - self.spoke >= _REDRAWN:
                self.spoke = now
                self.bar.update(self.task, completed=done, note=self._loss().lstrip(", "), refresh=True)
        elif self.verbose or now - self.began >= AFTER:
            self._draw()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(self.unit),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            auto_refresh=False,  # no thread
            transient=not self.verbose,
        )
        self.task = self.bar.add_task(self.what, total=self.total, completed=self.done, note="")
        self.bar.start()

    def _loss(self) -> str:
        return f", loss {self.loss:.4g}" if self.loss == self.loss else ""

    def _say(self, text: str) -> None:
        print(f"{self.what}: {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, total=self.done, note=self._loss().lstrip(", "))
            self.bar.refresh()
            self.bar.stop()
        elif self.verbose:
            self._say(f"{self.done} {self.unit} in {duration(time.monotonic() - self.began)}{self._loss()}")


_current: ContextVar[_Watched | None] = ContextVar("attnlab_progress", default=None)
_silent: ContextVar[bool] = ContextVar("attnlab_silent", default=False)


def _is_terminal() -> bool:
    """Whether somebody looks on: not in the workers of multiprocessing and joblib, which share a terminal."""
    worker = multiprocessing.parent_process() is not None or "JOBLIB_SPAWNED_PROCESS" in os.environ
    return not worker and sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def watched(what: str, unit: str, verbose: bool | None = None) -> Iterator[None]:
    """Within, `at` says how far `what` is, counted in `unit`; what is inside another has no bar of its own."""
    if verbose is False or _silent.get() or _current.get() is not None:
        yield
        return
    one = _Watched(what, unit, verbose)
    token = _current.set(one)
    try:
        yield
    finally:
        _current.reset(token)
        one.end()


@contextmanager
def silent() -> Iterator[None]:
    """Within, nothing has a bar: a sweep has its own."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def at(done: int, total: int, unit: str, loss: float = float("nan")) -> None:
    """Say that so many are done, of at most `total`."""
    one = _current.get()
    if one is not None and one.unit == unit:
        one.at(done, total, loss)


def over(items: Collection[T], what: str, unit: str) -> Iterator[T]:
    """The items, with a bar where going through them takes long."""
    with watched(what, unit):
        for i, item in enumerate(items):
            yield item
            at(i + 1, len(items), unit)


def told(unit: str) -> Callable[[F], F]:
    """Make `fit` take the keyword `verbose`, and say how far it is, counted in `unit`."""

    def make(fit: F) -> F:
        @functools.wraps(fit)
        def fitted(self: Any, *args: Any, verbose: bool | None = None, **kwargs: Any) -> Any:
            with watched(type(self).__name__, unit, None if verbose is None else bool(verbose)):
                return fit(self, *args, **kwargs)

        known = inspect.signature(fit)
        mine = inspect.Parameter("verbose", inspect.Parameter.KEYWORD_ONLY, default=None, annotation="bool | None")
        fitted.__signature__ = known.replace(parameters=[*known.parameters.values(), mine])  # type: ignore[attr-defined]
        return fitted  # type: ignore[return-value]

    return make
