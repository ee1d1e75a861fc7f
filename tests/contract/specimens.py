"""Broken components, each with the check that must reject it, so that a check which cannot fail is caught.

`SPECIMENS` lists (code, component, also): `code` must reject it, and so may the checks in `also`, which see the same
fault from another side, but no other.
"""

from __future__ import annotations

from typing import Annotated, Any

import autograd.numpy as anp
import numpy as np
from annotated_types import Gt
from sklearn.base import BaseEstimator

import attnlab
from attnlab import (
    Aggregator,
    AlignmentData,
    Executor,
    Kernel,
    Mask,
    Mechanism,
    MechanismComponent,
    Metric,
    Model,
    Modifier,
    Normaliser,
    Position,
    Similarity,
    Splits,
    Task,
    detach,
    namespace,
)
from attnlab.parts.normalisers import Softmax
from attnlab.parts.similarities import Dot, ScaledDot
from attnlab.sweeps.execute import execute

SPECIMENS: list[tuple[str, Any, frozenset[str]]] = []


def rejected_by(code: str, *also: str):
    def add(cls):
        SPECIMENS.append((code, cls, frozenset(also)))
        return cls

    return add


def dot(Q, K):
    xp = namespace(Q, K)
    return Q @ xp.matrix_transpose(K)


def softmax(S):
    return namespace(S).softmax(S, axis=-1)


# -- every component --------------------------------------------------------------------------------------------------
@rejected_by("C001")
class NameIsNoWord(Similarity):
    """Its name cannot be written in a file."""

    name = "two words"

    def score(self, Q, K):
        return dot(Q, K)


@rejected_by("C002")
class OursWithoutDocstring(Similarity):
    name = "undocumented"
    source = Dot.source
    __module__ = Dot.__module__

    def score(self, Q, K):
        return dot(Q, K)


@rejected_by("C002")
class OursWithSettingUntold(Similarity):
    __doc__ = Dot.__doc__
    name = "untold"
    source = Dot.source
    __module__ = Dot.__module__

    def __init__(self, scale=1.0):
        self.scale = scale

    def score(self, Q, K):
        return dot(Q, K) / self.scale


@rejected_by("C003")
class OursWithoutSource(Similarity):
    __doc__ = Dot.__doc__
    name = "from_nowhere"
    __module__ = Dot.__module__

    def score(self, Q, K):
        return dot(Q, K)


@rejected_by("C004")
class ConvertsItsSetting(Similarity):
    """Stores something else than it was given."""

    name = "converts"

    def __init__(self, scale=1.0):
        self.scale = float(scale)

    def score(self, Q, K):
        return dot(Q, K) / self.scale


@rejected_by("C004")
class CountsInInit(Similarity):
    """Does more in __init__ than store."""

    name = "counts"

    def __init__(self, scale=1.0):
        self.scale = scale
        self.half = 0.5

    def score(self, Q, K):
        return dot(Q, K) * self.half


@rejected_by("C005")
class ForgetsASetting(Similarity):
    """get_params does not tell all."""

    name = "forgets"

    def __init__(self, scale=1.0):
        self.scale = scale

    def get_params(self, deep=True):
        return {}

    def score(self, Q, K):
        return dot(Q, K) / self.scale


@rejected_by("C006")
class OursWithWrongExample(Similarity):
    __doc__ = (Dot.__doc__ or "").replace("array([[11.,  2.]])", "array([[12.,  2.]])")
    name = "wrong_example"
    source = Dot.source
    __module__ = Dot.__module__

    def score(self, Q, K):
        return dot(Q, K)


@rejected_by("C007")
class DefaultOutOfRange(Similarity):
    """Its default is not what it allows."""

    name = "out_of_range"

    def __init__(self, scale: Annotated[float, Gt(0)] = -1.0):
        self.scale = scale

    def score(self, Q, K):
        return dot(Q, K) / self.scale


# -- parts in the engine --------------------------------------------------------------------------------------------
ALL_ELSE = (
    *("C012", "C016", "C017", "C018", "C019", "C020", "C021", "C022", "C023", "C025", "C026", "C027", "C030"),
    *("N201", "N202", "N203", "N204", "N205", "N206", "N207", "N208"),
)


@rejected_by("C008", *ALL_ELSE)
class NothingButNaN(Normaliser):
    """Weights that are no numbers, which no comparison may take for equal."""

    name = "nothing_but_nan"

    def normalise(self, S):
        return S * float("nan")


@rejected_by("C009")
class ExpOfNumPy(Similarity):
    """NumPy's exponential, which autograd follows and other libraries do not."""

    name = "exp_of_numpy"

    def score(self, Q, K):
        return dot(np.exp(0.1 * Q), K)


@rejected_by("C010")
class LearnsIntegers(Similarity):
    """What it learns has no gradient."""

    name = "integers"

    def init(self, d_query):
        return {"w": np.ones(d_query, dtype=int)}

    def score(self, Q, K, w):
        return dot(Q * w, K)


