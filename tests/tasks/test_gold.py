"""Gold by brute force: each task drawn small, and solved again from its queries, keys and values alone."""

from __future__ import annotations

import numpy as np
import pytest

from attnlab.errors import SettingError
from attnlab.metrics.alignment import AlignmentAccuracy
from attnlab.tasks import associative, brackets, chains, counting, hops, matching, memory, ngrams, regression
from attnlab.tasks.associative import Mqar, Mqmtar
from attnlab.tasks.brackets import Dyck
from attnlab.tasks.chains import Induction, VariableTracking
from attnlab.tasks.counting import Boolean, LocalCount, NBack
from attnlab.tasks.hops import KHop
from attnlab.tasks.matching import FindBlock, LinearMatch, XorKey
from attnlab.tasks.memory import FlipFlop, TriggerAverage
from attnlab.tasks.ngrams import NgramCopy
from attnlab.tasks.regression import InContextRegression, KernelRecovery, NadarayaWatson

SMALL = {"n_train": 40, "n_validation": 20, "n_test": 300}
TASKS = [
    *(
        Mqar(v, n_pairs=8, n_queries=2, vocabulary=20, gaps=[2, 5, 8], longer=[12], **SMALL)
        for v in ("plain", "forgetting")
    ),
    *(Mqar(v, n_pairs=8, n_queries=3, vocabulary=20, gaps=[4], **SMALL) for v in ("compositional", "continuous")),
    *(
        Mqar(v, n_pairs=6, n_queries=3, vocabulary=20, longer=[9], layout="tokens", room=room, **SMALL)
        for v, room in (("plain", None), ("forgetting", 10))
    ),
    Mqmtar(n_pairs=6, n_queries=3, vocabulary=6, ladder=[2], **SMALL),
    NgramCopy(length=10, vocabulary=3, n_gram=2, n_queries=2, longer=[14], **SMALL),
    NgramCopy(length=12, vocabulary=2, n_gram=4, n_queries=3, d=8, **SMALL),
    Induction(length=12, vocabulary=5, distances=[1, 4, 10], longer=[16], **SMALL),
    *(KHop(hops, length=14, vocabulary=3, longer=[20], **SMALL) for hops in (1, 3)),
    VariableTracking(n_chains=2, depth=3, vocabulary=7, depths=[1, 2, 3], **SMALL),
    FlipFlop(length=9, p_ignore=0.6, longer=[14], ignores=[0.9], distances=[1, 5, 8], **SMALL),
    TriggerAverage(length=7, longer=[9], **SMALL),
    Dyck(length=10, depth=3, n_types=3, longer=[16], depths=[1, 3], **SMALL),
    LinearMatch(d=4, n_keys=5, noise=0.0, longer=[7], **SMALL),
    XorKey(n_ids=3, longer=[5], **SMALL),
    FindBlock(n_blocks=3, n_letters=9, size=4, longer=[4], depths=[0, 0.5, 1], **SMALL),
    KernelRecovery("boxcar", n_keys=12, n_near=3, longer=[24], **SMALL),
    KernelRecovery("boxcar", n_keys=12, n_near=3, noise=0.0, **SMALL),
    KernelRecovery("epanechnikov", n_keys=12, n_near=4, noise=0.0, **SMALL),
    KernelRecovery("gaussian", n_keys=8, n_near=2, noise=0.0, **SMALL),
    NadarayaWatson(n_keys=9, longer=[20], edges=["inside", "edge"], **SMALL),
    NadarayaWatson(n_keys=9, kernel="boxcar", width=0.2, **SMALL),
    NadarayaWatson(n_keys=9, kernel="gaussian", **SMALL),
    InContextRegression(d=2, n_keys=5, longer=[8], **SMALL),
    InContextRegression(d=2, n_keys=6, drift=0.5, **SMALL),
    NBack(length=7, n_back=2, longer=[10], **SMALL),
    LocalCount(length=8, window=3, longer=[10], **SMALL),
    Boolean("first", length=6, longer=[9], **SMALL),
    Boolean("majority", length=5, longer=[9], **SMALL),
    Boolean("parity", length=4, longer=[6], **SMALL),
]
every_task = pytest.mark.parametrize(
    "task", TASKS, ids=lambda t: f"{t.name}-{getattr(t, 'variant', getattr(t, 'kernel', getattr(t, 'function', '')))}"
)


