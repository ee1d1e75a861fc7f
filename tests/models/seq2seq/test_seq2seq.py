"""AttentionSeq2Seq: it learns, aligns without being told, decodes what it was taught, and refuses what it cannot read."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from sklearn.base import clone

import attnlab
from attnlab import AlignmentData, AttentionSeq2Seq, Mechanism
from attnlab.models.seq2seq.decoding import beam_search, greedy
from attnlab.models.seq2seq.vocabulary import START, STOP, UNKNOWN, Vocabulary, bucketed

SMALL = {"embedding_dim": 8, "hidden_dim": 8, "steps": 8, "batch_size": 8, "random_state": 0}
MECHANISMS = [
    None,
    {"similarity": "general"},
    {"similarity": "dot"},
    {"similarity": "cosine", "normaliser": "sparsemax"},
    {"similarity": "dot", "position": "sinusoidal"},
    {"similarity": "additive", "mask": {"window": {"width": 2}}},
    {"similarity": "location_aware"},
    {"similarity": "coverage"},
    {"similarity": "additive", "normaliser": "monotonic"},
]


def sentences(seed, n=24, low=2, high=6):
    """Sources of tokens with repetition, and each said backwards with its first token once more."""
    rng = np.random.default_rng(seed)
    X = [[f"w{i}" for i in rng.integers(5, size=rng.integers(low, high))] for _ in range(n)]
    return X, [[*(w.upper() for w in x[::-1]), x[0].upper()] for x in X]


@pytest.fixture(scope="module")
def translated():
    """A model of the toy grammar, its test data, and the model with one fixed context."""
    splits = attnlab.get("task", "toy_translation", length=1, n_train=1024, n_test=128).make(np.random.default_rng(0))
    settings = {"steps": 400, "learning_rate": 0.006, "random_state": 0, "hidden_dim": 48, "embedding_dim": 48}
    model = AttentionSeq2Seq(validate_every=200, **settings).fit(splits.train, validation=splits.validation)
    return model, splits.tests["test"], AttentionSeq2Seq(context="fixed", **settings).fit(splits.train)


# -- it learns ------------------------------------------------------------------------------------------------------------
def test_it_translates_unseen_sentences_and_aligns_them_without_supervision(translated):
    model, test, fixed = translated
    gold = test.gold > 0
    asked = gold.any(axis=-1)
    best = model.align(test).argmax(axis=-1)
    assert model.exact_match(test) > 0.95
    assert np.take_along_axis(gold, best[..., None], axis=-1)[asked].mean() > 0.9
    assert fixed.exact_match(test) < model.exact_match(test)
    assert model.loss_curve_[-1] < 0.1 * model.loss_curve_[0]


def test_tom_chases_jerry(translated):
    model, *_ = translated
    assert model.predict([["Tom", "chases", "Jerry"]]) == [["汤姆", "追逐", "杰瑞"]]
    (W,) = model.align([["Tom", "chases", "Jerry"]], [["汤姆", "追逐", "杰瑞"]])
    assert W.argmax(axis=1).tolist() == [0, 1, 2]


def test_in_a_sweep_its_arrays_fit_the_data(translated):
    model, test, fixed = translated
    for one in (model, fixed):
        W, Y = one.align(test), one.predict(test)
        assert W.shape == test.gold.shape
        assert Y.shape[:2] == test.target.shape
        assert np.all(W[~test.allowed] == 0)
        np.testing.assert_allclose(W.sum(axis=-1)[test.alive], 1, atol=1e-5)
        assert np.all(Y.sum(axis=-1) == 1)
        measured = attnlab.get("metric", "accuracy").measure(test, Y)
        said = one.predict([pair[0] for pair in test.tokens])
        right = sum(a == b for s, (_, t) in zip(said, test.tokens, strict=True) for a, b in zip(s, t, strict=False))
        assert measured == pytest.approx(right / test.alive.sum())
        metric = attnlab.get("metric", "exact_match")
        assert metric.measure(test, Y, one) == one.exact_match(test) <= metric.measure(test, Y)
    curve = model.validation_curve_
    assert [row["step"] for row in curve] == [0, 200, 400]
    assert curve[-1]["alignment_accuracy"] > curve[0]["alignment_accuracy"]


def test_scores_are_what_they_say(translated):
    model, *_ = translated
    X, true = [["Tom", "chases", "Jerry"]] * 2, [["汤姆", "追逐", "杰瑞"], ["汤姆", "咬", "杰瑞", "只"]]
    assert model.exact_match(X, true) == 0.5
    assert model.score(X, true) == model.token_accuracy(X, true) == pytest.approx(5 / 7)


# -- one network, however it is computed ------------------------------------------------------------------------------------
@pytest.mark.parametrize("attend_with", ["previous_state", "current_state"])
@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_greedy_says_what_teacher_forcing_would_choose(mechanism, attend_with):
    """Step by step with the mechanism's state, or all at once with what was said as input: the same choices."""
    X, y = sentences(1)
    model = AttentionSeq2Seq(mechanism, attend_with=attend_with, max_length=5, dtype="float64", **SMALL).fit(X, y)
    said = model.predict(X)
    pairs = model._numbered(X, X, said)
    logits, W, _, _ = model._network.taught(model.params_, pairs)
    logits[..., [0, START, UNKNOWN]] = -np.inf
    for i, sentence in enumerate(pairs.target):
        chosen = logits[i].argmax(axis=-1)
        assert chosen[: len(sentence)].tolist() == sentence
        assert len(sentence) == 5 or chosen[len(sentence)] == STOP
        assert np.all(W[i, :, len(X[i]) :] == 0)