@rejected_by("C011")
class StartsTheSame(Similarity):
    """Asks for rng and does not use it."""

    name = "starts_the_same"

    def init(self, rng, d_query):
        return {"w": np.ones(d_query)}

    def score(self, Q, K, w):
        return dot(Q * w, K)


@rejected_by("C011", "C012")
class StartsByGlobalChance(Similarity):
    """Starts from numpy's global state."""

    name = "global_start"

    def init(self, d_query):
        return {"w": np.random.normal(size=d_query)}  # noqa: NPY002

    def score(self, Q, K, w):
        return dot(Q * w, K)


@rejected_by("C012")
class DrawsOnGlobalChance(Similarity):
    """Moves numpy's global state."""

    name = "global_draws"

    def score(self, Q, K):
        np.random.random()  # noqa: NPY002
        return dot(Q, K)


@rejected_by("C013")
class SoftmaxInPlace(Normaliser):
    """Changes the scores that it was given."""

    name = "in_place"
    rows_sum_to_one = nonnegative = shift_invariant = True

    def normalise(self, S):
        S -= namespace(S).max(detach(S), axis=-1, keepdims=True)
        return softmax(S)


@rejected_by("C013")
class RemembersOnSelf(Similarity):
    """Keeps something on self."""

    name = "remembers"

    def score(self, Q, K):
        self.last = Q
        return dot(Q, K)


@rejected_by("C014", "C024")
class OneFeatureTooMany(Aggregator):
    """Gives back a feature more than the values have."""

    name = "too_many"

    def aggregate(self, W, V):
        xp = namespace(W, V)
        return W @ xp.concat([V, V[..., :1]], axis=-1)


@rejected_by("C015")
class DoublesPrecision(Normaliser):
    """float64, whatever comes."""

    name = "doubles"
    rows_sum_to_one = nonnegative = shift_invariant = True

    def normalise(self, S):
        return softmax(namespace(S).astype(S, np.float64))


@rejected_by("C016")
class MixesExamples(Similarity):
    """One example sees the others."""

    name = "mixes"

    def score(self, Q, K):
        S = dot(Q, K)
        return S + namespace(Q).sum(Q[..., :1], axis=0, keepdims=True) if Q.ndim > 2 else S


@rejected_by("C017")
class ReadsContiguously(Similarity):
    """Reads rows as if their numbers lay side by side, as a careless compiled kernel does."""

    name = "contiguous"

    def score(self, Q, K):
        if isinstance(Q, np.ndarray):
            Q = np.lib.stride_tricks.as_strided(Q, Q.shape, (*Q.strides[:-1], Q.itemsize))
        return dot(Q, K)


@rejected_by("C018", "C021", "C030")
class CountsQueriesItself(Similarity):
    """Takes the place in the block for the place in the whole."""

    name = "counts_queries"

    def score(self, Q, K):
        return dot(Q * np.arange(1, Q.shape[-2] + 1, dtype=Q.dtype)[:, None], K)


@rejected_by("C019")
class PlacedButDeclaresNot(Position):
    """Depends on places and says that it does not."""

    name = "secretly_placed"
    permutation_equivariant = True

    def bias(self, S, k_index):
        return S - 0.5 * k_index.astype(S.dtype)


@rejected_by("C019")
class DeclaresPlacesHasNone(Position):
    """Says that it depends on places, and does not."""

    name = "nowhere"
    permutation_equivariant = False

    def bias(self, S):
        return 2 * S


@rejected_by("C020", "C021", "C025")
class CentresAllKeys(Similarity):
    """Takes the mean of all keys off, of those that the mask forbids too."""

    name = "centres"

    def score(self, Q, K):
        return dot(Q, K - namespace(K).mean(K, axis=-2, keepdims=True))


@rejected_by("C021", "C025")
class CountsAllKeys(Normaliser):
    """Divides by the number of all keys, not of those that may be attended to."""

    name = "counts_all"
    nonnegative = sparse = True

    def normalise(self, S):
        xp = namespace(S)
        return xp.maximum(S, xp.zeros_like(S)) / S.shape[-1]


@rejected_by("C022")
class LogarithmOfNothing(Aggregator):
    """A logarithm whose gradient is not finite where there is no weight, although its value is replaced there."""

    name = "logarithm_of_nothing"

    def init(self):
        return {"power": np.ones(())}

    def aggregate(self, W, V, power):
        xp = namespace(W, V, power)
        total = xp.sum(W, axis=-1, keepdims=True)
        return W @ V * xp.where(total > 0, xp.exp(power * xp.log(total)), xp.ones_like(total))


@rejected_by("C022", "C023", "C026", "C027", "N205", "N206")
class ScalesMinusInfinity(Normaliser):
    """A learned number times scores that are -inf: its gradient is 0 * inf."""

    name = "scales_minus_infinity"
    rows_sum_to_one = nonnegative = shift_invariant = True

    def init(self):
        return {"beta": np.ones(())}

    def normalise(self, S, beta):
        return softmax(S * beta)


