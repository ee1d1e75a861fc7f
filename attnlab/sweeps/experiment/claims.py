"""The forms of a claim, and a check that its runs are planned. A claim is judged when its runs are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, Gt, Len
from pydantic import BaseModel, ConfigDict, Field, model_validator

from attnlab.errors import AmbiguousName, UnknownName, did_you_mean
from attnlab.registry import entry
from attnlab.sweeps.columns import as_cell
from attnlab.sweeps.experiment.source import At, Document, short

__all__ = ["FORMS", "Claim", "Table", "check_selections", "column_of_metric", "with_columns"]

LEAST_MECHANISMS = 4  # of a correlation; with fewer it has no interval
FORMS = ("better", "equal", "at_least", "at_most", "correlation")
Selection = Annotated[dict[str, Any], Len(1)]


class Claim(BaseModel):
    """One sentence about one metric, in one of five forms; `where` narrows it to a part of the runs.

    A selection maps dotted columns to a value, or to a list of alternatives: `{similarity: dot, task.d: [16, 32]}`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    say: Annotated[str, Len(1)] = Field(description="The claim in words.")
    metric: str | None = Field(default=None, description="The metric it is about.")
    where: dict[str, Any] = Field(default={}, description="The runs it is about: dotted columns and their values.")
    better: Selection | None = Field(default=None, description="These runs are better than those of `than`.")
    than: Selection | None = Field(default=None, description="The runs that `better` is compared with.")
    by: Annotated[float, Ge(0)] = Field(default=0.0, description="By at least this much, in units of the metric.")
    equal: Annotated[list[Selection], Len(2)] | None = Field(
        default=None, description="These runs are equal up to `within`."
    )
    within: Annotated[float, Gt(0)] | None = Field(
        default=None, description="The largest difference that counts as equal."
    )
    at_least: float | None = Field(default=None, description="The metric, or the correlation, is at least this.")
    at_most: float | None = Field(default=None, description="The metric, or the correlation, is at most this.")
    correlation: Annotated[list[str], Len(2, 2)] | None = Field(
        default=None, description="Two metrics; with at_least or at_most a bound on their correlation."
    )
    exact: bool = Field(
        default=False, description="Whether it holds of every single value by definition, an identity; `why` says why."
    )
    why: Annotated[str, Len(1)] | None = Field(
        default=None,
        description="If it is refuted: a sentence on why, which is published with the verdict. Of an exact claim: why it "
        "cannot be otherwise.",
    )

    @model_validator(mode="after")
    def _one_form(self) -> Claim:
        said = [form for form in FORMS if getattr(self, form) is not None]
        if "correlation" in said:
            said = [form for form in said if form not in ("at_least", "at_most")]
        if len(said) != 1:
            raise ValueError(
                f"a claim has exactly one of {', '.join(FORMS)} (correlation may have at_least and at_most as bounds); "
                f"got {' and '.join(said) or 'none'}"
            )
        for needed, partner in (("than", "better"), ("better", "than"), ("within", "equal"), ("equal", "within")):
            if (needed, self.exact) == ("within", True):
                continue  # then equal means equal
            if getattr(self, partner) is not None and getattr(self, needed) is None:
                raise ValueError(f"{partner!r} needs {needed!r} beside it")
        if "by" in self.model_fields_set and self.better is None:
            raise ValueError("'by' belongs to 'better' and 'than'")
        if self.exact and self.why is None:
            raise ValueError("an exact claim cannot be otherwise; add 'why', the sentence that says why not")
        if self.form == "correlation":
            if self.exact:
                raise ValueError("a correlation is estimated, so it cannot be 'exact'")
            if self.metric is not None:
                raise ValueError("a correlation names its two metrics itself; leave 'metric' out")
            if any(b is not None and not -1 <= b <= 1 for b in (self.at_least, self.at_most)):
                raise ValueError("the bounds of a correlation lie between -1 and 1")
        elif self.metric is None:
            raise ValueError("missing key 'metric': the metric that the claim is about")
        return self

    @property
    def form(self) -> str:
        """Which of `FORMS` it is."""
        if self.correlation is not None:
            return "correlation"
        return next(form for form in FORMS if getattr(self, form) is not None)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one or two metrics it is about."""
        return tuple(self.correlation or [m for m in [self.metric] if m is not None])

    def selections(self) -> list[tuple[At, Mapping[str, Any]]]:
        """Each selection and its place in the claim, without `where`."""
        if self.better is not None and self.than is not None:
            return [(("better",), self.better), (("than",), self.than)]
        return [(("equal", i), chosen) for i, chosen in enumerate(self.equal or [])]


def column_of_metric(document: Document, name: str, at: At) -> str:
    """The column that a metric, named bare or `distribution:name`, has in the results; one that is not there is noted."""
    try:
        return entry("metric", name).shown
    except (UnknownName, AmbiguousName) as error:
        document.problem(at, str(error))
        return name


def with_columns(document: Document, claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """The claims, each metric called as its column in the results; those that are not there are noted."""
    named = []
    for i, claim in enumerate(claims):
        at: At = ("claims", i)
        if claim.correlation is not None:
            pair = [column_of_metric(document, m, (*at, "correlation", j)) for j, m in enumerate(claim.correlation)]
            named.append(claim.model_copy(update={"correlation": pair}))
        else:
            column = column_of_metric(document, str(claim.metric), (*at, "metric"))
            named.append(claim.model_copy(update={"metric": column}))
    return tuple(named)


class Table:
    """The points of a grid by column: which rows have which value. A run is one row of each role's points.

    Parameters
    ----------
    rows : mapping of role ("task", "mechanism", "model", "seed") to the rows of its points
    tuned : sequence of str
        Columns that are chosen on validation data, which no claim can select by.
    """

    def __init__(self, rows: Mapping[str, Sequence[Mapping[str, Any]]], tuned: Sequence[str]) -> None:
        self.rows = rows
        self.tuned = tuned
        self.role = {column: role for role, found in rows.items() for row in found for column in row}
        self.allowed = sorted([*self.role, "test"])  # which test conditions there are, only the task knows
        self._index: dict[str, dict[Any, set[int]]] = {}

    def values(self, column: str) -> dict[Any, set[int]]:
        """Each value of a column, and the rows that have it."""
        if column not in self._index:
            index: dict[Any, set[int]] = {}
            for i, row in enumerate(self.rows[self.role[column]]):
                if column in row:
                    index.setdefault(_key(row[column]), set()).add(i)
            self._index[column] = index
        return self._index[column]

    def having(self, column: str, value: Any) -> set[int]:
        """The rows with a value; a component may be given as `distribution:name`."""
        if isinstance(value, (list, dict)):
            given = value["value"] if isinstance(value, dict) and list(value) == ["value"] else value
            value = as_cell(given)
        found = self.values(column)
        rows = found.get(_key(value), set())
        return rows or (found.get(_key(value.rpartition(":")[2]), set()) if isinstance(value, str) else rows)


def _key(value: Any) -> tuple[bool, Any]:
    return isinstance(value, bool), value  # True is not 1


def check_selections(document: Document, claims: Sequence[Claim], table: Table) -> None:
    """Note every key that is no column of the plan, and every selection that no planned run fits.

    A claim whose runs are planned, and which can compare nothing all the same, is a warning.
    """
    for i, claim in enumerate(claims):
        at: At = ("claims", i)
        good = _check_selection(document, claim.where, (*at, "where"), {}, table)
        for within, chosen in claim.selections():
            place = (*at, *within)
            if both := [key for key in chosen if key in claim.where]:
                document.problem((*place, both[0]), f"{both[0]} is in 'where' as well; say it once", key=True)
                good = False
            else:
                good &= _check_selection(document, chosen, place, claim.where if good else {}, table)
        if good and len(sides := claim.selections()) == 2:
            one, other = ({**claim.where, **chosen} for _, chosen in sides)
            if _runs_of(one, table) == _runs_of(other, table):
                message = "both sides select the same runs; a claim compares different ones"
                document.problem((*at, *sides[1][0]), message)
            elif apart := _nothing_in_common(claim, table):
                document.warn((*at, *sides[1][0]), apart)
        elif good and claim.form == "correlation" and (n := _mechanisms_of(claim, table)) < LEAST_MECHANISMS:
            message = f"a correlation takes {LEAST_MECHANISMS} mechanisms, and {n} {'is' if n == 1 else 'are'} planned here; it cannot be decided"
            document.warn((*at, "correlation"), message)


def _check_selection(
    document: Document, chosen: Mapping[str, Any], at: At, where: Mapping[str, Any], table: Table
) -> bool:
    """Check the keys, each value, and then all of them together with `where`; whether all is well."""
    good = True
    for key, value in chosen.items():
        if key in table.tuned:
            message = f"{key} is tuned: it is chosen on validation data, so a claim cannot select by it"
        elif key not in table.allowed:
            near = did_you_mean(key, table.allowed)
            message = f"unknown key {short(key)}{near}; this experiment has {', '.join(table.allowed)}"
        else:
            good &= _check_values(document, key, value, (*at, key), table)
            continue
        document.problem((*at, key), message, key=True)
        good = False
    if not good:
        return False
    for role, rows in _runs_of({**where, **chosen}, table)[0].items():
        if not rows:
            mine = {k: v for k, v in {**where, **chosen}.items() if table.role.get(k) == role}
            document.problem(at, f"no planned run has all of {', '.join(f'{k}: {short(v)}' for k, v in mine.items())}")
            return False
    return True


def _runs_of(chosen: Mapping[str, Any], table: Table) -> tuple[dict[str, set[int]], set[str] | None]:
    """The rows that a selection leaves of each role, and the test conditions; None: all of them."""
    left = {role: set(range(len(rows))) for role, rows in table.rows.items()}
    for key, value in chosen.items():
        if key in table.role:
            left[table.role[key]] &= set[int]().union(*(table.having(key, one) for one in _each(value)))
    return left, {str(one) for one in _each(chosen["test"])} if "test" in chosen else None


def _nothing_in_common(claim: Claim, table: Table) -> str:
    """Why the two sides of a claim share no grid point and seed, whatever the results will be; '' if they share some.

    A grid point of a run is told by the columns that all runs of both sides have, without those that the claim selects by. Each
    role has its own columns, so that the sides share a point if they share one in each role.
    """
    sides = [_runs_of({**claim.where, **chosen}, table)[0] for _, chosen in claim.selections()]
    own = {key for _, chosen in claim.selections() for key in chosen}
    for role, rows in table.rows.items():
        both = [[rows[i] for i in sorted(side[role])] for side in sides]
        shared = set.intersection(*(set(row) for side in both for row in side)) - {"seed", *table.tuned}
        pairing = sorted(c for c in shared if not any(c == key or c.startswith(f"{key}.") for key in own))
        if not _common(both, pairing):
            varied = [c for c in pairing if len({_key(row[c]) for side in both for row in side}) > 1]
            alone = [c for c in pairing if not _common(both, [c])] or varied
            values = "; ".join(f"{c}: {_listed(both[0], c)}, and {_listed(both[1], c)}" for c in alone[:3])
            more = f", and {len(alone) - 3} more" if len(alone) > 3 else ""
            return (
                f"the two sides share no grid point, so that the claim compares nothing. They differ in {values}{more}; "
                f"select by {' and '.join(alone[:3])} as well, or plan points that both have"
            )
        if role == "seed" and not _common(both, ["seed"]):
            return "the two sides share no seed, so that the claim compares nothing: differences are taken seed by seed"
    return ""


def _common(sides: Sequence[Sequence[Mapping[str, Any]]], columns: Sequence[str]) -> bool:
    """Whether two lists of rows have the same values of these columns somewhere."""
    one, other = ({tuple(_key(row[c]) for c in columns) for row in side} for side in sides)
    return bool(one & other)


def _listed(rows: Sequence[Mapping[str, Any]], column: str) -> str:
    values = list(dict.fromkeys(short(row[column]) for row in rows))
    return ", ".join(values[:4]) + (", ..." if len(values) > 4 else "")


def _mechanisms_of(claim: Claim, table: Table) -> int:
    """How many mechanisms a correlation is over."""
    ((role, rows),) = ((r, rows) for r, rows in table.rows.items() if r.startswith("mechanism"))
    left = [rows[i] for i in _runs_of(claim.where, table)[0][role]]
    return len({tuple((c, _key(v)) for c, v in row.items() if not c.startswith("model")) for row in left})


def _check_values(document: Document, key: str, value: Any, at: At, table: Table) -> bool:
    """Whether some planned run has each value that a selection gives."""
    if key not in table.role:
        return True  # `test`
    good = True
    if value == []:
        document.problem(at, "an empty list fits no run")
        good = False
    for j, one in enumerate(_each(value)):
        if not table.having(key, one):
            planned = [shown for _, shown in table.values(key)]
            shown = ", ".join(map(str, planned[:20])) + (", ..." if len(planned) > 20 else "")
            place = (*at, j) if isinstance(value, list) else at
            document.problem(place, f"{key} is never {short(one)} in this experiment; it is {shown}")
            good = False
    return good


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
