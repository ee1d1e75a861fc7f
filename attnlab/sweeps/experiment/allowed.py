"""Findings of the referee that an experiment allows, each with a reason.

allow:
  - {code: R107, why: the number of keys is what is asked}
  - R102  # all mechanisms are the same but for one number
allow: [R102]  # a reason
allow: {R107: the number of keys is what is asked}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Len
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from attnlab.errors import did_you_mean
from attnlab.findings import CODES
from attnlab.sweeps.experiment.source import Document

__all__ = ["ALLOW_SCHEMA", "Allowed", "each", "with_reasons"]


def _known(code: str) -> str:
    """The code, if the referee has it; ValueError otherwise."""
    if code not in CODES:
        raise ValueError(
            f"the referee has no finding {code!r}{did_you_mean(code, CODES)}; there are {', '.join(CODES)}"
        )
    return code


class Allowed(BaseModel):
    """A finding of the referee that is allowed, and why."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    code: Annotated[str, AfterValidator(_known)] = Field(description="The code of a finding: R101, ...")
    why: Annotated[str, Len(1)] | None = Field(default=None, description="Why it is no objection here.")


_ONE: JsonDict = {
    "anyOf": [
        {"type": "string", "enum": list(CODES)},
        {
            "type": "object",
            "properties": {"code": {"type": "string", "enum": list(CODES)}, "why": {"type": "string", "minLength": 1}},
            "required": ["code"],
            "additionalProperties": False,
        },
    ]
}
_REASONS: JsonDict = {
    "type": "object",
    "propertyNames": {"enum": list(CODES)},
    "additionalProperties": {"type": "string", "minLength": 1},
}
ALLOW_SCHEMA: JsonDict = {
    "anyOf": [{"type": "array", "items": _ONE}, _REASONS, {"type": "string", "enum": list(CODES)}]
}


def each(value: Any) -> Any:
    """What `allow` says, in any of its forms, as a list of mappings."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Mapping) and "code" in value:
        value = [value]
    if isinstance(value, Mapping):
        return [{"code": code, "why": why} for code, why in value.items()]
    if not isinstance(value, list) or not all(isinstance(one, (str, Mapping)) for one in value):
        raise ValueError("a list of findings is needed, each a code such as R102 or {code: R102, why: the reason}")
    return [{"code": one} if isinstance(one, str) else one for one in value]


def with_reasons(document: Document, allowed: Sequence[Allowed]) -> tuple[Allowed, ...]:
    """The same, where a bare code has its reason from the comment in its line, or in the lines above."""
    if not isinstance(document.value, dict) or not isinstance(document.value.get("allow"), (list, str)):
        return tuple(allowed)
    found = []
    for i, one in enumerate(allowed):
        why = one.why or document.comment(("allow", i)) or document.comment(("allow",)) or None
        found.append(one.model_copy(update={"why": why}))
    return tuple(found)