@rejected_by("C023", "C015", "C016", "C017", "C018", "C020", "C021", "C022", "C025", "C026", "C027", "C030", "C008", "C019", "N201", "N202", "N203", "N204", "N205", "N206", "N208")  # fmt: skip
class DividesByLogOfOne(Normaliser):
    """Over log n, which is 0 for one key."""

    name = "over_log_n"
    rows_sum_to_one = nonnegative = shift_invariant = True

    def normalise(self, S, mask, n_allowed):
        xp = namespace(S)
        zero = xp.zeros_like(detach(S))
        return softmax(xp.where(mask, xp.where(mask, S, zero) / xp.log(n_allowed), zero - xp.inf))


@rejected_by("C024")
class LargestOfNone(MechanismComponent):
    """Asks for the largest of no numbers."""

    name = "largest_of_none"

    def init(self, rng, d_query, d_key, d_value):
        return Mechanism("dot").init(rng, d_query, d_key, d_value)

    def weights(self, params, Q, K, mask=None, **context):
        top = np.max(np.abs(detach(Q)))
        return Mechanism("dot").weights(params, Q / top, K * top, mask, **context)

    def attend(self, params, Q, K, V, mask=None, **context):
        return self.weights(params, Q, K, mask, **context) @ V


@rejected_by("C025", "C018", "C021", "C030", "P402")
class CountsPadding(Position):
    """Its bias depends on how many keys and queries there are, padding included."""

    name = "counts_padding"

    def bias(self, S):
        return S * (np.arange(1, S.shape[-1] + 1) / S.shape[-1]).astype(S.dtype) / S.shape[-2]


@rejected_by("C026")
class LosesGradient(Similarity):
    """The keys' gradient is lost."""

    name = "loses_gradient"

    def score(self, Q, K):
        return dot(Q, detach(K))


@rejected_by("C027", "N205")
class Overflows(Normaliser):
    """Exponentials of large numbers."""

    name = "overflows"
    rows_sum_to_one = nonnegative = shift_invariant = True

    def normalise(self, S):
        xp = namespace(S)
        E = xp.exp(S)
        return E / xp.sum(E, axis=-1, keepdims=True)


@rejected_by("C030")
class StepsAtZero(MechanismComponent):
    """Each step is taken for the first."""

    name = "steps_at_zero"

    def _inner(self):
        return Mechanism("dot", position="sinusoidal")

    def init(self, rng, d_query, d_key, d_value):
        return self._inner().init(rng, d_query, d_key, d_value)

    def weights(self, params, Q, K, mask=None, **context):
        return self._inner().weights(params, Q, K, mask, **context)

    def attend(self, params, Q, K, V, mask=None, **context):
        return self._inner().attend(params, Q, K, V, mask, **context)

    def step(self, params, Q, K, V, state, t, mask=None, **context):
        return self._inner().step(params, Q, K, V, state, 0, mask, **context)


@rejected_by("C031", "C032")
class ScoresByNumPy(Similarity):
    """Takes its functions from NumPy, and not from the namespace of its arrays."""

    name = "by_numpy"

    def score(self, Q, K):
        return anp.tanh(dot(Q, K))


@rejected_by("C031")
class IndicesByNumPy(Position):
    """Looks at its indices with NumPy, which cannot be done on a GPU."""

    name = "indices_by_numpy"
    permutation_equivariant = False

    def bias(self, S, q_index, k_index):
        xp = namespace(S)
        away = np.abs(np.asarray(k_index)[..., None, :] - np.asarray(q_index)[..., :, None])
        return S - 0.1 * xp.astype(xp.asarray(away), S.dtype)


@rejected_by("C031", "C032")
class ElsewhereOtherwise(Similarity):
    """Right on NumPy, twice as large on other libraries."""

    name = "elsewhere_otherwise"

    def score(self, Q, K):
        S = dot(Q, K)
        return S if isinstance(detach(S), np.ndarray) else 2 * S


@rejected_by("C032", "C031")
class ElsewhereWithoutGradient(Normaliser):
    """Right on NumPy; on other libraries it has the values, and no gradient."""

    name = "elsewhere_without_gradient"
    rows_sum_to_one = nonnegative = shift_invariant = True

    def normalise(self, S):
        return softmax(S) if isinstance(detach(S), np.ndarray) else softmax(detach(S))


# -- similarities -------------------------------------------------------------------------------------------------------
@rejected_by("S101")
class SymmetricNot(Similarity):
    """Says that it is symmetric."""

    name = "not_symmetric"
    symmetric = True

    def score(self, Q, K):
        return dot(Q * Q, K)


@rejected_by("S101")
class SymmetricUnsaid(Similarity):
    """Says that it is not symmetric."""

    name = "secretly_symmetric"
    symmetric = False

    def score(self, Q, K):
        return dot(Q, K)


