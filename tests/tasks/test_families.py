"""Each task is solved by what it is meant for, untrained and in plain NumPy, and by nothing less."""

from __future__ import annotations

import numpy as np
import pytest

from attnlab.errors import SettingError, ShapeError
from attnlab.settings import checked
from attnlab.tasks.arrays import Arrays
from attnlab.tasks.recall import Lookup, NoisyRecall, NormHubs, NullQueries
from attnlab.tasks.sequences import Copy, Reverse
from attnlab.tasks.sets import MaxRetrieval, SubsetMean


def dot(Q, K):
    return Q @ np.swapaxes(K, -1, -2)


def neg_l2(Q, K):
    return -((Q[:, :, None, :] - K[:, None, :, :]) ** 2).sum(axis=-1) / 2


def cosine(Q, K):
    return dot(Q, K) / (np.linalg.norm(Q, axis=-1)[:, :, None] * np.linalg.norm(K, axis=-1)[:, None, :])


def top1(data, S):
    """Share of queries whose best allowed key is gold."""
    best = np.where(data.allowed, S, -np.inf).argmax(axis=-1)[:, :, None]
    rows = (data.gold > 0).any(axis=-1)
    return np.take_along_axis(data.gold > 0, best, axis=-1)[..., 0][rows].mean()


def sinusoids(n, d):
    """Vaswani et al. 2017, section 3.5: sin(p / 10000^(2i/d)) and cos at even and odd places."""
    angle = np.arange(n)[:, None] / 10000 ** (np.arange(0, d, 2) / d)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(n, d)


def test_lookup_is_solved_by_the_exact_dot_up_to_noise_and_less_so_with_more():
    by_noise = [
        top1(d, dot(d.Q, d.K)) for d in (Lookup(noise=s).make(np.random.default_rng(0)).train for s in (0, 3.0))
    ]
    assert by_noise[0] > 0.95
    assert by_noise[1] < 0.5
    data = Lookup(min_keys=3).make(np.random.default_rng(1)).tests["test"]
    assert top1(data, neg_l2(data.Q, data.K)) > 0.99
    lengths = data.allowed[:, 0].sum(axis=-1)
    assert (lengths.min(), lengths.max()) == (3, 32)
    assert not data.K[~data.allowed[:, 0]].any()


def test_distractors_have_the_declared_share_and_disturb_inner_products():
    task = NoisyRecall(n_keys=16, rho=0.8, shift=6.0, n_test=400)
    assert task.n_distractors == 64
    data = task.make(np.random.default_rng(0)).tests["test"]
    calm = NoisyRecall(n_keys=16, rho=0.0, n_test=400).make(np.random.default_rng(0)).tests["test"]
    assert (data.n_keys, calm.n_keys) == (80, 16)
    assert top1(calm, dot(calm.Q, calm.K)) - top1(data, dot(data.Q, data.K)) > 0.05
    # along the shared direction the two vocabularies stand apart, the distractors are four fifths, and none is gold
    centre = data.K.mean(axis=(0, 1))
    far = data.K @ centre / np.linalg.norm(centre) > 3.0
    assert far.mean() == pytest.approx(0.8, abs=0.01)
    assert far[np.nonzero(data.gold)[0], np.nonzero(data.gold)[2]].mean() < 0.01


@pytest.mark.parametrize(("sigma", "by_dot", "by_l2"), [(0.5, 0.69, 0.91), (1.0, 0.38, 0.73), (1.5, 0.26, 0.61)])
def test_hubs_mislead_the_dot_more_than_the_distance_and_the_cosine_not_at_all(sigma, by_dot, by_l2):
    data = NormHubs(sigma=sigma, d=16, n_keys=32, noise=0.3, n_test=1000).make(np.random.default_rng(7)).tests["test"]
    assert top1(data, dot(data.Q, data.K)) == pytest.approx(by_dot, abs=0.03)
    assert top1(data, neg_l2(data.Q, data.K)) == pytest.approx(by_l2, abs=0.03)
    assert top1(data, cosine(data.Q, data.K)) > 0.995
    assert np.log(np.linalg.norm(data.K, axis=-1) / 4).std() == pytest.approx(sigma, rel=0.05)


