"""attnlab's own plugin: one hook implementation a kind, and of executors one each, as any other plugin has them."""

from __future__ import annotations

from pathlib import Path

from attnlab.hookspecs import hookimpl


@hookimpl
def attnlab_similarities() -> list[type]:
    from attnlab.parts import content_free as c
    from attnlab.parts import factorised as f
    from attnlab.parts import feature_maps as m
    from attnlab.parts import similarities as s
    from attnlab.parts.stateful import Coverage, LocationAware

    return [
        *(s.Dot, s.ScaledDot, s.Cosine, s.General, s.Additive, s.NegL2, s.Uniform, LocationAware, Coverage),
        *(f.LowRank, f.AdditiveWn, f.DiagMahalanobis, m.PolyKernel, m.FeatureMapElu, m.Taylor, m.Expressive),
        *(c.Location, c.SynthesizerRandom, c.RandomScores),
    ]


@hookimpl
def attnlab_normalisers() -> list[type]:
    from attnlab.parts import abstaining as a
    from attnlab.parts import kernel_weights as k
    from attnlab.parts import normalisers as n
    from attnlab.parts import tempered as t
    from attnlab.parts.stateful import Monotonic

    return [
        *(n.Softmax, n.SoftmaxN, n.LognSoftmax, n.Sparsemax, n.Entmax, n.Sigmoid, n.Hardmax, Monotonic),
        *(a.SinkSoftmax, a.Softpick, a.ReluOverN, a.StickBreaking, a.Cog, a.Identity, k.L1, k.CompactKernel),
        *(t.AdaptiveTemperature, t.TopkSoftmax, t.Gumbel, t.Stieltjes),
    ]


@hookimpl
def attnlab_aggregators() -> list[type]:
    from attnlab.parts import aggregators as a
    from attnlab.parts.exponential_sums import Laser, MaxPlus
    from attnlab.parts.readouts import Gated, LuongOutput, Pointer
    from attnlab.parts.regressions import LocalLinear, Parallax

    return [a.WeightedSum, a.Gather, LuongOutput, Gated, Pointer, MaxPlus, Laser, Parallax, LocalLinear]


@hookimpl
def attnlab_positions() -> list[type]:
    from attnlab.parts import positions as p
    from attnlab.parts import relative as r
    from attnlab.parts.convolutions import ShortConv
    from attnlab.parts.learned_biases import Cope, Fire
    from attnlab.parts.rotary import Pope, Rope

    return [
        *(
            p.NoPosition,
            p.Sinusoidal,
            r.Learned,
            r.Alibi,
            Rope,
            Pope,
            r.T5Bias,
            Fire,
            Cope,
            r.GaussianLocal,
            r.Diagonal,
        ),
        ShortConv,
    ]


@hookimpl
def attnlab_masks() -> list[type]:
    from attnlab.parts import masks as m
    from attnlab.parts import patterns as p
    from attnlab.parts.chosen_blocks import BlockTopk

    return [m.AllKeys, m.Causal, m.Window, p.Prefix, p.Document, p.Dilated, p.GlobalWindow, p.Random, BlockTopk]


@hookimpl
def attnlab_modifiers() -> list[type]:
    from attnlab.parts import gates as g
    from attnlab.parts import modifiers as m

    return [m.NoModifier, m.Softcap, m.Bias, g.Forget, g.AdaptiveScale, g.Selective, g.MultiToken]


@hookimpl
def attnlab_mechanisms() -> list[type]:
    from attnlab.mechanisms.compositions import Mixture, MultiHead
    from attnlab.mechanisms.mechanism import Mechanism
    from attnlab.mechanisms.memories import DeltaRule, GatedDelta, Hopfield
    from attnlab.mechanisms.mixing_heads import Differential, TalkingHeads

    return [Mechanism, MultiHead, Mixture, TalkingHeads, Differential, Hopfield, DeltaRule, GatedDelta]


@hookimpl
def attnlab_encoders() -> list[type]:
    from attnlab.models.seq2seq import encoders as e

    return [e.Embedding, e.Rnn, e.BiRnn]


@hookimpl
def attnlab_kernels() -> list[type]:
    from attnlab.kernels import aggregators as a
    from attnlab.kernels import chains as c
    from attnlab.kernels import normalisers as n
    from attnlab.kernels import products as p
    from attnlab.kernels.decoder import FastPreviousState
    from attnlab.kernels.decoder_chain import ChainedPreviousState
    from attnlab.kernels.gru import FastGru
    from attnlab.kernels.rotations import RopeTurns
    from attnlab.kernels.torch_attention import TorchAttention

    return [
        *(p.DotProduct, p.ScaledDotProduct, p.GeneralProduct, p.CosineProduct, p.AdditiveLoops, p.NegL2Product),
        *(n.SoftmaxRows, n.LognSoftmaxRows, n.SoftmaxNRows, n.SigmoidByHand, n.SparsemaxRows, n.EntmaxRows),
        *(
            a.WeightedSumProduct,
            c.SoftmaxChain,
            RopeTurns,
            TorchAttention,
            FastGru,
            FastPreviousState,
            ChainedPreviousState,
        ),
    ]