@rejected_by("S102")
class ContentFreeNot(Similarity):
    """Says that it does not look."""

    name = "looks"
    content_free = True

    def score(self, Q, K):
        return dot(Q, K)


@rejected_by("S102")
class ContentFreeUnsaid(Similarity):
    """Says that it looks."""

    name = "does_not_look"
    content_free = False

    def score(self, Q, K):
        return 0 * dot(Q, K)


@rejected_by("S103", "C027")
class RootOfZero(Similarity):
    """A distance, whose gradient is not finite where query and key are the same."""

    name = "distance"

    def score(self, Q, K):
        xp = namespace(Q, K)
        away = Q[..., :, None, :] - K[..., None, :, :]
        return -xp.sqrt(xp.sum(away * away, axis=-1))


# -- normalisers --------------------------------------------------------------------------------------------------------
@rejected_by("N201", "C023")
class SumsNotToOne(Normaliser):
    """Says that its rows sum to one."""

    name = "sums_not"
    rows_sum_to_one = nonnegative = shift_invariant = True

    def normalise(self, S):
        return softmax(S) / 2


@rejected_by("N201")
class SumsUnsaid(Normaliser):
    """Does not say that its rows sum to one."""

    name = "sums_unsaid"
    nonnegative = shift_invariant = True

    def normalise(self, S):
        return softmax(S)


@rejected_by("N202")
class NegativeUnsaid(Normaliser):
    """Says that no weight is negative."""

    name = "negative"
    nonnegative = True

    def normalise(self, S, mask):
        xp = namespace(S)
        return xp.tanh(xp.where(mask, S, xp.zeros_like(S)))


@rejected_by("N203")
class SparseNot(Normaliser):
    """Says that it is sparse."""

    name = "not_sparse"
    rows_sum_to_one = nonnegative = shift_invariant = sparse = True

    def normalise(self, S):
        return softmax(S)


@rejected_by("N203")
class SparseUnsaid(Normaliser):
    """Does not say that it is sparse."""

    name = "secretly_sparse"
    nonnegative = True

    def normalise(self, S):
        xp = namespace(S)
        return xp.maximum(S, xp.zeros_like(S))


@rejected_by("N204")
class ShiftsNot(Normaliser):
    """Says that a shift changes nothing."""

    name = "not_shift_invariant"
    nonnegative = shift_invariant = True

    def normalise(self, S):
        return namespace(S).sigmoid(S)


@rejected_by("N205", "C022", "C023", "C026", "C027")
class Standardises(Normaliser):
    """Over the spread of a row's scores, whose gradient is not finite when they are equal."""

    name = "standardises"
    nonnegative = rows_sum_to_one = shift_invariant = True

    def normalise(self, S, mask, n_allowed):
        xp = namespace(S)
        zero = xp.zeros_like(detach(S))
        mean = xp.sum(xp.where(mask, S, zero), axis=-1, keepdims=True) / n_allowed
        away = xp.where(mask, xp.where(mask, S, zero) - mean, zero)
        spread = xp.sqrt(xp.sum(away * away, axis=-1, keepdims=True) / n_allowed)
        return softmax(xp.where(mask, away / (spread + S.dtype.type(1e-3)), zero - xp.inf))


@rejected_by("N206")
class HidesNan(Normaliser):
    """A comparison with NaN is false: what is no number becomes a weight of 0."""

    name = "hides_nan"
    nonnegative = sparse = True

    def normalise(self, S):
        xp = namespace(S)
        return xp.where(S > 0, xp.where(S > 0, S, xp.zeros_like(S)), xp.zeros_like(S))


@rejected_by("N207")
class ForgetsTheLargest(Normaliser):
    """Softmax whose blocks are not brought to one largest score."""

    name = "forgets_the_largest"
    nonnegative = rows_sum_to_one = shift_invariant = True

    def normalise(self, S):
        return softmax(S)

    def begin(self, shape, dtype):
        return np.zeros(shape, dtype=dtype)

    def absorb(self, state, S):
        E = np.where(np.isneginf(S), 0.0, np.exp(S - np.where(np.isneginf(S), 0.0, S).max(axis=-1, keepdims=True)))
        return E, 1.0, state + E.sum(axis=-1, keepdims=True)

    def finish(self, state):
        return 1 / state


@rejected_by("C033", "C020", "C021", "C025")
class CentresKeysUnsaid(Similarity):
    """Says that it mixes no keys, and measures from their mean."""

    name = "centres_keys_unsaid"
    symmetric = content_free = mixes_keys = False

    def score(self, Q, K):
        return dot(Q, K - namespace(K).mean(K, axis=-2, keepdims=True))


@rejected_by("N208")
class SoftmaxAgain(Normaliser):
    __doc__ = Softmax.__doc__
    name = "softmax_again"
    source = Softmax.source
    rows_sum_to_one = nonnegative = shift_invariant = True
    __module__ = Softmax.__module__

    def __init__(self, temperature: Annotated[float, Gt(0)] = 1.0) -> None:
        self.temperature = temperature

    def normalise(self, S):
        return softmax(S / self.temperature)