def test_null_queries_look_like_others_fit_no_key_and_are_no_padding():
    data = NullQueries(pi=0.3, n_test=1000).make(np.random.default_rng(0)).tests["test"]
    null = ~data.gold.any(axis=-1)
    assert null.mean() == pytest.approx(0.3, abs=0.03)
    assert data.alive.all()
    assert not data.target[null].any()
    size = np.linalg.norm(data.Q, axis=-1)
    assert size[null].mean() == pytest.approx(size[~null].mean(), rel=0.03)
    nearest = neg_l2(data.Q, data.K).max(axis=-1)
    assert ((nearest > -4) == ~null).mean() > 0.99  # the distance of the nearest key tells
    for pi in (0.0, 1.0):
        extreme = NullQueries(pi=pi).make(np.random.default_rng(0)).train
        assert extreme.gold.any(axis=-1).mean() == 1 - pi


@pytest.mark.parametrize("task", [Copy(), Reverse()], ids=repr)
def test_sequences_cannot_be_solved_without_positions_and_can_with_them(task):
    data = task.make(np.random.default_rng(0)).tests["test"]
    assert len(np.unique(data.Q.reshape(-1, task.d), axis=0)) == 1
    for similarity in (dot, neg_l2, cosine):  # the same scores at every step: at most one step is right
        S = similarity(data.Q, data.K)
        assert np.ptp(S, axis=1).max() < 1e-9
        assert top1(data, S) < 2 * task.chance
    P = sinusoids(task.length, task.d)
    asked = P if task.name == "copy" else P[::-1]  # the map of places that `reverse` has to learn
    places = [task.make(np.random.default_rng(seed)).tests["test"] for seed in range(8)]  # eight sets of embeddings
    assert np.mean([top1(test, dot(test.Q + asked, test.K + P)) for test in places]) > 0.8
    assert (np.sort(data.target)[:, 1:] == np.sort(data.target)[:, :-1]).any(axis=-1).all()  # tokens are repeated


def test_copy_pads_keys_and_queries_and_has_longer_test_conditions():
    splits = Copy(length=8, min_length=2, longer=[12, 20]).make(np.random.default_rng(0))
    data = splits.train
    lengths = data.alive.sum(axis=-1)
    assert set(lengths) == set(range(2, 9))
    assert np.array_equal(data.allowed.sum(axis=(1, 2)), lengths**2)
    assert {name: test.n_keys for name, test in splits.tests.items()} == {"test": 8, "n=12": 12, "n=20": 20}
    # the embeddings are shared: each token of a longer test was seen in training
    known = {row.tobytes() for row in splits.train.K[data.alive]}
    assert {row.tobytes() for row in splits.tests["n=20"].K.reshape(-1, 32)} <= known
    assert checked("task", Copy, {"longer": [4]}) == {"longer": [4]}


def test_subset_mean_asks_for_all_of_a_tag_and_only_full_groups():
    data = SubsetMean(n_keys=11, n_relevant=4, n_test=300).make(np.random.default_rng(0)).tests["test"]
    assert set(np.unique(data.gold)) == {0.0, 0.25}
    S = neg_l2(data.Q, data.K)
    assert top1(data, S) > 0.99
    fourth = np.sort(S, axis=-1)[..., -4][..., None]
    assert np.array_equal(fourth <= S, data.gold > 0)  # the four nearest keys are the subset


def test_priorities_can_be_read_by_every_similarity_at_every_length_and_softmax_disperses():
    splits = MaxRetrieval(longer=[64, 256]).make(np.random.default_rng(0))
    greatest = []
    for data in splits.tests.values():
        for similarity in (dot, neg_l2, cosine):
            assert top1(data, similarity(data.Q, data.K)) == 1.0
        S = dot(data.Q, data.K)
        E = np.exp(S - S.max(axis=-1, keepdims=True))
        greatest.append((E.max(axis=-1) / E.sum(axis=-1)).mean())
    assert greatest[0] > 2 * greatest[1] > 4 * greatest[2]


