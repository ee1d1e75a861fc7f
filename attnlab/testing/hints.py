"""What a failure most often comes from: the commonest slips, found in the component's own source, with what to write instead."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from attnlab.boxes import address
from attnlab.kinds import VERBS

__all__ = ["hint"]

_NOT_FINITE = re.compile(r"are NaN or inf|\bnan\b")
_CONSTANTS = (
    "asarray",
    "array",
    "zeros",
    "ones",
    "full",
    "linspace",
    "eye",
    "arange",
)  # float64 unless they are given a dtype
_OVER_KEYS = ("mean", "std", "var", "sum", "prod", "min", "median", "cumulative_sum", "vector_norm")
_AFTER_WHICH_MASKED_IS_ZERO = ("exp", "softmax", "sigmoid", "where", "maximum", "clip", "softplus", "tanh", "relu")


def hint(cls: type, kind: str, reason: str) -> tuple[str, str]:
    """What to write instead, in words that go on after a reason, and the line with the slip; both empty where nothing is known."""
    words = _words(cls, kind, reason)
    found = re.match(r"; (\S+:\d+: .*?) (?:is|has|reads) ", words)
    return words, found[1] if found else ""


def _words(cls: type, kind: str, reason: str) -> str:
    if "float64 for inputs of float32" in reason:
        return _said(
            cls, kind, _constant, "is float64 whatever the inputs are: write a Python number, or give it dtype=S.dtype"
        ) or (
            "; a constant made without a dtype, such as xp.asarray(0.0) or xp.zeros(n), is float64: write a Python number, or "
            "give it the dtype of an input"
        )
    if not _NOT_FINITE.search(reason):
        counts = kind == "normaliser" and re.search(r"compacted row|with padding|forbidden key|other queries", reason)
        return _statistics(cls, kind) if counts else ""
    if "gradient" not in reason:
        return _statistics(cls, kind) if kind == "normaliser" else _root(cls, kind)
    return (
        _said(
            cls,
            kind,
            _logistic,
            "has NaN for a gradient where exp overflows, as it does at -inf, which a masked score is: take xp.sigmoid(S)",
        )
        or _root(cls, kind)
        or (_statistics(cls, kind) if kind == "normaliser" else "")
        or (
            "; masked scores reach a normaliser as -inf, where inf - inf, inf / inf and 0 * inf are NaN: put a number there "
            "first, xp.where(mask, S, 0.0)"
            if kind == "normaliser"
            else ""
        )
    )


def _statistics(cls: type, kind: str) -> str:
    return _said(
        cls,
        kind,
        _statistic,
        "reads the masked scores too, which are -inf: take them out first, xp.where(mask, S, 0.0), and divide by n_allowed",
    )


def _root(cls: type, kind: str) -> str:
    return _said(
        cls,
        kind,
        _norm,
        "is 0 / 0 or has an infinite gradient where all numbers are 0: take xp.linalg.vector_norm, whose gradient is 0 there, "
        "and add a small number before dividing",
    )


# -- in the source ----------------------------------------------------------------------------------------------------
def _said(cls: type, kind: str, is_slip: Callable[[ast.AST], bool], words: str) -> str:
    for where, code in _found(cls, kind, is_slip):
        return f"; {where}: {code} {words}"
    return ""


def _found(cls: type, kind: str, is_slip: Callable[[ast.AST], bool]) -> Iterator[tuple[str, str]]:
    """file:line and text of what a predicate finds in the verbs of a class."""
    for verb in VERBS.get(kind, {}):
        function: Any = getattr(cls, verb, None)
        if function is None:
            continue
        try:
            lines, first = inspect.getsourcelines(function)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError):  # typed in somewhere that keeps no source
            continue
        for node in ast.walk(tree):
            if is_slip(node):
                path = inspect.getsourcefile(function) or "?"
                yield address(path, first + node.lineno - 1), ast.unparse(node)  # type: ignore[attr-defined]


def _called(node: ast.AST) -> str:
    """The last word of what is called; empty where nothing is."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _constant(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or _called(node) not in _CONSTANTS:
        return False
    return not any(keyword.arg == "dtype" for keyword in node.keywords)


def _logistic(node: ast.AST) -> bool:
    """A division by a sum that holds an exponential: 1 / (1 + exp(-S))."""
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and isinstance(node.right, ast.BinOp)
        and any(_called(inner) in ("exp", "expm1") for inner in ast.walk(node.right))
    )


def _statistic(node: ast.AST) -> bool:
    """A sum, mean or spread over scores that are not yet weights."""
    if _called(node) not in _OVER_KEYS:
        return False
    assert isinstance(node, ast.Call)
    return any(
        _bare(argument) for argument in (*node.args[:1], getattr(node.func, "value", None)) if argument is not None
    )


def _bare(node: ast.AST) -> bool:
    """Whether scores `S` are read without anything between that makes zeros of -inf."""
    if _called(node) in _AFTER_WHICH_MASKED_IS_ZERO:
        return False
    if isinstance(node, ast.Name):
        return node.id == "S"
    return any(_bare(inner) for inner in ast.iter_child_nodes(node))


def _norm(node: ast.AST) -> bool:
    """A square root of a sum, or a power of a half, or a division by NumPy's norm."""
    if _called(node) == "sqrt":
        return any(_called(inner) == "sum" for inner in ast.walk(node))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return any(_called(inner) in ("norm", "vector_norm") for inner in ast.walk(node.right))
    return False
