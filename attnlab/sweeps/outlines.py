"""What modules of attnlab's own define and reach, read from their source once and kept beside Python's own compiled files.

To parse them takes half a second of each command. An outline is kept by a hash of what it depends on alone: the text of the
module, the text of the code that reads it, and the version of Python. So a kept one is what would be read anew.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Outline", "Outlines"]


class Outline(NamedTuple):
    """A module without its text.

    Attributes
    ----------
    by_name : bool
        Whether it counts name by name.
    names : dict
        By name, and by "" for the whole: the digest, and what it reaches, as (module, name or None) of imports and (None, name)
        of names of its own.
    """

    by_name: bool
    names: dict[str, tuple[str, list[tuple[str | None, str | None]]]]


class Outlines:
    """Outlines by key, read from a file when the first is asked for, and written again with what is new.

    Parameters
    ----------
    file : Path of the module that reads them
        Names the file beside it, in the folder where Python keeps compiled modules; its text is part of every key.
    """

    def __init__(self, file: Path) -> None:
        self._reader = file
        self._known: dict[str, Any] | None = None
        self._used: dict[str, Outline] = {}
        self._new = False

    def get(self, name: str, content: bytes, edited: str, read: Callable[[], Outline]) -> Outline:
        """The outline of a module with this name and text; `read` gives it where none is kept."""
        key = _hash(name.encode(), edited.encode(), content)
        found = self._used.get(key)
        if found is None:
            try:
                by_name, names = self._all()[key]
                found = Outline(bool(by_name), {n: (d, [(m, t) for m, t in r]) for n, (d, r) in names.items()})
            except (KeyError, TypeError, ValueError, AttributeError):
                found, self._new = read(), True
            self._used[key] = found
        return found

    def keep(self) -> None:
        """Write what is new, for other processes; where nothing can be written, nothing is."""
        if not self._new or sys.dont_write_bytecode:
            return
        self._new = False
        file = self._file()
        partial = file.with_name(f"{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(exist_ok=True)
            partial.write_text(json.dumps({"of": self._of(), "outlines": {**self._all(), **self._used}}), "utf-8")
            partial.replace(file)
        except OSError:
            partial.unlink(missing_ok=True)

    def _all(self) -> dict[str, Any]:
        if self._known is None:
            try:
                kept = json.loads(self._file().read_text("utf-8"))
                self._known = (
                    dict(kept["outlines"]) if kept["of"] == self._of() and len(kept["outlines"]) < 1000 else {}
                )
            except (OSError, ValueError, TypeError, KeyError):
                self._known = {}
        return self._known

    def _file(self) -> Path:
        return Path(importlib.util.cache_from_source(str(self._reader))).with_suffix(".outlines.json")

    def _of(self) -> str:
        own = Path(__file__).read_bytes() if Path(__file__).is_file() else b""
        return _hash(sys.version.encode(), self._reader.read_bytes(), own)


def _hash(*texts: bytes) -> str:
    found = hashlib.sha256()
    for text in texts:
        found.update(len(text).to_bytes(8, "big") + text)
    return found.hexdigest()
