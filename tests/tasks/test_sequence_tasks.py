"""Sequence tasks with gold alignments: what is said follows from the links, splits are apart, longer conditions are longer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from attnlab.errors import SettingError
from attnlab.metrics.alignment import Aer
from attnlab.tasks.fertility import Fertility, LookupTable
from attnlab.tasks.orders import SelectiveCopy, Sort
from attnlab.tasks.sequences import Copy, Reverse
from attnlab.tasks.translation import BlockReorder, ToyTranslation, translate
from attnlab.testing import parametrize_with_checks

FEW = {"n_train": 60, "n_validation": 20, "n_test": 80}
TASKS = [
    Sort(length=5, transfer=[2, 4], **FEW),
    SelectiveCopy(length=9, n_marked=3, transfer=[2, 4], **FEW),
    Fertility(length=5, transfer=[2, 4], **FEW),
    LookupTable(length=3, transfer=[2, 4], **FEW),
    BlockReorder(length=2, transfer=[2, 4], **FEW),
    ToyTranslation(length=2, transfer=[2, 4], **FEW),
    Copy(length=6, min_length=3, transfer=[2, 4], **FEW),
    Reverse(length=5, transfer=[2, 4], **FEW),
]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def parts_of(task, seed=0):
    splits = task.make(np.random.default_rng(seed))
    return {"train": splits.train, "validation": splits.validation, **splits.tests}


def linked(data, e):
    """(source word, target word) of each gold link of an example."""
    source, target = data.tokens[e]
    return [(source[j], target[i]) for i, j in zip(*np.nonzero(data.gold[e]), strict=True)]


@parametrize_with_checks(TASKS)
def test_each_keeps_the_contract(component, check):
    check(component)


@every_task
def test_arrays_have_the_lengths_of_the_words(task):
    for name, data in parts_of(task).items():
        sizes = np.array([[len(target), len(source)] for source, target in data.tokens])
        assert ((data.n_queries, data.n_keys) >= sizes.max(axis=0)).all(), name  # padded to what the settings allow
        there = (np.arange(data.n_queries) < sizes[:, :1])[:, :, None] & (np.arange(data.n_keys) < sizes[:, 1:])[
            :, None
        ]
        np.testing.assert_array_equal(data.allowed, there)
        assert not data.Q[~there.any(axis=2)].any()
        assert not data.K[~there.any(axis=1)].any()
        assert set(np.unique(data.gold)) <= {0.0, 1.0}


@every_task
def test_longer_conditions_are_so_many_times_as_long(task):
    parts = parts_of(task)
    assert list(parts) == ["train", "validation", "test", "2L", "4L"]
    longest = {name: max(len(source) for source, _ in data.tokens) for name, data in parts.items()}
    if task.name == "lookup_table":  # a string and its tables
        longest = {name: k - 1 for name, k in longest.items()}
    if task.name == "toy_translation":
        clauses = {n: [source.count("and") + 1 for source, _ in data.tokens] for n, data in parts.items()}
        assert set(clauses["train"]) == {1, 2}
        assert (set(clauses["2L"]), set(clauses["4L"])) == ({4}, {8})
    else:
        assert longest["2L"] == 2 * longest["train"]
        assert longest["4L"] == 4 * longest["train"]
    # and the words are those of training
    known = {word for source, _ in parts["train"].tokens for word in source}
    told = {word for source, _ in parts["4L"].tokens for word in source}
    assert len(told - known) <= 0.1 * len(told)


@every_task
def test_growing_one_split_leaves_the_others(task):
    parts, grown = parts_of(task), parts_of(type(task)(**{**task.get_params(), "n_train": 71}))
    assert len(grown["train"]) == 71
    for name in set(parts) - {"train"}:
        assert parts[name].tokens == grown[name].tokens
        np.testing.assert_array_equal(parts[name].Q, grown[name].Q)


def test_without_transfer_there_is_one_condition():
    for task in TASKS:
        settings = {**task.get_params(), "transfer": ()}
        assert list(type(task)(**settings).make(np.random.default_rng(0)).tests) == ["test"]


def test_sort_says_every_number_once_in_ascending_order():
    data = parts_of(TASKS[0])["4L"]
    for e, (source, target) in enumerate(data.tokens):
        assert [int(w) for w in target] == sorted(int(w) for w in source)
        assert all(s == t for s, t in linked(data, e))
        assert (data.gold[e].sum(axis=0) == 1).all()
    assert np.array_equal((data.gold @ data.V).argmax(axis=-1), data.target)
    with pytest.raises(SettingError, match="vocabulary must be at least 80, the longest example; got 64"):
        Sort(length=20, transfer=[4]).make(np.random.default_rng(0))
    with pytest.raises(SettingError, match="min_length must be at most length = 1; got 2"):
        Sort(length=1).make(np.random.default_rng(0))


def test_selective_copy_says_what_is_no_blank():
    data = parts_of(TASKS[1])["2L"]
    for e, (source, target) in enumerate(data.tokens):
        assert len(source) == 18
        assert target == [word for word in source if word != "_"]
        assert all(s == t for s, t in linked(data, e))
    with pytest.raises(SettingError, match="n_marked must be at most length = 2; got 4"):
        SelectiveCopy(length=2).make(np.random.default_rng(0))


def test_fertility_belongs_to_the_word_and_the_alignment_is_monotonic():
    parts = parts_of(Fertility(max_fertility=3, **FEW))
    fertility: dict[str, set[int]] = {}
    for data in parts.values():
        for e, (source, target) in enumerate(data.tokens):
            for j, word in enumerate(source):
                fertility.setdefault(word, set()).add(int(data.gold[e][:, j].sum()))
            assert all(s[1:] == t[1:] for s, t in linked(data, e))
            assert len(linked(data, e)) == len(target) > 0
            assert (np.diff(np.nonzero(data.gold[e])[1]) >= 0).all()
    assert sorted(n for ns in fertility.values() for n in ns) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_lookup_tables_are_functions_and_the_alignment_is_the_diagonal():
    table: dict[tuple[str, str], str] = {}
    for data in parts_of(TASKS[3]).values():
        for e, (source, target) in enumerate(data.tokens):
            assert source[0] == target[0]
            assert len(source) == len(target)
            np.testing.assert_array_equal(data.gold[e, : len(source), : len(source)], np.eye(len(source)))
            for before, name, after in zip(target, source[1:], target[1:], strict=False):
                assert table.setdefault((name, before), after) == after
    for name in {name for name, _ in table}:  # each is a permutation
        images = [after for (n, _), after in table.items() if n == name]
        assert len(set(images)) == len(images)


def test_blocks_change_places_and_possible_links_are_those_of_the_phrase():
    data = parts_of(TASKS[4])["2L"]
    jumps = nulls = dropped = 0
    for e, (source, target) in enumerate(data.tokens):
        assert [w[0] for w in source] == ["n"] * 4 + ["v"] * 4 + ["n"] * 4
        assert "V N" not in " ".join(w[0].upper() for w in target if not w.startswith("-"))
        for s, t in linked(data, e):
            assert t.rstrip("'") == s.upper()
        gold, possible = data.gold[e] > 0, data.possible[e]
        assert not (gold & possible).any()
        for i, word in enumerate(target):
            phrases = set(np.flatnonzero(gold[i] | possible[i]) // 4)
            assert len(phrases) == (0 if word.startswith("-") else 1)
            nulls += word.startswith("-")
        dropped += int((gold.sum(axis=0) == 0)[: len(source)].sum())
        jumps += int((np.diff(np.nonzero(gold)[1]) < -3).any())
    assert jumps > 0.9 * len(data)
    assert nulls > 0
    assert dropped > 0
    assert Aer().measure(data, data.gold) == 0
    phrase = data.possible | (data.gold > 0)
    assert Aer().measure(data, phrase / np.maximum(1, phrase.sum(-1, keepdims=True))) == 0  # S <= A <= P
    others = data.possible / np.maximum(1, data.possible.sum(-1, keepdims=True))
    assert 0.2 < Aer().measure(data, others) < 0.8  # none is sure, all are possible


def test_toy_translation_begins_with_tom_chases_jerry_and_translates_word_by_word():
    for seed in range(3):
        parts = parts_of(TASKS[5], seed)
        assert parts["test"].tokens[0] == (["Tom", "chases", "Jerry"], ["汤姆", "追逐", "杰瑞"])
        np.testing.assert_array_equal(parts["test"].gold[0, :3, :3], np.eye(3))
        for data in parts.values():
            for e, (source, target) in enumerate(data.tokens):
                assert all(translate(s) == t for s, t in linked(data, e))
                one = data.gold[e, : len(target)].sum(axis=1)
                assert {word for word, n in zip(target, one, strict=True) if n == 0} <= {"只", "的", "里"}
                aligned = data.gold[e].sum(axis=0)[: len(source)]
                assert {w for w, n in zip(source, aligned, strict=True) if n == 0} <= {"the", "does"}


def test_toy_translation_moves_place_day_and_negation_before_the_verb():
    data = ToyTranslation(length=1, n_train=400).make(np.random.default_rng(3)).train
    seen = 0
    for source, target in data.tokens:
        if {"not", "in", "today"} <= set(source):
            verb = translate(source[source.index("not") + 1])
            order = [target.index(w) for w in ("今天", "在", "里", "不", verb)]
            assert order == sorted(order)
            assert source.index("in") > source.index("not")
            seen += 1
    assert seen > 0


@pytest.mark.parametrize(
    "task",
    [
        Sort(length=3, vocabulary=12, n_train=3000),
        Fertility(length=4, n_train=3000),
        LookupTable(n_train=3000, transfer=[2]),
        BlockReorder(length=1, n_train=3000),
        ToyTranslation(length=1, n_train=3000),
    ],
    ids=lambda task: task.name,
)
@pytest.mark.parametrize("seed", range(3))
def test_no_source_of_one_split_occurs_in_another(task, seed):
    said = {name: {tuple(source) for source, _ in data.tokens} for name, data in parts_of(task, seed).items()}
    for one, other in itertools.combinations(said, 2):
        assert not said[one] & said[other], (one, other)


def test_what_is_held_out_is_asked_for_by_a_setting_and_needs_enough_sources():
    alike = parts_of(LookupTable(n_train=3000, unseen=0))
    train = {tuple(source) for source, _ in alike["train"].tokens}
    assert np.mean([tuple(source) in train for source, _ in alike["test"].tokens]) > 0.5
    half = parts_of(LookupTable(n_train=3000, unseen=0.4))["train"]
    assert len({tuple(source) for source, _ in half.tokens}) < 0.3 * (64 + 512 + 4096)
    with pytest.raises(SettingError, match=r"too few different sources to hold out a share of 0.01.*or set unseen=0"):
        parts_of(LookupTable(length=1, bits=1, tables=1, unseen=0.01))


def test_toy_translation_tests_unseen_sentences_only():
    parts = parts_of(ToyTranslation(length=1, n_train=3000, n_test=300))
    said = {name: {" ".join(source) for source, _ in data.tokens} for name, data in parts.items()}
    assert not said["train"] & said["test"]
    assert not said["train"] & said["validation"]
    assert not said["validation"] & said["test"]
    words = {name: {w for s in sentences for w in s.split()} for name, sentences in said.items()}
    assert words["test"] <= words["train"]  # what is unseen is the sentence, not its words
    other = parts_of(ToyTranslation(length=1, n_train=3000, n_test=300), seed=1)
    assert said["test"] & {" ".join(source) for source, _ in other["train"].tokens}  # another seed parts them anew
