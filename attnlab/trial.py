"""Plugins tried in a child process first: what ends, hangs or changes the process that loads it is found there."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from attnlab.errors import AttnlabError
from attnlab.guard import changing, settled, wait_for_children

__all__ = ["Candidate", "Verdict", "changed", "listed", "messages_to_stderr", "tried"]

_MOST = 10_000  # components that a hook gives
SECONDS = 60.0  # that an import, or a hook that gives components, may take


class Candidate(NamedTuple):
    """A plugin that is to be tried: what loads its module, and the hooks that give components."""

    load: Callable[[], Any]
    hooks: Callable[[Any], Sequence[tuple[str, Callable[[], Any]]]]


class Verdict(NamedTuple):
    """Why a plugin cannot be loaded, empty if it can, and why some of its hooks cannot be called."""

    refused: str
    hooks: dict[str, str]


def changed(changes: Sequence[str]) -> str:
    """What is said of a plugin that changed the process."""
    return f"it changes the process that loads it: {', '.join(changes)}"


def listed(hook: Callable[[], Iterable[Any]]) -> list[Any]:
    """What a hook gives.

    Raises
    ------
    AttnlabError
        Where that does not end.
    """
    found = list(itertools.islice(hook(), _MOST + 1))
    if len(found) > _MOST:
        raise AttnlabError(f"it gives more than {_MOST:,} components; a hook gives a list that ends")
    return found


def tried(candidates: Sequence[Candidate]) -> list[Verdict]:
    """What a child process finds when it loads the plugins one after another.

    Nothing is tried, and nothing is found, where no child can be had: without fork, and in a process with several threads.
    """
    verdicts = [Verdict("", {}) for _ in candidates]
    one_thread = threading.active_count() == 1 and threading.current_thread() is threading.main_thread()
    if not candidates or sys.platform != "linux" or not one_thread:
        return verdicts
    wait_for_children()
    first = 0
    while first < len(candidates):
        ended = _in_a_child(candidates, verdicts, first)
        if ended is None:
            break
        i, what, how = ended
        if not what or what in verdicts[i].hooks:  # its import, or a hook that ended the process once more
            verdicts[i] = Verdict(f"{what if what else 'its import'} {how}", {})
            first = i + 1
        else:
            verdicts[i].hooks[what] = how
            first = i
    return verdicts


def _in_a_child(candidates: Sequence[Candidate], verdicts: list[Verdict], first: int) -> tuple[int, str, str] | None:
    """Fill in what is found; what the child was about when it ended or hung, and how; None if it came through."""
    settled()
    ours, theirs = os.pipe()
    sys.stdout and sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ours)
            _try_each(candidates, verdicts, first, theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    at, heard, end, status = (first, ""), b"", time.monotonic() + SECONDS, None
    try:
        while True:
            ready = select.select([ours], [], [], 0.05)[0]
            chunk = os.read(ours, 2**16) if ready else b""
            *lines, heard = (heard + chunk).split(b"\n")
            for line in lines:
                word, i, what, reasons = json.loads(line)
                end = time.monotonic() + SECONDS
                if word == "end":
                    return None
                at = (i, what)
                if word == "changed" and what:
                    verdicts[i].hooks[what] = changed(reasons)
                elif word == "changed":
                    verdicts[i] = Verdict(changed(reasons), {})
            if chunk:
                continue
            if status is not None:  # it has ended, and nothing more of it is to be read
                return *at, _how(status)
            found, code = os.waitpid(pid, os.WNOHANG)
            if found:  # what it said last may have come since
                status = os.waitstatus_to_exitcode(code)
                continue
            if ready:  # nothing to read: the pipe is closed: the end of the process is near
                time.sleep(0.002)
            if time.monotonic() > end:
                return *at, f"takes longer than {SECONDS:g} s"
    finally:
        os.close(ours)
        for kill in (os.killpg, os.kill) if status is None else (os.killpg,):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(pid, signal.SIGKILL)
        if status is None:
            os.waitpid(pid, 0)


def _how(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"ends the process: killed by {signal.Signals(-code).name}"
    return f"ends the process: exit code {code}"


def _try_each(candidates: Sequence[Candidate], verdicts: Sequence[Verdict], first: int, pipe: int) -> None:
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    warnings.simplefilter("ignore")

    def say(word: str, i: int = 0, what: str = "", reasons: Sequence[str] = ()) -> None:
        os.write(pipe, f"{json.dumps([word, i, what, list(reasons)])}\n".encode("ascii"))

    for i in range(first, len(candidates)):
        say("begins", i)
        loaded = changing(candidates[i].load)
        if loaded.changes:
            say("changed", i, "", loaded.changes)
        if loaded.changes or loaded.error is not None:
            continue
        for name, hook in candidates[i].hooks(loaded.value):
            if name not in verdicts[i].hooks:
                say("begins", i, name)
                given = changing(listed, hook)
                if given.changes:
                    say("changed", i, name, given.changes)
    say("end")


@contextlib.contextmanager
def messages_to_stderr() -> Iterator[None]:
    """Within, what is printed goes to stderr: stdout is for data."""
    before = sys.stdout
    sys.stdout = sys.stderr
    copy = None
    try:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            before.flush()
        with contextlib.suppress(OSError):
            copy = os.dup(1)
            os.dup2(2, 1)
        yield
    finally:
        sys.stdout = before
        if copy is not None:
            os.dup2(copy, 1)
            os.close(copy)
