"""What one mask allows: a rule about positions, an array, or a mask in the old form, which is adapted."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from attnlab.errors import ComponentError, ShapeError
from attnlab.injection import FORMER_MASK, asks_for, call
from attnlab.interfaces import Mask
from attnlab.parts.masks import AllKeys

__all__ = ["allowed_by", "as_former", "by_content", "is_rule", "of_content", "of_mask"]

CONTENT = frozenset({"Q", "K", "mask"})  # what a mask by content asks for


def allowed_by(mask: Any, q_index: Any, k_index: Any, shape: tuple[int, ...]) -> Any:
    """One mask as a boolean array that broadcasts to (..., q, k), with its own leading axes; None if it allows all.

    Parameters
    ----------
    mask : Mask, boolean array, function of q_index and k_index that gives one or None, or None
    q_index, k_index : int arrays (..., q), (..., k)
    shape : (..., q, k), of the weights

    Raises
    ------
    ShapeError, ComponentError, TypeError
        When the mask is not boolean, or does not have this shape.
    """
    if mask is None or isinstance(mask, AllKeys):
        return None
    if isinstance(mask, Mask):
        return of_mask(mask, q_index, k_index)
    if callable(mask) and (mask := mask(q_index, k_index)) is None:
        return None
    array = mask if hasattr(mask, "dtype") else np.asarray(mask)
    if "bool" not in str(array.dtype):
        raise TypeError(
            f"mask must be boolean, True = may attend; got dtype {array.dtype}. Numbers to add to the scores are the "
            f"modifier 'bias': modifier={{'bias': {{'array': ...}}}}"
        )
    q, k = shape[-2:]
    if array.ndim < 2:
        array = array[None, :] if array.ndim else array[None, None]
    if array.shape[-2] not in (1, q) or array.shape[-1] not in (1, k):
        raise ShapeError(f"mask {tuple(array.shape)} does not broadcast to (..., q, k) = (..., {q}, {k})")
    return array


def is_rule(mask: Any) -> bool:
    """Whether the mask can answer for any block of queries and keys."""
    return isinstance(mask, Mask) and not isinstance(mask, AllKeys) and not _former(mask) and not by_content(mask)


def by_content(mask: Any) -> bool:
    """Whether the mask looks at queries and keys, or at what other masks allow."""
    return isinstance(mask, Mask) and not CONTENT.isdisjoint(asks_for(mask, "allow"))


def of_content(mask: Mask, Q: Any, K: Any, M: Any, q_index: Any, k_index: Any) -> Any:
    """What a mask by content allows, bool (..., q, k).

    Parameters
    ----------
    Q, K : arrays (..., q, d), (..., k, d), without gradients
    M : bool array (..., q, k), what all other masks allow, or None
    q_index, k_index : int arrays (..., q), (..., k)
    """
    found = call(mask, "allow", q_index=q_index, k_index=k_index, Q=Q, K=K, mask=M)
    q, k = Q.shape[-2], K.shape[-2]
    if "bool" not in str(getattr(found, "dtype", "")) or tuple(found.shape[-2:]) != (q, k):
        raise ComponentError(
            f"{type(mask).__name__}.allow must return bool (..., q, k) = (..., {q}, {k}); got "
            f"{getattr(found, 'dtype', type(found).__name__)} {tuple(getattr(found, 'shape', ()))}"
        )
    return found


def of_mask(mask: Mask, q_index: Any, k_index: Any) -> Any:
    """What a mask allows at these positions, bool (..., q, k); an axis that changes nothing may have size one."""
    if _former(mask):
        return as_former(mask, q_index, k_index)
    array = np.asarray(mask.allow(q_index, k_index))
    full = (*np.broadcast_shapes(q_index.shape[:-1], k_index.shape[:-1]), q_index.shape[-1], k_index.shape[-1])
    fits = 2 <= array.ndim <= len(full) and all(
        a in (1, b) for a, b in zip(array.shape[::-1], full[::-1], strict=False)
    )
    if array.dtype != bool or not fits:
        raise ComponentError(
            f"{type(mask).__name__}.allow(q_index {q_index.shape}, k_index {k_index.shape}) must return bool "
            f"(..., q, k) = {full}; got {array.dtype} {array.shape}"
        )
    return array


def _former(mask: Mask) -> bool:
    return asks_for(mask, "allow") == frozenset(FORMER_MASK)


def as_former(mask: Mask, q_index: Any, k_index: Any) -> Any:
    """The same for a mask in the old form, which takes numbers of queries and keys and builds the whole array."""
    cls = type(mask).__name__
    warnings.warn(
        f"{cls}.allow(n_queries, n_keys) is built whole, for every query and key. Write allow(self, q_index, k_index), a rule "
        "about positions: from q_index (..., q) and k_index (..., k) make bool (..., q, k), such as "
        "k_index[..., None, :] <= q_index[..., :, None]",
        DeprecationWarning,
        stacklevel=2,
    )
    n_queries, n_keys = (int(i.max()) + 1 if i.size else 0 for i in (q_index, k_index))
    array = np.asarray(mask.allow(n_queries, n_keys))
    if array.dtype != bool or array.shape != (n_queries, n_keys):
        raise ComponentError(
            f"{cls}.allow({n_queries}, {n_keys}) must return bool (q, k) = ({n_queries}, {n_keys}); "
            f"got {array.dtype} {array.shape}"
        )
    return array[q_index[..., :, None], k_index[..., None, :]]