def write(path, n=10, d=4, **more):
    rng = np.random.default_rng(n)
    K = rng.normal(size=(n, 3, d))
    gold = np.eye(3)[rng.integers(3, size=(n, 2))]
    arrays = {"Q": gold @ K, "K": K, "V": K, "gold": gold, "target": gold @ K, **more}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


def test_arrays_splits_one_file_by_the_seed_without_losing_an_example(tmp_path):
    path = write(tmp_path / "mine.npz", n=10)
    whole = np.load(path)["K"]
    cuts = []
    for seed in (0, 0, 1):
        splits = Arrays(path, validation=0.3, test=0.2).make(np.random.default_rng(seed))
        parts = [splits.train.K, splits.validation.K, splits.tests["test"].K]
        assert [len(part) for part in parts] == [5, 3, 2]
        assert {row.tobytes() for row in np.concatenate(parts)} == {row.tobytes() for row in whole}
        cuts.append(np.concatenate(parts))
    assert np.array_equal(cuts[0], cuts[1])
    assert not np.array_equal(cuts[0], cuts[2])
    assert Arrays(path).chance == pytest.approx(1 / 3)


def test_arrays_reads_three_files_as_they_are(tmp_path):
    paths = [write(tmp_path / f"{n}.npz", n=n) for n in (5, 3, 2)]
    splits = Arrays(paths[0], validation_path=paths[1], test_path=paths[2]).make(np.random.default_rng(0))
    assert (len(splits.train), len(splits.validation), len(splits.tests["test"])) == (5, 3, 2)
    assert np.array_equal(splits.train.K, np.load(paths[0])["K"])


def test_arrays_refuses_what_cannot_be_split_and_says_why(tmp_path):
    rng = np.random.default_rng(0)
    small, other = write(tmp_path / "small.npz", n=2), write(tmp_path / "other.npz", d=5)
    mine, bare = write(tmp_path / "mine.npz"), write(tmp_path / "bare.npz", gold=None)
    with pytest.raises(
        SettingError, match=r"small.npz holds 2 examples, which split into 2 to learn from, 0 to choose by"
    ):
        Arrays(small).make(rng)
    with pytest.raises(SettingError, match=r"less than 1, .* got 0.5 \+ 0.5"):
        Arrays(mine, validation=0.5, test=0.5).make(rng)
    with pytest.raises(SettingError, match="both validation_path and test_path"):
        Arrays(mine, test_path=mine).make(rng)
    with pytest.raises(SettingError, match=r"other.npz has \{'d': 5"):
        Arrays(mine, validation_path=other, test_path=mine).make(rng)
    with pytest.raises(SettingError, match="must agree in features"):
        Arrays(mine, validation_path=mine, test_path=bare).make(rng)
    with pytest.raises(FileNotFoundError, match=r"nowhere.npz"):
        Arrays(str(tmp_path / "nowhere.npz")).make(rng)
    with pytest.raises(ShapeError):
        Arrays(write(tmp_path / "bent.npz", V=np.zeros((10, 4, 2)))).make(rng)
    assert np.isnan(Arrays(bare).chance)


def test_arrays_refuses_nan_where_it_is_read(tmp_path):
    rng = np.random.default_rng(0)
    path = write(tmp_path / "mine.npz")
    whole = dict(np.load(path))
    whole["K"][4, 1, 0] = np.nan
    np.savez(path, **whole)
    with pytest.raises(
        ValueError, match=r"task 'arrays': .*mine.npz: K must be finite where it is read: example 4, key 1"
    ):
        Arrays(path).make(rng)
    n, q, k = whole["gold"].shape
    whole["mask"] = np.broadcast_to(np.arange(k) != 1, (n, q, k))
    np.savez(path, **whole)
    splits = Arrays(path).make(rng)
    for data in (splits.train, splits.validation, *splits.tests.values()):
        assert np.isfinite(data.K).all()