@pytest.mark.parametrize("encoder", ["embedding", "rnn", "birnn"])
@pytest.mark.parametrize("context", ["attention", "fixed"])
def test_the_fast_and_the_reference_way_learn_the_same(encoder, context):
    X, y = sentences(2)
    settings = {**SMALL, "context": context, "dtype": "float64"}
    fast = AttentionSeq2Seq(encoder=encoder, **settings).fit(X, y)
    slow = AttentionSeq2Seq(
        encoder=encoder if encoder == "embedding" else {encoder: {"backend": "reference"}},
        backend="reference",
        **settings,
    ).fit(X, y)
    assert (fast.backend_, slow.backend_) == ("fast", "reference")
    np.testing.assert_allclose(fast.loss_curve_, slow.loss_curve_, rtol=1e-8)
    for a, b in zip(fast.align(X, y), slow.align(X, y), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    assert fast.predict(X) == slow.predict(X)


@pytest.mark.parametrize(
    "settings", [{}, {"attend_with": "current_state"}, {"fixed_context": "mean"}, {"context": "fixed"}]
)
def test_a_sentence_is_aligned_alone_as_among_others(settings):
    X, y = sentences(3)
    model = AttentionSeq2Seq(**settings, **{**SMALL, "dtype": "float64"}).fit(X, y)
    for x, t, W in zip(X, y, model.align(X, y), strict=True):
        assert W.shape == (len(t), len(x))
        np.testing.assert_allclose(W.sum(axis=1), 1)
        np.testing.assert_allclose(model.align([x], [t])[0], W, atol=1e-10)


def test_the_loss_is_the_mean_over_tokens_and_padding_is_none():
    X, y = sentences(13)
    model = AttentionSeq2Seq(**{**SMALL, "dtype": "float64"}).fit(X, y)
    pairs = model._numbered(X, X, y)
    alone = [float(model._network.loss(model.params_, pairs.pick([i]))) for i in range(len(X))]
    expected = np.average(alone, weights=[len(t) + 1 for t in y])
    assert float(model._network.loss(model.params_, pairs)) == pytest.approx(expected)


@pytest.mark.parametrize("mechanism", [None, {"normaliser": "sparsemax"}])
def test_float32_stays(mechanism):
    X, y = sentences(4)
    model = AttentionSeq2Seq(mechanism, **SMALL).fit(X, y)
    from attnlab.models.training import leaves

    assert {a.dtype.name for _, a in leaves(model.params_)} == {"float32"}
    assert {w.dtype.name for w in model.align(X, y)} == {"float32"}


def test_a_mechanism_without_steps_can_be_used():
    from attnlab import MechanismComponent

    class Plain(MechanismComponent):
        """Additive attention without `step`."""

        name = "plain"

        def init(self, rng, d_query, d_key, d_value):
            return Mechanism("additive").init(rng, d_query, d_key, d_value)

        def attend(self, params, Q, K, V, mask=None, **context):
            return Mechanism("additive").attend(params, Q, K, V, mask, **context)

        def weights(self, params, Q, K, mask=None, **context):
            return Mechanism("additive").weights(params, Q, K, mask, **context)

    X, y = sentences(5)
    with_steps = AttentionSeq2Seq(**SMALL).fit(X, y)
    without = AttentionSeq2Seq(Plain(), **SMALL).fit(X, y)
    assert without.backend_ == "decoder=fast, encoder=fast, mechanism=reference"
    np.testing.assert_allclose(without.loss_curve_, with_steps.loss_curve_, rtol=1e-4)
    assert without.predict(X) == with_steps.predict(X)


def test_the_same_random_state_gives_the_same_model_and_pickles():
    X, y = sentences(6)
    one, two = (AttentionSeq2Seq(**SMALL).fit(X, y) for _ in range(2))
    other = AttentionSeq2Seq(**{**SMALL, "random_state": 1}).fit(X, y)
    again = pickle.loads(pickle.dumps(one))
    assert one.loss_curve_ == two.loss_curve_ != other.loss_curve_
    assert again.predict(X) == one.predict(X) == two.predict(X)
    assert one.n_parameters_ == sum(a.size for a in _arrays(one.params_))


def _arrays(tree):
    return [a for v in tree.values() for a in _arrays(v)] if isinstance(tree, dict) else [tree]


# -- decoding -------------------------------------------------------------------------------------------------------------
def _markov(seed, stop=0.0, v=7):
    """Scores of the next token that depend on the sentence and on the two tokens before; `stop` is added to the stop's."""
    table = 3 * np.random.default_rng(seed).normal(size=(3, v, v, v))
    table[..., STOP] += stop

    def step(tokens, state, t):
        rows, before = state
        return table[rows, before, tokens], (rows, tokens)

    return table, step, (np.arange(3), np.zeros(3, dtype=int))


@pytest.mark.parametrize("seed", range(30))
def test_a_wide_beam_finds_the_likeliest_sentence(seed):
    table, step, state = _markov(seed, stop=-4.0 * (seed % 2))  # where it hardly stops, sentences are long
    limits = np.array([3, 3, 2])
    found = beam_search(step, state, limits, width=64)
    for row in range(3):
        logp = table[row].copy()
        logp[..., [0, START, UNKNOWN]] = -np.inf
        logp -= np.log(np.exp(logp).sum(axis=-1, keepdims=True))
        best = max(_all_sentences(int(limits[row])), key=lambda s, logp=logp: _probability(logp, s))
        assert found[row][: len(best)].tolist() == list(best)


def _all_sentences(limit):
    words = range(UNKNOWN + 1, 7)
    for length in range(limit + 1):
        for said in itertools.product(words, repeat=length):
            yield (*said, STOP) if length < limit else said


def _probability(logp, sentence):
    tokens = (0, START, *sentence)
    return sum(logp[tokens[t : t + 3]] for t in range(len(sentence)))


def test_a_beam_of_one_is_greedy_and_limits_hold():
    for seed in range(10):
        _, step, state = _markov(seed)
        limits = np.array([4, 1, 6])
        ids = greedy(step, state, limits)
        np.testing.assert_array_equal(ids, beam_search(step, state, limits, width=1))
        assert ((ids != STOP).sum(axis=1) <= limits).all()


@pytest.mark.parametrize("mechanism", [None, {"similarity": "coverage"}])
def test_beam_search_moves_the_mechanisms_memory_along(mechanism):
    X, y = sentences(7)
    model = AttentionSeq2Seq(mechanism, max_length=3, **{**SMALL, "steps": 30, "dtype": "float64"}).fit(X, y)
    x, quickly = X[:2], model.predict(X[:2])
    model.set_params(beam=(len(model.target_vocabulary_.tokens) + 1) ** 2)  # every beginning is kept
    for sentence, said, quick in zip(x, model.predict(x), quickly, strict=True):
        assert _said_with(model, sentence, said) >= _said_with(model, sentence, quick) - 1e-9


def _said_with(model, sentence, said):
    """The log-probability of saying it, stop included where it is before the limit."""
    pairs = model._numbered([sentence], [sentence], [said])
    logits = model._network.taught(model.params_, pairs)[0][0]
    logits[:, [0, START, UNKNOWN]] = -np.inf
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = [*pairs.target[0], STOP][: model.max_length]
    return sum(logp[t, token] for t, token in enumerate(wanted))


# -- what it is given -----------------------------------------------------------------------------------------------------
def test_tokens_may_be_numbers_and_a_target_may_be_empty():
    X, y = [[1, 2], [2, 3, 1], [3]] * 4, [[7], [], [8, 9]] * 4
    model = AttentionSeq2Seq(**{**SMALL, "steps": 60, "learning_rate": 0.03}).fit(np.array(X, dtype=object), y)
    assert model.predict(X[:3]) == y[:3]
    assert model.align(X[1:2], y[1:2])[0].shape == (0, 3)
    assert all(type(token) is int for sentence in model.predict(X) for token in sentence)


def test_unknown_words_are_alike_and_never_said():
    X, y = sentences(8)
    model = AttentionSeq2Seq(**SMALL).fit(X, y)
    strange, other = model.predict([["w1", "quux", "w2"]]), model.predict([["w1", "<unk>", "w2"]])
    assert strange == other
    known = set(model.target_vocabulary_.tokens)
    assert all(token in known for sentence in strange for token in sentence)
    assert model.align([["quux"]], [["W1", "never seen"]])[0].shape == (2, 1)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_language_of_which_no_word_is_kept_is_refused(side):
    rare, often = [[f"w{i}", f"w{i}"] for i in range(8)], [["w"]] * 8
    X, y = (rare, often) if side == "source" else (often, rare)
    with pytest.raises(attnlab.SettingError, match=f"min_count=3 leaves no {side} token .* frequent is seen 2 times"):
        AttentionSeq2Seq(min_count=3, **SMALL).fit(X, y)
    assert AttentionSeq2Seq(min_count=2, **SMALL).fit(X, y).n_iter_ == SMALL["steps"]


def test_a_longer_target_than_any_seen_is_aligned_and_max_length_holds():
    X, y = sentences(9)
    model = AttentionSeq2Seq(**SMALL).fit(X, y)
    (W,) = model.align([X[0] * 5], [y[0] * 8])
    assert W.shape == (8 * len(y[0]), 5 * len(X[0]))
    np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-5)
    assert max(map(len, clone(model).set_params(max_length=2).fit(X, y).predict(X))) <= 2


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        ([["a"], []], [["b"], ["c"]], ValueError, r"X\[1\] is empty"),
        ([["a"], "b c"], [["b"], ["c"]], TypeError, r"X\[1\] is one string.*split"),
        (["a", "b"], [["b"], ["c"]], TypeError, r"X\[0\] is one string"),
        ("a b", [["b"]], TypeError, "X must be a list of sentences"),
        ([["a", 1.5]], [["b"]], TypeError, r"X\[0\]\[1\] must be a str or an int; got float"),
        ([["a"]], [[None]], TypeError, r"y\[0\]\[0\] must be a str or an int; got NoneType"),
        ([["a", True]], [["b"]], TypeError, r"must be a str or an int; got bool"),
        ([["a"]], [["b"], ["c"]], attnlab.ShapeError, "X has 1 sentences, y has 2"),
        ([["a"]], None, TypeError, "needs the target sentences"),
        ([], [], ValueError, "at least one pair"),
        ([["a"], ["b"]], [[], []], ValueError, "all 2 sentences of y are empty"),
        ([3], [["b"]], TypeError, r"X\[0\] must be a list of tokens"),
    ],
)
def test_bad_input_is_refused_where_it_is(X, y, error, message):
    with pytest.raises(error, match=message):
        AttentionSeq2Seq(**SMALL).fit(X, y)


