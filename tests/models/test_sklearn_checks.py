"""scikit-learn's own battery, for every public estimator to which it applies.

AttentionAligner and AttentionStack are none of them: their X is AlignmentData, or sequences of tokens, and the battery gives tables.
"""

import pytest
from sklearn.utils.estimator_checks import check_estimator

import attnlab
from attnlab import AttentionClassifier, AttentionRegressor

SKIPPED = {  # by scikit-learn itself: array API input unless it is switched on, decision_function where there is none
    "check_array_api_input",
    "check_classifiers_multilabel_output_format_decision_function",
}
WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
FEW = {"steps": 20, "validate_every": 5, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")


def battery(estimator):
    results = check_estimator(estimator, on_fail=None)
    assert len(results) >= 50
    assert {one["check_name"] for one in results if one["status"] == "skipped"} <= SKIPPED
    return {one["check_name"]: one["exception"] for one in results if one["status"] not in ("passed", "skipped")}


@pytest.mark.parametrize("cls", [AttentionRegressor, AttentionClassifier])
def test_none_fails_and_none_is_expected_to(cls):
    assert battery(cls()) == {}


@pytest.mark.parametrize(
    ("estimator", "documented"),
    [
        # keys of little weight count as much in finding the threshold as others
        (AttentionRegressor("neg_l2", "sparsemax"), {WEIGHTS}),
        (AttentionClassifier({"neg_l2": {"sigma": 0.5}}, backend="reference"), set()),
        (AttentionRegressor(aggregator="gather", n_neighbors=None), set()),
        # a row is left out with all its weight
        (AttentionRegressor(projection="diagonal", **FEW), {WEIGHTS}),
        (AttentionClassifier(projection=2, **FEW), {WEIGHTS}),
    ],
)
def test_with_other_settings_only_the_documented_check_may_fail(estimator, documented):
    failed = battery(estimator)
    assert set(failed) <= documented, failed


def test_every_public_estimator_for_tables_is_here():
    names = {name for name in attnlab.__all__ if name.startswith("Attention")}
    assert names - {"AttentionAligner", "AttentionSeq2Seq", "AttentionStack"} == {
        "AttentionRegressor",
        "AttentionClassifier",
    }
