"""The base of models: scikit-learn's BaseEstimator, or in attnlab's own processes one that does the same without scikit-learn.

To import scikit-learn takes longer than everything else that a run needs, and makes a process three times as large: each worker,
and each process that is forked for a run of others' code, would have that. So commands and workers do without, until it is asked for.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from attnlab.component import Component
from attnlab.process import is_own

__all__ = ["Estimator", "check_is_fitted"]

# Names that are taken from its BaseEstimator when somebody asks: tags, and pictures in notebooks.
_OF_SCIKIT_LEARN = (
    "__sklearn_",
    "_repr_",
    "_html_",
    "_doc_link",
    "_get_doc_link",
    "_get_params_html",
    "_get_fitted_attr_html",
)


class Light:
    """An estimator by scikit-learn's conventions: `clone`, pickling, `GridSearchCV` and pipelines take it."""

    set_params: Any = Component.set_params
    __repr__: Any = Component.__repr__

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name, in alphabetical order; with `deep`, those of components among them as `name__setting`."""
        found: dict[str, Any] = Component.get_params(self, deep)  # type: ignore[arg-type]
        return dict(sorted(found.items()))

    def __getattr__(self, name: str) -> Any:
        if name.startswith(_OF_SCIKIT_LEARN):
            from sklearn.base import BaseEstimator

            if hasattr(BaseEstimator, name):
                found = inspect.getattr_static(BaseEstimator, name)
                return found.__get__(self) if hasattr(found, "__get__") else found
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


if TYPE_CHECKING or not is_own():
    from sklearn.base import BaseEstimator as Estimator
else:
    Estimator = Light


def check_is_fitted(estimator: Any, attribute: str) -> None:
    """Raise scikit-learn's NotFittedError where an estimator has not learned an attribute."""
    if attribute not in vars(estimator):
        from sklearn.utils.validation import check_is_fitted as refuse

        refuse(estimator, attribute)
