"""The weights of several mechanisms on one Q and K, side by side on one scale."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attnlab.arrays import as_float
from attnlab.errors import SettingError, ShapeError, did_you_mean
from attnlab.interfaces import MechanismComponent, Normaliser, Similarity
from attnlab.kinds import PARTS
from attnlab.mechanisms.mechanism import Mechanism, generator
from attnlab.registry import COMPOSED, get, names
from attnlab.tables import check_new, shown
from attnlab.writing import write_whole

__all__ = ["WeightComparison", "compare_weights"]

MOST_QUERIES, MOST_KEYS = 24, 48  # that are drawn
CELL, HEAD, SIDE = 16, 22, 64  # pixels


class WeightComparison(Mapping[str, Any]):
    """The weights of several mechanisms by name, each (..., q, k). A notebook shows them side by side on one scale.

    Parameters
    ----------
    weights : mapping of str to array (..., q, k)
    untrained : collection of str
        The mechanisms that learn, and are shown as they start.
    queries, keys : sequence of str or None
        Words for the rows and columns.
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        untrained: Sequence[str] = (),
        queries: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
    ) -> None:
        self.weights = dict(weights)
        self.untrained = tuple(untrained)
        self.queries, self.keys_ = queries, keys

    def __getitem__(self, name: str) -> Any:
        return self.weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def names(self) -> list[str]:
        """The mechanisms, in the order in which they were given."""
        return list(self.weights)

    @property
    def scale(self) -> float:
        """The weight that has the full colour in all pictures: the larger of 1 and the largest there is."""
        return float(max(1.0, *(np.abs(np.asarray(w)).max(initial=0.0) for w in self.weights.values())))

    def __repr__(self) -> str:
        shape = np.shape(next(iter(self.weights.values())))
        return f"<WeightComparison {shape}: {', '.join(self.names)}>"

    def to_frame(self) -> Any:
        """One row a query and key of the first example, one column a mechanism."""
        import pandas as pd

        first = {name: _first(w) for name, w in self.weights.items()}
        q, k = next(iter(first.values())).shape
        rows, columns = np.divmod(np.arange(q * k), k)
        places = {"query": [self._query(i) for i in rows], "key": [self._key(j) for j in columns]}
        return pd.DataFrame({**places, **{name: w.ravel() for name, w in first.items()}})

    def _query(self, i: int) -> str:
        return str(i) if self.queries is None else str(self.queries[i])

    def _key(self, j: int) -> str:
        return str(j) if self.keys_ is None else str(self.keys_[j])

    def _repr_html_(self) -> str:
        first = {name: _first(w) for name, w in self.weights.items()}
        q, k = next(iter(first.values())).shape
        rows, columns = min(q, MOST_QUERIES), min(k, MOST_KEYS)
        said = f"Weights from 0 to {shown(self.scale)} on one scale; rows are queries, columns keys. Point at a cell: it is shown in all."
        if (rows, columns) != (q, k):
            said += f" The first {rows} of {q} queries and {columns} of {k} keys."
        if any(np.ndim(w) > 2 for w in self.weights.values()):
            said += " The first example."
        if self.untrained:
            said += f" As they start, untrained: {', '.join(self.untrained)}."
        told = [[self._told(first, i, j) for j in range(columns)] for i in range(rows)]
        pictures = "".join(self._picture(name, w[:rows, :columns], told) for name, w in first.items())
        style = "display:inline-block;margin:0 18px 10px 0;vertical-align:top"
        return (
            f'<div class="attnlab-weights"><p>{html.escape(said)}</p>'
            + pictures.replace("<figure>", f'<figure style="{style}">')
            + "</div>"
        )

    def _told(self, first: Mapping[str, Any], i: int, j: int) -> str:
        """What pointing at a cell says: its weight in every mechanism."""
        each = "\n".join(f"{name}: {shown(float(w[i, j]))}" for name, w in first.items())
        return html.escape(f"query {self._query(i)} → key {self._key(j)}\n{each}")

    def _picture(self, name: str, W: Any, told: Sequence[Sequence[str]]) -> str:
        q, k = W.shape
        wide, high = SIDE + CELL * k + 2, HEAD + CELL * q + 2
        parts = [f'<rect x="{SIDE}" y="{HEAD}" width="{CELL * k}" height="{CELL * q}" fill="none" stroke="#8888" />']
        for i in range(q):
            parts.append(_word(SIDE - 5, HEAD + CELL * i + 12, self._query(i), "end"))
            for j in range(k):
                fill = "#b5541c" if W[i, j] < 0 else "#0b6fb8"
                opacity = f"{min(1.0, abs(float(W[i, j])) / self.scale):.3f}"
                box = f'x="{SIDE + CELL * j}" y="{HEAD + CELL * i}" width="{CELL}" height="{CELL}"'
                parts.append(f'<rect {box} fill="{fill}" fill-opacity="{opacity}"><title>{told[i][j]}</title></rect>')
        step = 1 if self.keys_ is None and k <= 10 else max(1, -(-k // 10))
        parts += [_word(SIDE + CELL * j + CELL / 2, HEAD - 6, self._key(j), "middle") for j in range(0, k, step)]
        label = html.escape(f"Weights of {name}: {q} queries by {k} keys", quote=True)
        svg = f'<svg width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        untrained = " (untrained)" if name in self.untrained else ""
        return f"<figure><figcaption><b>{html.escape(name)}</b>{untrained}</figcaption>{svg}</figure>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the pictures to a new HTML file, which loads nothing.

        Raises
        ------
        SettingError
            When the file exists, or cannot be written.
        """
        check_new(os.fspath(path))
        head = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        )
        style = "<style>:root{color-scheme:light dark}body{font-family:system-ui,sans-serif;margin:1.2rem}figure{max-width:100%;overflow-x:auto}</style>"
        title = f"<title>Weights of {html.escape(', '.join(self.names))}</title>"
        write_whole(path, f"{head}{title}{style}{self._repr_html_()}</html>\n")

    def plot(self) -> Any:
        """The same as matplotlib axes (`attnlab.plot_alignments`)."""
        from attnlab.analysis.plots import plot_alignments

        first = {name: _first(w) for name, w in self.weights.items()}
        return plot_alignments(first, source=self.keys_, target=self.queries)


def _word(x: float, y: float, text: str, anchor: str) -> str:
    short = text if len(text) <= 9 else f"{text[:8]}…"
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="11" fill="currentColor">{html.escape(short)}</text>'


def _first(W: Any) -> Any:
    W = np.asarray(W)
    return W.reshape(-1, *W.shape[-2:])[0]


def compare_weights(
    Q: Any,
    K: Any,
    mechanisms: Any = None,
    mask: Any = None,
    *,
    params: Mapping[str, Any] | None = None,
    rng: Any = 0,
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
) -> WeightComparison:
    """The weights of several mechanisms on the same queries and keys.

    Parameters
    ----------
    Q : array (..., q, d)
    K : array (..., k, d)
    mechanisms : sequence, or mapping of a name to one
        Each a `Mechanism` or another mechanism; a mapping of parts, {"similarity": "dot", "normaliser": "sparsemax"}; or the name of a
        similarity, a normaliser or a mechanism, whose other parts are the usual ones.
    mask : bool array that broadcasts to (..., q, k), or None
        True = may attend.
    params : mapping of a mechanism's name to what its `init` returned, or None
    rng : numpy.random.Generator or int
        Initialises what is to be learned and has no params: the same for each mechanism. Those are marked as untrained.
    queries, keys : sequence of str or None
        Words for the rows and columns.

    Returns
    -------
    WeightComparison
        A mapping of names to weights (..., q, k). A notebook shows them side by side on one scale, and pointing at a cell shows
        its weight in all of them. `save("weights.html")` writes the same to a file, `plot()` draws it with matplotlib, and `to_frame()`
        is a DataFrame.

    Raises
    ------
    ShapeError, UnknownName, SettingError
        The message gives the axis, the nearest names, or what is allowed.

    Examples
    --------
    >>> import numpy as np, attnlab
    >>> Q, K = np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 1.0]])
    >>> weights = attnlab.compare_weights(Q, K, ["softmax", "sparsemax", {"similarity": "dot"}])
    >>> {name: W.round(2).tolist() for name, W in weights.items()}
    {'softmax': [[0.8, 0.2]], 'sparsemax': [[1.0, 0.0]], 'dot': [[0.88, 0.12]]}
    """
    Q, K = as_float(Q, "Q"), as_float(K, "K")
    for what, array in (("Q", Q), ("K", K)):
        if len(array.shape) < 2:
            raise ShapeError(f"{what} must be (..., {'q' if what == 'Q' else 'k'}, d); got shape {tuple(array.shape)}")
    for what, words, size in (("queries", queries, Q.shape[-2]), ("keys", keys, K.shape[-2])):
        if words is not None and len(words) != size:
            raise ShapeError(f"{what} must be {size} words, one for each; got {len(words)}")
    given = _named(mechanisms)
    if wrong := sorted(set(params or ()) - set(given)):
        raise SettingError(
            f"params: no mechanism {wrong[0]!r}{did_you_mean(wrong[0], given)}; there are {', '.join(given)}"
        )
    found, untrained = {}, []
    for name, mechanism in given.items():
        own = (params or {}).get(name)
        if own is None:
            own = mechanism.init(generator(rng), Q.shape[-1], K.shape[-1], K.shape[-1])
            untrained += [name] if _has_arrays(own) else []
        found[name] = mechanism.weights(own, Q, K, mask)
    return WeightComparison(found, untrained, queries, keys)


def _has_arrays(params: Any) -> bool:
    return any(map(_has_arrays, params.values())) if isinstance(params, Mapping) else params is not None


def _named(mechanisms: Any) -> dict[str, Any]:
    """Each mechanism by a name; two of one name get a number."""
    if mechanisms is None or isinstance(mechanisms, str) or not len(mechanisms):
        raise SettingError(
            "mechanisms: give a list such as ['softmax', 'sparsemax'], or a mapping of names to mechanisms"
        )
    if isinstance(mechanisms, Mapping):
        return {str(name): _mechanism(one) for name, one in mechanisms.items()}
    found: dict[str, Any] = {}
    for one in mechanisms:
        name = base = _called(one)
        n = 2
        while name in found:
            name, n = f"{base} {n}", n + 1
        found[name] = _mechanism(one)
    return found


def _mechanism(given: Any) -> Any:
    """A mechanism from what a user may give for one."""
    if isinstance(given, MechanismComponent):
        return given
    if isinstance(given, Similarity):
        return Mechanism(given)
    if isinstance(given, Normaliser):
        return Mechanism(normaliser=given)
    if isinstance(given, str):
        bare = given.rpartition(":")[2]
        for kind in ("similarity", "normaliser", "mechanism"):
            if bare in names(kind):
                return get("mechanism", given) if kind == "mechanism" else Mechanism(**{kind: given})
        known = [*names("similarity"), *names("normaliser"), *names("mechanism")]
        raise SettingError(
            f"mechanisms: {given!r} is no similarity, normaliser or mechanism{did_you_mean(bare, known)}; `attnlab list` shows them"
        )
    if isinstance(given, Mapping) and given:
        if all(key in PARTS for key in given):
            return Mechanism(**given)
        if len(given) == 1:
            ((name, settings),) = given.items()
            for kind in ("similarity", "normaliser", "mechanism"):
                if str(name).rpartition(":")[2] in names(kind) and name != COMPOSED:
                    return (
                        get("mechanism", name, **(settings or {}))
                        if kind == "mechanism"
                        else Mechanism(**{kind: dict(given)})
                    )
    raise SettingError(
        f"mechanisms: each must be a mechanism, a mapping of parts ({', '.join(PARTS)}), or a name; got {type(given).__name__}: "
        f"{str(given)[:60]}"
    )


def _called(given: Any) -> str:
    """A mechanism in a few words."""
    if isinstance(given, str):
        return given.rpartition(":")[2]
    if isinstance(given, Mapping) and all(key in PARTS for key in given):
        return " ".join(_called(value) for value in given.values())
    if isinstance(given, Mapping):
        return " ".join(
            f"{name} {', '.join(f'{k}={v}' for k, v in (settings or {}).items())}".strip()
            for name, settings in given.items()
        )
    if isinstance(given, Mechanism):
        usual = Mechanism()
        parts = [_called(part) for kind in PARTS if (part := getattr(given, kind, None)) != getattr(usual, kind, None)]
        return " ".join(parts) or "scaled_dot softmax"
    return str(getattr(given, "name", type(given).__name__))
