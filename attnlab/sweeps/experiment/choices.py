"""The elements of a grid: components whose settings have options. They are counted first and expanded late."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Choice", "Combined", "Learners", "Point", "count"]


@dataclass(frozen=True)
class Point:
    """One component (or several) with one value for each setting, and the candidates of the tuned, by column."""

    spec: Any  # {name: settings}; several components are a list of such mappings, several masks are one mapping
    tune: dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Choice:
    """One component, each setting with its options: JSON values or, where it is a component, further choices."""

    kind: str
    name: str  # bare for attnlab's own, else `distribution:name`
    settings: tuple[tuple[str, tuple[Any, ...]], ...]
    tune: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def count(self) -> int:
        """How many points there are, without making any."""
        return math.prod(
            sum(o.count if isinstance(o, (Choice, Combined)) else 1 for o in options) for _, options in self.settings
        )

    def points(self) -> Iterator[Point]:
        """Every combination of options, the last setting changing fastest."""
        axes = []
        for _, options in self.settings:
            axis: list[tuple[Any, Mapping[str, tuple[Any, ...]]]] = []
            for option in options:
                if isinstance(option, (Choice, Combined)):
                    axis += [(p.spec, p.tune) for p in option.points()]
                else:
                    axis.append((option, {}))
            axes.append(axis)
        for values in itertools.product(*axes):
            tune = dict(self.tune)
            for _, inner in values:
                tune |= inner
            yield Point({self.name: {s: v for (s, _), (v, _) in zip(self.settings, values, strict=True)}}, tune)


@dataclass(frozen=True)
class Combined:
    """Several components in one setting.

    Masks are joined by "and". Their order means nothing, so a run has one mapping of several names. Other components act in
    order, so a run has a list.
    """

    choices: tuple[Choice, ...]
    ordered: bool

    @property
    def count(self) -> int:
        """How many points there are, without making any."""
        return math.prod(choice.count for choice in self.choices)

    def points(self) -> Iterator[Point]:
        """Every combination of the components' points."""
        for points in itertools.product(*(choice.points() for choice in self.choices)):
            each = [point.spec for point in points]
            spec = each if self.ordered else {name: settings for one in each for name, settings in one.items()}
            yield Point(spec, {column: values for point in points for column, values in point.tune.items()})


def count(choices: Iterable[Choice | Combined]) -> int:
    """How many points there are."""
    return sum(choice.count for choice in choices)


@dataclass(frozen=True)
class Learners:
    """Mechanisms, and the models that each of them is learned by."""

    mechanisms: tuple[Choice, ...]
    models: tuple[Choice, ...]

    @property
    def count(self) -> int:
        """The number of mechanisms with a model, settings counted."""
        return count(self.mechanisms) * count(self.models)

    def points(self) -> Iterator[tuple[Point, Point]]:
        """Each mechanism with each model: mechanism by mechanism."""
        mechanisms, models = (
            [point for choice in choices for point in choice.points()] for choices in (self.mechanisms, self.models)
        )
        return itertools.product(mechanisms, models)
