"""What a run was made with: attnlab and its commit, libraries, the machine, and the plugins that gave its parts."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import re
from collections.abc import Collection
from pathlib import Path

import attnlab
from attnlab.errors import AmbiguousName, UnknownName
from attnlab.plugins import BUILTIN
from attnlab.registry import Entry, entries, entry
from attnlab.sweeps.columns import ROLES, components_of
from attnlab.sweeps.run import Run

__all__ = ["ENVIRONMENT", "commit_of", "environment", "versions_of"]

LIBRARIES = ("numpy", "scipy", "autograd", "scikit-learn", "pandas")
ENVIRONMENT = (
    "attnlab",
    "commit",
    "python",
    *LIBRARIES,
    "torch",
    "jax",
    "system",
    "processor",
)  # all other versions are of plugins


def versions_of(run: Run, metrics: Collection[str] = ()) -> dict[str, str]:
    """The environment, and the version of each plugin whose component the run uses or whose metric was measured.

    The version of what plugin files gave is the names of the files.
    """
    used = [
        found
        for role in ROLES
        for _, kind, name, _ in components_of(role, run.spec[role])
        if (found := _known(kind, name))
    ]
    used += [e for found in entries("metric").values() for e in found if e.shown in metrics]
    by_distribution: dict[str, set[str]] = {}
    for e in used:
        if e.distribution != BUILTIN:
            by_distribution.setdefault(e.distribution, set()).add(e.version)
    return {
        **environment(),
        **_library_of(run),
        **{name: ", ".join(sorted(versions)) for name, versions in sorted(by_distribution.items())},
    }


def _library_of(run: Run) -> dict[str, str]:
    """The version of the library that computes the model, if its setting `library` names another one than NumPy."""
    named = [str(settings["library"]) for settings in run.spec["model"].values() if "library" in settings]
    found = {}
    for name in named:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = _version(name)
    return found


@functools.cache
def _version(library: str) -> str:
    return importlib.metadata.version(library)


def _known(kind: str, name: str) -> Entry | None:
    try:
        return entry(kind, name)
    except (UnknownName, AmbiguousName):  # it was there when the run was planned
        return None


@functools.cache
def _environment() -> dict[str, str]:
    found: dict[str, str | None] = {"attnlab": attnlab.__version__}
    found["commit"] = commit_of(Path(attnlab.__file__).parents[1])
    found["python"] = platform.python_version()
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:  # not needed for what ran
            found[library] = None
    found["system"] = " ".join(filter(None, (platform.system(), platform.release(), platform.machine())))
    found["processor"] = _processor()
    return {name: version for name, version in found.items() if version}


def environment() -> dict[str, str]:
    """What is known of attnlab, the commit of its checkout, Python, libraries, operating system and processor."""
    return dict(_environment())


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return platform.processor()
    found = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def commit_of(root: Path) -> str | None:
    """The commit that is checked out in a folder, read from its `.git`; None where it is no checkout of attnlab.

    It does not show later edits; the fingerprints do.
    """
    try:
        if not re.search(r'^name = "attnlab"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE):
            return None
        git = root / ".git"
        if git.is_file():  # a worktree, or a submodule
            git = root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return head or None
        name = head.removeprefix("ref:").strip()
        common = git / "commondir"
        shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
        for place in (git / name, shared / name):
            if place.is_file():
                return place.read_text(encoding="utf-8").strip()
        packed = (shared / "packed-refs").read_text(encoding="utf-8")
        found = re.search(rf"^([0-9a-f]{{40,64}}) {re.escape(name)}$", packed, re.MULTILINE)
        return found[1] if found else None
    except (OSError, ValueError):
        return None
