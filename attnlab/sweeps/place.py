"""Where the file of a store lies: names that are none, other machines' disks, and whether it is still there."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from attnlab.descriptors import identity
from attnlab.errors import StoreError

__all__ = [
    "JOURNAL",
    "Whereabouts",
    "begun_beside",
    "checked_path",
    "file_system",
    "journal_mode",
    "log_of",
    "there_is",
]

JOURNAL = "ATTNLAB_STORE_JOURNAL"  # wal or delete, whatever is found out

# File systems of other machines: the write-ahead log needs memory that all writers share, and machines share none.
_REMOTE = re.compile(
    r"nfs4?|cifs|smb(fs|2|3)?|ncpfs|9p|afs|coda|ceph|glusterfs|lustre|beegfs|gpfs|pvfs2|orangefs|ocfs2|gfs2?|virtiofs|vboxsf|"
    r"prl_fs|drvfs|fuse\.(?!ext|xfs|ntfs|fuseblk).*"
)


def checked_path(path: str | os.PathLike[str]) -> Path:
    """The path of a store.

    Raises
    ------
    StoreError
        For what names no file, such as '' and SQLite's ':memory:' and 'file:...'.
    """
    text = os.fspath(path)
    text = os.fsdecode(text)
    if not text.strip() or "\0" in text or text.startswith((":memory:", "file:")):
        raise StoreError(
            f"{text!r}: a results store is a file, and this names none; give a path, such as results/attnlab.db"
        )
    return Path(text)


def there_is(path: Path) -> bool:
    """Whether there is a file of this name.

    Raises
    ------
    StoreError
        Where that cannot be known, or can never be: a folder that may not be looked into, a name that is too long.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{path}: cannot be used: {error.strerror}; name another with --store") from None
    return True


def file_system(path: Path, mounts: str | os.PathLike[str] = "/proc/self/mounts") -> str:
    """The type of the file system that a path is on, such as 'ext4' or 'nfs4'; empty where that cannot be known."""
    try:
        table = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    where = Path(os.path.realpath(path))
    best, found = -1, ""
    for line in table.splitlines():
        words = line.split()
        if len(words) < 3:
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), words[1]))
        if (where == point or point in where.parents) and len(point.parts) >= best:
            best, found = len(point.parts), words[2]
    return found


def journal_mode(path: Path, mounts: str | os.PathLike[str] = "/proc/self/mounts") -> str:
    """'WAL', or 'DELETE' where several machines may have the file open.

    The environment variable `ATTNLAB_STORE_JOURNAL`, wal or delete, decides where it is set.

    Raises
    ------
    StoreError
        When the variable is neither.
    """
    asked = os.environ.get("ATTNLAB_STORE_JOURNAL", "").strip().lower()
    if asked not in ("", "wal", "delete"):
        raise StoreError(f"{path}: {JOURNAL} is {asked!r}; it may be wal or delete, or not set")
    return asked.upper() or ("DELETE" if _REMOTE.fullmatch(file_system(path, mounts)) else "WAL")


@contextlib.contextmanager
def begun_beside(path: Path) -> Iterator[Path]:
    """Within, the new database beside it to write and close; at the end it takes the name `path`, and after an error nothing is left."""
    begun = path.with_name(f"{path.name}.part")
    try:
        _remove(begun)
        yield begun
        os.replace(begun, path)
    finally:
        with contextlib.suppress(OSError):
            _remove(begun)


def _remove(path: Path) -> None:
    """Remove a database with the files that SQLite makes beside it."""
    for ending in ("", "-wal", "-shm", "-journal"):
        Path(f"{path}{ending}").unlink(missing_ok=True)


def log_of(path: str | os.PathLike[str]) -> Path:
    """Where the write-ahead log of a store is: beside the file itself, not beside a link to it."""
    return Path(f"{os.path.realpath(path)}-wal")


class Whereabouts:
    """The files of an open store, to notice when somebody deletes, moves or replaces one.

    Parameters
    ----------
    path : Path
        Of the database.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))
        log = str(log_of(self.path))
        self._log = log, f"{log.removesuffix('-wal')}-shm"
        self._files = {str(self.path): identity(str(self.path))}

    def names(self) -> list[str]:
        """The file, its log, and the log's index."""
        return [str(self.path), *self._log]

    def missing(self, logged: bool) -> str:
        """Which file is no longer what it was, in words; empty if all are. `logged`: whether there is a write-ahead log."""
        for name in (str(self.path), *(self._log if logged else ())):
            now = identity(name)
            if now is None or self._files.setdefault(name, now) != now:
                return f"{name} was {'deleted or moved' if now is None else 'replaced by another file'}"
        return ""
