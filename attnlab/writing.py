"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["together", "whole", "write_whole"]


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Within, the file beside it to write; at the end it takes the place of `path`, and after an error nothing is left.

    A link stays a link. What is no regular file, such as /dev/stdout or a pipe, is written as it is.

    Raises
    ------
    OSError
        With the name of `path`.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            yield Path(path)
            return
        partial = target.with_name(f".{os.getpid()}.partial{target.suffix}")
        try:
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from None


@contextlib.contextmanager
def together(paths: Iterable[str | os.PathLike[str]]) -> Iterator[None]:
    """Within, several files are written, each whole; after an error those that were not there before are removed, with their folders."""
    new = [Path(path) for path in paths if not os.path.lexists(path)]
    folders = {folder for file in new for folder in file.parents if not folder.exists()}
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for file in new:
                file.unlink(missing_ok=True)
            for folder in sorted(folders, key=lambda one: len(one.parts), reverse=True):
                folder.rmdir()
        raise


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a text in UTF-8; what UTF-8 cannot hold is escaped."""
    with whole(path) as partial:
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))
