"""Whether contexts may be mixtures of predictions: what `mix="predictions"` of an aligner needs, refused where it is not so."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnlab.errors import Unsupported
from attnlab.mechanisms.binding import attended
from attnlab.mechanisms.mechanism import Mechanism

__all__ = ["mixes_no_predictions", "refuse_no_mixture"]

FEW = 8  # examples that are tried
SAYS = (
    'mix="predictions" mixes probabilities of classes by weights of zero and above, as weighted_sum does, and {}: choose another '
    '{}, or mix="values"'
)


def mixes_no_predictions(mechanism: Any) -> str:
    """Why contexts of probabilities are known to be none, in words; empty where they are, or where nobody said it."""
    if mechanism.mixes_values is not False:
        return ""
    if type(mechanism) is Mechanism:
        parts = mechanism.parts()
        if parts.aggregator.mixes_values is not False:
            return SAYS.format(f"the normaliser {parts.normaliser.name!r} gives weights below zero", "normaliser")
        return SAYS.format(f"the aggregator {parts.aggregator.name!r} does something else with values", "aggregator")
    return SAYS.format(f"the mechanism {mechanism.name!r} does something else with values", "mechanism")


def refuse_no_mixture(model: Any, params: Any, X: Any) -> None:
    """Refuse what an aligner is to mix predictions with: what says that it cannot, and what does not say it and is found out.

    Parameters
    ----------
    model : AttentionAligner
    params : dict, what it starts with
    X : AlignmentData; random probabilities are tried in the place of the values of its first examples

    Raises
    ------
    Unsupported
    """
    if model.mix != "predictions":
        return
    mechanism = model.mechanism_
    if why := mixes_no_predictions(mechanism):
        raise Unsupported(why)
    if mechanism.mixes_values:
        return
    few = X[:FEW]
    Q, K = model._placed(params, few)
    E = np.exp(2 * np.random.default_rng(0).normal(size=few.V.shape))
    P = (E / E.sum(axis=-1, keepdims=True)).astype(few.V.dtype)
    with np.errstate(all="ignore"):
        Y = np.asarray(attended(mechanism, params["mechanism"], Q, K, P, mask=few.mask))
    if not (Y.min(initial=0) >= -1e-3 and Y.sum(axis=-1).max(initial=0) <= 1.001):
        given: Any = mechanism.parts().aggregator if type(mechanism) is Mechanism else mechanism
        raise Unsupported(SAYS.format(f"of probabilities the {given.kind} {given.name!r} makes none", given.kind))
