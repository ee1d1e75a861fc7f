"""Models are scikit-learn's estimators; in attnlab's own processes they do the same without importing it."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr, get_tags

from attnlab import AttentionAligner, AttentionSeq2Seq, AttentionStack, Mechanism, WordAligner

MODELS = [AttentionAligner, AttentionSeq2Seq, AttentionStack, WordAligner]


@pytest.mark.parametrize("cls", MODELS)
def test_it_is_an_estimator(cls):
    model = cls(Mechanism("additive"), random_state=7)
    assert list(model.get_params(deep=False)) == sorted(model.get_params(deep=False))
    for copied in (clone(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(copied) == repr(model)
        assert copied.mechanism is not model.mechanism
    settings = model.set_params(random_state=8, mechanism__similarity__hidden=5).get_params()
    assert (settings["random_state"], settings["mechanism__similarity__hidden"]) == (8, 5)
    with pytest.raises(ValueError, match="random_stat"):
        model.set_params(random_stat=8)
    assert get_tags(model).requires_fit
    assert not is_classifier(model)
    assert cls.__name__ in estimator_html_repr(make_pipeline(model))
    assert cls.__name__ in model._repr_html_()
    for missing in ("classes_", "__sklearn_nothing__"):
        assert not hasattr(model, missing)


@pytest.mark.parametrize("cls", MODELS)
def test_what_is_not_fitted_says_so(cls):
    with pytest.raises(NotFittedError, match=f"This {cls.__name__} instance is not fitted yet"):
        cls().predict(None)


@pytest.mark.parametrize("cls", MODELS)
def test_where_users_import_it_it_has_scikit_learns_base(cls):
    assert issubclass(cls, BaseEstimator)


OWN = """
import sys
from attnlab.process import claim, is_own
claim()
from attnlab import AttentionAligner
assert is_own() and "sklearn" not in sys.modules
import pytest
from sklearn.base import BaseEstimator
assert not issubclass(AttentionAligner, BaseEstimator)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", "estimator or not_fitted", sys.argv[1]]))
"""


def test_in_attnlabs_own_processes_it_does_the_same():
    done = subprocess.run(
        [sys.executable, "-c", OWN, __file__],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout
