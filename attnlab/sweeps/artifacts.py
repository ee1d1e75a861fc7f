"""What a run left behind, as arrays. It may come from anywhere, so that what it claims to be is checked before it is unpacked."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from attnlab.sweeps.rows import Unfit

__all__ = ["arrays_in"]

_LARGEST = 64 * 2**20  # bytes of all arrays of a run, unpacked: attnlab keeps far less
_MOST = 10_000  # arrays


def arrays_in(artifacts: bytes, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an .npz by name, of those whose names are wanted.

    Raises
    ------
    Unfit
        When it is none, or would take more than 64 MiB.
    """
    if not artifacts:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(artifacts)) as file:
            members = [m for m in file.infolist() if wanted(m.filename.removesuffix(".npy"))]
            if len(members) > _MOST or sum(member.file_size for member in members) > _LARGEST:
                raise Unfit(
                    f"its artifacts would take more than {_LARGEST // 2**20} MiB, or are more than {_MOST} arrays"
                )
            return {member.filename.removesuffix(".npy"): _array(file.read(member)) for member in members}
    except Unfit:
        raise
    except Exception as error:  # a damaged zip raises whatever it likes
        raise Unfit(f"its artifacts are no arrays ({type(error).__name__}: {error})") from None


def _array(content: bytes) -> np.ndarray[Any, Any]:
    """One array, whose header promises no more than there is."""
    stream = io.BytesIO(content)
    major, _ = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.hasobject or math.prod(shape) * max(1, dtype.itemsize) > len(content):
        raise Unfit("its artifacts hold an array that is larger than they are")
    stream.seek(0)
    found: np.ndarray[Any, Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return found