# -- aggregators, positions, masks ----------------------------------------------------------------------------------
@rejected_by("A301", "C022", "C025")
class SomethingFromNothing(Aggregator):
    """A context where there is no weight."""

    name = "from_nothing"

    def aggregate(self, W, V):
        return W @ V + 1


@rejected_by("O551", "C027")
class Explodes(Modifier):
    """Gives infinite scores for large ones."""

    name = "explodes"
    elementwise = True

    def modify(self, S):
        return namespace(S).exp(S) + S


@rejected_by("O552", "C020", "C021", "C025", "C033")
class SaysElementwise(Modifier):
    """Takes the mean of each row from its scores, and says that it does not."""

    name = "says_elementwise"
    elementwise = True

    def modify(self, S):
        return S - namespace(S).mean(S, axis=-1, keepdims=True)


@rejected_by("O553", "C018", "C021", "C025", "C030")
class CouplesRowsUnsaid(Modifier):
    """Adds the mean over queries and does not say so."""

    name = "couples_rows_unsaid"

    def modify(self, S):
        return S + namespace(S).mean(S, axis=-2, keepdims=True)


@rejected_by("O552", "O553")
class CouplesLateRowsUnsaid(Modifier):
    """Adds the scores of the fourth query to those of the fifth, and says neither that it does nor that a score changes others."""

    name = "couples_late_rows_unsaid"
    elementwise = True

    def modify(self, S):
        if S.shape[-2] < 5:
            return S
        late = namespace(S).astype(np.arange(S.shape[-2]) >= 4, S.dtype)[:, None]
        return S + late * S[..., 3:4, :]


@rejected_by("P401")
class AddsAFeature(Position):
    """Gives back longer queries and keys."""

    name = "adds_a_feature"

    def place(self, Q, K, q_index, k_index):
        xp = namespace(Q, K)
        more = [xp.zeros_like(X[..., :1]) + i.astype(X.dtype)[:, None] for X, i in ((Q, q_index), (K, k_index))]
        return xp.concat([Q, more[0]], axis=-1), xp.concat([K, more[1]], axis=-1)


@rejected_by("P402", "C018", "C021", "C030")
class IgnoresQIndex(Position):
    """Counts queries from the start of the block."""

    name = "ignores_q_index"

    def bias(self, S, k_index):
        away = np.abs(np.arange(S.shape[-2])[:, None] - k_index)
        return S - away.astype(S.dtype)


@rejected_by("M501", "M502", "M503")
class Numbers(Mask):
    """Ones and zeros for True and False."""

    name = "numbers"

    def allow(self, q_index, k_index):
        return np.ones((len(q_index), len(k_index)), dtype=int)


@rejected_by("M502")
class Notes(Mask):
    """Keeps what it was last asked."""

    name = "notes"

    def allow(self, q_index, k_index):
        self.asked = (len(q_index), len(k_index))
        return np.ones((*q_index.shape[:-1], q_index.shape[-1], k_index.shape[-1]), dtype=bool)


@rejected_by("M504")
class TheBestOfAll(Mask):
    """Allows the key that answers best, forbidden ones included."""

    name = "the_best_of_all"

    def allow(self, Q, K, mask):
        S = Q @ np.swapaxes(K, -1, -2)
        return S.max(axis=-1, keepdims=True, initial=-np.inf) == S


@rejected_by("M503")
class LinedUpAtTheEnd(Mask):
    """Causal, with the last query at the last key."""

    name = "lined_up_at_the_end"

    def allow(self, q_index, k_index):
        q, k = (i.max(initial=-1) for i in (q_index, k_index))
        return k_index[..., None, :] - k <= q_index[..., :, None] - q


# -- tasks ----------------------------------------------------------------------------------------------------------------
class _Same(Task):
    """Each query is one of the keys: a good task, for the broken ones to start from."""

    name = "same"
    chance = 0.25

    def draw(self, rng, n, d=3):
        K = rng.normal(size=(n, 4, d))
        gold = np.eye(4)[rng.integers(4, size=n)][:, None, :]
        return {"Q": gold @ K, "K": K, "V": K, "gold": gold, "target": gold @ K}

    def splits(self, *three):
        train, validation, test = (AlignmentData(**arrays) for arrays in three)
        return Splits(train, validation, {"test": test})

    def make(self, rng):
        return self.splits(*(self.draw(rng, n) for n in (20, 5, 10)))


@rejected_by("T601")
class OtherDimensionsInTest(_Same):
    """Tests on longer vectors than it trains on."""

    def make(self, rng):
        return self.splits(self.draw(rng, 20), self.draw(rng, 5), self.draw(rng, 10, d=5))


@rejected_by("T602")
class NeverTheSame(_Same):
    """Draws from the operating system."""

    def make(self, rng):
        return super().make(np.random.default_rng())


