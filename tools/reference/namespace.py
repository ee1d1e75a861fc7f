"""The page of `namespace()`: every function that a part may take from it, and which have gradients."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from autograd.core import primitive_vjps

from attnlab import gradients
from attnlab.arrays import namespace
from tools.reference.docstrings import cell, code, docstring_of, markdown, prose, sections, table

NUMPY = namespace(np.zeros(1))
# attnlab's own, beyond the array API.
ADDITIONS = {
    "softmax": "exp(x) / sum exp(x) along `axis`, the last unless given; -inf gets exactly 0",
    "logsumexp": "log sum exp(x) over `axis`, all unless given, without overflow",
    "sigmoid": "1 / (1 + exp(-x)), exact far from 0, also at infinities",
    "softplus": "log(1 + exp(x)), exact far from 0",
    "erf": "the error function",
    "cumprod": "another name of `cumulative_prod`",
    "absolute": "another name of `abs`",
    "exp2": "2 to the power of x",
    "matvec": "matrices (..., m, n) times vectors (..., n)",
    "vecmat": "vectors (..., m) times matrices (..., m, n)",
}
# The array API standard, by subject. The names are those of the standard, whatever a library calls them.
STANDARD = {
    "Creation": "arange asarray empty empty_like eye full full_like linspace meshgrid ones ones_like tril triu zeros zeros_like",
    "Shape": "broadcast_arrays broadcast_to concat expand_dims flip matrix_transpose moveaxis permute_dims repeat reshape roll "
    "squeeze stack tile unstack",
    "Elementwise": "abs acos acosh add asin asinh atan atan2 atanh ceil clip conj copysign cos cosh divide exp expm1 floor "
    "floor_divide hypot imag log log10 log1p log2 logaddexp maximum minimum multiply negative nextafter positive pow real "
    "reciprocal remainder round sign signbit sin sinh sqrt square subtract tan tanh trunc",
    "Comparison and logic": "equal greater greater_equal isfinite isinf isnan less less_equal logical_and logical_not logical_or "
    "logical_xor not_equal where all any",
    "Statistics": "cumulative_prod cumulative_sum diff max mean min prod std sum var count_nonzero",
    "Products": "matmul tensordot vecdot linalg.matmul linalg.matrix_transpose linalg.outer linalg.tensordot linalg.vecdot "
    "linalg.vector_norm",
    "Linear algebra": "linalg.cholesky linalg.det linalg.eigh linalg.inv linalg.pinv linalg.qr linalg.slogdet linalg.solve linalg.svd "
    "linalg.trace",
    "Search and order": "argmax argmin argsort nonzero searchsorted sort take take_along_axis",
    "Types": "astype can_cast finfo iinfo isdtype result_type",
    "Constants": "e inf nan newaxis pi",
}


def reached(name: str) -> Any:
    """What a name of the namespace of NumPy arrays is; names of `linalg` have a dot."""
    thing: Any = NUMPY
    for word in name.split("."):
        thing = getattr(thing, word)
    return thing


def offered() -> list[str]:
    """Every name that attnlab itself puts into the namespace."""
    own = [name for name in dir(type(NUMPY)) if not name.startswith("_") and name != "linalg"]
    return sorted([*own, *(f"linalg.{name}" for name in dir(type(NUMPY.linalg)) if not name.startswith("_"))])


def differentiable(name: str) -> str:
    """Whether a function has a gradient on NumPy arrays: yes, no, or empty for what is no function of numbers."""
    thing = reached(name)
    if not callable(thing) or inspect.isclass(thing):
        return ""
    if name in NONE_HAVE:
        return "–"
    traced = _primitive(thing)
    if traced is None:  # made of others
        return "yes"
    return "yes" if traced in primitive_vjps else "no"


# Functions whose values are integers, booleans or new arrays: there is nothing to differentiate.
NONE_HAVE = set(
    f"{STANDARD['Creation']} {STANDARD['Types']} argmax argmin argsort nonzero searchsorted all any count_nonzero "
    "equal greater greater_equal isfinite isinf isnan less less_equal logical_and logical_not logical_or logical_xor not_equal "
    "signbit sign ceil floor round trunc nextafter floor_divide".split()
) - {"tril", "triu", "astype", "asarray"}


def _primitive(function: Any) -> Any:
    """The function that autograd traces: the thing itself, or what it is wrapped around."""
    if function in primitive_vjps or hasattr(function, "fun"):
        return function
    import autograd.numpy as anp

    plain = getattr(function, "__wrapped__", None)
    name = getattr(plain, "__name__", "")
    for module in (anp, anp.linalg, gradients):
        candidate = getattr(module, name, None)
        if getattr(candidate, "fun", None) is plain and plain is not None:
            return candidate
    return None


def namespace_page() -> str:
    doc = docstring_of(namespace)
    made = [
        "# What namespace() offers",
        "`xp = attnlab.namespace(Q, K)` gives the functions for the arrays at hand. On NumPy arrays they have gradients by "
        "autograd; on PyTorch and JAX arrays the library's own gradients. A part takes every function from `xp`.",
        prose(doc.summary),
        *([markdown(doc.body)] if doc.body else []),
        *sections(doc),
        "## Beyond the array API",
        "They mean the same for every library.",
        table(
            ["function", "what it is", "gradient"],
            [[code(n), cell(t), differentiable(n)] for n, t in sorted(ADDITIONS.items())],
        ),
        "## The array API",
        "The names and meanings are those of the [array API standard](https://data-apis.org/array-api/latest/). “Gradient” is that of NumPy arrays: "
        "“–” is a function whose values are integers, truth values, steps or new arrays, “no” one that autograd cannot differentiate, which says so when it is tried.",
    ]
    for subject, names in STANDARD.items():
        rows = [[code(name), differentiable(name)] for name in sorted(names.split())]
        yes = [row[0] for row in rows if row[1] == "yes"]
        other = [row[0] for row in rows if row[1] in ("–", "")]
        no = [row[0] for row in rows if row[1] == "no"]
        lines = [["yes", ", ".join(yes)], ["–", ", ".join(other)], ["no", ", ".join(no)]]
        made += [f"### {subject}", table(["gradient", "names"], [line for line in lines if line[1]])]
    made += [
        "NumPy's further functions can be reached by their names on NumPy arrays alone; a part that uses one does not run on other "
        "libraries, which check C031 or C032 of the [contract](contract.md) reports.",
    ]
    return "\n\n".join(made)
