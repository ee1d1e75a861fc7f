"""T6xx: what tasks keep."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from attnlab.data import PADDING, AlignmentData, Splits
from attnlab.testing.checks import check, finite, global_chance, untouched
from attnlab.testing.report import Failed, Skipped
from attnlab.testing.subject import Array, Subject

ARRAYS = ("Q", "K", "V", "mask", "gold", "target", "possible", "ids", "inputs", "gold_by_layer")


def _each(s: Subject, seed: int = 0) -> Iterator[tuple[str, AlignmentData]]:
    splits = s.splits(seed)
    yield "train", splits.train
    yield "validation", splits.validation
    yield from splits.tests.items()


@check("T601", "task")
def task_makes_splits(s: Subject) -> None:
    """`make` gives Splits, none of them empty, of the same dimensions, precision and kind of target."""
    splits = s.splits(0)
    if not isinstance(splits, Splits):
        raise Failed(f"make must give attnlab.Splits; got {type(splits).__name__}")
    told = {}
    for name, data in _each(s):
        if len(data) == 0:
            raise Failed(f"{name} has no examples")
        target = "no target" if data.target is None else f"target {data.target.dtype}"
        told[name] = f"d={data.Q.shape[2]}, {data.K.shape[2]} v={data.V.shape[2]} {data.Q.dtype} {target}"
    if len(set(told.values())) > 1:
        raise Failed(f"the splits differ: {told}")


@check("T602", "task")
def same_rng_same_data(s: Subject) -> None:
    """The same `rng` gives the same data, whatever was made before."""
    s.object.make(np.random.default_rng(99))
    if differs := _differ(s.splits(0), s.object.make(np.random.default_rng(0))):
        raise Failed(f"{differs} for the same rng")


@check("T603", "task")
def other_rng_other_data(s: Subject) -> None:
    """Another `rng` gives other data: in another split, other examples, or the same in another order."""
    if not _differ(s.splits(0), s.splits(1)):
        raise Failed("rng = 0 and rng = 1 give the same data")


def _differ(one: Splits, two: Splits) -> str:
    pairs = [("train", one.train, two.train), ("validation", one.validation, two.validation)]
    pairs += [(name, data, two.tests[name]) for name, data in one.tests.items()]
    for split, a, b in pairs:
        for name in ARRAYS:
            x, y = getattr(a, name), getattr(b, name)
            if (x is None) != (y is None) or (x is not None and not _equal(x, y)):
                return f"{split}.{name} differs"
    return ""


def _equal(x: Array, y: Array) -> bool:
    return np.array_equal(x, y, equal_nan=x.dtype.kind == "f")


@check("T604", "task")
def chance_is_a_share(s: Subject) -> None:
    """`chance` is a number between 0 and 1, or NaN where there is no gold alignment."""
    chance = float(s.object.chance)
    if not (np.isnan(chance) or 0 <= chance <= 1):
        raise Failed(f"chance is {chance}")
    if np.isnan(chance) and any(data.gold is not None for _, data in _each(s)):
        raise Failed("chance is NaN, and there is a gold alignment")


@check("T605", "task")
def chance_is_that_of_guessing(s: Subject) -> None:
    """`chance` is how often a guess among the allowed keys is gold, on the test data, within four standard errors."""
    data = s.splits(0).tests.get("test", next(iter(s.splits(0).tests.values())))
    chance = float(s.object.chance)
    if data.gold is None or np.isnan(chance):
        raise Skipped("there is no gold alignment")
    right = (data.gold > 0) & data.allowed
    asked = right.any(axis=-1)
    share = right.sum(axis=-1) / np.maximum(data.allowed.sum(axis=-1), 1)  # (n, q)
    measured = float(share[asked].mean())
    error = float(share[asked].std()) / len(data) ** 0.5  # the queries of one example may have the same number of keys
    if abs(measured - chance) > 4 * error + 1e-9:
        raise Failed(f"chance is {chance:.4f}; guessing is right in {measured:.4f} (standard error {error:.4f})")


@check("T606", "task")
def data_are_sound(s: Subject) -> None:
    """Queries, keys, values and targets are finite; gold and possible links are among the allowed keys."""
    for name, data in _each(s):
        for array in ("Q", "K", "V", "target"):
            if getattr(data, array) is not None:
                finite(getattr(data, array), f"{name}.{array}")
        for links in ("gold", "possible"):
            found = getattr(data, links)
            if found is not None and ((found > 0) & ~data.allowed).any():
                raise Failed(f"{name}.{links} links keys that the mask forbids")


@check("T607", "task")
def task_is_pure(s: Subject) -> None:
    """`make` draws on no chance but `rng`, and changes nothing of the task."""
    s = s.renewed()
    before = global_chance()
    attributes = dict(vars(s.object))
    s.object.make(np.random.default_rng(0))
    if global_chance() != before:
        raise Failed("numpy's global random state was drawn on; use rng instead")
    untouched(s, attributes, "make")


@check("T608", "task")
def counts_change_no_example(s: Subject) -> None:
    """Settings in `counts` change no example: the first ones stay the same when more are drawn, or other conditions."""
    counts = getattr(s.cls, "counts", None)
    if counts is None:
        raise Skipped("it does not say by `counts` which settings change no example")
    settings = s.object.get_params(deep=False)
    if unknown := [name for name in counts if name not in settings]:
        raise Failed(f"counts names {', '.join(unknown)}, and its settings are {', '.join(settings)}")
    for name in counts:
        value = settings[name]
        other = value + 300 if isinstance(value, int) else ()  # more than a block of examples; no test conditions
        made = s.cls(**{**settings, name: other}).make(np.random.default_rng(0))
        if differs := _differ_at_first(s.splits(0), made):
            raise Failed(f"with {name}={other!r} instead of {value!r}, {differs}")


def _differ_at_first(one: Splits, two: Splits) -> str:
    """Where the examples that both have differ, or empty."""
    pairs = [("train", one.train, two.train), ("validation", one.validation, two.validation)]
    pairs += [(name, data, two.tests[name]) for name, data in one.tests.items() if name in two.tests]
    for split, a, b in pairs:
        n = min(len(a), len(b))
        given = [(getattr(a, name), getattr(b, name)) for name in ARRAYS]
        if any((x is None) != (y is None) or (x is not None and not _equal(x[:n], y[:n])) for x, y in given):
            return f"the first {n} examples of {split} differ"
        if (a.tokens is None) != (b.tokens is None) or (a.tokens and list(a.tokens[:n]) != list(b.tokens[:n])):
            return f"the tokens of the first {n} examples of {split} differ"
    return ""


@check("T609", "task")
def sequences_are_whole(s: Subject) -> None:
    """In sequences padding asks nothing and is nobody's gold; all splits have as many inputs, and as many layers of gold."""
    told = {}
    for name, data in _each(s):
        if data.ids is None:
            continue
        there = data.ids != PADDING
        if (data.alive & ~there).any():
            raise Failed(f"{name}: a place of padding may attend to something; its row of the mask must be False")
        for links in ("gold", "possible", "gold_by_layer"):
            found = getattr(data, links)
            if found is None:
                continue
            layers = (found > 0) if found.ndim == 4 else (found > 0)[:, None]
            if (layers & ~(there[:, None, :, None] & there[:, None, None, :])).any():
                raise Failed(f"{name}.{links} links padding, a place whose id is -1")
        sizes = [None if a is None else a.shape[i] for a, i in ((data.inputs, 2), (data.gold_by_layer, 1))]
        told[name] = f"{sizes[0] or 'no'} inputs, {sizes[1] or 'no'} layers of gold"
    if not told:
        raise Skipped("its examples are no sequences with ids")
    if len(set(told.values())) > 1:
        raise Failed(f"the splits differ: {told}")