@rejected_by("T603")
class AlwaysTheSame(_Same):
    """Does not use rng."""

    def make(self, rng):
        return super().make(np.random.default_rng(0))


@rejected_by("T604")
class ChanceUnknown(_Same):
    """Has a gold alignment and no chance level."""

    chance = float("nan")


@rejected_by("T605")
class ChanceTooLow(_Same):
    """Says that guessing is harder than it is."""

    chance = 0.1


@rejected_by("T606")
class NotANumber(_Same):
    """A value is NaN."""

    def make(self, rng):
        three = [self.draw(rng, n) for n in (20, 5, 10)]
        three[0]["V"] = np.where(three[0]["V"] > 2, np.nan, three[0]["V"])
        return self.splits(*three)


@rejected_by("T606")
class GoldForbidden(_Same):
    """A gold link to a key that may not be attended to, in a split that is not reported."""

    def make(self, rng):
        three = [self.draw(rng, n) for n in (20, 5, 10)]
        three[0]["mask"] = three[0]["gold"] == 0
        return self.splits(*three)


@rejected_by("T607")
class MovesGlobalChance(_Same):
    """Moves numpy's global state."""

    def make(self, rng):
        np.random.random()  # noqa: NPY002
        return super().make(rng)


@rejected_by("T609")
class PaddingAsks(_Same):
    """A place after the end of a sequence may attend to what is before it."""

    chance = float("nan")

    def make(self, rng):
        three = []
        for n in (20, 5, 10):
            ids = np.where(np.arange(4) < rng.integers(2, 5, size=(n, 1)), rng.integers(3, size=(n, 4)), -1)
            X = ids[:, :, None].astype(float)
            three.append(AlignmentData(X, X, X, mask=np.tri(4, dtype=bool), target=np.maximum(ids, 0), ids=ids))
        return Splits(three[0], three[1], {"test": three[2]})


@rejected_by("T609")
class AnotherLayerInTests(_Same):
    """Has one more layer of gold in tests than it trains on."""

    chance = float("nan")

    def make(self, rng):
        three = []
        for n, layers in ((20, 1), (5, 1), (10, 2)):
            by_layer = np.broadcast_to(np.eye(4, k=-1), (n, layers, 4, 4))
            three.append(AlignmentData.of_sequences(rng.integers(3, size=(n, 4)), gold_by_layer=by_layer))
        return Splits(three[0], three[1], {"test": three[2]})


@rejected_by("T608")
class MoreToLearnFromIsOtherToTestOn(_Same):
    """Says that n_train changes no example, and draws the test examples after those to learn from."""

    counts = ("n_train",)

    def __init__(self, n_train=20):
        self.n_train = n_train

    def make(self, rng):
        return self.splits(*(self.draw(rng, n) for n in (self.n_train, 5, 10)))


# -- metrics --------------------------------------------------------------------------------------------------------------
@rejected_by("E701")
class AppliesMaybe(Metric):
    """`applies` gives something that is no bool."""

    name = "applies_maybe"

    def applies(self, data):
        return len(data)

    def measure(self, data, W):
        return float(W.max(axis=-1)[data.alive].mean())


@rejected_by("E702")
class CountsDeadQueries(Metric):
    """A mean over all queries, padding included."""

    name = "counts_dead"

    def measure(self, data, W):
        return float(W.max(axis=-1).mean())


@rejected_by("E703")
class ScalesInPlace(Metric):
    """Changes the weights that it measures."""

    name = "scales_in_place"

    def measure(self, data, W):
        W /= W.sum(axis=-1, keepdims=True)
        return float(W.max(axis=-1)[data.alive].mean())


@rejected_by("E704")
class FirstExamplesCountMore(Metric):
    """The order of the examples matters."""

    name = "order_matters"

    def measure(self, data, W):
        return float((W.max(axis=-1) * data.alive).sum(axis=-1) @ np.arange(len(data)))


@rejected_by("E705")
class PointsTheWrongWay(Metric):
    """More weight on gold is better, and it says the opposite."""

    name = "wrong_way"
    direction = "down"

    def measure(self, data, W):
        return float((W * data.gold).sum(axis=-1)[data.alive].mean())


@rejected_by("E706")
class MoreThanAll(Metric):
    """The total weight of a query, which sigmoid weights take beyond one."""

    name = "more_than_all"
    bounds = (0.0, 1.0)

    def measure(self, data, W):
        return float(W.sum(axis=-1)[data.alive].mean())


# -- models ---------------------------------------------------------------------------------------------------------------
class _Untrained(Model, BaseEstimator):
    """The mechanism as it starts: a good model, for the broken ones to start from."""

    name = "untrained"

    def __init__(self, mechanism=None, random_state=None):
        self.mechanism = mechanism
        self.random_state = random_state

    def fit(self, data, y=None):
        rng = np.random.default_rng(self.random_state)
        d, e, v = data.Q.shape[2], data.K.shape[2], data.V.shape[2]
        self.params_ = Mechanism("general").init(rng, d, e, v)
        return self

    def predict(self, data):
        return Mechanism("general").attend(self.params_, data.Q, data.K, data.V, data.mask)

    def align(self, data):
        return Mechanism("general").weights(self.params_, data.Q, data.K, data.mask)

    def score(self, data, y=None):
        return -float(((self.predict(data) - data.target) ** 2).mean())


