"""Attention on tables beside its relatives, on scikit-learn's bundled sets and three synthetic ones.

    python benchmarks/tabular.py [--folds 5] [--repeats 3] [--only NAME ...]

Every model stands in a Pipeline after a StandardScaler and is tuned by three-fold GridSearchCV on the training folds alone;
the outer folds, shuffled anew for each repeat and the same for all models, are for the score (R2, or accuracy) and the time
(tuning and fitting, and predicting the test fold; one thread). MLKR would belong here, but metric-learn 0.7.0 does not run with
scikit-learn 1.9. Prints two Markdown tables and how often attention does at least as well.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_friedman1,
    make_friedman2,
    make_friedman3,
)
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NeighborhoodComponentsAnalysis
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from attnlab import AttentionClassifier, AttentionRegressor

Grid = dict[str, list[Any]] | list[dict[str, list[Any]]]
NEIGHBOURS = {"model__n_neighbors": [3, 5, 10, 20, 40], "model__weights": ["uniform", "distance"]}
ATTENTION: Grid = [
    {"model__n_neighbors": [5, 15, 40]},
    {"model__projection": ["diagonal", 1, 2, 8, 32], "model__n_neighbors": [40], "model__alpha": [0, 30]},
]


def regression_sets() -> dict[str, tuple[Any, Any]]:
    return {
        "diabetes": load_diabetes(return_X_y=True),
        "friedman1 (synthetic)": make_friedman1(500, noise=1.0, random_state=0),
        "friedman2 (synthetic)": make_friedman2(500, noise=50.0, random_state=0),
        "friedman3 (synthetic)": make_friedman3(500, noise=0.1, random_state=0),
    }


def classification_sets() -> dict[str, tuple[Any, Any]]:
    X, y = load_digits(return_X_y=True)
    some = np.random.default_rng(0).permutation(len(X))[:600]
    return {
        "iris": load_iris(return_X_y=True),
        "wine": load_wine(return_X_y=True),
        "breast_cancer": load_breast_cancer(return_X_y=True),
        "digits (600 rows)": (X[some], y[some]),
    }


def regressors() -> dict[str, tuple[list[tuple[str, Any]], Grid]]:
    return {
        "AttentionRegressor": ([("model", AttentionRegressor(random_state=0))], ATTENTION),
        "KNeighbors": ([("model", KNeighborsRegressor())], NEIGHBOURS),
        "KernelRidge": (
            [("model", KernelRidge(kernel="rbf"))],
            {"model__alpha": [0.01, 0.1, 1.0], "model__gamma": [0.01, 0.03, 0.1, 0.3]},
        ),
        "random forest": ([("model", RandomForestRegressor(random_state=0))], {"model__max_features": [0.33, 1.0]}),
        "gradient boosting": (
            [("model", HistGradientBoostingRegressor(random_state=0))],
            {"model__learning_rate": [0.03, 0.1], "model__max_leaf_nodes": [7, 31]},
        ),
    }


def classifiers() -> dict[str, tuple[list[tuple[str, Any]], Grid]]:
    nca = NeighborhoodComponentsAnalysis(max_iter=50, random_state=0)
    return {
        "AttentionClassifier": ([("model", AttentionClassifier(random_state=0))], ATTENTION),
        "KNeighbors": ([("model", KNeighborsClassifier())], NEIGHBOURS),
        "NCA + KNeighbors": (
            [("metric", nca), ("model", KNeighborsClassifier())],
            {"metric__n_components": [1, 2, 8, 32], "model__n_neighbors": [3, 10, 40]},
        ),
        "SVC": ([("model", SVC())], {"model__C": [0.3, 1.0, 10.0], "model__gamma": ["scale", 0.01, 0.1]}),
        "random forest": (
            [("model", RandomForestClassifier(random_state=0))],
            {"model__max_features": ["sqrt", 0.5]},
        ),
        "gradient boosting": (
            [("model", HistGradientBoostingClassifier(random_state=0, max_iter=50))],
            {"model__learning_rate": [0.03, 0.1]},
        ),
    }


def fits(grid: Grid, n_features: int) -> Grid:
    """The grid with widths above the number of features brought down to it, each once."""

    def narrowed(name: str, value: Any) -> Any:
        wide = name.endswith(("projection", "n_components")) and isinstance(value, int)
        return min(value, n_features) if wide else value

    if isinstance(grid, list):
        return [fits(one, n_features) for one in grid]  # type: ignore[misc]
    return {name: list(dict.fromkeys(narrowed(name, value) for value in values)) for name, values in grid.items()}


def measure(
    steps: list[tuple[str, Any]], grid: Grid, X: Any, y: Any, folds: list[Any]
) -> tuple[list[float], float, float]:
    """Scores of the folds, and the mean seconds of tuning with fitting, and of predicting."""
    scores, fitting, predicting = [], [], []
    for train, test in (split for fold in folds for split in fold.split(X, y)):
        search = GridSearchCV(Pipeline([("scale", StandardScaler()), *steps]), fits(grid, X.shape[1]), cv=3, n_jobs=1)
        began = time.perf_counter()
        search.fit(X[train], y[train])
        fitting.append(time.perf_counter() - began)
        began = time.perf_counter()
        scores.append(float(search.score(X[test], y[test])))
        predicting.append(time.perf_counter() - began)
    return scores, float(np.mean(fitting)), float(np.mean(predicting))


def table(sets: dict[str, Any], models: dict[str, Any], folds: list[Any], score: str) -> None:
    means: dict[tuple[str, str], float] = {}
    print(f"\n| set | model | {score}: mean (sd of folds) | tune + fit, s | predict, s |\n|---|---|---|---|---|")
    for data, (X, y) in sets.items():
        for name, (steps, grid) in models.items():
            scores, fitting, predicting = measure(steps, grid, X, y, folds)
            means[data, name] = float(np.mean(scores))
            print(
                f"| {data} | {name} | {np.mean(scores):.3f} ({np.std(scores):.3f}) | {fitting:.1f} | {predicting:.3f} |",
                flush=True,
            )
    ours, *others = models
    print()
    for other in others:
        wins = sum(means[data, ours] >= means[data, other] - 1e-9 for data in sets)
        print(f"- {ours} at least as good as {other}: {wins} of {len(sets)} sets")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="sets whose names begin so")
    options = parser.parse_args()

    def chosen(sets: dict[str, Any]) -> dict[str, Any]:
        return {name: data for name, data in sets.items() if not options.only or name.startswith(tuple(options.only))}

    warnings.filterwarnings("ignore", category=UserWarning)
    with threadpool_limits(1):
        for sets, models, splitter, score in (
            (chosen(regression_sets()), regressors(), KFold, "R2"),
            (chosen(classification_sets()), classifiers(), StratifiedKFold, "accuracy"),
        ):
            if sets:
                folds = [splitter(options.folds, shuffle=True, random_state=seed) for seed in range(options.repeats)]
                table(sets, models, folds, score)


if __name__ == "__main__":
    main()
