"""What all estimators have in common: nothing before fit, one thread of BLAS during it, warnings that point at the caller."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_info, threadpool_limits

import attnlab
from attnlab import (
    AlignmentData,
    AttentionAligner,
    AttentionClassifier,
    AttentionRegressor,
    AttentionSeq2Seq,
    AttentionStack,
    Similarity,
    Source,
    WordAligner,
    namespace,
)

ESTIMATORS = [AttentionAligner, AttentionClassifier, AttentionRegressor, AttentionSeq2Seq, AttentionStack, WordAligner]
ASIDE = {
    "fit",
    "get_params",
    "set_params",
    "get_metadata_routing",
    "set_fit_request",
    "set_score_request",
    "summary",
    "refusal",
}


def methods(cls):
    return sorted(
        name for name in dir(cls) if not name.startswith("_") and callable(getattr(cls, name)) and name not in ASIDE
    )


CASES = [(cls, name) for cls in ESTIMATORS for name in methods(cls)]


def test_there_are_methods_of_each():
    assert {"predict", "score"} <= set(methods(AttentionRegressor))
    assert {"align", "links", "predict", "score"} <= set(methods(WordAligner))
    assert {"align", "predict", "posterior", "score"} <= set(methods(AttentionAligner))
    assert {"align", "predict", "by_layer_and_head", "generate", "score"} <= set(methods(AttentionStack))
    assert {"align", "predict", "token_accuracy", "exact_match", "score"} <= set(methods(AttentionSeq2Seq))


@pytest.mark.parametrize(("cls", "method"), CASES, ids=lambda v: getattr(v, "__name__", v))
@pytest.mark.parametrize("X", [[[1.0, 2.0]], [("the cat", "le chat")], None], ids=["rows", "pairs", "nothing"])
def test_no_method_works_before_fit(cls, method, X):
    call = getattr(cls(), method)
    given = (X, [0]) if method in ("score", "token_accuracy", "exact_match") else (X,)
    with pytest.raises(NotFittedError, match=f"This {cls.__name__} instance is not fitted yet"):
        call(*given)


class Watched(Similarity):
    """The dot product, which looks at how many threads BLAS has."""

    name = "watched"
    source = Source("A test", "attnlab", 2026)
    seen: set[int] = set()  # noqa: RUF012
    fails = False

    def init(self, rng, d_query, d_key):
        return {"W": rng.normal(size=(d_query, d_key))}

    def score(self, Q, K, W):
        Watched.seen |= blas()
        if Watched.fails:
            raise RuntimeError("stop")
        xp = namespace(Q, K, W)
        return xp.matmul(xp.matmul(Q, W), xp.matrix_transpose(K))


def blas():
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


def data():
    rng = np.random.default_rng(0)
    K = rng.normal(size=(6, 3, 2))
    return AlignmentData(K[:, :2], K, K, target=K[:, :2])


FITS = {
    "aligner": lambda: AttentionAligner({"similarity": Watched()}, steps=2, random_state=0).fit(data()),
    "regressor": lambda: AttentionRegressor(Watched(), steps=2, random_state=0).fit(np.eye(8), np.arange(8)),
    "classifier": lambda: AttentionClassifier(Watched(), steps=2, random_state=0).fit(np.eye(8), np.arange(8) % 2),
    "seq2seq": lambda: AttentionSeq2Seq(
        {"similarity": Watched()}, embedding_dim=4, hidden_dim=4, steps=2, random_state=0
    ).fit([["a", "b"]] * 4, [["c"]] * 4),
    "stack": lambda: AttentionStack({"similarity": Watched()}, hidden_dim=4, heads=2, steps=2, random_state=0).fit(
        [[0, 1, 2]] * 4
    ),
    "word_aligner": lambda: WordAligner({"similarity": Watched()}, iterations=1, warm_up=1, random_state=0).fit(
        [("the cat", "le chat"), ("a dog", "un chien")]
    ),
}


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("fails", [False, True])
def test_fit_has_one_thread_of_blas_and_gives_the_others_back(name, fails, monkeypatch):
    monkeypatch.setattr(Watched, "seen", set())
    monkeypatch.setattr(Watched, "fails", fails)
    with threadpool_limits(2, user_api="blas"):
        before = blas()
        if fails:
            with pytest.raises(RuntimeError, match="stop"):
                FITS[name]()
        else:
            FITS[name]()
        assert blas() == before
    assert Watched.seen == {1}


@pytest.mark.parametrize(
    "fit",
    [
        lambda: AttentionAligner(steps=0).fit(data()),
        lambda: AttentionSeq2Seq(steps=0, embedding_dim=2, hidden_dim=2).fit([["a"]], [["b"]]),
        lambda: AttentionStack(steps=0, hidden_dim=4).fit([[0, 1]]),
        lambda: AttentionRegressor(n_neighbors=50).fit(np.eye(8), np.arange(8)),
    ],
    ids=["aligner", "seq2seq", "stack", "regressor"],
)
def test_a_warning_of_fit_points_at_the_line_that_called_it(fit):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fit()
    assert seen[0].filename == __file__


def test_models_of_attnlab_are_all_here():
    assert {cls.name for cls in ESTIMATORS if cls.__dict__.get("name")} == set(attnlab.names("model"))
