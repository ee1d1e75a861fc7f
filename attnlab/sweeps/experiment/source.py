"""A YAML file, or a Python mapping, as plain values that know where they stand.

YAML 1.2 by ruamel.yaml, read from its events, so that every bound holds before anything large is built: `MAX_BYTES`,
`MAX_DEPTH`, and `MAX_NODES` counted after aliases. What cannot be meant in an experiment is refused at its place:
duplicate keys, tags, merge keys, dates, NaN and infinity, numbers beyond 64 bits, a second document.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from attnlab.errors import ExperimentError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "At", "Document", "short"]

MAX_BYTES = 64 * 1024
MAX_DEPTH = 24
MAX_NODES = 10_000
MAX_PROBLEMS = 50  # after that many the reader stops

At = tuple[str | int, ...]  # ("task", "lookup", "d", 0): keys and indices from the top


def short(value: Any, limit: int = 60) -> str:
    """A value in a message, cut to a readable length."""
    if isinstance(value, (dict, list)) and len(value) > 8:
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


class Document:
    """Plain values (dict, list, str, bool, int, float, None), where each stands, and the problems found in them.

    Parameters
    ----------
    source : path or mapping
        What to read. In a file a problem is shown at `file:line:column`; in a mapping at its dotted path.
    text : str or None
        What the file said, for a file that need not be there any more; None reads it.

    Raises
    ------
    ExperimentError
        When it cannot be read at all. Problems in what was read are collected by `problem` and raised by `refuse`.
    """

    def __init__(self, source: str | os.PathLike[str] | Mapping[str, Any], text: str | None = None) -> None:
        self.value: Any = None
        self.text = ""
        self.path: Path | None = None
        self._places: dict[At, tuple[int, int]] = {}  # of values
        self._keys: dict[At, tuple[int, int]] = {}  # of the keys that lead to them
        self._problems: dict[str, tuple[int, int]] = {}
        if isinstance(source, Mapping):
            self.name = "experiment"
            self.value = self._plain(source, ())
            self.refuse()
            self.text = json.dumps(self.value, indent=2)
        elif isinstance(source, (str, os.PathLike)):
            self.name = " ".join(os.fspath(source).split())
            self.path = Path(source)
            if text is not None:
                self.name += " (as swept)"
            self.text = self._read(self.path) if text is None else text
            _Builder(self).build()
            self.refuse()
        else:
            raise ExperimentError(f"an experiment is a path or a mapping; got {type(source).__name__}: {short(source)}")

    # -- problems -----------------------------------------------------------------------------------------------
    def problem(self, at: At, message: str, *, key: bool = False) -> None:
        """Note what is wrong with the value at `at`, or with the key that leads to it."""
        if self.path is None:
            place, where = (0, 0), ".".join(map(str, at))
        else:
            place = self._place(at, key)
            where = f"{place[0]}:{place[1]}"
        self._note(place, where, message)
        if len(self._problems) >= MAX_PROBLEMS:
            self._note(place, where, f"stopped after {MAX_PROBLEMS} problems")
            self.refuse()

    def stop(self, line: int, column: int, message: str) -> NoReturn:
        """Give up: the rest of the file cannot be read."""
        self._note((line, column), f"{line}:{column}", message)
        self._raise()

    def refuse(self) -> None:
        """Raise the problems noted so far, if any, in the order in which they stand."""
        if self._problems:
            self._raise()

    @property
    def sound(self) -> bool:
        """Whether no problem has been noted."""
        return not self._problems

    def _raise(self) -> NoReturn:
        raise ExperimentError("\n".join(sorted(self._problems, key=lambda line: self._problems[line]))) from None

    def _note(self, place: tuple[int, int], where: str, message: str) -> None:
        message = " ".join(message.split())
        if len(message) > 2000:
            message = f"{message[:1500]} ... {message[-400:]}"
        head = f"{self.name}:{where}" if self.path else f"{self.name}: {where}" if where else self.name
        self._problems.setdefault(f"{head}: {message}", place)

    def _place(self, at: At, key: bool) -> tuple[int, int]:
        if key and at in self._keys:
            return self._keys[at]
        while at not in self._places and at:
            at = at[:-1]
        return self._places.get(at, (1, 1))

    def mark(self, at: At, mark: Any, *, key: bool = False) -> None:
        """Remember where a value, or its key, stands. Marks count from 0, people from 1."""
        (self._keys if key else self._places)[at] = (mark.line + 1, mark.column + 1)

    def line_of_key(self, at: At) -> int:
        """The line at which a key stands."""
        return self._place(at, key=True)[0]

    # -- files --------------------------------------------------------------------------------------------------
    def _read(self, path: Path) -> str:
        try:
            if path.is_dir():
                self.stop(1, 1, "is a directory; give a YAML file")
            if not path.exists():
                self.stop(1, 1, "no such file")
            if not path.is_file():
                self.stop(1, 1, "is not a regular file")
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            self.stop(1, 1, f"cannot be read: {getattr(error, 'strerror', None) or error}")
        if len(raw) > MAX_BYTES:
            self.stop(1, 1, f"is larger than {MAX_BYTES // 1024} KiB, which no experiment needs")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode("utf-8-sig", errors="replace")
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            self.stop(line, column, f"is not UTF-8: byte 0x{raw[error.start]:02x}; save the file as UTF-8")
        return text

    # -- mappings -----------------------------------------------------------------------------------------------
    def _plain(self, value: Any, at: At) -> Any:
        if len(at) > MAX_DEPTH:
            self.problem(at, f"nested deeper than {MAX_DEPTH} levels")
            self.refuse()
        if isinstance(value, Mapping):
            plain = {}
            for key, inner in value.items():
                if isinstance(key, str):
                    plain[key] = self._plain(inner, (*at, key))
                else:
                    self.problem(at, f"a key must be a string; got {short(key)}")
            return plain
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, np.ndarray) and value.ndim == 1:
            value = value.tolist()
        if isinstance(value, (list, tuple, range)):
            if len(value) > MAX_NODES:
                self.problem(at, f"a list of {len(value)}; at most {MAX_NODES} are allowed")
                return None
            return [self._plain(inner, (*at, i)) for i, inner in enumerate(value)]
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, date):
            self.problem(at, f"a date is no value of an experiment; got {value.isoformat()}")
        elif value is None or isinstance(value, (bool, str, int, float)):
            self.scalar(at, value)
        else:
            self.problem(
                at,
                f"must be a name, a number, true, false, null, a list or a mapping; got {type(value).__name__}: "
                f"{short(value)}. Write a component as name or {{name: {{setting: value}}}}",
            )
        return value

    def scalar(self, at: At, value: Any) -> None:
        """Note what no run could be identified by."""
        if isinstance(value, float) and not math.isfinite(value):
            self.problem(at, f"must be a finite number; got {value}")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            self.problem(at, "the number is too large: it must fit into 64 bits")
        elif isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                self.problem(at, "holds half of a surrogate pair, which is no character")


_BASES = {"0x": 16, "0o": 8, "0b": 2}


class _Builder:
    """Events of ruamel.yaml -> the values and places of a document."""

    def __init__(self, document: Document) -> None:
        from ruamel.yaml import YAML

        self.document = document
        self.yaml = YAML(typ="safe", pure=True)
        self.events = self._parse()
        self.anchors: dict[str, tuple[Any, int]] = {}  # name -> value and how many nodes it is
        self.nodes = 0

    def _parse(self) -> Iterator[Any]:
        """The parser's events; what it refuses is a problem of the file."""
        from ruamel.yaml.error import MarkedYAMLError
        from ruamel.yaml.reader import ReaderError

        stop = self.document.stop
        try:
            yield from self.yaml.parse(self.document.text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = ", ".join(filter(None, [error.context, error.problem]))
            if "'\\t'" in said:
                said += "; YAML is indented by spaces, not tabs"
            stop(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, f"not YAML: {said}")
        except ReaderError as error:
            before = self.document.text[: error.position]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            stop(line, column, f"not YAML: the character {error.character!r} is not allowed")
        except Exception as error:  # the parser's own slips on odd input are mistakes in the file, too
            stop(1, 1, f"not YAML: {type(error).__name__}: {error}")

    def build(self) -> None:
        from ruamel.yaml import events

        next(self.events)
        first = next(self.events)
        if isinstance(first, events.StreamEndEvent):
            self.document.stop(1, 1, "the file is empty; an experiment begins with `attnlab: 1` and `question: ...`")
        if first.version or first.tags:
            self.document.stop(1, 1, "leave the % lines out: an experiment is YAML 1.2")
        self.document.value = self._node(next(self.events), ())
        next(self.events)
        second = next(self.events)
        if isinstance(second, events.DocumentStartEvent):
            mark = second.start_mark
            self.document.stop(mark.line + 1, mark.column + 1, "a second document; write one experiment a file")

    def _stop(self, event: Any, message: str) -> NoReturn:
        self.document.stop(event.start_mark.line + 1, event.start_mark.column + 1, message)

    def _node(self, event: Any, at: At) -> Any:
        from ruamel.yaml import events

        self.document.mark(at, event.start_mark)
        anchor, before = getattr(event, "anchor", None), self.nodes
        self._count(event, 1)
        if isinstance(event, events.AliasEvent):
            if event.anchor not in self.anchors:
                self._stop(event, f"*{event.anchor} refers to nothing above it")
            value, size = self.anchors[event.anchor]
            self._count(event, size)
            return value
        if len(at) > MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        if event.tag is not None:
            self.document.problem(at, f"tags such as {event.tag} are not used in experiments; for a string use quotes")
        if isinstance(event, events.ScalarEvent):
            value = self._scalar(event, at)
        elif isinstance(event, events.SequenceStartEvent):
            value = []
            while not isinstance(event := next(self.events), events.SequenceEndEvent):
                value.append(self._node(event, (*at, len(value))))
        else:
            value = self._mapping(at)
        if anchor:
            self.anchors[anchor] = (value, self.nodes - before)
        return value

    def _count(self, event: Any, size: int) -> None:
        self.nodes += size
        if self.nodes > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES} values (aliases counted), which no experiment needs")

    def _mapping(self, at: At) -> dict[str, Any]:
        from ruamel.yaml import events

        value: dict[str, Any] = {}
        document = self.document
        while not isinstance(event := next(self.events), events.MappingEndEvent):
            key = event.value if isinstance(event, events.ScalarEvent) else None
            odd = (*at, "?")  # where a key that cannot be one stands
            if key is None:
                self._node(event, odd)
                document.problem(odd, "a key must be a word")
                key = "?"
            elif key in value:
                document.mark(odd, event.start_mark)
                line = document.line_of_key((*at, key))
                document.problem(odd, f"duplicate key {short(key)}: it stands at line {line} already")
                self._node(next(self.events), odd)
                continue
            else:
                self._count(event, 1)
                document.mark((*at, key), event.start_mark, key=True)
                if key == "<<" and event.implicit[0]:
                    document.problem((*at, key), "merge keys (<<) are not YAML 1.2; write the keys out", key=True)
            value[key] = self._node(next(self.events), (*at, key))
        return value

    def _scalar(self, event: Any, at: At) -> Any:
        from ruamel.yaml.nodes import ScalarNode

        text: str = event.value
        if not event.implicit[0]:
            self.document.scalar(at, text)
            return text
        kind = str(self.yaml.resolver.resolve(ScalarNode, text, (True, False))).rpartition(":")[2]
        value: Any = text
        if kind == "timestamp":
            self.document.problem(at, f"{text} is a date in YAML; for a string write it in quotes")
        elif kind == "null":
            value = None
        elif kind == "bool":
            value = text.lower() == "true"
        elif kind in ("int", "float"):
            value = self._number(text.replace("_", "").lower(), kind, at)
        self.document.scalar(at, value)
        return value

    def _number(self, text: str, kind: str, at: At) -> Any:
        sign = -1 if text.startswith("-") else 1
        digits = text.lstrip("+-")
        if len(digits) > 400:
            self.document.problem(at, f"a number of {len(digits)} digits is too large")
            return 0
        if kind == "int":
            base = _BASES.get(digits[:2], 10)
            return sign * int(digits if base == 10 else digits[2:], base)
        return sign * float(digits.replace(".inf", "inf").replace(".nan", "nan"))
