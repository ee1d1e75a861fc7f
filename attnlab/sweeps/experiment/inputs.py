"""Files that an experiment names, such as the arrays of a task: found by path and identified by content.

A setting is a file where it is called `path` or `..._path`, or is declared as pathlib.Path. It is written relative to the
experiment file. A run has its absolute path and the SHA-256 of its content. Only the content belongs to the identity of the
run: other content makes another run, and another place does not.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path

from attnlab.errors import InputChanged

__all__ = ["Inputs", "check", "found_again", "sha256_of"]


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

    @staticmethod
    def is_path(component: type, setting: str) -> bool:
        """Whether a setting names a file."""
        return _is_path(component, setting)

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
        name = found.resolve().as_posix()
        if name not in self.hashes:
            self.hashes[name] = sha256_of(found)
        return name

    @staticmethod
    def of(spec: object, hashes: Mapping[str, str]) -> dict[str, str]:
        """Those of the hashes whose paths a specification mentions."""
        if isinstance(spec, (dict, list)):
            inner = spec.values() if isinstance(spec, dict) else spec
            return {path: digest for one in inner for path, digest in Inputs.of(one, hashes).items()}
        return {spec: hashes[spec]} if isinstance(spec, str) and spec in hashes else {}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(inputs: Mapping[str, str]) -> None:
    """Check that files have the content that was planned.

    Raises
    ------
    InputChanged
        When a file is gone, or holds something else.
    """
    for path, planned in inputs.items():
        try:
            found = sha256_of(Path(path))
        except OSError as error:
            said = error.strerror or str(error)
            raise InputChanged(
                f"{path}: the file of this run cannot be read ({said}); put it back, or sweep its experiment again from "
                f"where it is now"
            ) from None
        if found != planned:
            raise InputChanged(
                f"{path}: the file has changed since the run was planned (SHA-256 {found[:12]}..., planned "
                f"{planned[:12]}...); sweep again, and what it holds now is another run"
            )


def found_again(path: str, digest: str, folders: Iterable[Path]) -> str | None:
    """The place of a run's file: its path, or a path below one of the folders that has the same end and content."""
    words = Path(path).parts
    ends = [Path(*words[i:]) for i in range(Path(path).is_absolute(), len(words))]
    for place in (Path(path), *(folder / end for folder in folders for end in ends)):
        try:
            if place.is_file() and sha256_of(place) == digest:
                return place.resolve().as_posix()
        except OSError:  # it cannot be read
            continue
    return None
