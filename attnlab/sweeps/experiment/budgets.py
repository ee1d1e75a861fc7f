"""What `budget` of an experiment says: how much each mechanism may cost, and which width is chosen for it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Len
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from attnlab.interfaces import settings_of
from attnlab.registry import Own, entry
from attnlab.sweeps.experiment.choices import Choice
from attnlab.sweeps.experiment.source import Document, short

__all__ = ["WIDTHS", "Budget", "check_widths", "parse_number"]

WIDTHS = ("projection", "hidden_dim", "width", "hidden", "d_model")  # the first of these that a model has is chosen
_THOUSANDS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6}
_NUMBER = re.compile(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([kKM]?)\s*")
_SCHEMA: JsonDict = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "examples": ["10k", "1.5M"]},
        {"type": "null"},
    ]
}


def parse_number(value: Any) -> float | None:
    """10,000 of `10k`, `0.01M` or 10000; ValueError otherwise."""
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    number = float(match[1]) * _THOUSANDS[match[2]] if match else value
    if value is None:
        return None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not (math.isfinite(number) and number > 0):
        raise ValueError(f"must be a number such as 10k, 1.5M or 10000; got {short(value)}")
    return float(number)


class Budget(BaseModel):
    """How many parameters, or operations a query, each mechanism may have."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    parameters: Annotated[float | None, BeforeValidator(parse_number)] = Field(
        default=None, description="Numbers that are learned: 10k.", json_schema_extra=_SCHEMA
    )
    operations: Annotated[float | None, BeforeValidator(parse_number)] = Field(
        default=None, description="Floating-point operations of one query.", json_schema_extra=_SCHEMA
    )
    width: Annotated[str, Len(1)] | None = Field(
        default=None,
        description="The setting of the model that is chosen; its projection or hidden size, unless given.",
    )

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if (self.parameters is None) == (self.operations is None):
            raise ValueError("a budget is of parameters or of operations; give one of the two")
        return self

    @property
    def what(self) -> str:
        """What it is about: "parameters" or "operations"."""
        return "operations" if self.parameters is None else "parameters"

    @property
    def target(self) -> float:
        """How many."""
        return float(self.parameters if self.parameters is not None else self.operations or 0.0)

    @property
    def column(self) -> str:
        """The column of the results that it is about."""
        return {"parameters": "n_parameters", "operations": "operations_per_query"}[self.what]

    def width_of(self, model: str) -> str:
        """The setting of a model that is chosen."""
        if self.width is not None:
            return self.width.removeprefix("model.")
        known = settings_of(entry("model", Own(model)).cls)
        return next((setting for setting in WIDTHS if setting in known), WIDTHS[0])

    def columns(self, models: Sequence[Choice]) -> list[str]:
        """The columns of what is chosen."""
        return list(dict.fromkeys(f"model.{self.width_of(one.name)}" for one in models))


def check_widths(document: Document, budget: Budget | None, models: Sequence[Choice], tuned: Sequence[str]) -> None:
    """Note what the file sets although the budget chooses it."""
    for model in models if budget else ():
        assert budget is not None
        width = budget.width_of(model.name)
        known = settings_of(entry("model", Own(model.name)).cls)
        if width not in known:
            allowed = ", ".join(setting for setting in known if setting in WIDTHS) or "none that is a width"
            document.problem(
                ("budget",), f"budget: the model {model.name} has no setting {width!r}; there is {allowed}"
            )
        elif f"model.{width}" in tuned or dict(model.settings).get(width, (None,)) != (known[width].default,):
            document.problem(
                ("budget",),
                f"budget chooses {width} of {model.name}, so the file may not set it; leave one of the two out",
            )
