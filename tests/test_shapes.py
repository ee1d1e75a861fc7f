"""check_shapes: sizes by letter, or the sentence that names the axis and both arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnlab import ShapeError, check_shapes
from attnlab.shapes import as_array, broadcast_leading


def test_sizes_by_letter():
    sizes = check_shapes(Q=("... q d", np.ones((2, 5, 3))), K=("... k d", np.ones((7, 3))), n=("n", np.ones(4)))
    assert sizes == {"q": 5, "d": 3, "k": 7, "n": 4}


def test_the_sentence():
    with pytest.raises(ShapeError) as error:
        check_shapes(Q=("... q d", np.ones((2, 5, 3))), K=("... k d", np.ones((2, 7, 4))))
    assert str(error.value).startswith("axis 'd' disagrees: Q has 3, K has 4 (K is (..., k, d) = (2, 7, 4)")
    assert "Q is (..., q, d) = (2, 5, 3)" in str(error.value)
    assert isinstance(error.value, ValueError)


def test_an_axis_may_be_one_where_that_is_said():
    assert check_shapes(Q=("q d", np.ones((5, 3))), m=("1|q k", np.ones((1, 7)))) == {"q": 5, "d": 3, "k": 7}
    with pytest.raises(ShapeError, match="axis 'q' disagrees: Q has 5, m has 2"):
        check_shapes(Q=("q d", np.ones((5, 3))), m=("1|q k", np.ones((2, 7))))


@pytest.mark.parametrize(
    ("axes", "shape", "message"),
    [
        ("... q d", (3,), r"Q must have at least 2 axes, \(\.\.\., q, d\); got 1: shape \(3,\)"),
        ("q d", (1, 2, 3), r"Q must have 2 axes, \(q, d\); got 3: shape \(1, 2, 3\)"),
        ("q d", (), r"Q must have 2 axes, \(q, d\); got 0: shape \(\)"),
    ],
)
def test_too_few_or_too_many_axes(axes, shape, message):
    with pytest.raises(ShapeError, match=message):
        check_shapes(Q=(axes, np.ones(shape)))


shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@given(shapes, shapes, shapes)
def test_leading_axes_broadcast_just_as_numpys(a, b, c):
    try:
        expected = np.broadcast_shapes(a, b, c)
    except ValueError:
        with pytest.raises(ShapeError, match="leading axes do not broadcast"):
            broadcast_leading(("a", a), ("b", b), ("c", c))
    else:
        assert broadcast_leading(("a", a), ("b", b), ("c", c)) == expected


def test_leading_axes_are_checked_among_all():
    with pytest.raises(ShapeError, match=r"leading axes do not broadcast: Q has \(2,\), K has \(3,\)"):
        check_shapes(Q=("... q d", np.ones((2, 5, 4))), K=("... k d", np.ones((3, 6, 4))))


def test_what_is_no_array_is_refused():
    with pytest.raises(TypeError, match=r"Q must be an array; got a list: convert it with numpy\.asarray first"):
        check_shapes(Q=("q d", [[1]]))


def test_ragged_lists_are_refused_by_name():
    np.testing.assert_array_equal(as_array([[1, 2], [3, 4]], "K"), [[1, 2], [3, 4]])
    for ragged in ([[1, 2], [3]], [[1, [2]], [3, 4]], [np.ones((2, 3)), np.ones((3, 3))]):
        with pytest.raises(
            ShapeError, match=r"^K must be an array, or lists of lists of the same length; .*pad the shorter"
        ):
            as_array(ragged, "K")