def test_bad_input_is_refused_after_fitting_too():
    X, y = sentences(10)
    model = AttentionSeq2Seq(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match=r"X\[0\] is empty"):
        model.predict([[]])
    with pytest.raises(attnlab.ShapeError, match="X has 24 sentences, y has 1"):
        model.align(X, y[:1])
    assert model.predict([]) == []
    assert model.align([], []) == []
    for score in (model.score, model.token_accuracy, model.exact_match):
        with pytest.raises(ValueError, match="score needs at least one pair of sentences; got 0"):
            score([], [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam": 0}, "beam must be int, > 0; got 0"),
        ({"beam": 1.5}, "beam must be int, > 0; got 1.5"),
        ({"max_length": -5}, "max_length must be int, > 0 or None; got -5"),
    ],
)
def test_settings_that_are_changed_after_fitting_are_checked(settings, message):
    X, y = sentences(10)
    model = AttentionSeq2Seq(**{**SMALL, "steps": 1}).fit(X, y).set_params(**settings)
    with pytest.raises(attnlab.SettingError, match=message):
        model.predict(X)


def _data(pairs, **more):
    n = len(pairs)
    return AlignmentData(np.zeros((n, 2, 1)), np.zeros((n, 3, 1)), np.zeros((n, 3, 4)), **{"tokens": pairs, **more})