def parts_of(splits):
    return {"train": splits.train, "validation": splits.validation, **splits.tests}


def drawn(task, seed=0):
    """The splits, and what holds for all of them, as `make` draws it."""
    given = {}
    kind = type(task)

    class Watched(kind):
        def shared(self, rng):
            given.update(super().shared(rng))
            return given

    return parts_of(Watched(**task.get_params()).make(np.random.default_rng(seed))), given


def rows(data):
    """(example, query) of each query that is alive."""
    return [(e, i) for e in range(len(data)) for i in range(data.n_queries) if data.alive[e, i]]


def row_of(table, vector):
    """Which row of a table a vector is."""
    (found,) = np.nonzero(np.isclose(table, vector, rtol=0, atol=1e-9).all(axis=1))[0][:1]
    return int(found)


def seen(data, e, i):
    return np.nonzero(data.allowed[e, i])[0]


# -- the solvers: (task, data, what is shared, example, query) -> weights over the keys and, if not gold @ V, the target -------------
def last_equal_key(task, data, given, e, i):
    where = data.K[e, seen(data, e, i)]
    if task.layout == "tokens":
        pairs = data.n_keys // 2 - task.room if task.room else data.n_keys // 4
        equal = [j for j in range(0, 2 * pairs, 2) if (where[j] == data.Q[e, i]).all()]
        assert (data.V[e, 0 : 2 * pairs : 2] == 0).all()
        return np.eye(data.n_keys)[equal[-1] + 1], None
    if task.variant == "continuous":
        equal = [((where - data.Q[e, i]) ** 2).sum(axis=1)[: task.n_pairs].argmin()]
    else:
        equal = [j for j, key in enumerate(where) if (key == data.Q[e, i]).all()]
    return np.eye(data.n_keys)[equal[-1]], None


def equal_key(task, data, given, e, i):
    (equal,) = [j for j, key in enumerate(data.K[e]) if (key == data.Q[e, i]).all()]
    return np.eye(data.n_keys)[equal], None


def after_the_same_tokens(task, data, given, e, i):
    tokens = data.V[e].argmax(axis=1).tolist()
    slots = data.Q[e, i].reshape(task.n_gram, -1)
    said = [row_of(given["E"], slot) for slot in slots]
    (place,) = [j for j in range(task.n_gram, data.n_keys) if tokens[j - task.n_gram : j] == said]
    return np.eye(data.n_keys)[place], None


def after_the_same_token(task, data, given, e, i):
    tokens = data.V[e].argmax(axis=1).tolist()
    assert (data.Q[e, i] == given["E"][tokens[i]]).all()
    (before,) = [j for j in range(i) if tokens[j] == tokens[i]]
    return np.eye(data.n_keys)[before + 1], None


def by_hops(task, data, given, e, i):
    tokens = data.V[e].argmax(axis=1).tolist()
    assert (data.Q[e, i] == given["E"][tokens[i]]).all()
    assert not (np.diff(tokens) == 0).any()
    for _ in range(task.hops):
        i = 1 + max(j for j in range(i) if tokens[j] == tokens[i])
    return np.eye(data.n_keys)[i], None


def first_of_the_chain(task, data, given, e, i):
    pairs = {}
    for j, key in enumerate(data.K[e]):
        for left, vector in enumerate(given["left"]):
            if np.allclose(key, vector):
                pairs[left] = (j, None)
            for right, other in enumerate(given["right"]):
                if np.allclose(key, vector + other):
                    assert right in pairs  # it comes after what it refers to
                    pairs[left] = (j, right)
    name = row_of(given["left"], data.Q[e, i])
    while pairs[name][1] is not None:
        name = pairs[name][1]
    return np.eye(data.n_keys)[pairs[name][0]], None


def last_write(task, data, given, e, i):
    table = given["instructions"][0] + given["bits"]  # write 0, write 1
    writes = [j for j in range(i) if np.isclose(data.K[e, j], table).all(axis=1).any()]
    assert (data.K[e, i] == given["instructions"][2]).all()
    return np.eye(data.n_keys)[writes[-1]], None


def mean_after_a_trigger(task, data, given, e, i):
    trigger = (data.K[e, i] == given["marks"][1]).all()
    return np.array([trigger / (i - 1) if 0 < j < i else 0.0 for j in range(data.n_keys)]), None


