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


@hookimpl
def attnlab_models() -> list[type]:
    from attnlab.models.aligner import AttentionAligner

    return [AttentionAligner]


@hookimpl
def attnlab_tasks() -> list[type]:
    from attnlab.tasks.arrays import Arrays
    from attnlab.tasks.recall import Lookup, NoisyRecall, NormHubs, NullQueries
    from attnlab.tasks.sequences import Copy, Reverse
    from attnlab.tasks.sets import MaxRetrieval, SubsetMean

    return [Lookup, NoisyRecall, NormHubs, NullQueries, Copy, Reverse, MaxRetrieval, SubsetMean, Arrays]


@hookimpl
def attnlab_metrics() -> list[type]:
    from attnlab.metrics import alignment as a
    from attnlab.metrics import cost as c
    from attnlab.metrics import distribution as d
    from attnlab.metrics import prediction as p

    return [
        *(a.AlignmentAccuracy, a.Aer, a.AerPrecision, a.AerRecall, a.GoldMass, a.KlToGold, a.NullMass),
        *(d.WeightEntropy, d.SupportSize, d.MaxWeight),
        *(p.ContextError, p.Accuracy),
        *(c.StepsTo95, c.NParameters, c.OperationsPerQuery, c.FitSeconds, c.StepsPerSecond),
    ]


@hookimpl
def attnlab_executors() -> list[type]:
    from attnlab.sweeps.executors.local import LocalExecutor
    from attnlab.sweeps.executors.serial import SerialExecutor

    return [LocalExecutor, SerialExecutor]
