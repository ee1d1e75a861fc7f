"""D8xx: what models keep."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.data import AlignmentData
from attnlab.errors import Unsupported
from attnlab.testing.checks import check, finite, same
from attnlab.testing.report import Failed
from attnlab.testing.subject import Subject, example_data, example_sequences

FEW = {"steps": 3, "max_iter": 3, "batch_size": 4}  # settings by which models are commonly made to finish soon


def _data(s: Subject, seed: int) -> AlignmentData:
    """Examples that the model takes: vectors, or sequences of tokens for a model that refuses those."""
    data = example_data(np.random.default_rng(seed), n=6)
    try:
        _fit(s, data)
    except Unsupported:
        data = example_sequences(np.random.default_rng(seed), n=6)
    return data


def _fit(s: Subject, data: Any) -> Any:
    from sklearn.base import clone

    model = clone(s.object)
    few = {name: value for name, value in FEW.items() if name in model.get_params(deep=False)}
    if "random_state" in model.get_params(deep=False):
        few["random_state"] = 0
    model.set_params(**few)
    if model.fit(data) is not model:
        raise Failed("fit must return self")
    return model


@check("D801", "model")
def model_has_shapes(s: Subject) -> None:
    """After `fit`, which returns self, `align` is (n, q, k), `predict` one entry for each query, `score` a number."""
    data = _data(s, s.seed)
    model = _fit(s, data)
    W, Y = np.asarray(model.align(data)), np.asarray(model.predict(data))
    if W.shape != data.allowed.shape:
        raise Failed(f"align gives {W.shape} instead of {data.allowed.shape}")
    if Y.shape[:2] != W.shape[:2]:
        raise Failed(f"predict gives {Y.shape} for (n, q) = {W.shape[:2]}")
    finite(W, "align")
    finite(Y, "predict")
    if np.any(W[~data.allowed] != 0):
        raise Failed("align gives weight to keys that the mask forbids")
    finite(float(model.score(data)), "score")


@check("D802", "model")
def model_repeats_itself(s: Subject) -> None:
    """The same `random_state` and the same data give the same numbers."""
    data = _data(s, s.seed + 1)
    one, two = _fit(s, data), _fit(s, data)
    same(one.align(data), two.align(data), "align of a second fit", 0)
    same(one.predict(data), two.predict(data), "predict of a second fit", 0)


@check("D803", "model")
def model_leaves_data_and_settings(s: Subject) -> None:
    """`fit`, `align` and `predict` leave the data and the settings as they were; what is learned ends in `_`."""
    data = _data(s, s.seed + 2)
    arrays = ("Q", "K", "V", "mask", "gold", "target", "possible", "ids", "inputs", "gold_by_layer")
    seen = {n: getattr(data, n) for n in arrays}
    kept = {name: np.array(array) for name, array in seen.items()}
    before = repr(s.object.get_params(deep=False))
    model = _fit(s, data)
    model.align(data)
    model.predict(data)
    for name, array in seen.items():
        if not np.array_equal(array, kept[name]):
            raise Failed(f"{name} of the data was modified")
    if repr(s.object.get_params(deep=False)) != before:
        raise Failed("the settings were modified")
    fresh = set(vars(model)) - set(model.get_params(deep=False))
    if loose := [name for name in sorted(fresh) if not name.endswith("_") and not name.startswith("_")]:
        raise Failed(f"fit sets {', '.join(loose)}: what is learned ends in _")