def by_a_stack(task, data, given, e, i):
    stack = []
    for j in range(i):
        if data.V[e, j].any():
            stack.append(j)
        else:
            stack.pop()
    assert not data.V[e, i].any()
    assert len(stack) <= task.depth
    return np.eye(data.n_keys)[stack[-1]], None


def by_the_rotation(task, data, given, e, i):
    back = data.K[e] @ given["R"]  # R.T k = u
    return np.eye(data.n_keys)[((back - data.Q[e, i]) ** 2).sum(axis=1).argmin()], None


def by_the_bits(task, data, given, e, i):
    m, (t, nothing) = task.d_id, data.Q[e, i, task.d_id :]
    assert nothing == 0
    (place,) = [
        j
        for j, key in enumerate(data.K[e])
        if (key[:m] == data.Q[e, i, :m]).all() and (t > 0) == (key[m] * key[m + 1] < 0)
    ]
    return np.eye(data.n_keys)[place], None


def block_of_both(task, data, given, e, i):
    letters = data.V[e].argmax(axis=1).reshape(-1, task.size)
    pairs = [(a, b) for a in range(task.n_letters) for b in range(a)]
    (pair,) = [p for p in pairs if np.allclose(given["E"][list(p)].sum(axis=0), data.Q[e, i])]
    (block,) = [b for b, held in enumerate(letters) if set(pair) <= set(held.tolist())]
    assert all(len(set(held.tolist())) == task.size for held in letters)
    return np.repeat(np.eye(len(letters))[block], task.size) / task.size, None


def on_the_circle(task, data, given, e, i):
    if task.noise:  # the places cannot be read: as many as there should be, and all alike
        gold = data.gold[e, i]
        near = round(task.n_near * data.n_keys / task.n_keys)
        assert sorted(gold.tolist())[-near:] == pytest.approx([1 / near] * near)
        return gold, None
    turn = [np.arctan2(*(X @ given["frame"].T)[..., ::-1].T) / (2 * np.pi) for X in (data.Q[e, i], data.K[e])]
    h = task.n_near / (2 * task.n_keys)
    u = np.array([min(abs(turn[0] - x + s) for s in (-1, 0, 1)) / h for x in turn[1]])
    w = {"gaussian": np.exp(-u * u / 2), "boxcar": 1.0 * (u < 1), "epanechnikov": np.maximum(1 - u * u, 0)}[task.kernel]
    return w / w.sum(), None


def on_the_curve(task, data, given, e, i):
    x, at = data.K[e, :, 0], data.Q[e, i, 0]
    u = np.abs(x - at) / task.width
    w = {"gaussian": np.exp(-u * u / 2), "boxcar": 1.0 * (u < 1), "epanechnikov": np.maximum(1 - u * u, 0)}[task.kernel]
    if not w.any():
        w = 1.0 * (u == u.min())
    return w / w.sum(), 2 * np.sin(at) + at


def by_the_posterior(task, data, given, e, i):
    """The mean of the last map given the values, by a Kalman filter, which is linear in them: one unit value at a time."""
    k, d = data.n_keys, task.d
    h = np.zeros(k)
    for unit in range(k):
        m, P = np.zeros(d), np.eye(d) / d
        for j in range(k):
            if j:
                P = P + task.drift**2 * np.eye(d) / d
            x = data.K[e, j]
            gain = P @ x / (x @ P @ x + task.noise**2)
            m, P = m + gain * ((unit == j) - x @ m), P - np.outer(gain, x @ P)
        h[unit] = m @ data.Q[e, i]
    return np.abs(h) / np.abs(h).sum(), "as it is"


def so_far_back(task, data, given, e, i):
    assert list(seen(data, e, i)) == list(range(i + 1))
    return np.eye(data.n_keys)[i - task.n_back], None


def over_the_window(task, data, given, e, i):
    return np.array([(i - task.window < j <= i) / task.window for j in range(data.n_keys)]), None


def of_the_bits(task, data, given, e, i):
    bits = data.V[e].argmax(axis=1).tolist()
    if task.function == "first":
        return np.eye(data.n_keys)[0], bits[0]
    if task.function == "majority":
        return np.full(len(bits), 1 / len(bits)), int(sum(bits) > len(bits) / 2)
    return np.array(bits) / max(1, sum(bits)), sum(bits) % 2


