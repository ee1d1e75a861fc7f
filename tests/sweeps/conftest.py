"""Rounds that are counted: what each promise was put through, and how often it was not kept."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator

import pytest

TALLIES: list[Tally] = []


class Tally:
    """How many rounds a promise was tried on an executor, and what went wrong."""

    def __init__(self, promise: str, executor: str) -> None:
        self.promise, self.executor = promise, executor
        self.rounds = 0
        self.failures: list[str] = []
        self.notes: list[str] = []

    @contextlib.contextmanager
    def round(self) -> Iterator[None]:
        """One round; a failure is kept, and the next round goes on."""
        self.rounds += 1
        try:
            yield
        except Exception:
            self.failures.append(f"round {self.rounds}: {traceback.format_exc()}")

    def __str__(self) -> str:
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{self.promise:4} {self.executor:8} {self.rounds:6} rounds, {len(self.failures)} failures{notes}"


@pytest.fixture
def tally() -> Iterator[Callable[[str, str], Tally]]:
    """Make a tally, which is printed at the end of pytest; the test fails if one of its rounds did."""
    made: list[Tally] = []

    def of(promise: str, executor: str) -> Tally:
        made.append(Tally(promise, executor))
        return made[-1]

    yield of
    TALLIES.extend(made)
    failures = [failure for one in made for failure in one.failures]
    if failures:
        pytest.fail(f"{len(failures)} rounds failed; the first:\n{failures[0]}", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each promise with its rounds and failures."""
    if TALLIES:
        terminalreporter.section("promises")
        for one in TALLIES:
            terminalreporter.line(str(one))
