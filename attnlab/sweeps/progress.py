"""Progress on stderr: a bar on a terminal, plain lines elsewhere, with an estimate of the time left."""

from __future__ import annotations

import contextlib
import sys
import time
from types import TracebackType
from typing import Any

from attnlab.sweeps.run import Result, Run
from attnlab.tables import duration

__all__ = ["Progress"]

EVERY = 5.0  # seconds between plain lines


class Progress:
    """Counts the runs of one experiment as they end.

    Parameters
    ----------
    name : str
        The experiment.
    total : int, runs
    quiet : bool
        Say nothing.
    """

    def __init__(self, name: str, total: int, quiet: bool = False) -> None:
        self.name, self.total, self.quiet = name, total, quiet
        self.done = self.bad = self.others = 0
        self.began = self.spoke = time.monotonic()
        self.bar: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and self.total and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(elapsed_when_finished=True),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                auto_refresh=False,  # no thread: workers are forked from this process
            )
            self.task = self.bar.add_task(self.name, total=self.total, note="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self.bar.stop()
        elif not self.quiet and self.total and self.done == self.total:
            self._say(f"{self.total} runs in {duration(time.monotonic() - self.began)}{self._bad()}{self._others()}")
        elif not self.quiet and self.others and not self.total:
            self._say(self._others().lstrip(", "))

    def _others(self) -> str:
        return f", {self.others} done by another sweep" if self.others else ""

    def _bad(self) -> str:
        return f", {self.bad} did not succeed" if self.bad else ""

    def _say(self, text: str) -> None:
        try:
            print(f"{self.name}: {text}", file=sys.stderr, flush=True)
        except (OSError, ValueError):  # nobody can read it: the runs go on
            self.quiet = True

    def finished(self, run: Run, result: Result) -> None:
        """One run ended."""
        self.done += 1
        self.bad += result.status != "ok"
        if self.quiet:
            return
        if self.bar is not None:
            try:
                self.bar.update(self.task, advance=1, note=self._bad().lstrip(", "), refresh=True)
            except (OSError, ValueError):
                self.quiet = True
            return
        now = time.monotonic()
        if now - self.spoke >= EVERY and self.done < self.total:
            self.spoke = now
            left = (now - self.began) / self.done * (self.total - self.done)
            self._say(f"{self.done}/{self.total} runs, about {duration(left)} left{self._bad()}")

    def elsewhere(self, n_runs: int) -> None:
        """So many runs were done by another sweep."""
        self.total -= n_runs
        self.others += n_runs
        if self.bar is not None:
            self.bar.update(self.task, total=self.total, refresh=True)

    def waiting(self, n_runs: int, holders: str) -> None:
        """Nothing is left to do here but to wait for runs of other sweeps."""
        if not self.quiet:
            self._say(f"waiting for {n_runs} runs that are at work elsewhere ({holders})")