def test_alignment_data_need_tokens_that_fit_and_one_class_each():
    with pytest.raises(attnlab.Unsupported, match="tokens"):
        AttentionSeq2Seq(**SMALL).fit(_data([(["a"], ["b"])], tokens=None))
    with pytest.raises(attnlab.ShapeError, match="each token is one of them"):
        AttentionSeq2Seq(**SMALL).fit(_data([(["a"] * 4, ["b"])]))
    with pytest.raises(ValueError, match="one class"):
        AttentionSeq2Seq(**SMALL).fit(_data([(["a"], ["b", "b"])], target=np.array([[0, 1]])))
    model = AttentionSeq2Seq(**SMALL).fit(_data([(["a"], ["b", "c"])] * 3))  # without classes: the words' own numbers
    assert model.predict(_data([(["a"], ["b", "c"])])).shape == (1, 2, 3)


# -- an estimator ---------------------------------------------------------------------------------------------------------
def test_settings_reach_into_the_mechanism():
    model = AttentionSeq2Seq().set_params(mechanism__similarity="dot", mechanism__normaliser__temperature=0.5)
    copy = clone(model)
    assert copy.get_params()["mechanism__normaliser__temperature"] == 0.5
    assert copy.mechanism.parts().similarity.name == "dot"
    assert AttentionSeq2Seq().set_params(mechanism__similarity__hidden=8).mechanism.parts().similarity.hidden == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_dim": 0}, "hidden_dim must be int, > 0"),
        ({"context": "fix"}, "context must be 'attention' or 'fixed'"),
        ({"encoder": "rn"}, "did you mean rnn"),
        ({"mechanism": 3}, "mechanism must be a Mechanism"),
        ({"mechanism": "dot"}, r"such as Mechanism\('dot'\), a mapping .*got 'dot'"),
        ({"mechanism": "additve"}, r"such as Mechanism\('additive'\), .*got 'additve' \(did you mean additive"),
    ],
)
def test_settings_are_checked(settings, message):
    X, y = sentences(0)
    with pytest.raises(attnlab.AttnlabError, match=message):
        AttentionSeq2Seq(**settings).fit(X, y)


