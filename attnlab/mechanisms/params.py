"""Makes the arrays that a mechanism learns, by part, and checks them when a caller passes them in."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from attnlab.errors import NotInitialised, SettingError, did_you_mean
from attnlab.injection import asks_for, call, check_learned, needs
from attnlab.interfaces import EVERY_VERB, names_of
from attnlab.kinds import LEARNING, PARTS, VERBS
from attnlab.mechanisms.bound import Params, Parts
from attnlab.sizes import room_for

__all__ = ["completed", "initial", "seen_by"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def initial(parts: Parts, rng: Any, dims: Mapping[str, int]) -> dict[str, Any]:
    """The arrays that each part starts with; modifiers have theirs under their names."""
    params: dict[str, Any] = {role: {} for role in LEARNING}
    for path, part in parts.learning():
        at = params if len(path) == 1 else params[path[0]]
        at[path[-1]] = _init_part(part, rng, seen_by(part, parts.position, dims))
    return params


def seen_by(part: Any, position: Any, dims: Mapping[str, int]) -> dict[str, int]:
    """The sizes of the vectors that a part sees: similarities and modifiers see queries and keys as the position placed them."""
    if part.kind not in ("similarity", "modifier"):
        return dict(dims)
    return {name: size if name == "d_value" else position.features(size) for name, size in dims.items()}


def _init_part(part: Any, rng: Any, dims: Mapping[str, int]) -> dict[str, Any]:
    if part.init is None:
        return {}
    with room_for(part):
        return check_learned(part, call(part, "init", rng=rng, **dims))


def completed(
    listed: tuple[tuple[tuple[str, ...], Any], ...], given_params: Params | None, Q: Any, K: Any, V: Any
) -> Params:
    """Params with an entry for each part, ((path, part), ...), or an error that says which part has arrays to learn."""
    if not given_params:
        for _, part in listed:
            if part.init is not None:
                break
        else:
            return {**dict.fromkeys(LEARNING, _NOTHING), "modifier": {p[1]: _NOTHING for p, _ in listed if len(p) == 2}}
    params: dict[str, Any] = dict(given_params or {})
    if unknown := set(params) - set(PARTS):
        first = sorted(unknown)[0]
        raise SettingError(
            f"params has an unknown entry {first!r}{did_you_mean(first, LEARNING)}; it may have {', '.join(LEARNING)}"
        )
    for role in LEARNING:
        params[role] = dict(params.get(role) or {})
    owners = dict(listed)
    if unknown := set(params["modifier"]) - {path[1] for path in owners if len(path) == 2}:
        raise SettingError(
            f"params has {', '.join(sorted(unknown))} under modifier; the mechanism has the modifiers "
            f"{names_of(path[1] for path in owners if len(path) == 2)}"
        )
    for path, part in owners.items():
        role, at = path[0], params if len(path) == 1 else params[path[0]]
        given = at.get(path[-1])
        at[path[-1]] = learned = dict(given or {})
        if part.init is None:
            if learned:
                raise SettingError(
                    f"params has {', '.join(learned)} for the {role} {part.name!r}, which has nothing to learn"
                )
            continue
        asked = frozenset().union(*(asks_for(part, verb) - set(nouns) for verb, nouns in VERBS[role].items()))
        if unknown := set(learned) - (known := asked - set(EVERY_VERB)):
            first = sorted(unknown)[0]
            raise SettingError(
                f"params has an unknown array {first!r} for the {role} {part.name!r}{did_you_mean(first, known)}; "
                f"it has {names_of(sorted(known))}"
            )
        missing = needs(part) - set(learned)
        if not given and not missing:  # its settings decide whether it learns
            sizes = {"d_query": Q.shape[-1], "d_key": K.shape[-1], "d_value": V.shape[-1]}
            dims = seen_by(part, owners["position",], sizes)
            rng = np.random.default_rng(0) if "rng" in asks_for(part, "init") else None
            missing = frozenset(_init_part(part, rng, dims))
        if missing:
            raise NotInitialised(
                f"the {role} {part.name!r} has arrays to learn ({', '.join(sorted(missing))}), and neither params nor rng "
                f"gives them: params = mechanism.init(rng, d_query, d_key, d_value), or pass rng to attend at random"
            )
    return params