@rejected_by("D801")
class AlignsWithoutMask(_Untrained):
    """Attends to what it may not."""

    def align(self, data):
        return Mechanism("general").weights(self.params_, data.Q, data.K)


@rejected_by("D802")
class NeverFitsTheSame(_Untrained):
    """Does not use random_state."""

    def fit(self, data, y=None):
        self.params_ = Mechanism("general").init(
            np.random.default_rng(), *(a.shape[2] for a in (data.Q, data.K, data.V))
        )
        return self


@rejected_by("D803")
class LearnsWithoutUnderscore(_Untrained):
    """What it learns looks like a setting."""

    def fit(self, data, y=None):
        self.n_seen = len(data)
        return super().fit(data, y)


# -- executors --------------------------------------------------------------------------------------------------------
class _OneByOne(Executor):
    """In this process, in order."""

    name = "one_by_one"

    def __init__(self):
        self.waiting = []

    def submit(self, run):
        self.waiting.append(run)

    def as_completed(self):
        while self.waiting:
            run = self.waiting.pop(0)
            yield run, execute(run)

    def cancel(self, run):
        self.waiting.remove(run)

    def close(self):
        self.waiting.clear()


@rejected_by("X901")
class RaisesWhatRunsRaise(_OneByOne):
    """A run that fails ends the sweep."""

    def as_completed(self):
        while self.waiting:
            run = self.waiting.pop(0)
            yield run, execute(run, raise_errors=True)


@rejected_by("X901", "X902")
class GivesResultsAlone(_OneByOne):
    """It does not say of which run."""

    def as_completed(self):
        while self.waiting:
            yield execute(self.waiting.pop(0))


@rejected_by("X901")
class LosesFailures(_OneByOne):
    """Runs that fail are gone."""

    def as_completed(self):
        return ((run, result) for run, result in super().as_completed() if result.status == "ok")


@rejected_by("X902")
class DoesNotCancel(_OneByOne):
    """A run that was cancelled is carried out."""

    def cancel(self, run):
        pass


@rejected_by("X902")
class ClosesOnce(_OneByOne):
    """Closing again is an error."""

    def close(self):
        del self.waiting


# -- kernels ----------------------------------------------------------------------------------------------------------
class _OnNumPy(Kernel):
    def supports(self, part, library, dtype):
        return library == "numpy" and dtype in ("float32", "float64")


@rejected_by("K901", "K902", "K903", "K904")
class Returns42(_OnNumPy):
    """The answer, whatever the question."""

    name = "returns_42"
    replaces = Dot

    def score(self, part, Q, K):
        lead = np.broadcast_shapes(Q.shape[:-2], K.shape[:-2])
        S = np.full((*lead, Q.shape[-2], K.shape[-2]), 42.0, dtype=Q.dtype)
        return S, lambda g: {"Q": np.zeros_like(Q), "K": np.zeros_like(K)}


@rejected_by("K902", "K903")
class ForgetsTheScale(_OnNumPy):
    """The right values with a gradient that forgets the scale."""

    name = "forgets_the_scale"
    replaces = ScaledDot

    def score(self, part, Q, K):
        S = Q @ K.mT / Q.dtype.type(Q.shape[-1] ** 0.5)
        return S, lambda g: {"Q": g @ K, "K": g.mT @ Q}


@rejected_by("K903")
class WritesNothing(_OnNumPy):
    """Right where an array lies in order in memory; of any other it fills a copy, and returns what nobody filled."""

    name = "writes_nothing"
    replaces = Softmax

    def normalise(self, part, S):
        if not S.flags.c_contiguous:
            return np.zeros_like(S), lambda g: {"S": np.zeros_like(g)}
        W = Softmax.normalise(part, S)

        def back(g):
            return {"S": W * (g - (W * g).sum(axis=-1, keepdims=True))}

        return W, back


@rejected_by("K904")
class SupportsWhatItCannot(_OnNumPy):
    """Says that it answers in float16, and answers in float32."""

    name = "supports_what_it_cannot"
    replaces = Dot

    def supports(self, part, library, dtype):
        return library == "numpy"

    def score(self, part, Q, K):
        dtype = np.float32 if Q.dtype == np.float16 else Q.dtype
        return (Q @ K.mT).astype(dtype), lambda g: {"Q": g @ K, "K": g.mT @ Q}


# -- what is refused before anything runs ------------------------------------------------------------------------------
@rejected_by("S104")
class NegativeNot(Similarity):
    """Says that no score is negative."""

    name = "negative_not"
    nonnegative = True

    def score(self, Q, K):
        return dot(Q, K)


