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