SOLVERS = {
    "mqar": last_equal_key,
    "mqmtar": equal_key,
    "ngram_copy": after_the_same_tokens,
    "induction": after_the_same_token,
    "k_hop": by_hops,
    "variable_tracking": first_of_the_chain,
    "flip_flop": last_write,
    "trigger_average": mean_after_a_trigger,
    "dyck": by_a_stack,
    "linear_match": by_the_rotation,
    "xor_key": by_the_bits,
    "find_block": block_of_both,
    "kernel_recovery": on_the_circle,
    "nadaraya_watson": on_the_curve,
    "in_context_regression": by_the_posterior,
    "n_back": so_far_back,
    "local_count": over_the_window,
    "boolean": of_the_bits,
}


@every_task
def test_gold_and_target_are_what_a_solver_finds(task):
    parts, given = drawn(task)
    for name, data in parts.items():
        data = data[:12]
        assert rows(data), name
        for e, i in rows(data):
            weights, target = SOLVERS[task.name](task, data, given, e, i)
            np.testing.assert_allclose(data.gold[e, i], weights, atol=1e-7, err_msg=f"{name}, example {e}, query {i}")
            if isinstance(target, str):
                continue
            if target is None:
                target = weights @ data.V[e]
                target = target.argmax() if data.is_classification else target
            np.testing.assert_allclose(data.target[e, i], target, atol=1e-7, err_msg=f"{name}, example {e}, query {i}")
        dead = ~data.alive
        assert not data.gold[dead].any()
        assert not data.target[dead].any()


@every_task
def test_the_same_rng_gives_the_same_data_and_more_examples_keep_the_first(task):
    first, again, other = (parts_of(task.make(np.random.default_rng(seed))) for seed in (3, 3, 4))
    grown = parts_of(type(task)(**{**task.get_params(), "n_train": 300}).make(np.random.default_rng(3)))
    assert len(grown["train"]) == 300
    for name, data in first.items():
        for array in ("Q", "K", "V", "mask", "gold", "target"):
            one, two, more = (getattr(p[name], array) for p in (first, again, grown))
            assert np.array_equal(one, two)
            assert np.array_equal(one, more[: len(data)] if more is not None else None)
        assert any(not np.array_equal(getattr(data, a), getattr(other[name], a)) for a in ("K", "V", "Q"))


@every_task
def test_chance_is_what_random_weights_get(task):
    data = type(task)(**{**task.get_params(), "n_test": 4000}).make(np.random.default_rng(2)).tests["test"]
    uniform = data.allowed / np.maximum(data.allowed.sum(axis=-1, keepdims=True), 1)
    assert AlignmentAccuracy().measure(data, uniform) == pytest.approx(task.chance, abs=0.006)
    W = np.random.default_rng(5).random(data.allowed.shape)
    assert AlignmentAccuracy().measure(data, W) == pytest.approx(task.chance, abs=0.025)


def test_the_variants_of_mqar_differ_in_their_keys():
    plain, twice, halves, fresh = (
        Mqar(v, n_pairs=8, vocabulary=16, n_train=100).make(np.random.default_rng(0)).train
        for v in ("plain", "forgetting", "compositional", "continuous")
    )
    kinds = [len(np.unique(data.K[0, :8], axis=0)) for data in (plain, twice, halves, fresh)]
    assert kinds == [8, 4, 8, 8]
    assert len(np.unique(plain.K.reshape(-1, 8), axis=0)) == 16
    assert len(np.unique(halves.K[:, :8, :4].reshape(-1, 4), axis=0)) == 4
    assert len(np.unique(fresh.K[:, :8].reshape(-1, 8), axis=0)) == 800
    rank = np.array([np.flatnonzero(row)[0] for row in plain.gold[plain.alive]])
    assert (rank >= 4).mean() > 0.55  # the latest pairs are asked for more


