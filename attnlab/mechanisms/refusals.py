"""Why parts do not go together, from what their classes say: known before there are any data."""

from __future__ import annotations

from typing import Any

from attnlab.injection import asks_for
from attnlab.interfaces import Position
from attnlab.kinds import VERBS
from attnlab.mechanisms.extremes import beyond, extremes_of

__all__ = ["one_query_is_too_few", "orders_disagree", "refusal_of_parts"]


def refusal_of_parts(parts: Any) -> str:
    """Why a mechanism of these parts cannot work, in words; empty where nothing is known against it.

    Parameters
    ----------
    parts : Parts
    """
    return (
        _signs(parts)
        or _sums(parts)
        or orders_disagree(parts)
        or beyond(extremes_of(part for _, part in parts.learning()), "float64")
    )


def _signs(parts: Any) -> str:
    """Scores of any sign, for a normaliser that weighs scores of zero and above."""
    normaliser, similarity = parts.normaliser, parts.similarity
    if not normaliser.nonnegative_scores:
        return ""
    if similarity.nonnegative is False:
        return (
            f"the normaliser {normaliser.name!r} weighs scores of zero and above, and the scores of the similarity "
            f"{similarity.name!r} have any sign: take a similarity that is a kernel (poly_kernel, feature_map_elu, taylor), or "
            "another normaliser"
        )
    changing = [m for m in (parts.position, *parts.modifiers) if _changes_sign(m)]
    if changing:
        return (
            f"the normaliser {normaliser.name!r} weighs scores of zero and above, and the {changing[0].kind} "
            f"{changing[0].name!r} may make a score negative: choose another {changing[0].kind}, or another normaliser"
        )
    return ""


def _changes_sign(part: Any) -> bool:
    """Whether a position or modifier makes scores negative that were not, as far as its class says."""
    if part.kind == "position" and type(part).bias is Position.bias:
        return False
    return part.keeps_nonnegative is False


def _sums(parts: Any) -> str:
    """Weights that do not sum to one, for an aggregator that needs them to."""
    aggregator, normaliser, position = parts.aggregator, parts.normaliser, parts.position
    if not aggregator.rows_must_sum_to_one:
        return ""
    needs = f"the aggregator {aggregator.name!r} needs weights of which each row sums to one, or is all zeros"
    if not normaliser.rows_sum_to_one and not normaliser.rows_sum_to_one_or_zero:
        return f"{needs}, and those of the normaliser {normaliser.name!r} do not: choose one with rows_sum_to_one, such as softmax"
    if type(position).reweigh is not Position.reweigh and not (position.keeps_sums and normaliser.rows_sum_to_one):
        return f"{needs}, and the position {position.name!r} reweighs them: choose a position that does not"
    return ""


def orders_disagree(parts: Any) -> str:
    """A part that goes query by query, and one that looks at several queries at once."""
    coupled = _needs_other_queries(parts)
    stateful = [p for p in (parts.similarity, parts.normaliser, parts.position, *parts.modifiers) if _remembers(p)]
    if coupled is None or not stateful:
        return ""
    return (
        f"the {stateful[0].kind} {stateful[0].name!r} goes query by query, and the {coupled.kind} {coupled.name!r} needs the scores "
        "of all queries at once: leave one of the two out"
    )


def one_query_is_too_few(parts: Any) -> str:
    """A part that needs the scores of other queries, where there is one query at a time, as in a decoder."""
    coupled = _needs_other_queries(parts)
    if coupled is None:
        return ""
    return f"the {coupled.kind} {coupled.name!r} needs the scores of other queries; a step has one query"


def _needs_other_queries(parts: Any) -> Any:
    """The first part whose result for a query depends on the scores of other queries, or None."""
    return next((p for p in (*parts.modifiers, parts.normaliser) if p.couples_rows), None)


def _remembers(part: Any) -> bool:
    return any("state" in asks_for(type(part), verb) for verb in VERBS[part.kind])
