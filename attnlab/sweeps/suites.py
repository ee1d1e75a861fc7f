"""Suites: directories of experiments, each with a citation. `suite:NAME` names one wherever a FILE is asked for.

attnlab's own and those of installed plugins are known by the name of their directory (hook `attnlab_suites`). A directory may
also be given by its path: `suite:experiments/mine`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attnlab.errors import SettingError, UnknownName, did_you_mean
from attnlab.plugins import plugins
from attnlab.sweeps.experiment.source import Document

__all__ = ["PREFIX", "Suite", "expanded", "suite", "suites"]

PREFIX = "suite:"
SUITES_HOOK = "attnlab_suites"


@dataclass(frozen=True)
class Suite:
    """A directory of experiments.

    Parameters
    ----------
    name : str
        What it is called by: the name of its directory.
    folder : Path
    plugin, version : str
        Who brings it.
    """

    name: str
    folder: Path
    plugin: str = ""
    version: str = ""

    @property
    def files(self) -> list[Path]:
        """Its experiments.

        Raises
        ------
        SettingError
            When there is none.
        """
        found = sorted([*self.folder.glob("*.yaml"), *self.folder.glob("*.yml")])
        if not found:
            raise SettingError(f"{PREFIX}{self.name}: no experiment (*.yaml) in {self.folder}")
        return found

    def experiments(self) -> list[dict[str, Any]]:
        """The question and the citation of each experiment.

        Raises
        ------
        SettingError
            When one has no citation.
        """
        rows = []
        for file in self.files:
            value = Document(file).value
            value = value if isinstance(value, dict) else {}
            if not str(value.get("source") or "").strip():
                raise SettingError(
                    f"{file}: an experiment of a suite needs a citation: add `source: Author year, title`"
                )
            name = value.get("name") or file.stem
            rows.append({"experiment": name, "question": value.get("question"), "citation": value["source"]})
        return rows


def suites() -> dict[str, Suite]:
    """The suites that are installed, by name.

    Raises
    ------
    SettingError
        When two plugins bring suites of the same name.
    """
    found: dict[str, Suite] = {}
    for plugin, folders in plugins().given(SUITES_HOOK):
        for folder in folders:
            path = Path(folder)
            if not path.is_dir():
                plugin.broken(f"{SUITES_HOOK}: {path} is no directory")
                continue
            other = found.setdefault(path.name, Suite(path.name, path, plugin.name, plugin.version))
            if other.folder != path:
                raise SettingError(
                    f"two suites are called {path.name!r}: {other.folder} of {other.plugin}, and {path} of {plugin.name}; give one "
                    f"by its path, {PREFIX}{path}, or leave a plugin out (-p no:{plugin.name})"
                )
    return found


def suite(name: str) -> Suite:
    """A suite by its name, or a directory by its path.

    Raises
    ------
    UnknownName
        When there is none.
    """
    if os.path.isdir(name) and (os.sep in name or "/" in name):
        return Suite(Path(name).resolve().name, Path(name))
    known = suites()
    if name not in known and name.replace("_", "-") in known:
        name = name.replace("_", "-")
    if name not in known:
        raise UnknownName(
            f"no suite {name!r}{did_you_mean(name, known)}; there are {', '.join(known) or 'none'}; a directory is given by its "
            f"path: {PREFIX}./{name}"
        )
    return known[name]


def expanded(sources: Iterable[Any]) -> list[Any]:
    """The same sources, with each `suite:NAME` replaced by its files. Every file of a suite has a citation.

    Raises
    ------
    UnknownName, SettingError
        When there is no such suite, or it is not as a suite must be.
    """
    found: list[Any] = []
    for source in sources:
        if isinstance(source, str) and source.startswith(PREFIX):
            one = suite(source.removeprefix(PREFIX))
            one.experiments()  # refuses what has no citation
            found += one.files
        else:
            found.append(source)
    return found
