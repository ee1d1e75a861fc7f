"""Which settings hold components, as the many ways of writing an annotation say it."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from typing import Annotated

import pytest
from annotated_types import Gt

from attnlab import Mechanism, MechanismComponent, Similarity
from attnlab.nested import Nested, hints, nested
from attnlab.parts.similarities import Cosine, Dot
from attnlab.settings import describe

WRITTEN = """
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Optional, Union

import numpy as np
from annotated_types import Len, MinLen

import attnlab
from attnlab import Encoder, Mask, Mechanism, MechanismComponent, Metric, Normaliser, Similarity, Task
from attnlab.interfaces import Executor, Model, Part


class Holder({base}):
    def __init__(self, {name}: {annotation!r} {default}):
        pass
"""


def holder(annotation="Any", default=..., name="of", base="MechanismComponent"):
    """A class with one setting, whose annotation is text."""
    scope = {"given": default}
    given = "" if default is ... else "= given"
    exec(WRITTEN.format(annotation=annotation, name=name, base=base, default=given), scope)
    return scope["Holder"]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("MechanismComponent", Nested("mechanism")),
        ("Mechanism", Nested("mechanism")),
        ("attnlab.Encoder", Nested("encoder")),
        ("Similarity | None", Nested("similarity", optional=True)),
        ("Optional[Similarity]", Nested("similarity", optional=True)),
        ("Annotated[Normaliser, 'of the scores'] | None", Nested("normaliser", optional=True)),
        ("Annotated[Mask | None, 'a mask']", Nested("mask", optional=True)),
        ("Mask | np.ndarray | str", Nested("mask")),
        ("list[MechanismComponent]", Nested("mechanism", one=False, several=list)),
        ("Sequence[Annotated[Similarity, 'each']]", Nested("similarity", one=False, several=list)),
        ("Annotated[list[Mask], Len(2, 3)]", Nested("mask", one=False, several=list, fewest=2, most=3)),
        ("Annotated[Sequence[Mask], MinLen(1)]", Nested("mask", one=False, several=list, fewest=1)),
        ("tuple[Mask, Mask]", Nested("mask", one=False, several=tuple, fewest=2, most=2)),
        ("tuple[Mask, ...]", Nested("mask", one=False, several=tuple)),
        ("Similarity | list[Similarity]", Nested("similarity", several=list)),
        ("Union[list[Similarity], None]", Nested("similarity", one=False, several=list, optional=True)),
        ("Similarity | Normaliser", None),  # a name would not say which
        ("dict[str, Similarity]", None),
        ("Model | Executor | Task", None),
        ("Part", None),
        ("list[list[Similarity]]", None),
        ("NotThere", None),
        ("Any", None),
        ("int", None),
    ],
)
def test_an_annotation_says_what_a_setting_holds(annotation, expected):
    assert nested(holder(annotation), "of") == expected


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        (Dot(), Nested("similarity")),
        (Mechanism("dot"), Nested("mechanism")),
        ([Dot(), Cosine()], Nested("similarity", one=False, several=list)),
        ((Dot(),), Nested("similarity", one=False, several=tuple)),
        ([Dot(), Mechanism()], None),
        ([], None),
        (None, None),
        ("dot", None),
        (Dot, None),
    ],
)
def test_a_default_says_it_where_no_annotation_does(default, expected):
    assert nested(holder(default=default), "of") == expected
    assert nested(holder(default=default, base="Task"), "of") == expected


@pytest.mark.parametrize(
    ("name", "annotation", "base", "expected"),
    [
        ("mechanism", "Any", "MechanismComponent", Nested("mechanism")),
        ("encoder", "NotThere", "Model", Nested("encoder")),
        ("mask", "Any", "MechanismComponent", Nested("mask", joined="and")),
        ("mask", "Mask", "MechanismComponent", Nested("mask")),  # one mask, not masks that are joined
        ("position", "int", "MechanismComponent", None),
        ("encoder", "Literal['gru', 'lstm']", "Model", None),
        ("position", "Any", "Task", None),
        ("position", "Any", "Metric", None),
        ("similarity", "Similarity", "Task", Nested("similarity")),
    ],
)
def test_a_name_says_it_where_nothing_is_declared(name, annotation, base, expected):
    assert nested(holder(annotation, name=name, base=base), name) == expected


def test_one_annotation_that_cannot_be_resolved_leaves_the_others_as_they_are():
    class Two(MechanismComponent):
        def __init__(self, first: NotThere, second: Annotated[float, Gt(0)], third: list[Similarity]):  # noqa: F821
            self.first, self.second, self.third = first, second, third

    assert set(hints(Two)) == {"second", "third"}
    assert nested(Two, "third").several is list
    assert nested(Two, "fourth") is None
    assert describe(Two, "second") == "float, > 0"


def test_a_dataclass_says_it_as_well():
    @dataclasses.dataclass(eq=False, repr=False)
    class Pair(MechanismComponent):
        left: Similarity
        right: Similarity = dataclasses.field(default=None)

    assert nested(Pair, "left") == Nested("similarity")
    assert nested(Pair, "right") == Nested("similarity", optional=True)


def test_names_imported_for_types_only_are_found(tmp_path):
    file = tmp_path / "for_types_only.py"
    file.write_text(
        "from __future__ import annotations\n"
        "import typing\n"
        "from attnlab import MechanismComponent\n"
        "if typing.TYPE_CHECKING:\n"
        "    import nothing_of_the_kind\n"
        "    from collections.abc import Sequence\n"
        "    from attnlab import Similarity as S\n"
        "class Holder(MechanismComponent):\n"
        "    def __init__(self, one: S, several: Sequence[S], other: nothing_of_the_kind.Thing): ...\n",
        encoding="utf-8",
    )
    spec = importlib.util.spec_from_file_location("for_types_only", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["for_types_only"] = module
    try:
        spec.loader.exec_module(module)
        assert nested(module.Holder, "one") == Nested("similarity")
        assert nested(module.Holder, "several") == Nested("similarity", one=False, several=list)
        assert nested(module.Holder, "other") is None
    finally:
        del sys.modules["for_types_only"]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (Nested("mask", several=list), "a list of masks"),
        (Nested("similarity", several=list, fewest=1), "a list of at least 1 similarities"),
        (Nested("mask", several=tuple, fewest=2, most=2), "a list of 2 masks"),
        (Nested("mask", several=list, most=3), "a list of 0 to 3 masks"),
    ],
)
def test_a_list_is_said_in_words(held, said):
    assert str(held) == said
