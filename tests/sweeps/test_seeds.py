"""Seeds of the data and of the model: one unless they are set apart, and then a product whose replicates are the data's."""

from __future__ import annotations

import numpy as np
import pytest

import attnlab
from attnlab.analysis.summary import summarise
from attnlab.errors import SettingError
from attnlab.results import AXES
from attnlab.sweeps.columns import columns, only
from attnlab.sweeps.execute import splits_of
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan

SPEC = {
    "attnlab": 1,
    "question": "What does initialisation do?",
    "task": {"lookup": {"n_keys": 4, "d": 4, "noise": 1.0, "n_train": 24, "n_test": 24}},
    "mechanism": {"similarity": ["scaled_dot", "neg_l2"]},
    "model": {"aligner": {"projection": 4, "steps": 3, "learning_rate": 0.1}},
    "seeds": {"data": 3, "model": [5, 7]},
    "claims": [
        {
            "say": "a distance finds more",
            "metric": "gold_mass",
            "better": {"similarity": "neg_l2"},
            "than": {"similarity": "scaled_dot"},
        },
        {
            "say": "one of them",
            "metric": "gold_mass",
            "at_least": 0.2,
            "where": {"model_seed": 5, "similarity": "neg_l2"},
        },
    ],
}


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    store = tmp_path_factory.mktemp("seeds") / "store.db"
    return attnlab.sweep(SPEC, store=store, executor="serial", quiet=True)


def test_one_seed_is_as_it_was_and_two_are_a_product():
    together = plan(read({**SPEC, "seeds": 2, "claims": [], "mechanism": {}}))
    assert [run.spec["seed"] for run in together] == [0, 1]
    assert all("model_seed" not in run.spec and run.model_seed == run.seed for run in together)
    assert all("model_seed" not in columns(run) for run in together)
    apart = plan(read({**SPEC, "claims": [], "mechanism": {}}))
    assert [(run.seed, run.model_seed) for run in apart] == [(0, 5), (0, 7), (1, 5), (1, 7), (2, 5), (2, 7)]
    assert len({run.run_id for run in apart}) == 6
    assert columns(apart[1])["model_seed"] == 7
    assert apart[1].label().endswith("seed 0, model seed 7")
    assert len(only(apart, "model_seed=7,seed=1")) == 1
    assert read(SPEC).count == 12


def test_the_data_know_the_one_and_the_model_the_other(frame):
    runs = plan(read({**SPEC, "claims": [], "mechanism": {}}))
    by_seeds = {(run.seed, run.model_seed): splits_of(run).train.K for run in runs}
    np.testing.assert_array_equal(by_seeds[0, 5], by_seeds[0, 7])
    assert not np.array_equal(by_seeds[0, 5], by_seeds[1, 5])
    together = plan(read({**SPEC, "seeds": [0], "claims": [], "mechanism": {}}))[0]
    np.testing.assert_array_equal(splits_of(together).train.K, by_seeds[0, 5])
    mass = frame.pivot_table(index=["similarity", "seed"], columns="model_seed", values="gold_mass")
    assert (mass[5] != mass[7]).all()
    assert mass.loc["neg_l2", 5].nunique() == 3


def test_the_column_is_there_only_where_seeds_were_set_apart(frame, tmp_path):
    names = list(frame.columns)
    assert names.index("model_seed") == names.index("seed") + 1
    assert "model_seed" in AXES
    plain = attnlab.sweep({**SPEC, "seeds": 1, "claims": []}, store=tmp_path / "one.db", executor="serial", quiet=True)
    assert "model_seed" not in plain


def test_replicates_are_the_seeds_of_the_data(frame):
    experiment = read(SPEC)
    cell = frame.groupby(["similarity", "seed"])["gold_mass"].mean().unstack("similarity")
    difference = (cell["neg_l2"] - cell["scaled_dot"]).to_numpy()
    claims = attnlab.check_claims(frame, experiment)
    assert claims["n"].tolist() == [3, 3]
    assert claims["effect"][0] == pytest.approx(difference.mean(), abs=1e-12)
    one = frame[(frame["similarity"] == "neg_l2") & (frame["model_seed"] == 5)]
    assert claims["effect"][1] == pytest.approx(one["gold_mass"].mean(), abs=1e-12)

    table = summarise(frame, ["gold_mass", "aer"])
    assert table["n"].tolist() == [3, 3]
    assert table["ok"].tolist() == ["6/6", "6/6"]
    assert "model_seed" not in table
    half = 4.302652729911275 * cell["neg_l2"].std() / 3**0.5  # Student's t of two degrees of freedom, 97.5 %
    row = table[table["similarity"] == "neg_l2"].iloc[0]
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=1e-9)

    compared = attnlab.compare(frame, "gold_mass", "similarity")
    assert compared["n_seeds"].tolist() == [3, 3]
    assert any("model_seed (5, 7)" in note for note in compared.attrs["notes"])
    with pytest.raises(SettingError, match="tasks and seeds are what competitors are compared on"):
        attnlab.compare(frame, "gold_mass", "model_seed")


def test_a_metric_may_not_be_called_so():
    class Taken(attnlab.Metric):
        """A metric whose name is a column."""

        name = "model_seed"

        def measure(self, data, W, Y):
            return 0.0

    with pytest.raises(attnlab.ComponentError, match="'model_seed' is a column of the results table"):
        attnlab.register(Taken)
