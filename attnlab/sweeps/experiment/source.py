"""A YAML file, or a Python mapping, as plain values with their places in the source.

The composer of ruamel.yaml reads YAML 1.2; its nodes know their places. Every bound holds before anything large is built:
`MAX_BYTES`, `MAX_DEPTH`, and `MAX_NODES` counted after aliases. The reader refuses, with the place, what has no meaning in an
experiment: duplicate keys, tags, merge keys, dates, NaN and infinity, numbers beyond 64 bits, a second document.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.reader import ReaderError

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
    """Plain values (dict, list, str, bool, int, float, None), the place of each, and the problems found in them.

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
        self._warnings: dict[str, tuple[int, int]] = {}
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
            self.value = _Nodes(self).value()
            self.refuse()
        else:
            raise ExperimentError(f"an experiment is a path or a mapping; got {type(source).__name__}: {short(source)}")

    # -- problems -----------------------------------------------------------------------------------------------
    def problem(self, at: At, message: str, *, key: bool = False) -> None:
        """Note what is wrong with the value at `at`, or with the key that leads to it."""
        self._add((0, 0) if self.path is None else self._place(at, key), at, message)

    def warn(self, at: At, message: str) -> None:
        """Note what can be read, and cannot be meant."""
        place = (0, 0) if self.path is None else self._place(at, key=False)
        self._warnings.setdefault(self._line(place, at, message), place)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What `warn` noted, in the order of its places."""
        return tuple(sorted(self._warnings, key=lambda line: self._warnings[line]))

    def problem_at(self, mark: Any, message: str) -> None:
        """Note what is wrong at a place of the file."""
        self._add((mark.line + 1, mark.column + 1), (), message)

    def _add(self, place: tuple[int, int], at: At, message: str) -> None:
        self._problems.setdefault(self._line(place, at, message), place)
        if len(self._problems) >= MAX_PROBLEMS:
            self._problems.setdefault(self._line(place, at, f"stopped after {MAX_PROBLEMS} problems"), place)
            self.refuse()

    def _line(self, place: tuple[int, int], at: At, message: str) -> str:
        return self._told(".".join(map(str, at)) if self.path is None else f"{place[0]}:{place[1]}", message)

    def stop(self, line: int, column: int, message: str) -> NoReturn:
        """Give up: the rest of the file cannot be read."""
        self._problems.setdefault(self._told(f"{line}:{column}", message), (line, column))
        self._raise()

    def refuse(self) -> None:
        """Raise the problems noted so far, if any, in the order of their places."""
        if self._problems:
            self._raise()

    @property
    def sound(self) -> bool:
        """Whether no problem has been noted."""
        return not self._problems

    def _raise(self) -> NoReturn:
        raise ExperimentError("\n".join(sorted(self._problems, key=lambda line: self._problems[line]))) from None

    def _told(self, where: str, message: str) -> str:
        message = " ".join(message.split())
        if len(message) > 2000:
            message = f"{message[:1500]} ... {message[-400:]}"
        head = f"{self.name}:{where}" if self.path else f"{self.name}: {where}" if where else self.name
        return f"{head}: {message}"

    def _place(self, at: At, key: bool) -> tuple[int, int]:
        if key and at in self._keys:
            return self._keys[at]
        while at not in self._places and at:
            at = at[:-1]
        return self._places.get(at, (1, 1))

    def mark(self, at: At, mark: Any, *, key: bool = False) -> None:
        """Remember the place of a value or of its key. Marks count from 0, people from 1."""
        (self._keys if key else self._places)[at] = (mark.line + 1, mark.column + 1)

    def line_of_key(self, at: At) -> int:
        """The line of a key."""
        return self._place(at, key=True)[0]

    def comment(self, at: At) -> str:
        """The comment at the end of the line of a value, or of the lines above it; '' where there is none."""
        if self.path is None:
            return ""
        lines, line = self.text.splitlines(), self._place(at, key=False)[0]
        own = lines[line - 1].partition(" #")[2].strip() if line <= len(lines) else ""
        above: list[str] = []
        while not own and line > 1 and lines[line - 2].lstrip().startswith("#"):
            line -= 1
            above.insert(0, lines[line - 1].strip().lstrip("#").strip())
        return own or " ".join(above)

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


class _Nodes(Composer):
    """ruamel's composer, which counts as it goes, and the values of its nodes."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.yaml = YAML(typ="safe", pure=True)
        super().__init__(loader=self.yaml)
        self.warn_double_anchors = False
        self.sizes: dict[str, int] = {}  # anchor -> how many nodes it is
        self.nodes = self.level = 0

    def value(self) -> Any:
        """What the document means; what ruamel refuses is a problem of the file."""
        document = self.document
        try:
            node = self.yaml.compose(document.text)
        except ExperimentError:
            raise
        except MarkedYAMLError as error:
            said = ", ".join(filter(None, [error.context, error.problem]))
            if "'\\t'" in said:
                said += "; YAML is indented by spaces, not tabs"
            self._stop(error.problem_mark or error.context_mark, f"not YAML: {said}")
        except ReaderError as error:
            before = document.text[: error.position]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            document.stop(line, column, f"not YAML: the character {error.character!r} is not allowed")
        except Exception as error:  # the parser's own slips on odd input are mistakes in the file, too
            document.stop(1, 1, f"not YAML: {type(error).__name__}: {error}")
        if node is None:
            document.stop(1, 1, "the file is empty; an experiment begins with `attnlab: 1` and `question: ...`")
        return self._value(node, ())

    def _stop(self, mark: Any, message: str) -> NoReturn:
        self.document.stop(mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, message)

    # -- bounds, as the nodes are composed ------------------------------------------------------------------------
    def compose_document(self) -> Any:
        event = self.parser.peek_event()
        if event.version or event.tags:
            self.document.stop(1, 1, "leave the % lines out: an experiment is YAML 1.2")
        node = super().compose_document()
        if self.check_node():
            self._stop(self.parser.peek_event().start_mark, "a second document; write one experiment a file")
        return node

    def compose_node(self, parent: Any, index: Any) -> Any:
        event, before = self.parser.peek_event(), self.nodes
        alias = isinstance(event, AliasEvent)
        if alias and event.anchor not in self.sizes:
            self._stop(event.start_mark, f"*{event.anchor} refers to nothing above it")
        self.nodes += 1 + (self.sizes[event.anchor] if alias else 0)
        if self.nodes > MAX_NODES:
            self._stop(event.start_mark, f"more than {MAX_NODES} values (aliases counted), which no experiment needs")
        if self.level > MAX_DEPTH:
            self._stop(event.start_mark, f"nested deeper than {MAX_DEPTH} levels")
        if not alias and event.tag is not None:
            message = f"tags such as {event.tag} are not used in experiments; for a string use quotes"
            self.document.problem_at(event.start_mark, message)
            event.ctag = None
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        if event.anchor is not None and not alias:
            self.sizes[event.anchor] = self.nodes - before
        return node

    # -- values ---------------------------------------------------------------------------------------------------
    def _value(self, node: Any, at: At) -> Any:
        document = self.document
        document.mark(at, node.start_mark)
        if node.id == "sequence":
            return [self._value(inner, (*at, i)) for i, inner in enumerate(node.value)]
        if node.id == "scalar":
            return self._scalar(node, at)
        value: dict[str, Any] = {}
        for key, inner in node.value:
            word = key.value if key.id == "scalar" else "?"
            if key.id != "scalar":
                self._value(key, (*at, word))
                document.problem_at(key.start_mark, "a key must be a word")
            elif word in value:
                line = document.line_of_key((*at, word))
                document.problem_at(key.start_mark, f"duplicate key {short(word)}: line {line} has it already")
            else:
                document.mark((*at, word), key.start_mark, key=True)
            if _kind(key) == "merge":
                document.problem_at(key.start_mark, "merge keys (<<) are not YAML 1.2; write the keys out")
            value[word] = self._value(inner, (*at, word))
        return value

    def _scalar(self, node: Any, at: At) -> Any:
        value, kind = node.value, _kind(node)
        if kind == "timestamp":
            self.document.problem(at, f"{value} is a date in YAML; for a string write it in quotes")
        elif kind in ("null", "bool", "int", "float"):
            try:
                value = self.yaml.constructor.construct_object(node)
            except ValueError:  # -_ counts as a whole number in YAML
                digits = sum(map(str.isdigit, value))
                said = f"a number of {digits} digits is too large" if digits > 1 else f"{value} is no number"
                self.document.problem(at, said)
        self.document.scalar(at, value)
        return value


def _kind(node: Any) -> str:
    return str(node.tag).rpartition(":")[2]
