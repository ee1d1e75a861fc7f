"""Files that an experiment names, such as the arrays of a task: found beside the experiment, known by their content.

A setting is a file where it is called `path` or `..._path`, or is declared as pathlib.Path. It is written relative to the experiment file.
In a run it is relative to the working directory where the file lies below it (so that a project may be moved, or shared,
with its results), and absolute elsewhere; the run also holds the SHA-256 of the content, so that other content is another
run.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import typing
from pathlib import Path

__all__ = ["Inputs"]


@functools.cache
def _is_path(cls: type, setting: str) -> bool:
    try:
        hint = typing.get_type_hints(inspect.getattr_static(cls, "__init__")).get(setting)
    except Exception:  # an annotation that does not resolve declares nothing
        hint = None
    return setting == "path" or setting.endswith("_path") or Path in (hint, *typing.get_args(hint))


class Inputs:
    """The input files of an experiment.

    Parameters
    ----------
    base : Path
        The directory that relative paths start from.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.hashes: dict[str, str] = {}  # path as a run has it -> SHA-256 of the content

    def is_path(self, cls: type, setting: str) -> bool:
        """Whether a setting names a file."""
        return _is_path(cls, setting)

    def add(self, written: str) -> str:
        """The path as a run has it, after hashing the file.

        Raises
        ------
        FileNotFoundError, OSError, ValueError
            When it is no file that can be read.
        """
        found = self.base / Path(written).expanduser()
        if not found.is_file():
            raise FileNotFoundError(f"no such file: {written} (looked for {found})")
        with found.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        absolute, here = found.resolve(), Path.cwd().resolve()
        name = absolute.relative_to(here) if absolute.is_relative_to(here) else absolute
        self.hashes[name.as_posix()] = digest
        return name.as_posix()

    @staticmethod
    def of(spec: object, hashes: typing.Mapping[str, str]) -> dict[str, str]:
        """Those of the hashes whose paths a specification mentions."""
        if isinstance(spec, (dict, list)):
            inner = spec.values() if isinstance(spec, dict) else spec
            return {path: digest for one in inner for path, digest in Inputs.of(one, hashes).items()}
        return {spec: hashes[spec]} if isinstance(spec, str) and spec in hashes else {}
