"""attnlab: a pluggable attention lab.

    S = similarity(position(Q, K))      how well does key j answer query i?
    S = modifier(S)                     change scores, by content or by a rule
    W = normaliser(S, mask)             turn scores into weights
    Y = aggregator(W, V)                turn weighted values into a context

`import attnlab` is cheap: each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from attnlab.version import __version__ as __version__

_WHERE = {
    # a plugin author's page
    "Aggregator": "attnlab.interfaces",
    "Component": "attnlab.interfaces",
    "DrawnTask": "attnlab.tasks.drawn",
    "Encoder": "attnlab.interfaces",
    "Executor": "attnlab.interfaces",
    "Kernel": "attnlab.interfaces",
    "Mask": "attnlab.interfaces",
    "MechanismComponent": "attnlab.interfaces",
    "Metric": "attnlab.interfaces",
    "Model": "attnlab.interfaces",
    "Modifier": "attnlab.interfaces",
    "Normaliser": "attnlab.interfaces",
    "Position": "attnlab.interfaces",
    "Similarity": "attnlab.interfaces",
    "Source": "attnlab.interfaces",
    "Task": "attnlab.interfaces",
    "hookimpl": "attnlab.hookspecs",
    "namespace": "attnlab.arrays",
    "detach": "attnlab.arrays",
    "call": "attnlab.injection",
    "check_shapes": "attnlab.shapes",
    "register": "attnlab.registry",
    # data
    "AlignmentData": "attnlab.data",
    "Splits": "attnlab.data",
    # attention
    "attend": "attnlab.mechanisms.functional",
    "attention_weights": "attnlab.mechanisms.functional",
    "normalise": "attnlab.mechanisms.functional",
    "Mechanism": "attnlab.mechanisms.mechanism",
    "get": "attnlab.registry",
    "names": "attnlab.registry",
    "components": "attnlab.registry",
    # estimators
    "AttentionAligner": "attnlab.models.aligner",
    "AttentionClassifier": "attnlab.models.tabular.estimator",
    "AttentionRegressor": "attnlab.models.tabular.estimator",
    "AttentionSeq2Seq": "attnlab.models.seq2seq.estimator",
    "AttentionStack": "attnlab.models.stack.estimator",
    "WordAligner": "attnlab.models.words.estimator",
    # sweeps
    "sweep": "attnlab.sweeps.pipeline",
    "load_results": "attnlab.sweeps.frame",
    "load_run": "attnlab.sweeps.frame",
    # looking at results
    "check_claims": "attnlab.analysis.claims",
    "plot_alignment": "attnlab.analysis.plots",
    "plot_alignments": "attnlab.analysis.plots",
    "plot_claim": "attnlab.analysis.plots",
    "plot_frontier": "attnlab.analysis.plots",
    "compare": "attnlab.analysis.compare",
    "compare_weights": "attnlab.analysis.weights_compared",
    "referee": "attnlab.analysis.referee.judging",
    "summarise": "attnlab.analysis.summary",
    # errors
    "AmbiguousName": "attnlab.errors",
    "AttnlabError": "attnlab.errors",
    "BitextError": "attnlab.errors",
    "ClusterLost": "attnlab.errors",
    "ComponentError": "attnlab.errors",
    "Diverged": "attnlab.errors",
    "ExperimentError": "attnlab.errors",
    "InputChanged": "attnlab.errors",
    "InvalidResult": "attnlab.errors",
    "NotInitialised": "attnlab.errors",
    "NothingToLearn": "attnlab.errors",
    "SettingError": "attnlab.errors",
    "ShapeError": "attnlab.errors",
    "StoreError": "attnlab.errors",
    "TooLarge": "attnlab.errors",
    "UnknownName": "attnlab.errors",
    "Unsupported": "attnlab.errors",
}
_MODULES = ("testing",)

__all__ = sorted([*_WHERE, *_MODULES])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"attnlab.{name}")
    else:
        from attnlab.errors import did_you_mean

        raise AttributeError(f"module 'attnlab' has no attribute {name!r}{did_you_mean(name, __all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if TYPE_CHECKING:
    from attnlab.analysis.claims import check_claims as check_claims
    from attnlab.analysis.compare import compare as compare
    from attnlab.analysis.plots import plot_alignment as plot_alignment
    from attnlab.analysis.plots import plot_alignments as plot_alignments
    from attnlab.analysis.plots import plot_claim as plot_claim
    from attnlab.analysis.plots import plot_frontier as plot_frontier
    from attnlab.analysis.referee.judging import referee as referee
    from attnlab.analysis.summary import summarise as summarise
    from attnlab.analysis.weights_compared import compare_weights as compare_weights
    from attnlab.arrays import detach as detach
    from attnlab.arrays import namespace as namespace
    from attnlab.data import AlignmentData as AlignmentData
    from attnlab.data import Splits as Splits
    from attnlab.hookspecs import hookimpl as hookimpl
    from attnlab.injection import call as call
    from attnlab.interfaces import Aggregator as Aggregator
    from attnlab.interfaces import Component as Component
    from attnlab.interfaces import Encoder as Encoder
    from attnlab.interfaces import Executor as Executor
    from attnlab.interfaces import Kernel as Kernel
    from attnlab.interfaces import Mask as Mask
    from attnlab.interfaces import MechanismComponent as MechanismComponent
    from attnlab.interfaces import Metric as Metric
    from attnlab.interfaces import Model as Model
    from attnlab.interfaces import Modifier as Modifier
    from attnlab.interfaces import Normaliser as Normaliser
    from attnlab.interfaces import Position as Position
    from attnlab.interfaces import Similarity as Similarity
    from attnlab.interfaces import Source as Source
    from attnlab.interfaces import Task as Task
    from attnlab.mechanisms.functional import attend as attend
    from attnlab.mechanisms.functional import attention_weights as attention_weights
    from attnlab.mechanisms.functional import normalise as normalise
    from attnlab.mechanisms.mechanism import Mechanism as Mechanism
    from attnlab.models.aligner import AttentionAligner as AttentionAligner
    from attnlab.models.seq2seq.estimator import AttentionSeq2Seq as AttentionSeq2Seq
    from attnlab.models.stack.estimator import AttentionStack as AttentionStack
    from attnlab.models.tabular.estimator import AttentionClassifier as AttentionClassifier
    from attnlab.models.tabular.estimator import AttentionRegressor as AttentionRegressor
    from attnlab.models.words.estimator import WordAligner as WordAligner
    from attnlab.registry import components as components
    from attnlab.registry import get as get
    from attnlab.registry import names as names
    from attnlab.registry import register as register
    from attnlab.shapes import check_shapes as check_shapes
    from attnlab.sweeps.frame import load_results as load_results
    from attnlab.sweeps.frame import load_run as load_run
    from attnlab.sweeps.pipeline import sweep as sweep
    from attnlab.tasks.drawn import DrawnTask as DrawnTask
