"""A result on its way between processes: JSON for what is small, raw bytes for its arrays.

It uses no pickle, so that no code of a plugin runs in the coordinator when it reads a result. Data that cannot be kept
raise an error in the worker that made them.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from attnlab.sweeps.run import Result

__all__ = ["pack", "to_json", "unpack"]

_ALLOWED: dict[str, Any] = {
    **dict.fromkeys(("status", "reason", "traceback", "executor", "started_at"), str),
    **dict.fromkeys(("metrics", "facts", "versions", "fingerprints"), dict),
    "attempts": int,
    "seconds": (int, float),
}
_TEXTS = ("status", "reason", "traceback", "executor", "started_at")


def _number(value: Any) -> Any:
    """The Python number in a NumPy scalar, which `json` asks for."""
    if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0:
        return value.item()
    raise TypeError(f"{type(value).__name__} is neither text, a number, a list nor a mapping of these")


def to_json(value: Any) -> str:
    """JSON in ASCII, where NaN and infinity keep their names.

    Raises
    ------
    TypeError, ValueError
        If something in `value` is not plain data.
    """
    return json.dumps(value, default=_number, separators=(",", ":"))


def pack(result: Result) -> bytes:
    """The bytes of a result.

    Raises
    ------
    TypeError, ValueError
        If it is not a `Result`, or holds what is not plain data; the message says which field.
    """
    if not isinstance(result, Result):
        raise TypeError(f"execute returned {type(result).__name__}, not a Result")
    plain: dict[str, Any] = {f.name: getattr(result, f.name) for f in dataclasses.fields(Result)}
    artifacts = plain.pop("artifacts")
    if not isinstance(artifacts, bytes):
        raise TypeError(f"artifacts must be bytes; got {type(artifacts).__name__}")
    for name in _TEXTS:
        if not isinstance(plain[name], str):
            raise TypeError(f"{name} must be text; got {type(plain[name]).__name__}")
    parts = []
    for name, value in plain.items():
        try:
            if name == "metrics":
                value = {test: {m: float(v) for m, v in measured.items()} for test, measured in value.items()}
            parts.append(f'"{name}":{to_json(value if name in _TEXTS else _mapping_or_number(value))}')
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise TypeError(f"{name} is not plain data: {error}") from error
    return f"{{{','.join(parts)}}}".encode("ascii") + b"\0" + artifacts


def _mapping_or_number(value: Any) -> Any:
    return value if isinstance(value, int | float) else dict(value)


def unpack(message: bytes) -> Result:
    """The result from which `pack` made the bytes.

    Raises
    ------
    TypeError, ValueError
        If `pack` did not make them: whoever sent them, the result holds text, numbers and mappings where it should.
    """
    header, _, artifacts = message.partition(b"\0")
    try:
        plain = json.loads(header)
    except RecursionError as error:
        raise ValueError(f"it is nested too deeply: {error}") from None
    if not isinstance(plain, dict):
        raise TypeError(f"a result is a mapping; got {type(plain).__name__}")
    for name, value in plain.items():
        if not isinstance(value, _ALLOWED.get(name, object)) or isinstance(value, bool):
            raise TypeError(f"{name} cannot be a {type(value).__name__}")
    for values in plain.get("metrics", {}).values():
        if not isinstance(values, dict) or not all(type(v) in (int, float) for v in values.values()):
            raise TypeError("metrics must be numbers by test condition and metric")
    for name in ("versions", "fingerprints"):
        if not all(isinstance(value, str) for value in plain.get(name, {}).values()):
            raise TypeError(f"{name} must be texts by name")
    if not all(isinstance(note, str) for note in plain.get("facts", {}).get("notes", [])):
        raise TypeError("notes must be texts")
    return Result(**plain, artifacts=artifacts)
