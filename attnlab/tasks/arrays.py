"""The user's own arrays as a task."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Gt, Lt

from attnlab.data import AlignmentData, Splits
from attnlab.errors import SettingError
from attnlab.interfaces import Source, Task

__all__ = ["Arrays"]

Share = Annotated[float, Gt(0), Lt(1)]


class Arrays(Task):
    """Your own queries, keys, values, gold alignment and target, from an .npz file.

    The file holds `Q` (n, q, d), `K` (n, k, d), `V` (n, k, v) and any of `mask` (bool, broadcast to (n, q, k), True =
    may attend), `gold` (n, q, k), `target` (float (n, q, v) or int (n, q)), `possible` (n, q, k), as plain arrays:
    `numpy.savez("mine.npz", Q=Q, K=K, V=V, gold=gold, target=target)`. Nothing is unpickled.

    One file is shuffled by the seed and split: round(validation * n) examples to choose by, round(test * n) to report
    on, the rest to learn from. So other shares, or more examples in the file, give other splits. The splits of several seeds
    overlap, and by `overlap` the intervals of claims know it. With `validation_path` and
    `test_path` the three splits are read as they are, in the files' order.

    Gold and target: the file's. Chance: the mean share of keys that are gold among those that may be attended to, over
    the queries with a gold link (of the test file, if there is one); NaN without gold.

    Parameters
    ----------
    path : str
        The .npz file, relative to the experiment file, or in Python to the current directory. With the other two paths, it
        holds the examples to learn from.
    validation, test : float, between 0 and 1
        Shares of the examples, if there is one file; together less than 1.
    validation_path, test_path : str or None
        Files of the other two splits; give both or neither.

    Raises
    ------
    FileNotFoundError, ValueError, ShapeError
        When there is no such file, when it is not such an .npz, when its arrays disagree, or when a number that is read is
        not finite.
    SettingError
        When a split is empty, when the shares leave nothing to learn from, when only one of the two other paths is given, or
        when the files disagree in their features or in which arrays they have.

    Notes
    -----
    In a sweep the content of the file is part of a run's identity: when it changes, the runs are new ones.

    References
    ----------
    Defined here; Nadeau and Bengio (2003), Inference for the generalization error, for intervals over such splits.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "mine.npz")
    ...     K = rng.normal(size=(10, 3, 4))
    ...     np.savez(path, Q=K[:, :1], K=K, V=K, gold=np.tile([1, 0, 0], (10, 1, 1)), target=K[:, :1])
    ...     splits = Arrays(str(path)).make(rng)
    >>> len(splits.train), len(splits.validation), splits.tests["test"]
    (6, 2, <AlignmentData n=2 q=1 k=3 d=4 v=4 float64; has gold, target>)
    """

    name = "arrays"
    source = Source("attnlab: a pluggable attention lab", "The attnlab developers", 2026, "defined here")
    revision = 1
    counts = ()

    def __init__(
        self,
        path: str,
        validation: Share = 0.2,
        test: Share = 0.2,
        validation_path: str | None = None,
        test_path: str | None = None,
    ) -> None:
        self.path = path
        self.validation = validation
        self.test = test
        self.validation_path = validation_path
        self.test_path = test_path

    @property
    def chance(self) -> float:
        data = AlignmentData.from_npz(self.test_path or self.path)
        if data.gold is None:
            return float("nan")
        gold = (data.gold > 0) & data.allowed
        asked = gold.any(axis=-1)  # (n, q)
        share = gold.sum(axis=-1)[asked] / data.allowed.sum(axis=-1)[asked]
        return float(share.mean()) if share.size else float("nan")

    @property
    def overlap(self) -> float:
        """As `Task.overlap`: by Nadeau and Bengio, examples to report on by those to learn from; 0 with files for each split."""
        learned = 1 - self.validation - self.test
        return 0.0 if self.test_path is not None or learned <= 0 else self.test / learned

    def make(self, rng: np.random.Generator) -> Splits:
        if (self.validation_path is None) != (self.test_path is None):
            raise SettingError("task 'arrays': give both validation_path and test_path, or neither to split one file")
        whole = _read(self.path)
        if self.validation_path is None or self.test_path is None:
            return self._split(whole, rng)
        others = [_read(path) for path in (self.validation_path, self.test_path)]
        for path, data in zip((self.path, self.validation_path, self.test_path), (whole, *others), strict=True):
            if not len(data):
                raise SettingError(f"task 'arrays': {path} holds no examples")
            if _features(data) != _features(whole):
                raise SettingError(
                    f"task 'arrays': {path} has {_features(data)}, but {self.path} has {_features(whole)}; "
                    "the three files must agree in features and in which of gold and target they have"
                )
        return Splits(whole, others[0], {"test": others[1]})

    def _split(self, whole: AlignmentData, rng: np.random.Generator) -> Splits:
        if self.validation + self.test >= 1:
            raise SettingError(
                f"task 'arrays': validation + test must be less than 1, to leave examples to learn from; "
                f"got {self.validation} + {self.test}"
            )
        n = len(whole)
        n_validation, n_test = round(self.validation * n), round(self.test * n)
        n_train = n - n_validation - n_test
        if min(n_train, n_validation, n_test) < 1:
            raise SettingError(
                f"task 'arrays': {self.path} holds {n} examples, which split into {n_train} to learn from, "
                f"{n_validation} to choose by (validation={self.validation}) and {n_test} to report on "
                f"(test={self.test}); each needs at least one: give more examples or other shares"
            )
        validation, test, train = np.split(rng.permutation(n), [n_validation, n_validation + n_test])
        return Splits(whole[train], whole[validation], {"test": whole[test]})


def _read(path: str) -> AlignmentData:
    """The examples of a file, finite where they are read."""
    data = AlignmentData.from_npz(path)
    try:
        return data.finite()
    except ValueError as error:
        raise ValueError(f"task 'arrays': {path}: {error}") from None


def _features(data: AlignmentData) -> dict[str, object]:
    """What the files of one task must have in common."""
    target = None
    if data.target is not None:
        target = "classes" if data.is_classification else data.target.shape[-1]
    return {
        "d": data.Q.shape[-1],
        "d_key": data.K.shape[-1],
        "v": data.V.shape[-1],
        "target": target,
        "gold": data.gold is not None,
    }
