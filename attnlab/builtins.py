"""attnlab's own plugin: one hook implementation a kind, as any other plugin has them."""

from __future__ import annotations

from attnlab.hookspecs import hookimpl


@hookimpl
def attnlab_similarities() -> list[type]:
    from attnlab.parts import similarities as s

    return [s.Dot, s.ScaledDot, s.Cosine, s.General, s.Additive, s.NegL2, s.Uniform]


@hookimpl
def attnlab_normalisers() -> list[type]:
    from attnlab.parts import normalisers as n

    return [n.Softmax, n.SoftmaxN, n.LognSoftmax, n.Sparsemax, n.Entmax, n.Sigmoid, n.Hardmax]


@hookimpl
def attnlab_aggregators() -> list[type]:
    from attnlab.parts import aggregators as a

    return [a.WeightedSum, a.Gather]


@hookimpl
def attnlab_positions() -> list[type]:
    from attnlab.parts import positions as p

    return [p.NoPosition, p.Sinusoidal]


@hookimpl
def attnlab_masks() -> list[type]:
    from attnlab.parts import masks as m

    return [m.AllKeys, m.Causal, m.Window]


@hookimpl
def attnlab_mechanisms() -> list[type]:
    from attnlab.mechanisms import Mechanism

    return [Mechanism]
