"""Tasks as sequences of tokens: labels, gold and gold by layer, found again from the tokens alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounds import quick

import attnlab
from attnlab.errors import SettingError
from attnlab.interfaces import settings_of
from attnlab.registry import entry
from attnlab.tasks.associative import Mqar
from attnlab.tasks.brackets import Dyck
from attnlab.tasks.chains import Induction, VariableTracking
from attnlab.tasks.counting import Boolean, LocalCount, NBack
from attnlab.tasks.fertility import Fertility, LookupTable
from attnlab.tasks.hops import KHop
from attnlab.tasks.memory import FlipFlop, TriggerAverage
from attnlab.tasks.ngrams import NgramCopy
from attnlab.tasks.orders import SelectiveCopy, Sort
from attnlab.tasks.recall import Lookup, NoisyRecall, NormHubs, NullQueries
from attnlab.tasks.regression import InContextRegression
from attnlab.tasks.said import asked_after
from attnlab.tasks.sequences import Copy, Reverse
from attnlab.tasks.sets import MaxRetrieval, SubsetMean
from attnlab.tasks.translation import BlockReorder, ToyTranslation
from attnlab.testing import check_component

FEW = {"n_train": 12, "n_validation": 4, "n_test": 40}
SAID = [
    Copy(length=5, vocabulary=3, longer=[7], **FEW),
    Copy(length=6, min_length=2, transfer=[2], **FEW),
    Reverse(length=4, transfer=[2], **FEW),
    Sort(length=4, vocabulary=8, transfer=[2], **FEW),
    SelectiveCopy(length=6, n_marked=2, transfer=[2], **FEW),
    Fertility(length=3, vocabulary=6, max_fertility=2, transfer=[2], **FEW),
    LookupTable(length=2, transfer=[2], **FEW),
    BlockReorder(length=1, insert=0.3, transfer=[2], **FEW),
    ToyTranslation(length=1, transfer=[2], **FEW),
]
OTHERS = [
    NgramCopy(length=10, vocabulary=3, n_gram=2, n_queries=2, longer=[14], layout="tokens", **FEW),
    NgramCopy(length=6, vocabulary=6, n_gram=1, n_queries=1, layout="tokens", **FEW),
    VariableTracking(n_chains=2, depth=3, vocabulary=7, depths=[1, 3], layout="tokens", **FEW),
    FlipFlop(length=6, p_ignore=0.3, longer=[9], ignores=[0.9], distances=[2], layout="tokens", **FEW),
    FlipFlop(length=6, p_ignore=0.3, layout="tokens", every_token=True, **FEW),
    Dyck(length=8, depth=3, n_types=2, longer=[12], depths=[2], layout="tokens", **FEW),
    Dyck(length=8, depth=3, n_types=2, layout="tokens", every_token=True, **FEW),
    InContextRegression(d=2, n_keys=4, longer=[6], shots=[1, 4], layout="tokens", **FEW),
    InContextRegression(d=3, n_keys=4, drift=0.5, noise=0.001, layout="tokens", **FEW),
    Induction(length=9, vocabulary=4, **FEW),
    *(KHop(hops, length=14, vocabulary=3, **FEW) for hops in (1, 2, 3, 5)),
    Mqar(n_pairs=4, n_queries=2, vocabulary=9, layout="tokens", **FEW),
    NBack(length=6, n_back=2, **FEW),
    LocalCount(length=6, window=3, **FEW),
    TriggerAverage(length=6, **FEW),
]


def said(task):
    return type(task)(**{**task.get_params(), "layout": "tokens"})


def named(task):
    return f"{task.name}-{getattr(task, 'hops', '')}{getattr(task, 'every_token', '')}"


def parts_of(task, seed=0):
    splits = task.make(np.random.default_rng(seed))
    return {"train": splits.train, "validation": splits.validation, **splits.tests}


SETS = [
    Lookup(n_keys=5, min_keys=2, d=3, d_value=2, **FEW),
    NoisyRecall(n_keys=3, d=3, d_value=2, **FEW),
    NormHubs(n_keys=3, d=3, d_value=2, **FEW),
    NullQueries(n_keys=3, d=3, d_value=2, pi=0.4, **FEW),
    SubsetMean(n_keys=5, n_relevant=2, d=3, d_value=2, **FEW),
    MaxRetrieval(n_keys=4, d=3, longer=[6], **FEW),
]
every_task = [*map(said, SETS), *map(said, SAID), said(Boolean("parity", length=4, **FEW)), *OTHERS]
SLOW = (Fertility, Sort, ToyTranslation)  # many sentences are drawn for few
CHECKS = [f"T60{i}" for i in range(1, 10)]


@pytest.mark.parametrize(
    "task", quick(every_task, lambda task: task.name in ("lookup", "dyck", "in_context_regression")), ids=named
)
def test_each_keeps_the_contract(task):
    report = check_component(task, only=CHECKS)
    assert report, str(report)
    assert not report.codes("skipped"), str(report)


@pytest.mark.parametrize(
    "task",
    quick([*SAID, Boolean("majority", length=5, longer=[7], **FEW)], lambda task: not isinstance(task, SLOW)),
    ids=named,
)
def test_what_is_said_follows_the_source_and_a_separator(task):
    """As the layout pairs has it, drawn from the same random stream."""
    token_of, pairs, tokens = {}, parts_of(task), parts_of(said(task))
    assert list(pairs) == list(tokens)
    for name, data in tokens.items():
        pair = pairs[name]
        assert data.ids.shape == (len(pair), pair.n_keys + 1 + pair.n_queries)
        for e, ids in enumerate(data.ids.tolist()):
            if pair.tokens is None:  # bits, and an answer
                source, target = pair.V[e].argmax(axis=1).tolist(), pair.target[e].tolist()
            else:
                source, target = pair.tokens[e]
            m, u = len(source), len(target)
            words = [*source, "the separator", *target]
            assert ids[len(words) :] == [-1] * (len(ids) - len(words))
            for word, token in zip(words, ids, strict=False):
                assert token_of.setdefault(word, token) == token
            assert np.flatnonzero(data.alive[e]).tolist() == list(range(m, m + u))
            np.testing.assert_array_equal(data.target[e, m : m + u], pair.target[e, :u])
            np.testing.assert_array_equal(data.gold[e, m : m + u, :m], pair.gold[e, :u, :m])
            assert not data.gold[e, :, m:].any()
            if pair.possible is not None:
                np.testing.assert_array_equal(data.possible[e, m : m + u, :m], pair.possible[e, :u, :m])
                assert data.possible[e].sum() == pair.possible[e].sum()
    assert len(set(token_of.values())) == len(token_of)
    assert token_of["the separator"] == max(token_of.values()) == data.V.shape[2] - 1
    if task.name != "boolean":  # who says the token of its label says a word of that class
        classes = {}
        for words, labels in ((t[1], pair.target[e]) for e, t in enumerate(pair.tokens)):
            classes |= {token_of[word]: int(label) for word, label in zip(words, labels, strict=False)}
        assert all(classes[label] == label for label in set(classes.values()) & set(classes))


@pytest.mark.parametrize("task", SETS, ids=named)
def test_of_a_set_the_keys_come_first_and_then_the_queries(task):
    pairs, tokens = parts_of(task), parts_of(said(task))
    assert list(pairs) == list(tokens)
    for name, data in tokens.items():
        pair = pairs[name]
        assert len(set(data.lengths)) > 1 or task.name != "lookup"
        for e in range(len(data)):
            keys = np.flatnonzero(pair.allowed[e].any(axis=0))
            m, q = len(keys), pair.n_queries
            assert data.ids[e].tolist() == [0] * m + [1] * q + [-1] * (pair.n_keys - m)
            np.testing.assert_array_equal(data.inputs[e, :m], np.concatenate([pair.K[e], pair.V[e]], axis=1)[keys])
            np.testing.assert_array_equal(data.inputs[e, m : m + q, : pair.Q.shape[2]], pair.Q[e])
            assert not data.inputs[e, m:, pair.Q.shape[2] :].any()
            assert np.flatnonzero(data.alive[e]).tolist() == list(range(m, m + q))
            np.testing.assert_array_equal(data.target[e, m : m + q], pair.target[e])
            np.testing.assert_allclose(data.gold[e, m : m + q, :m], pair.gold[e][:, keys])
            assert data.gold[e].sum() == pytest.approx(pair.gold[e].sum())
            np.testing.assert_array_equal(data.V[e, :m], pair.V[e, keys])


def test_a_key_that_nobody_may_attend_to_is_left_out_wherever_it_is():
    X = np.arange(3.0).reshape(1, 3, 1)
    mask = np.array([[[True, False, True]]])
    pair = attnlab.AlignmentData([[[9.0]]], X, X + 5, mask=mask, gold=[[[0, 0, 1]]], target=[[2]])
    data = asked_after(pair)
    assert data.ids.tolist() == [[0, 0, 1, -1]]
    assert data.inputs[0, :, 0].tolist() == [0, 2, 9, 0]
    assert data.gold[0].tolist() == [[0] * 4, [0] * 4, [0, 1, 0, 0], [0] * 4]
    assert data.target.tolist() == [[0, 0, 2, 0]]


# -- solvers: (task, the tokens of an example, its inputs) -> {place: (label, {source places: weight}, possible places)} -------------
def by_ngrams(task, ids, inputs):
    k, m = ids.index(task.vocabulary), task.n_gram
    found = {}
    for end in range(k + m, len(ids), m + 1):
        assert ids[end - m] == task.vocabulary
        (place,) = [j for j in range(m, k) if ids[j - m : j] == ids[end - m + 1 : end + 1]]
        found[end] = ids[place], {place: 1}, ()
    return found


def by_names(task, ids, inputs):
    k = task.n_chains * task.depth
    value, first = {}, {}
    for j in range(0, 2 * k, 2):
        name, right = ids[j : j + 2]
        value[name], first[name] = (value[right], first[right]) if right < task.vocabulary else (right, j + 1)
    return {i: (value[ids[i]], {first[ids[i]]: 1}, ()) for i in range(2 * k, len(ids))}


def by_memory(task, ids, inputs):
    found, memory, since = {}, None, ()
    for j in range(0, len(ids), 2):
        what, bit = ids[j] - 2, ids[j + 1]
        assert bit in (0, 1)
        if what == 0:
            memory, since = j + 1, ()
        if what == 2:
            assert bit == ids[memory]
            found[j] = bit, {memory: 1}, since
            since = (*since, j + 1)
    return found


def by_a_stack(task, ids, inputs):
    found, stack = {}, []
    for j, token in enumerate(ids):
        if token < task.n_types:
            stack.append(j)
        else:
            opened = stack.pop()
            assert ids[opened] == token - task.n_types
            found[j - 1] = token, {opened: 1}, ()
    assert not stack
    return found


def by_the_posterior(task, ids, inputs):
    """A Kalman filter, which is linear in the values: one unit value at a time."""
    d, found = task.d, {}
    assert ids == [0, 1] * (len(ids) // 2) + [0]
    assert not inputs[1::2, 1:].any()
    xs = inputs[::2]
    for i in range(1, len(xs)):
        h = np.zeros(i)
        for unit in range(i):
            m, P = np.zeros(d), np.eye(d) / d
            for j, x in enumerate(xs[:i]):
                P = P + (j > 0) * task.drift**2 * np.eye(d) / d
                gain = P @ x / (x @ P @ x + task.noise**2)
                m, P = m + gain * ((unit == j) - x @ m), P - np.outer(gain, x @ P)
            h[unit] = m @ xs[i]
        near = inputs[2 * i + 1, 0] if task.noise < 0.01 and i + 1 < len(xs) else None
        found[2 * i] = near, dict(zip(range(1, 2 * i, 2), np.abs(h) / np.abs(h).sum(), strict=True)), ()
    return found


def by_hops(task, ids, inputs):
    found = {}
    for i in range(len(ids)):
        at = i
        for _ in range(getattr(task, "hops", 1)):
            before = [j for j in range(at) if ids[j] == ids[at]]
            at = before[-1] + 1 if before and at >= 0 else -1
            if at < 0:
                break
        if task.name == "induction" and (ids[:i].count(ids[i]) != 1 or at == i):
            continue
        if at >= 0:
            found[i] = ids[at], {at: 1}, ()
    return found


def by_keys(task, ids, inputs):
    k = task.n_pairs
    keys = {ids[j]: j + 1 for j in range(0, 2 * k, 2)}
    asks = [j for j in range(2 * k, len(ids), 2) if ids[j] in keys]  # any other token may be there by chance
    return {j: (ids[keys[ids[j]]] - task.vocabulary, {keys[ids[j]]: 1}, ()) for j in asks}


def so_far_back(task, ids, inputs):
    return {i: (ids[i - task.n_back], {i - task.n_back: 1}, ()) for i in range(task.n_back, len(ids))}


def over_the_window(task, ids, inputs):
    w = task.window
    each = range(w - 1, len(ids))
    counts = {i: [ids[i - w + 1 : i + 1].count(t) / w for t in range(task.vocabulary)] for i in each}
    return {i: (counts[i], dict.fromkeys(range(i - w + 1, i + 1), 1 / w), ()) for i in each}


def after_a_trigger(task, ids, inputs):
    assert ids[0] == 0
    found = {}
    for i in range(2, len(ids)):
        mean = inputs[1:i].mean(axis=0) if ids[i] == 1 else np.zeros(inputs.shape[1])
        found[i] = mean, dict.fromkeys(range(1, i), 1 / (i - 1)) if ids[i] == 1 else {}, ()
    return found


SOLVERS = {
    "ngram_copy": by_ngrams,
    "variable_tracking": by_names,
    "flip_flop": by_memory,
    "dyck": by_a_stack,
    "in_context_regression": by_the_posterior,
    "induction": by_hops,
    "k_hop": by_hops,
    "mqar": by_keys,
    "n_back": so_far_back,
    "local_count": over_the_window,
    "trigger_average": after_a_trigger,
}


def agrees(task, seed=0):
    """Whether labels and gold are what a solver finds in the tokens."""
    for name, data in parts_of(task, seed).items():
        every = getattr(task, "every_token", False) and name in ("train", "validation")
        assert data[:6].alive.any()
        for e, ids in enumerate(data[:6].ids.tolist()):
            found = SOLVERS[task.name](task, ids, None if data.inputs is None else data.inputs[e])
            asks = np.flatnonzero(data.alive[e]).tolist()
            if every:
                assert asks == list(range(len(ids) - 1))
                assert data.target[e, :-1].tolist() == ids[1:]
            elif name == "test" and task.name != "mqar":
                assert asks == sorted(found)
            for i in asks:
                label, weights, possible = found.get(i, (None, {}, ()))
                expected = np.zeros(len(ids))
                expected[list(weights)] = list(weights.values())
                np.testing.assert_allclose(data.gold[e, i], expected, atol=1e-9, err_msg=f"{name}, {e}, {i}")
                if label is not None:
                    np.testing.assert_allclose(np.squeeze(data.target[e, i]), label, atol=0.01)
                if data.possible is not None:
                    assert np.flatnonzero(data.possible[e, i]).tolist() == list(possible)


@pytest.mark.parametrize("task", OTHERS, ids=named)
def test_a_solver_that_reads_the_tokens_finds_labels_and_gold(task):
    agrees(task)


SIZES = st.one_of(
    st.builds(FlipFlop, st.integers(2, 12), st.floats(0.05, 0.95), every_token=st.booleans(), layout=st.just("tokens")),
    st.builds(Dyck, st.sampled_from([2, 6, 12]), st.integers(2, 5), st.integers(1, 5), layout=st.just("tokens")),
    st.builds(NgramCopy, st.integers(12, 20), st.integers(1, 4), st.just(30), d=st.just(12), layout=st.just("tokens")),
    st.builds(VariableTracking, st.integers(1, 4), st.integers(1, 4), layout=st.just("tokens")),
    st.builds(KHop, st.integers(1, 4), st.integers(16, 30), st.integers(2, 3)),
    st.builds(
        InContextRegression, st.integers(1, 3), st.integers(1, 5), drift=st.floats(0, 1), layout=st.just("tokens")
    ),
)


@settings(max_examples=12, deadline=None)
@given(task=SIZES, seed=st.integers(0, 99))
def test_the_same_for_any_settings(task, seed):
    agrees(type(task)(**{**task.get_params(), **FEW}), seed)


def test_test_conditions_ask_what_their_names_say():
    tests = parts_of(InContextRegression(layout="tokens", n_keys=5, shots=[1, 5], longer=[8], **FEW))
    asks = {name: np.flatnonzero(data.alive[0]).tolist() for name, data in tests.items()}
    assert asks["test"] == [2, 4, 6, 8, 10]
    assert (asks["shots=1"], asks["shots=5"], asks["n=8"]) == ([2], [10], list(range(2, 18, 2)))
    tests = parts_of(FlipFlop(length=8, layout="tokens", distances=[3], **FEW))
    e, i, j = np.nonzero(tests["distance=3"].gold)
    assert (len(e), set(i), set(i - j)) == (
        40,
        {14},
        {5},
    )  # instructions are two places apart, and the bit is the second
    tests = parts_of(Dyck(length=8, layout="tokens", depths=[2], **FEW))
    depth = np.where(tests["depth=2"].ids < 4, 1, -1).cumsum(axis=1)
    assert (depth[tests["depth=2"].alive] == 2).all()


# -- gold by layer: a machine whose places know only themselves, and read what they attend to ----------------------------------------
def carried_out(tokens, by_layer, hops):
    """What each place knows in the end of where so many hops lead, {place: {hops: place}}, if layers attend as they are said to."""
    n = len(tokens)
    rows = [[np.flatnonzero(row).tolist() for row in layer] for layer in by_layer]
    assert rows[0] == [[], *([j] for j in range(n - 1))]
    before = [None, *tokens[:-1]]  # known after the first layer
    known = {}
    for j in range(n):
        matching = [i for i in range(j) if before[i] == tokens[j]] + ([j] if before[j] == tokens[j] else [])
        assert rows[1][j] == (matching[-1:] if hops > 1 or matching else [])
        known[j] = {1: matching[-1]} if matching else {}
    for layer in rows[2:]:
        then = {}
        for j in range(n):
            then[j] = dict(known[j])
            for place in layer[j]:
                ((m, _),) = [(m, p) for m, p in known[j].items() if p == place and m == max(known[j])]
                then[j] |= {m + s: p for s, p in known[place].items()}
        known = then
    return known


@settings(max_examples=12, deadline=None)
@given(hops=st.integers(1, 9), length=st.integers(3, 30), vocabulary=st.integers(2, 5), seed=st.integers(0, 999))
def test_a_machine_that_attends_as_gold_by_layer_says_makes_all_hops(hops, length, vocabulary, seed):
    data = KHop(hops, length=length, vocabulary=vocabulary, d=1, n_train=2).make(np.random.default_rng(seed)).train
    layers = data.gold_by_layer.shape[1]
    assert layers == 2 + int(np.ceil(np.log2(hops)))
    for e, tokens in enumerate(data.ids.tolist()):
        known = carried_out(tokens, data.gold_by_layer[e], hops)
        for i in np.flatnonzero(data.alive[e]):
            assert known[i][hops] == data.gold[e, i].argmax()


def test_gold_by_layer_of_the_others():
    data = Induction(length=6, vocabulary=3, n_train=20).make(np.random.default_rng(0)).train
    np.testing.assert_array_equal(data.gold_by_layer[:, 1], data.gold > 0)
    np.testing.assert_array_equal(data.gold_by_layer[3, 0], np.eye(6, k=-1))
    data = Mqar(n_pairs=2, n_queries=1, vocabulary=4, layout="tokens", n_train=2).make(np.random.default_rng(0)).train
    assert [tuple(map(int, link)) for link in np.argwhere(data.gold_by_layer[0, 0])] == [(1, 0), (3, 2)]
    np.testing.assert_array_equal(data.gold_by_layer[:, 1], data.gold > 0)
    data = FlipFlop(length=3, layout="tokens", n_train=2).make(np.random.default_rng(0)).train
    assert [tuple(map(int, link)) for link in np.argwhere(data.gold_by_layer[0, 0])] == [(1, 0), (3, 2), (5, 4)]
    data = NgramCopy(length=5, vocabulary=8, n_gram=2, n_queries=1, layout="tokens", n_train=2)
    links = np.argwhere(data.make(np.random.default_rng(0)).train.gold_by_layer[0, 0]).tolist()
    assert links == [[2, 0], [2, 1], [3, 1], [3, 2], [4, 2], [4, 3], [7, 6]]
    data = InContextRegression(d=1, n_keys=2, layout="tokens", n_train=2).make(np.random.default_rng(0)).train
    assert np.argwhere(data.gold_by_layer[0, 0]).tolist() == [[1, 0], [3, 2]]
    np.testing.assert_array_equal(data.gold_by_layer[:, 1], data.gold > 0)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (FlipFlop(every_token=True), "every_token is a setting of layout='tokens'; got True with layout='joined'"),
        (Dyck(every_token=True), "every_token is a setting of layout='tokens'"),
        (InContextRegression(shots=[2]), "shots are of layout='tokens', and at most n_keys = 16; got 2 with layout='joined'"),
        (InContextRegression(layout="tokens", shots=[17]), "shots are of layout='tokens', and at most n_keys = 16; got 17"),
    ],
)  # fmt: skip
def test_settings_that_disagree_are_refused(task, words):
    with pytest.raises(SettingError, match=f"task '{task.name}': {words}"):
        task.make(np.random.default_rng(0))


def test_each_task_with_a_layout_is_solved_here():
    layouts = {name for name in attnlab.names("task") if "layout" in settings_of(entry("task", name).cls)}
    assert layouts < {task.name for task in every_task}


@pytest.mark.long
def test_each_task_that_gives_tokens_is_solved_here():
    gives = set()
    for name in set(attnlab.names("task")) - {"arrays", "bitext"}:
        settings = {"layout": "tokens"} if "layout" in settings_of(entry("task", name).cls) else {}
        made = attnlab.get("task", name, **settings, n_train=1).make_to_measure(np.random.default_rng(0))
        if made.train.ids is not None:
            gives.add(name)
    assert gives == {task.name for task in every_task}
