"""What holds for every test: no plugin but attnlab's own, no terminal, one hypothesis profile, one list of what was skipped."""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Whatever is installed beside attnlab, the tests see attnlab alone; processes that they start inherit this. It is set
# here, before any test is collected, since parameters of tests name components. Tests of plugins pin their own.
os.environ["ATTNLAB_PLUGINS"] = ""
for name in ("ATTNLAB_NOTIFY", "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)  # what a shell may say of its terminal, which is not that of the tests

# Who is started in the background by a shell ignores Ctrl-C, and so would all processes that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples at every run, and no clock: a machine under load proves nothing about a law.
settings.register_profile(
    "attnlab",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("attnlab")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long rounds may take as long as they do."""
    for item in items:
        if item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.timeout(0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`, a process that has done its tests takes some of another's: the last tests are the long ones."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each reason for which tests were skipped, once, with their number."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        where = report.longrepr
        reasons[where[2].removeprefix("Skipped: ") if isinstance(where, tuple | list) else str(where)] += 1
    if reasons:
        terminalreporter.section("skipped, by reason")
        for reason, number in reasons.most_common():
            terminalreporter.line(f"{number:5}  {reason}")
