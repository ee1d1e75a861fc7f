"""Modifiers: change scores before they are masked.  modify(S (..., q, k)) -> S (..., q, k)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt

from attnlab.arrays import namespace, to_numpy
from attnlab.errors import SettingError, ShapeError
from attnlab.interfaces import Modifier, Source
from attnlab.precision import in_float32, widened
from attnlab.shapes import as_array

__all__ = ["Bias", "NoModifier", "Softcap"]


class NoModifier(Modifier):
    """Scores as they are.

    Cost: none.

    References
    ----------
    Vaswani et al. (2017), section 3.2.1.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("modifier", "none").modify(np.array([[1.0, 2.0]]))
    array([[1., 2.]])
    """

    name = "none"
    source = Source("Attention Is All You Need", "Vaswani et al.", 2017, "NeurIPS")
    elementwise = True
    keeps_nonnegative = True

    def modify(self, S: Any) -> Any:
        return S

    def operations(self) -> float:
        return 0.0


class Softcap(Modifier):
    """Scores bent so that none is further from zero than a cap.

    cap tanh(s / cap). A small score hardly changes; a large one comes close to the cap. Cost: 3 operations a score.

    Parameters
    ----------
    cap : float > 0, in the unit of the scores
        The bound that no score reaches.

    Notes
    -----
    Gemma 2 caps the scores of attention at 50 and the final logits at 30. Clipping is different: it has no gradient beyond
    its limit.

    References
    ----------
    Gemma Team (2024), section 2, `Logit soft-capping`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> attnlab.get("modifier", "softcap", cap=2.0).modify(np.array([[0.1, 2.0, 100.0]])).round(4)
    array([[0.0999, 1.5232, 2.    ]])
    """

    name = "softcap"
    source = Source(
        "Gemma 2: Improving Open Language Models at a Practical Size", "Gemma Team", 2024, "arXiv:2408.00118"
    )
    keeps_nonnegative = True
    elementwise = True

    def __init__(self, cap: Annotated[float, Gt(0)] = 30.0) -> None:
        self.cap = cap

    @in_float32
    def modify(self, S: Any) -> Any:
        return self.cap * namespace(S).tanh(S / self.cap)

    def operations(self, n_keys: int) -> float:
        return 3.0 * n_keys


class Bias(Modifier):
    """Adds given numbers to the scores; -inf forbids a key.

    s_ij + b_ij. A place with -inf joins the mask before the allowed keys are counted. Cost: 1 operation a score.

    Parameters
    ----------
    array : float array that broadcasts to (..., q, k), in the unit of the scores
        Row i is for the query at position i, and column j for the key at position j. A decoder thus finds its row at each
        step. A single row, or a single column, is used for all positions. By default nothing is added.
    path : path of a .npy file, or None
        A file that holds the array. Experiments use this setting. The content of the file identifies it, not its path.

    Raises
    ------
    SettingError
        When both are given, or the numbers are not real numbers or -inf.
    ShapeError
        When the array has no row, or no column, for a position.

    Notes
    -----
    Masks are boolean here. ONNX's `Attention` and PyTorch's `scaled_dot_product_attention` take a float `attn_mask`, which is
    this bias. Its leading axes are those of the scores. In a sweep it has no leading axes, because batches differ.

    References
    ----------
    ONNX operators, Attention-23, input `attn_mask`.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> B = np.array([[0.0, np.log(3.0), -np.inf]])
    >>> attnlab.attention_weights(np.ones((1, 2)), np.ones((3, 2)), modifier={"bias": {"array": B}}).round(4)
    array([[0.25, 0.75, 0.  ]])
    """

    name = "bias"
    source = Source("Open Neural Network Exchange: operator Attention-23", "ONNX", 2025)
    keeps_nonnegative = False
    elementwise = True
    permutation_equivariant = None  # it depends on the array

    def __init__(self, array: Any = 0.0, path: str | Path | None = None) -> None:
        self.array = array
        self.path = path

    def _given(self) -> Any:
        """The array with at least two axes; a file is read only when its rows are needed."""
        if self.path is not None and (hasattr(self.array, "dtype") or self.array != 0.0):
            raise SettingError("modifier 'bias' takes its numbers from one place: give array or path, not both")
        if self.path is not None:
            try:
                array = np.load(self.path, allow_pickle=False, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise SettingError(
                    f"modifier 'bias': path must be a .npy file with an array; {self.path}: {error}"
                ) from None
        else:
            array = self.array if hasattr(self.array, "dtype") else as_array(self.array, "modifier 'bias': array")
        return array if array.ndim >= 2 else array.reshape((1, -1))

    def _checked(self) -> Any:
        """The array on the host. It is checked whole, once a call, before its masks are made."""
        array = self._given()
        plain = widened(to_numpy(array))
        if plain.dtype.kind not in "fiu" or not np.all(np.isfinite(plain) | np.isneginf(plain)):
            raise SettingError(
                "modifier 'bias': array must hold real numbers or -inf, in axes that broadcast to (..., q, k); got "
                f"{plain.dtype} {plain.shape}"
                + (
                    ""
                    if plain.dtype.kind not in "f"
                    else f" with {int(np.isnan(plain).sum())} NaN, {int(np.isposinf(plain).sum())} +inf"
                )
            )
        return plain

    def allowed(self, q_index: Any, k_index: Any) -> Any:
        """True where the bias of a query and a key is not -inf; None where no bias is -inf."""
        plain = self._checked()
        if np.isfinite(plain).all():
            return None
        return ~np.isneginf(self._at(self._at(plain, q_index, -2), k_index, -1))

    @in_float32
    def modify(self, S: Any, q_index: Any, k_index: Any) -> Any:
        xp = namespace(S)
        B = self._at(self._at(self._given(), q_index, -2), k_index, -1)
        B = xp.astype(B if type(B) is type(S) else xp.asarray(to_numpy(B)), S.dtype)
        return S + xp.where(-xp.inf == B, xp.zeros_like(B), B)

    @staticmethod
    def _at(B: Any, index: Any, axis: int) -> Any:
        """The rows, or columns, at the given positions; a single one serves all positions."""
        size, places = B.shape[axis], to_numpy(index)
        if size == 1:
            return B
        if places.size and int(places.max()) >= size:
            noun, letter = ("row", "query") if axis == -2 else ("column", "key")
            raise ShapeError(
                f"modifier 'bias' has {size} {noun}s, (..., q, k) = {tuple(B.shape)}; there is a {letter} at position "
                f"{int(places.max())}"
            )
        if places.ndim > 1:
            raise ShapeError("modifier 'bias' needs the same positions for all examples; got an index for each")
        index = places if isinstance(B, np.ndarray) else namespace(B).asarray(places)
        return B[..., index, :] if axis == -2 else B[..., index]

    def operations(self, n_keys: int) -> float:
        return float(n_keys)