@rejected_by("S104")
class KernelUnsaid(Similarity):
    """Says that scores may be negative, and squares them."""

    name = "kernel_unsaid"
    nonnegative = False

    def score(self, Q, K):
        return dot(Q, K) ** 2


@rejected_by("N209")
class SumsToAHalf(Normaliser):
    """Says that a row sums to one or is zero, and halves it."""

    name = "sums_to_a_half"
    nonnegative = shift_invariant = rows_sum_to_one_or_zero = True

    def normalise(self, S):
        return softmax(S) / 2


@rejected_by("A302")
class TakesAnySum(Aggregator):
    """Says that it refuses weights that do not sum to one, and takes them."""

    name = "takes_any_sum"
    rows_must_sum_to_one = True

    def aggregate(self, W, V):
        return W @ V


@rejected_by("A303")
class SaysThatItMixes(Aggregator):
    """Says that probabilities stay probabilities, and doubles them."""

    name = "says_that_it_mixes"
    mixes_values = True

    def aggregate(self, W, V):
        return 2 * (W @ V)


@rejected_by("P403")
class PushesBelowZero(Position):
    """Says that its bias keeps scores from zero up."""

    name = "pushes_below_zero"
    keeps_nonnegative = True

    def bias(self, S, q_index, k_index):
        xp = namespace(S)
        away = xp.abs(xp.asarray(q_index)[..., :, None] - xp.asarray(k_index)[..., None, :])
        return S - xp.astype(away, S.dtype)


@rejected_by("O554")
class LowersScores(Modifier):
    """Says that scores stay from zero up, and lowers them."""

    name = "lowers_scores"
    elementwise = keeps_nonnegative = True

    def modify(self, S):
        return S - 1


@rejected_by("C034")
class WeighsAfterAll(MechanismComponent):
    """Says that it forms no weights, and gives some."""

    name = "weighs_after_all"
    forms_weights = False

    def init(self, rng, d_query, d_key, d_value):
        return {}

    def attend(self, params, Q, K, V, mask=None, **context):
        return Mechanism().attend({}, Q, K, V, mask, **context)

    def weights(self, params, Q, K, mask=None, **context):
        return Mechanism().weights({}, Q, K, mask, **context)


# -- sound ones, which no check may reject --------------------------------------------------------------------------
class Coverage(Similarity):
    """Keys that had weight before get a lower score: a sound stateful part."""

    name = "covered"

    def init(self):
        return {"strength": np.ones(())}

    def initial_state(self, n_keys, leading, K):
        return namespace(K).zeros((*leading, 1, n_keys), dtype=K.dtype)

    def update(self, state, W):
        return state + W

    def score(self, Q, K, state, strength):
        return dot(Q, K) - strength * state


class CountsRows(Normaliser):
    """Each key's weights over the queries sum to one: a sound normaliser that couples rows."""

    name = "over_queries"
    nonnegative = couples_rows = True

    def normalise(self, S, mask):
        xp = namespace(S)
        E = xp.where(mask, xp.exp(xp.where(mask, S, xp.zeros_like(S)) / 1e4), xp.zeros_like(S))
        return E / (1 + xp.sum(E, axis=-2, keepdims=True))


class Averaged(MechanismComponent):
    """The mean of two mechanisms' weights: a sound composition."""

    name = "averaged"

    def _two(self):
        return Mechanism("general"), Mechanism("cosine", mask="window")

    def init(self, rng, d_query, d_key, d_value):
        return {str(i): m.init(rng, d_query, d_key, d_value) for i, m in enumerate(self._two())}

    def weights(self, params, Q, K, mask=None, **context):
        return sum(m.weights(params[str(i)], Q, K, mask, **context) for i, m in enumerate(self._two())) / 2

    def attend(self, params, Q, K, V, mask=None, **context):
        return self.weights(params, Q, K, mask, **context) @ V


class Summed(MechanismComponent):
    """Sums values up by an outer product that is formed first: a sound mechanism that forms no weights."""

    name = "summed"
    forms_weights = False

    def init(self, rng, d_query, d_key, d_value):
        return {}

    def attend(self, params, Q, K, V, mask=None, **context):
        xp = namespace(Q, K, V)
        if mask is None:
            return Q @ (xp.matrix_transpose(K) @ V)
        return xp.where(mask, dot(Q, K), xp.zeros_like(dot(Q, K))) @ V

    def weights(self, params, Q, K, mask=None, **context):
        raise attnlab.Unsupported("summed forms no weights")


class RefusesMasks(Similarity):
    """Cannot score without its keys in pairs, and refuses."""

    name = "refuses"

    def score(self, Q, K):
        if K.shape[-2] % 2:
            raise attnlab.Unsupported("an odd number of keys")
        return dot(Q, K)


SOUND = [Coverage, CountsRows, Averaged, Summed, RefusesMasks, _Same, _Untrained, _OneByOne]