def test_divergence_is_reported_at_its_step():
    X, y = sentences(0)
    with pytest.raises(attnlab.Diverged, match=r"step \d+ of 8") as caught:
        AttentionSeq2Seq(**SMALL, learning_rate=1e38, clip_norm=None).fit(X, y)
    assert 1 <= caught.value.step <= 8


def test_early_stopping_keeps_the_best():
    X, y = sentences(11, n=40)
    model = AttentionSeq2Seq(
        **{**SMALL, "steps": 400}, early_stopping=True, learning_rate=0.05, validate_every=10, n_iter_no_change=2
    ).fit(X, y)
    assert model.n_iter_ < 400
    given = AttentionSeq2Seq(**{**SMALL, "steps": 20}, validate_every=10).fit(X, y, validation=sentences(12))
    assert [row["step"] for row in given.validation_curve_] == [0, 10, 20]
    listed = AttentionSeq2Seq(**{**SMALL, "steps": 20}, validate_every=10).fit(X, y, validation=list(sentences(12)))
    assert listed.validation_curve_ == given.validation_curve_
    with pytest.raises(TypeError, match=r"validation must be \(X, y\) or AlignmentData; got str"):
        AttentionSeq2Seq(**SMALL).fit(X, y, validation="X y")
    with pytest.raises(ValueError, match="validation data need at least one pair of sentences; got 0"):
        AttentionSeq2Seq(**SMALL).fit(X, y, validation=([], []))
    with pytest.raises(ValueError, match="leaves none to learn from"):
        AttentionSeq2Seq(**SMALL, early_stopping=True).fit(X[:1], y[:1])


