"""Any attention mechanism of attnlab as a `torch.nn.Module`: a drop-in for the attention of a PyTorch model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

import attnlab
from attnlab.precision import is_low, widened

__all__ = ["AttentionModule"]


class _Arrays(nn.Module):
    """Nested arrays as parameters of the same names; one that PyTorch has for itself gets an underscore after it."""

    def __init__(self, arrays: Mapping[str, Any], dtype: torch.dtype) -> None:
        super().__init__()
        self.called: dict[str, str] = {}  # the attribute of each array
        for name, value in arrays.items():
            attribute = name
            while hasattr(self, attribute):
                attribute += "_"
            self.called[name] = attribute
            if isinstance(value, Mapping):
                self.add_module(attribute, _Arrays(value, dtype))
            else:
                self.register_parameter(attribute, nn.Parameter(torch.tensor(np.asarray(value), dtype=dtype)))

    def tree(self) -> dict[str, Any]:
        """The parameters, nested as attnlab has them."""
        found = {name: getattr(self, attribute) for name, attribute in self.called.items()}
        return {name: one.tree() if isinstance(one, _Arrays) else one for name, one in found.items()}


class AttentionModule(nn.Module):
    """A mechanism of attnlab, with its learned arrays as parameters.

    Parameters
    ----------
    mechanism : attnlab mechanism, its name, {name: {setting: value}}, or a mapping of parts such as {"similarity": "additive"}
    d_query : int
        Features of a query.
    d_key, d_value : int or None
        Features of a key and of a value; None: d_query and d_key.
    rng : numpy.random.Generator, int or None
        Where the arrays start, and what parts draw from that draw at random in training.
    dtype : torch.dtype

    Notes
    -----
    `state_dict` names the arrays as attnlab's `params` do, with a prefix: ``arrays.similarity.W``. `params` and `load_params` go to and
    from attnlab's own dict of NumPy arrays. Shapes are checked at each call, and nothing is cleaned: no query or key may hold NaN.
    float16 and bfloat16, and what comes out of `torch.autocast`, are computed in float32, and cast at the end. Only what goes to PyTorch's
    own attention is left to autocast.

    Examples
    --------
    >>> import torch
    >>> attend = AttentionModule({"similarity": "additive"}, d_query=4, d_key=3, d_value=5, rng=0)
    >>> attend(torch.ones(2, 6, 4), torch.ones(2, 7, 3), torch.ones(2, 7, 5)).shape
    torch.Size([2, 6, 5])
    """

    def __init__(
        self,
        mechanism: Any,
        d_query: int,
        d_key: int | None = None,
        d_value: int | None = None,
        rng: Any = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        d_key = d_query if d_key is None else d_key
        d_value = d_key if d_value is None else d_value
        if isinstance(mechanism, Mapping) and not (
            len(mechanism) == 1 and next(iter(mechanism)) in attnlab.names("mechanism")
        ):
            mechanism = attnlab.Mechanism(**mechanism)
        elif isinstance(mechanism, (str, Mapping)):
            name, settings = (mechanism, {}) if isinstance(mechanism, str) else next(iter(mechanism.items()))
            mechanism = attnlab.get("mechanism", name, **settings)
        self.mechanism = mechanism
        self._bound = mechanism.bind()
        self._whole = self._bound.kernels("torch.float32", "torch").get("attend") == "attnlab:torch_attention"
        self._sizes = {"query": d_query, "key": d_key, "value": d_value}
        self._rng = np.random.default_rng(rng)
        self.arrays = _Arrays(mechanism.init(self._rng, d_query, d_key, d_value), dtype)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        value: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        q_index: torch.Tensor | None = None,
        k_index: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The contexts (..., q, v).

        Parameters
        ----------
        query, key, value : tensors (..., q, d), (..., k, d), (..., k, v)
            No key means the queries, and no value the keys.
        mask : bool tensor, broadcast to (..., q, k), True = may attend
        lengths : int tensor (..., 2), true numbers of queries and keys, for parts that ask for them
        q_index, k_index : int tensors (..., q) and (..., k), the places of queries and keys; None: 0, 1, ..
        """
        key = query if key is None else key
        value = key if value is None else value
        return self._computed("attend", (query, key, value), mask, lengths, q_index, k_index)

    def weights(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        lengths: torch.Tensor | None = None,
        q_index: torch.Tensor | None = None,
        k_index: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The weights (..., q, k); `forward` explains the arguments."""
        return self._computed("weights", (query, query if key is None else key), mask, lengths, q_index, k_index)

    def _computed(
        self, verb: str, nouns: tuple[torch.Tensor, ...], mask: Any, lengths: Any, q_index: Any, k_index: Any
    ) -> torch.Tensor:
        self._check(nouns)
        params: Any = self.arrays.tree()
        dtype = nouns[0].dtype if any(map(is_low, nouns)) else None
        if dtype is not None or any(map(is_low, self.parameters())):
            params, nouns = widened(params), tuple(map(widened, nouns))
        query, key, value = nouns if len(nouns) == 3 else (*nouns, None)
        given = {"lengths": lengths, "q_index": q_index, "k_index": k_index, "training": self.training}
        if self.training:
            given["rng"] = self._rng
        context = self._bound.context(query, key, value, mask, **given)
        device = query.device.type
        by_itself = self._whole or not torch.is_autocast_enabled(device)
        with nullcontext() if by_itself else torch.autocast(device, enabled=False):
            found: torch.Tensor = getattr(self._bound, verb)(params, *nouns, context)
        return found if dtype is None else found.to(dtype)

    def _check(self, nouns: tuple[torch.Tensor, ...]) -> None:
        """Compare features with those that the arrays were made for; a mechanism of parts says itself what its values may be."""
        if next(self.parameters(), None) is None:
            return
        several = 2 if isinstance(self.mechanism, attnlab.Mechanism) else 3
        for (name, size), noun in zip(list(self._sizes.items())[:several], nouns, strict=False):
            if not isinstance(noun, torch.Tensor):
                raise TypeError(f"{name} must be a torch.Tensor; got {type(noun).__name__}")
            if noun.ndim < 2 or noun.shape[-1] != size:
                raise attnlab.ShapeError(
                    f"{name} must be (..., {name[0]}, {size}) as d_{name}={size}; got {tuple(noun.shape)}"
                )

    def extra_repr(self) -> str:
        return repr(self.mechanism)

    def params(self) -> dict[str, Any]:
        """attnlab's `params`: nested NumPy arrays, a copy."""

        def plain(tree: Any) -> Any:
            if isinstance(tree, dict):
                return {name: plain(one) for name, one in tree.items()}
            return tree.detach().cpu().numpy().copy()

        found: dict[str, Any] = plain(self.arrays.tree())
        return found

    def load_params(self, params: Mapping[str, Any]) -> AttentionModule:
        """Take the numbers of attnlab's `params`.

        Raises
        ------
        ValueError
            When an array is missing, too many, or of another shape; nothing is then changed.
        """
        mine, given = dict(_leaves(self.arrays.tree())), dict(_leaves(params))
        wrong = [f"{name} is missing" for name in mine.keys() - given.keys()]
        wrong += [f"{name} is none of {', '.join(sorted(mine)) or 'none'}" for name in given.keys() - mine.keys()]
        wrong += [
            f"{name} must be {tuple(mine[name].shape)}; got {np.shape(given[name])}"
            for name in mine.keys() & given.keys()
            if tuple(mine[name].shape) != np.shape(given[name])
        ]
        if wrong:
            raise ValueError(f"params of {self.mechanism.name!r}: {'; '.join(sorted(wrong))}")
        with torch.no_grad():
            for name, one in mine.items():
                one.copy_(torch.as_tensor(np.asarray(given[name])))
        return self


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Any:
    for name, one in tree.items():
        if isinstance(one, Mapping):
            yield from _leaves(one, f"{prefix}{name}.")
        else:
            yield prefix + name, one