@hookimpl
def attnlab_models() -> list[type]:
    from attnlab.models.aligner import AttentionAligner
    from attnlab.models.seq2seq.estimator import AttentionSeq2Seq
    from attnlab.models.stack.estimator import AttentionStack
    from attnlab.models.words.estimator import WordAligner

    return [AttentionAligner, AttentionSeq2Seq, AttentionStack, WordAligner]


@hookimpl
def attnlab_tasks() -> list[type]:
    from attnlab.tasks.arrays import Arrays
    from attnlab.tasks.associative import Mqar, Mqmtar
    from attnlab.tasks.bitext import Bitext
    from attnlab.tasks.brackets import Dyck
    from attnlab.tasks.chains import Induction, VariableTracking
    from attnlab.tasks.counting import Boolean, LocalCount, NBack
    from attnlab.tasks.fertility import Fertility, LookupTable
    from attnlab.tasks.hops import KHop
    from attnlab.tasks.matching import FindBlock, LinearMatch, XorKey
    from attnlab.tasks.memory import FlipFlop, TriggerAverage
    from attnlab.tasks.ngrams import NgramCopy
    from attnlab.tasks.orders import SelectiveCopy, Sort
    from attnlab.tasks.recall import Lookup, NoisyRecall, NormHubs, NullQueries
    from attnlab.tasks.regression import InContextRegression, KernelRecovery, NadarayaWatson
    from attnlab.tasks.sequences import Copy, Reverse
    from attnlab.tasks.sets import MaxRetrieval, SubsetMean
    from attnlab.tasks.translation import BlockReorder, ToyTranslation

    return [
        *(Lookup, NoisyRecall, NormHubs, NullQueries, MaxRetrieval, SubsetMean),
        *(Copy, Reverse, Sort, SelectiveCopy, Fertility, LookupTable, BlockReorder, ToyTranslation),
        *(Mqar, Mqmtar, NgramCopy, Induction, KHop, VariableTracking, FlipFlop, TriggerAverage, Dyck),
        *(LinearMatch, XorKey, FindBlock, KernelRecovery, NadarayaWatson, InContextRegression),
        *(NBack, LocalCount, Boolean, Arrays, Bitext),
    ]


@hookimpl
def attnlab_metrics() -> list[type]:
    from attnlab.metrics import alignment as a
    from attnlab.metrics import cost as c
    from attnlab.metrics import distribution as d
    from attnlab.metrics import layers as y
    from attnlab.metrics import prediction as p
    from attnlab.metrics import shape as s

    return [
        *(
            a.AlignmentAccuracy,
            a.ShiftedAlignmentAccuracy,
            a.Aer,
            a.AerPrecision,
            a.AerRecall,
            a.GoldMass,
            a.KlToGold,
            a.NullMass,
        ),
        *(d.WeightEntropy, d.SupportSize, d.MaxWeight),
        *(s.SinkMass, s.WeightGini, s.DiagonalDistance, s.MonotonicityViolations, s.HeadRedundancy),
        *(y.InductionScore, y.FirstTokenMass, y.SolutionMass),
        *(p.ContextError, p.Accuracy, p.ExactMatch),
        *(c.StepsTo95, c.NParameters, c.OperationsPerQuery, c.FitSeconds, c.StepsPerSecond),
    ]


@hookimpl
def attnlab_suites() -> list[Path]:
    return sorted(path for path in (Path(__file__).parent / "suites").iterdir() if path.is_dir())


# One implementation an executor: what keeps one from being imported takes away no other.
@hookimpl(specname="attnlab_executors")
def attnlab_executors_serial() -> list[type]:
    from attnlab.sweeps.executors.serial import SerialExecutor

    return [SerialExecutor]


@hookimpl(specname="attnlab_executors")
def attnlab_executors_local() -> list[type]:
    from attnlab.sweeps.executors.local import LocalExecutor

    return [LocalExecutor]


@hookimpl(specname="attnlab_executors")
def attnlab_executors_dask() -> list[type]:
    from attnlab.sweeps.executors.dask import DaskExecutor

    return [DaskExecutor]
