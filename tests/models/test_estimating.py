"""Models are estimators by scikit-learn's conventions, though they do not import it."""

import copy
import pickle

import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr, get_tags

from attnlab import AttentionAligner, AttentionSeq2Seq, AttentionStack, Mechanism, SettingError, WordAligner

MODELS = [AttentionAligner, AttentionSeq2Seq, AttentionStack, WordAligner]


@pytest.mark.parametrize("cls", MODELS)
def test_it_is_an_estimator(cls):
    model = cls(Mechanism("additive"), random_state=7)
    assert repr(model) == f"{cls.__name__}(mechanism={model.mechanism!r}, random_state=7)"
    assert list(model.get_params(deep=False)) == sorted(model.get_params(deep=False))
    for copied in (clone(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(copied) == repr(model)
        assert copied.mechanism is not model.mechanism
    assert (
        model.set_params(random_state=8, mechanism__similarity__hidden=5).get_params()["mechanism__similarity__hidden"]
        == 5
    )
    with pytest.raises(SettingError, match=rf"{cls.__name__} has no setting 'random_stat'.*random_state"):
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
