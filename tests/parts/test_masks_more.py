"""Sparse patterns: key by key, settings, blocks, and what chance allows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnlab
from attnlab import SettingError, attention_weights, get
from attnlab.parts.patterns import Dilated, Document, GlobalWindow, Prefix, Random
from attnlab.testing import parametrize_with_checks

sizes = st.integers(0, 9)


@parametrize_with_checks(
    [Prefix(length=0), Document(length=[2, 1, 3]), Dilated(width=0, gap=3), GlobalWindow(tokens=0), Random(seed=3)]
)
def test_each_keeps_the_contract(component, check):
    check(component)


@given(sizes, sizes, st.integers(0, 4), st.integers(1, 4))
@settings(max_examples=40)
def test_key_by_key(q, k, n, gap):
    at = np.arange(q), np.arange(k)
    prefix, dilated, both = Prefix(n).allow(*at), Dilated(n, gap).allow(*at), GlobalWindow(n, gap).allow(*at)
    same_document = Document(gap).allow(*at)
    for i, j in np.ndindex(q, k):
        assert prefix[i, j] == (j < n or j <= i)
        assert dilated[i, j] == (j in [i + s * gap for s in range(-n, n + 1)])
        assert both[i, j] == (abs(i - j) <= n or i < gap or j < gap)
        assert same_document[i, j] == (i // gap == j // gap)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
@settings(max_examples=30)
def test_documents_of_different_lengths(lengths):
    number = [n for n, length in enumerate(lengths) for _ in range(length)] + [len(lengths)] * 3
    at = np.arange(len(number))
    np.testing.assert_array_equal(Document(lengths).allow(at, at), np.equal.outer(number, number))


def test_packed_documents_attend_as_each_does_alone():
    rng = np.random.default_rng(0)
    X, V = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    packed = attnlab.attend(X, X, V, mask=["causal", {"document": {"length": [2, 3]}}])
    for here in (slice(0, 2), slice(2, 5)):
        alone = attnlab.attend(X[here], X[here], V[here], mask="causal")
        np.testing.assert_allclose(packed[here], alone, rtol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_random_allows_its_share_evenly_and_otherwise_with_another_seed(share):
    at = np.arange(300)
    M, other = Random(share).allow(at, at), Random(share, seed=1).allow(at, at)
    away = 4 * np.sqrt(share * (1 - share))
    assert abs(M.mean() - share) < away / 300
    assert np.abs(M.mean(axis=0) - share).max() < 1.3 * away / np.sqrt(300)
    assert np.abs(M.mean(axis=1) - share).max() < 1.3 * away / np.sqrt(300)
    assert abs((other == M).mean() - (share**2 + (1 - share) ** 2)) < away / 100
    assert abs((M == M.T).mean() - (share**2 + (1 - share) ** 2)) < 0.03
    assert Random(1.0).allow(at, at).all()


def test_random_is_a_golden_hash():
    """splitmix64 of 0 begins with e220a8397b1dcdaf; the mask may change for no release without notice."""
    from attnlab.parts.patterns import _mixed

    assert int(_mixed(np.asarray(0, dtype=np.uint64))) == 0xE220A8397B1DCDAF
    assert Random(0.5).allow(np.arange(2), np.arange(6)).shape == (2, 6)


def test_large_seeds_and_positions_are_hashed():
    far = np.arange(2**40, 2**40 + 50)
    M = Random(0.5, seed=2**63 + 5).allow(far, far)
    assert 0.4 < M.mean() < 0.6


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("prefix", "length", -1),
        ("document", "length", 0),
        ("document", "length", []),
        ("document", "length", [2, 0]),
        ("dilated", "gap", 0),
        ("global_window", "tokens", -1),
        ("random", "share", 0.0),
        ("random", "share", 1.5),
    ],
)
def test_settings_out_of_range_are_refused(name, setting, value):
    with pytest.raises(SettingError, match=rf"{name}.*{setting} must be"):
        get("mask", name, **{setting: value})


def test_weights_are_zero_outside():
    rng = np.random.default_rng(1)
    Q, K = rng.normal(size=(6, 3)), rng.normal(size=(8, 3))
    for name in ("prefix", "document", "dilated", "global_window", "random"):
        W = attention_weights(Q, K, mask=name)
        M = get("mask", name).allow(np.arange(6), np.arange(8))
        np.testing.assert_array_equal(W > 0, M)
        np.testing.assert_allclose(W.sum(axis=-1), M.any(axis=-1))


# -- by content -------------------------------------------------------------------------------------------------------------
def chosen(Q, K, M, block, top):
    """By loops: the blocks with the largest mean score over allowed keys."""
    allowed = np.zeros((len(Q), len(K)), dtype=bool)
    for i in range(len(Q)):
        means = {}
        for j in range(len(K)):
            if M[i, j]:
                means.setdefault(j // block, []).append(K[j])
        best = sorted(means, key=lambda b: (-float(Q[i] @ np.mean(means[b], axis=0)), b))[:top]
        allowed[i] = [j // block in best and M[i, j] for j in range(len(K))]
    return allowed


@pytest.mark.parametrize("mask", [None, "causal", {"window": {"width": 3}}])
@pytest.mark.parametrize(("block", "top"), [(1, 3), (2, 1), (3, 2), (4, 9)])
def test_block_topk_by_loops(mask, block, top):
    rng = np.random.default_rng(2)
    Q, K = rng.normal(size=(6, 3)), rng.normal(size=(8, 3))
    M = np.ones((6, 8), dtype=bool)
    if mask is not None:
        M = attention_weights(Q, K, mask=mask) > 0
    masks = [{"block_topk": {"block": block, "top": top}}, *([] if mask is None else [mask])]
    np.testing.assert_array_equal(attention_weights(Q, K, mask=masks) > 0, chosen(Q, K, M, block, top))


def test_block_topk_finds_the_block_for_each_call_of_a_bound_mechanism():
    """The context of a data set is made once; which blocks are chosen follows the queries and keys of each call."""
    rng = np.random.default_rng(3)
    Q, K, V = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 9, 3)), rng.normal(size=(4, 9, 2))
    mechanism = attnlab.Mechanism(mask={"block_topk": {"block": 3, "top": 1}})
    bound = mechanism.bind()
    context = bound.context(np.zeros_like(Q), np.zeros_like(K), V)
    params = {role: {} for role in ("similarity", "normaliser", "aggregator", "position", "modifier")}
    expected = mechanism.attend(None, Q, K, V)
    np.testing.assert_allclose(bound.attend(params, Q, K, V, context), expected, rtol=1e-12)
    Y, back = bound.pull(params, Q, K, V, context, frozenset({"V"}))
    np.testing.assert_allclose(Y, expected, rtol=1e-12)
    W = mechanism.weights(None, Q, K)
    np.testing.assert_allclose(back(np.ones_like(Y))["V"], W.sum(axis=1)[..., None] * np.ones(2), rtol=1e-12)
    picked = context.pick(np.array([2, 0]), 4)
    np.testing.assert_allclose(bound.weights(params, Q[[2, 0]], K[[2, 0]], picked), W[[2, 0]], rtol=1e-12)
    for t in range(2):
        _, w, _ = mechanism.step(None, Q[:, t : t + 1], K, V, None, t)
        np.testing.assert_allclose(w[:, 0], W[:, t], rtol=1e-12)


def test_block_topk_of_long_inputs_is_that_of_the_whole(monkeypatch):
    rng = np.random.default_rng(4)
    Q, K, V = rng.normal(size=(40, 3)), rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    for normaliser in ("softmax", "sparsemax"):
        parts = {"normaliser": normaliser, "mask": ["causal", {"block_topk": {"block": 5, "top": 2}}]}
        whole = attnlab.attend(Q, K, V, **parts)
        with monkeypatch.context() as small:
            small.setattr("attnlab.mechanisms.bound.BLOCK", 64)
            small.setattr("attnlab.mechanisms.context.LARGE", 16)
            np.testing.assert_allclose(attnlab.attend(Q, K, V, **parts), whole, rtol=1e-12)


def test_nan_in_keys_and_values_that_are_forbidden_changes_nothing_of_the_choice():
    rng = np.random.default_rng(5)
    Q, K, V = rng.normal(size=(3, 2)), rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    M = np.arange(6) < 4
    mechanism = attnlab.Mechanism(mask={"block_topk": {"block": 2, "top": 1}})
    Y = mechanism.attend(None, Q, K, V, M)
    K[4:], V[5] = np.nan, np.inf
    np.testing.assert_array_equal(mechanism.attend(None, Q, K, V, M), Y)


def test_models_learn_with_block_topk_and_decoders_too():
    splits = get("task", "lookup", n_keys=8, d=8, n_train=64, n_test=32).make(np.random.default_rng(0))
    mechanism = attnlab.Mechanism("dot", mask={"block_topk": {"block": 2, "top": 2}})
    aligner = attnlab.AttentionAligner(mechanism, steps=20, projection=8, random_state=0).fit(splits.train)
    W = aligner.align(splits.tests["test"])
    assert ((W > 0).sum(axis=-1) == 4).all()
    model = attnlab.AttentionSeq2Seq(
        attnlab.Mechanism("general", mask="block_topk"),
        encoder="rnn",
        embedding_dim=4,
        hidden_dim=4,
        steps=2,
        random_state=0,
    ).fit([["a", "b", "c"]] * 4, [["x", "y"]] * 4)
    assert model.align([["a", "b", "c"]], [["x", "y"]])[0].shape == (2, 3)


def test_block_topk_refuses_queries_of_another_space():
    with pytest.raises(attnlab.Unsupported, match="both need the same features; got 3 of queries and 2 of keys"):
        attention_weights(np.ones((1, 3)), np.ones((4, 2)), "general", mask="block_topk", rng=0)
