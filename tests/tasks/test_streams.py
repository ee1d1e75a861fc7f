"""Numbers of data are no part of the data: the first examples stay the same, and test conditions do not see each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import attnlab
from attnlab.data import AlignmentData
from attnlab.errors import ShapeError
from attnlab.interfaces import settings_of
from attnlab.tasks.associative import Mqar, Mqmtar
from attnlab.tasks.brackets import Dyck
from attnlab.tasks.chains import Induction, VariableTracking
from attnlab.tasks.counting import Boolean, LocalCount, NBack
from attnlab.tasks.drawn import BLOCK, DrawnTask
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

ARRAYS = ("Q", "K", "V", "mask", "gold", "target", "possible")
COUNTS = ("n_train", "n_validation", "n_test")
TASKS = [
    (Lookup, {"n_keys": 4, "d": 3}),
    (Lookup, {"n_keys": 6, "d": 3, "min_keys": 2}),
    (NoisyRecall, {"n_keys": 3, "d": 3}),
    (NormHubs, {"n_keys": 4, "d": 3}),
    (NullQueries, {"n_keys": 4, "d": 3}),
    (SubsetMean, {"n_keys": 5, "n_relevant": 2, "d": 3}),
    (MaxRetrieval, {"n_keys": 4, "d": 3, "longer": (7, 9)}),
    (Copy, {"length": 4, "d": 4, "longer": (6, 7), "transfer": (2, 3)}),
    (Copy, {"length": 5, "d": 4, "min_length": 2, "longer": (6,), "transfer": (3,)}),
    (Reverse, {"length": 4, "d": 4, "transfer": (2, 3)}),
    (Sort, {"length": 4, "d": 3, "transfer": (2, 3)}),
    (SelectiveCopy, {"length": 5, "n_marked": 2, "d": 3, "transfer": (2, 3)}),
    (Fertility, {"length": 3, "d": 3, "transfer": (2, 3)}),
    (LookupTable, {"length": 2, "d": 3, "transfer": (2, 3)}),
    (BlockReorder, {"length": 1, "d": 3, "transfer": (2, 3)}),
    (ToyTranslation, {"length": 1, "d": 3, "transfer": (2, 3)}),
    (Mqar, {"n_pairs": 8, "n_queries": 2, "vocabulary": 20, "gaps": (2, 5), "longer": (12,)}),
    (Mqar, {"variant": "continuous", "n_pairs": 8, "n_queries": 3, "vocabulary": 20, "gaps": (4,)}),
    (Mqmtar, {"n_pairs": 6, "n_queries": 3, "vocabulary": 6, "ladder": (2,)}),
    (NgramCopy, {"length": 10, "vocabulary": 3, "n_gram": 2, "n_queries": 2, "d": 6, "longer": (14,)}),
    (Induction, {"length": 12, "vocabulary": 5, "distances": (1, 4), "longer": (16,)}),
    (KHop, {"hops": 2, "length": 12, "longer": (16,)}),
    (VariableTracking, {"n_chains": 2, "depth": 3, "vocabulary": 7, "depths": (1, 2)}),
    (FlipFlop, {"length": 9, "p_ignore": 0.6, "longer": (14,), "ignores": (0.9,), "distances": (1, 5)}),
    (TriggerAverage, {"length": 7, "longer": (9,)}),
    (Dyck, {"length": 10, "depth": 3, "n_types": 3, "longer": (16,), "depths": (1, 3)}),
    (LinearMatch, {"d": 4, "n_keys": 5, "longer": (7,)}),
    (XorKey, {"n_ids": 3, "longer": (5,)}),
    (FindBlock, {"n_blocks": 3, "n_letters": 9, "size": 4, "longer": (4,), "depths": (0, 0.5)}),
    (KernelRecovery, {"kernel": "boxcar", "n_keys": 12, "n_near": 3, "longer": (24,)}),
    (NadarayaWatson, {"n_keys": 9, "longer": (20,), "edges": ("inside", "edge")}),
    (InContextRegression, {"d": 2, "n_keys": 5, "longer": (8,)}),
    (NBack, {"length": 7, "n_back": 2, "longer": (10,)}),
    (LocalCount, {"length": 8, "window": 3, "longer": (10,)}),
    (Boolean, {"function": "parity", "length": 4, "longer": (6,)}),
]
every_task = pytest.mark.parametrize(("cls", "chosen"), TASKS, ids=[f"{c.name}-{len(s)}" for c, s in TASKS])


def made(cls, chosen, sizes, seed=0):
    splits = cls(**chosen, **dict(zip(COUNTS, sizes, strict=True))).make(np.random.default_rng(seed))
    return {"train": splits.train, "validation": splits.validation, **splits.tests}


def assert_begins_with(data, first):
    """The first examples of `data` are those of `first`, bit for bit."""
    n = len(first)
    assert n <= len(data)
    for name in ARRAYS:
        one, other = getattr(first, name), getattr(data, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other[:n], err_msg=name)
    assert (first.tokens is None) == (data.tokens is None)
    if first.tokens is not None:
        assert list(first.tokens) == list(data.tokens[:n])


def test_every_task_that_draws_is_tested_here():
    drawn = [cls for name in attnlab.names("task") if issubclass(cls := type_of(name), DrawnTask)]
    assert set(drawn) == {cls for cls, _ in TASKS}
    assert set(attnlab.names("task")) - {cls.name for cls in drawn} == {"arrays", "bitext"}  # they read files


def type_of(name):
    from attnlab.registry import entry

    return entry("task", name).cls


_many = {}  # what was drawn, since that takes the time


@every_task
@settings(max_examples=4)
@given(sizes=st.tuples(*[st.integers(1, 2 * BLOCK + 40)] * 3), seed=st.sampled_from([0, 57]))
@example(sizes=(1, BLOCK, BLOCK + 1), seed=0)
def test_the_first_examples_stay_the_same_when_more_are_drawn(cls, chosen, sizes, seed):
    key = (cls, repr(chosen), seed)
    if not any(other[:2] == key[:2] for other in _many):
        _many.clear()  # of another task
    if key not in _many:
        _many[key] = made(cls, chosen, (2 * BLOCK + 40,) * 3, seed)
    few, many = made(cls, chosen, sizes, seed), _many[key]
    assert list(few) == list(many)
    for (name, data), size in zip(few.items(), [*sizes, *[sizes[2]] * (len(few) - 3)], strict=True):
        assert len(data) == size
        assert_begins_with(many[name], data)


@every_task
def test_a_condition_is_the_same_whichever_others_are_listed(cls, chosen):
    listed = [s for s in cls.counts if s not in COUNTS]
    assert set(listed) <= set(settings_of(cls))
    assert {"longer", "transfer"} & set(settings_of(cls)) <= set(listed)
    whole = made(cls, chosen, (3, 3, 20))
    none = {**chosen, **dict.fromkeys(listed, ())}
    assert list(made(cls, none, (3, 3, 20))) == ["train", "validation", "test"]
    for setting in listed:
        for value in chosen.get(setting, ()):
            one = made(cls, {**none, setting: (value,)}, (3, 3, 20))
            assert len(one) == 4
            for name, data in one.items():
                assert_begins_with(data, whole[name])
        turned = made(cls, {**chosen, setting: chosen.get(setting, ())[::-1]}, (3, 3, 20))
        assert set(turned) == set(whole)
        for name, data in turned.items():
            assert_begins_with(data, whole[name])


@every_task
def test_who_learns_nothing_gets_one_example_of_the_shape_and_the_same_tests(cls, chosen):
    assert cls.make is DrawnTask.make
    task = cls(**chosen, n_train=5, n_validation=4, n_test=3)
    whole, less = task.make(np.random.default_rng(1)), task.make_to_measure(np.random.default_rng(1))
    assert len(less.train) == 1
    for name in (*ARRAYS, "ids", "inputs", "gold_by_layer"):
        one, other = getattr(whole.train, name), getattr(less.train, name)
        assert (one is None, one is None or (one.shape[1:], one.dtype)) == (
            other is None,
            other is None or (other.shape[1:], other.dtype),
        ), name
    assert list(whole.tests) == list(less.tests)
    for data, same in [
        (whole.validation, less.validation),
        *zip(whole.tests.values(), less.tests.values(), strict=True),
    ]:
        assert len(data) == len(same)
        assert_begins_with(data, same)


@dataclass(eq=False, repr=False)
class Told(DrawnTask):
    """A task that says what it was asked for; its conditions are called like the splits, to see whether they are kept apart."""

    name = "told"
    noises: tuple[float, ...] = ()
    counts = (*DrawnTask.counts, "noises")

    def shared(self, rng):
        return {"centre": rng.normal()}

    def conditions(self):
        return {name: {"noise": noise} for name, noise in zip(("train", "shared", "c"), self.noises, strict=False)}

    def draw(self, rng, n, split, block, centre, noise=0.0):
        K = rng.normal(size=(n, 1, 1))
        rng.random(block)  # blocks use up different amounts of chance
        Q = np.full((n, 1, 1), centre)
        return AlignmentData(Q, K, K + noise, tokens=[([split], [block])] * n)


def test_each_block_has_a_stream_of_its_own_and_is_told_where_it_is():
    sizes = (3 * BLOCK + 5, BLOCK, BLOCK + 1)
    parts = made(Told, {"noises": (0.5, 0.0, 2.0)}, sizes)
    assert list(parts) == ["train", "validation", "test", "shared", "c"]
    splits = Told(noises=(0.5, 0.0, 2.0), n_train=sizes[0], n_test=sizes[2]).make(np.random.default_rng(0))
    assert list(splits.tests) == ["test", "train", "shared", "c"]
    every = [splits.train, splits.validation, *splits.tests.values()]
    first = [float(data.K[0, 0, 0]) for data in every]
    first += [float(data.K[start, 0, 0]) for data in every for start in range(BLOCK, len(data), BLOCK)]
    centre = float(splits.train.Q[0, 0, 0])
    assert len({*first, centre}) == len(first) + 1
    numbers = np.concatenate([data.K.ravel() for data in every])
    assert len(np.unique(numbers)) == len(numbers)
    assert all((data.Q - centre == 0).all() for data in every)
    assert list(dict.fromkeys(str(t) for t in splits.train.tokens)) == [str((["train"], [block])) for block in range(4)]
    assert [float((data.V - data.K).mean().round(9)) for data in splits.tests.values()] == [0.0, 0.5, 0.0, 2.0]
    blocks = splits.train.K[: 3 * BLOCK].reshape(3, BLOCK)
    assert abs(np.corrcoef(blocks)[np.triu_indices(3, 1)]).max() < 4 / BLOCK**0.5
    two = np.random.default_rng(0)
    assert not np.array_equal(Told().make(two).train.K, Told().make(two).train.K)  # rng moves on, as any use of it


def test_a_task_of_a_stranger_passes_the_contract_and_one_that_is_wrong_is_told_so():
    @dataclass(eq=False, repr=False)
    class Wrong(DrawnTask):
        name = "wrong"
        how: str = "few"

        def draw(self, rng, n, block):
            if self.how == "dict":
                return {}
            n, k = (n - 1, 2) if self.how == "few" else (n, 2 + block)
            K = rng.normal(size=(n, k, 1))
            return AlignmentData(K[:, :1], K, K)

    report = attnlab.testing.check_component(Told(noises=(0.5,)), only=["T601", "T602", "T603", "T607", "T608"])
    assert report.codes("passed") == ["T601", "T602", "T603", "T607", "T608"], str(report)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"Wrong.draw must give AlignmentData of n = 256 examples; got 255 examples"):
        Wrong().make(rng)
    with pytest.raises(ValueError, match="got dict"):
        Wrong(how="dict").make(rng)
    with pytest.raises(
        ShapeError, match=r"Wrong.draw: K of an example .* each block of train; got \(2, 1\) and \(3, 1\)"
    ):
        Wrong(how="wide").make(rng)

    class Nothing(DrawnTask):
        name = "nothing"

    with pytest.raises(NotImplementedError, match=r"Nothing must define draw\(rng, n\)"):
        Nothing().make(rng)

    class Asks(DrawnTask):
        name = "asks"

        def draw(self, rng, n, spilt):
            return None

    with pytest.raises(TypeError, match=r"Asks\.draw asks for 'spilt', which is not there \(did you mean split\?\)"):
        Asks().make(rng)


def test_bitext_keeps_the_pairs_of_a_smaller_share(tmp_path):
    (tmp_path / "text").write_text("".join(f"a{i} ||| b{i}\n" for i in range(40)), encoding="utf-8")
    kept = []
    for share in (0.2, 0.5, 1.0):
        task = attnlab.get("task", "bitext", path=str(tmp_path / "text"), share=share)
        kept.append({source[0] for source, _ in task.make(np.random.default_rng(0)).train.tokens})
    assert [len(words) for words in kept] == [8, 20, 40]
    assert kept[0] < kept[1] < kept[2]
