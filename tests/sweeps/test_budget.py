"""A budget chooses widths so that mechanisms cost the same, says how far it is off, and refuses more than 10 %."""

from __future__ import annotations

import pytest

import attnlab
from attnlab.analysis.compare import compare
from attnlab.sweeps.experiment.budgets import parse_number
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.plan import plan


def matched(budget, **changes):
    value = {
        "attnlab": 1,
        "question": "At equal size, which similarity?",
        "name": "sizes",
        "task": {"lookup": {"n_keys": 8, "d": 16, "n_train": 32, "n_test": 16}},
        "mechanism": {"similarity": ["scaled_dot", "additive", "general"]},
        "model": {"aligner": {"steps": 2}},
        "seeds": 3,
        "budget": budget,
        "claims": [
            {
                "say": "it is better",
                "metric": "alignment_accuracy",
                "better": {"similarity": "scaled_dot"},
                "than": {"similarity": "additive"},
            }
        ],
    }
    return {**value, **changes}


def widths(experiment):
    return {
        next(iter(run.spec["mechanism"]["single_head"]["similarity"])): run.spec["model"]["aligner"]["projection"]
        for run in plan(read(experiment))
    }


def test_the_nearest_width_is_chosen_for_each_mechanism(tmp_path):
    """scaled_dot learns two maps of 16 features to the width p: 32 p numbers."""
    chosen = widths(matched({"parameters": "2k"}))
    assert chosen["scaled_dot"] == round(2000 / 32)
    assert len(set(chosen.values())) == 3
    frame = attnlab.sweep(matched({"parameters": "2k"}), store=tmp_path / "s.db", executor="serial", quiet=True)
    assert (frame["off_budget"] == frame["n_parameters"] / 2000 - 1).all()
    assert frame["off_budget"].abs().max() <= 0.1
    assert frame.groupby("similarity")["off_budget"].nunique().max() == 1
    assert frame.loc[frame["similarity"] == "scaled_dot", "n_parameters"].unique().tolist() == [
        32 * chosen["scaled_dot"]
    ]
    claims = attnlab.check_claims(frame, matched({"parameters": "2k"}))
    assert claims["n"].tolist() == [3]  # the sides are paired, although their widths differ
    table = attnlab.summarise(attnlab.load_results(tmp_path / "s.db"))
    assert table["similarity"].tolist() != []
    assert "model.projection" not in table
    assert len(compare(frame, "alignment_accuracy", "similarity")) == 3
    assert "R106" not in set(attnlab.referee(frame)["code"])


def test_operations_and_other_widths():
    assert len(set(widths(matched({"operations": 20_000})).values())) == 3
    words = matched(
        {"parameters": "3k", "width": "embedding_dim"},
        task={"reverse": {"length": 4, "vocabulary": 3, "d": 4, "n_train": 16, "n_test": 8, "n_validation": 4}},
        mechanism={"similarity": ["dot", "general"]},
        model={"seq2seq": {"steps": 1, "hidden_dim": 8}},
        claims=[],
    )
    found = {run.spec["model"]["seq2seq"]["embedding_dim"] for run in plan(read(words))}
    assert found == {34, 35}  # a matrix more leaves less for embeddings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"budget": {"parameters": 50}},
            r"scaled_dot .* has 64 parameters at projection = 2, the nearest, which is \+28 % off the 50",
        ),
        ({"budget": {"parameters": "two"}}, "budget.parameters: must be a number such as 10k"),
        ({"budget": {}}, "of parameters or of operations"),
        ({"budget": {"parameters": 1, "operations": 1}}, "give one of the two"),
        ({"budget": {"parametres": 1}}, "unknown key 'parametres'.*did you mean parameters"),
        ({"model": {"aligner": {"projection": 16}}}, "budget chooses projection of aligner"),
        ({"tune": {"model.projection": [4, 8]}}, "budget chooses projection of aligner"),
        ({"budget": {"parameters": 9, "width": "wide"}}, "no setting 'wide'; there is projection"),
    ],
)
def test_what_cannot_be_matched_is_refused(changes, said):
    with pytest.raises(attnlab.ExperimentError, match=said):
        plan(read({**matched({"parameters": "2k"}), **changes}))


def test_numbers_as_people_write_them():
    assert [parse_number(n) for n in ("10k", "1.5M", 20, "7", None)] == [10_000, 1_500_000, 20, 7, None]
    for wrong in ("k", "-1", 0, True, float("inf"), [1]):
        with pytest.raises(ValueError, match="10k"):
            parse_number(wrong)
