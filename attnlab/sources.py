"""The source text of modules as they were imported: what runs is known, also when a file is edited meanwhile."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Source", "folder_of", "remember", "source_of"]

_BEGAN = time.time()


class Source(NamedTuple):
    """What a module's file held.

    Attributes
    ----------
    content : bytes
    loaded : Any
        The spec of the module that was loaded when the file was read; None when none was.
    edited : str
        Not empty where one of attnlab's own files was changed after this process began, and so perhaps after the module
        was loaded: then nobody knows what was loaded.
    """

    content: bytes
    loaded: Any
    edited: str = ""


_kept: dict[str, Source] = {}  # by file


def source_of(file: Path, module: str) -> Source:
    """What the file of a module held when it was first asked for, or when the module was loaded (again) since.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    key, spec = str(file), _spec(module)
    kept = _kept.get(key)
    if kept is None or (kept.loaded is not spec and spec is not None):
        content = file.read_bytes()
        changed = file.stat().st_mtime
        unknown = kept is None and spec is not None and module.startswith("attnlab.") and changed > _BEGAN
        kept = _kept[key] = Source(content, spec, f"edited at {changed!r}" if unknown else "")
    return kept


def _spec(module: str) -> Any:
    """What is new whenever a module is loaded or reloaded; None where it is not loaded."""
    loaded = sys.modules.get(module)
    return getattr(loaded, "__spec__", None) or loaded


def remember(module: str) -> None:
    """Keep the text of a module that was loaded just now, and of the loaded modules of its package or beside its file."""
    top = module.partition(".")[0]
    folder = folder_of(top)
    for name, loaded in list(sys.modules.items()):
        file = getattr(loaded, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or name.partition(".")[0] == "attnlab":
            continue
        if name.partition(".")[0] == top or (folder is not None and Path(file).parent == folder):
            source_of(Path(file), name)


def folder_of(top: str) -> Path | None:
    """Where a module or package lies, if only what belongs to it lies there too; None for folders of installed packages."""
    file = getattr(sys.modules.get(top), "__file__", None)
    if not isinstance(file, str):
        return None
    path = Path(file)
    folder = path.parent.parent if path.name == "__init__.py" else path.parent
    own = Path(os.__file__).parent
    shared = {"site-packages", "dist-packages"} & set(folder.parts) or folder.is_relative_to(own)
    return None if shared else folder