def test_slices_are_what_their_names_say():
    tests = Mqar("forgetting", n_pairs=16, n_queries=4, gaps=[4, 16], n_test=50).make(np.random.default_rng(0)).tests
    for gap in (4, 16):
        data = tests[f"gap={gap}"]
        e, i, j = np.nonzero(data.gold)
        assert (i - j == gap).all()
    tests = FlipFlop(distances=[1, 20], ignores=[0.98], longer=[64], n_test=50).make(np.random.default_rng(0)).tests
    for distance in (1, 20):
        e, i, j = np.nonzero(tests[f"distance={distance}"].gold)
        assert len(e) == 50
        assert (i - j == distance).all()
    assert tests["ignore=0.98"].alive.sum() < 1.5 * 50
    assert tests["n=64"].n_keys == 64
    e, i, j = np.nonzero(Induction(distances=[7], n_test=50).make(np.random.default_rng(0)).tests["distance=7"].gold)
    assert len(set(e)) == 50
    assert (i - j == 7).all()
    tests = FindBlock(n_blocks=5, depths=[0, 0.5, 1], n_test=20).make(np.random.default_rng(0)).tests
    assert [sorted(set(np.nonzero(tests[f"depth={d}"].gold)[2] // 5)) for d in ("0", "0.5", "1")] == [[0], [2], [4]]
    tests = NadarayaWatson(edges=["inside", "edge"], n_test=50).make(np.random.default_rng(0)).tests
    away = {name: np.minimum(tests[name].Q, 5 - tests[name].Q) for name in ("inside", "edge")}
    assert away["edge"].max() < 0.5 <= away["inside"].min()
    tests = Mqmtar(ladder=[2, 64], n_test=2).make(np.random.default_rng(0)).tests
    assert {name: data.n_keys for name, data in tests.items()} == {"test": 16, "2x": 32, "64x": 1024}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (Mqar(gaps=[3]), "gaps must be from n_queries = 4 to n_pairs = 32; got 3"),
        (Mqar(n_pairs=3), "n_queries must be at most 3, as 3 pairs have 3 different keys; got 4"),
        (
            Mqar("forgetting", n_pairs=8, gaps=[4]),
            "n_queries must be at most 3, as 8 pairs have 4 different keys; got 4",
        ),
        (Mqar(layout="tokens", gaps=[8]), "layout='tokens' has the variants plain and forgetting, and no gaps"),
        (Mqar("continuous", layout="tokens"), "got variant='continuous'"),
        (Mqar(room=8), "room is a setting of layout='tokens'; got 8"),
        (Mqar(n_pairs=8, layout="tokens", room=2), "room must be at least n_queries = 4; got 2"),
        (Mqar(longer=[80]), "vocabulary must be at least 80, the different keys of 80 pairs; got 64"),
        (Mqmtar(ladder=[2048]), "vocabulary\\^2 must be at least 32768"),
        (Mqmtar(n_queries=17), "n_queries must be at most n_pairs = 16; got 17"),
        (NgramCopy(d=7), "d must be a multiple of n_gram = 3; got 7"),
        (NgramCopy(longer=[2]), "n_gram must be less than each length, here 2; got 3"),
        (NgramCopy(length=40, vocabulary=2, n_gram=1), "hardly one has n_queries = 4 places"),
        (Induction(distances=[31]), "distances must be at most length - 2 = 30; got 31"),
        (VariableTracking(vocabulary=11), "vocabulary must be at least n_chains \\* depth = 12; got 11"),
        (VariableTracking(depths=[4]), "depths must be at most depth = 3; got 4"),
        (FlipFlop(distances=[32]), "distances must be less than length = 32; got 32"),
        (Dyck(depths=[5]), "depths must be at most 4"),
        (FindBlock(size=26), "size must be less than n_letters = 26; got 26"),
        (KernelRecovery(n_near=33), "n_near must be from n_keys / 32 to n_keys = 32; got 33"),
        (KernelRecovery(longer=[40]), "longer must be multiples of n_keys = 32; got 40"),
        (NadarayaWatson(width=3.0, edges=["inside"]), "nothing is inside with a width of 2.5 or more; got 3.0"),
        (NadarayaWatson(width=0.1, kernel="gaussian"), "width must be at least 0.15 with the gaussian kernel; got 0.1"),
        (NBack(longer=[2]), "n_back must be less than each length, here 2; got 2"),
        (LocalCount(window=16), "window must be less than each length, here 16; got 16"),
        (Boolean("majority", longer=[18]), "lengths must be odd, so that there is a majority; got 18"),
    ],
    ids=lambda x: x.name if hasattr(x, "name") else "",
)
def test_settings_that_disagree_are_refused(task, words):
    with pytest.raises(SettingError, match=f"task '{task.name}': .*{words}"):
        task.make(np.random.default_rng(0))


def test_every_new_file_of_tasks_is_solved_here():
    modules = (associative, brackets, chains, counting, hops, matching, memory, ngrams, regression)
    names = {getattr(module, name).name for module in modules for name in module.__all__}
    assert names == set(SOLVERS) == {task.name for task in TASKS}