@pytest.mark.parametrize("attend_with", ["previous_state", "current_state"])
@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_alignments_can_be_taught(attend_with, backend):
    task = attnlab.get("task", "lookup_table", length=3, bits=2, tables=4, n_train=64, n_validation=8, n_test=32)
    splits = task.make(np.random.default_rng(3))
    settings = {**SMALL, "steps": 60, "learning_rate": 0.02, "attend_with": attend_with, "backend": backend}
    latent, taught = (AttentionSeq2Seq(**settings, alignment_weight=w).fit(splits.train) for w in (0.0, 10.0))
    masses = [(model.align(splits.tests["test"]) * splits.tests["test"].gold).sum() for model in (latent, taught)]
    assert masses[1] > 1.3 * masses[0]


@pytest.mark.parametrize("attend_with", ["previous_state", "current_state"])
def test_what_teaching_adds_to_the_loss_is_the_squared_error_of_linked_rows(attend_with):
    task = attnlab.get("task", "block_reorder", n_train=12, n_validation=4, n_test=4)  # particles have no links
    train = task.make(np.random.default_rng(4)).train
    settings = {**SMALL, "steps": 1, "batch_size": len(train), "dtype": "float64", "attend_with": attend_with}
    latent, taught = (AttentionSeq2Seq(**settings, alignment_weight=w).fit(train) for w in (0.0, 3.0))
    with pytest.warns(attnlab.NothingToLearn):
        start = AttentionSeq2Seq(**{**settings, "steps": 0}).fit(train)
    away = (start.align(train) - train.gold) ** 2
    linked = train.gold.any(axis=-1)
    assert 0 < linked.sum() < train.alive.sum()
    assert taught.loss_curve_[0] - latent.loss_curve_[0] == pytest.approx(3 * away[linked].sum(axis=-1).mean())


def test_alignments_are_taught_where_there_are_weights_and_gold():
    X, y = sentences(0)
    with pytest.raises(attnlab.SettingError, match="needs AlignmentData with gold"):
        AttentionSeq2Seq(**SMALL, alignment_weight=1.0).fit(X, y)
    data = attnlab.get("task", "lookup_table", n_train=4).make(np.random.default_rng(0)).train
    with pytest.raises(attnlab.SettingError, match="a fixed context has no weights"):
        AttentionSeq2Seq(**SMALL, alignment_weight=1.0, context="fixed").fit(data)


def test_no_steps_is_said():
    X, y = sentences(0)
    with pytest.warns(attnlab.NothingToLearn, match="steps is 0"):
        model = AttentionSeq2Seq(**{**SMALL, "steps": 0}).fit(X, y)
    assert model.n_iter_ == 0
    assert len(model.predict(X)) == len(X)


def test_batches_are_of_like_length_and_cover_everything():
    rng = np.random.default_rng(0)
    lengths = [(int(a), int(b)) for a, b in rng.integers(1, 9, size=(50, 2))]
    batches = bucketed(lengths, 8, rng)
    epoch = [next(batches) for _ in range(7)]
    assert sorted(np.concatenate(epoch).tolist()) == list(range(50))
    spread = [max(lengths[i][0] for i in b) - min(lengths[i][0] for i in b) for b in epoch]
    assert np.mean(spread) <= 2


def test_a_vocabulary_knows_its_words_and_no_others():
    vocabulary = Vocabulary([["b", "a", 3], ["a", "<unk>"]], min_count=1)
    assert vocabulary.tokens == [3, "<unk>", "a", "b"]
    assert vocabulary.numbers([["zzz", "a"]]) == [[UNKNOWN, 6]]
    assert vocabulary.words([6, 4, STOP, 7]) == ["a", 3]
