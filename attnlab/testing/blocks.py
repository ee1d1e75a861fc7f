"""C033 and N207: long inputs in blocks of keys give the numbers of the whole, where a part says that they may."""

from __future__ import annotations

import numpy as np

from attnlab.injection import asks_for, call
from attnlab.testing.checks import check, same
from attnlab.testing.report import Skipped
from attnlab.testing.subject import Subject

CUTS = ((slice(0, 1), slice(1, None)), (slice(0, 2), slice(2, 3), slice(3, None)))


@check("C033", "similarity", "position", "modifier")
def keys_alone_give_their_scores(s: Subject) -> None:
    """A part that says it mixes no keys gives a block of keys, each at its `k_index`, what it gives them among all."""
    if s.object.mixes_keys is not False:
        raise Skipped("it does not say that a score depends on no other key")
    if s.is_stateful:
        raise Skipped("its scores depend on the steps before")
    verbs = [verb for verb in s.verbs if verb != "reweigh" and not {"mask", "n_allowed"} & asks_for(s.object, verb)]
    for draw in s.draws("C033"):
        learned = s.learned(s.params(draw))
        for verb in verbs:
            nouns = s.nouns(verb, draw, learned)
            whole = s.direct(verb, learned, nouns)
            for here in (one for cut in CUTS for one in cut if len(range(draw.k)[one])):
                block = {"K": nouns["K"][..., here, :]} if "K" in nouns else {}
                block |= {"S": nouns["S"][..., here]} if "S" in nouns else {}
                found = s.direct(verb, learned, {**nouns, **block, "k_index": nouns["k_index"][here]})
                if verb == "place":
                    same(found[1], whole[1][..., here, :], "the keys that place gives of a block of keys")
                    same(found[0], whole[0], "the queries that place gives with a block of keys")
                else:
                    same(found, whole[..., here], f"{verb} of a block of keys")


@check("N207", "normaliser")
def blocks_of_keys_sum_up(s: Subject) -> None:
    """With `begin`, `absorb` and `finish`, values summed up in blocks of keys are those that the weights sum up."""
    if getattr(s.object, "begin", None) is None:
        raise Skipped("it goes through no blocks of keys")
    for draw in s.draws("N207"):
        learned = s.learned(s.params(draw))
        S = 3 * draw.rng.normal(size=(*draw.Q.shape[:-1], draw.k))
        M = draw.M & (draw.rng.random(draw.M.shape) < 0.8)
        M[..., 0] = M[..., 0] | ~M.any(axis=-1)
        given = {**learned, "mask": M, "n_allowed": M.sum(axis=-1, keepdims=True).astype(S.dtype)}
        S = np.where(M, S, -np.inf)
        expected = np.where(M, call(s.object, "normalise", S=S, **given), 0.0) @ draw.V
        for cut in CUTS:
            state = call(s.object, "begin", shape=(*S.shape[:-1], 1), dtype=S.dtype, **given)
            Y = np.zeros_like(expected)
            for here in (one for one in cut if len(range(draw.k)[one])):
                E, factor, state = call(s.object, "absorb", state=state, S=S[..., here], **given)
                Y = Y * factor + E @ draw.V[..., here, :]
            same(Y * call(s.object, "finish", state=state, **given), expected, "the values summed up in blocks of keys")
