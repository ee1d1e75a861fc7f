"""Fingerprints change when the code does, and only then."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import attnlab
from attnlab import registry
from attnlab.kinds import PARTS
from attnlab.parts.similarities import Dot, ScaledDot
from attnlab.sweeps.code import written
from attnlab.sweeps.experiment.read import read
from attnlab.sweeps.fingerprint import fingerprint, fingerprints
from attnlab.sweeps.plan import plan

PLUGIN = '''
"""A plugin of one similarity."""
from attnlab import Similarity

FACTOR = 2.0

def helper(x):
    """Twice."""
    return FACTOR * x

class Twice(Similarity):
    """Twice the dot product."""
    name = "twice"

    def score(self, Q, K):
        return helper(Q @ K.swapaxes(-1, -2))   # the score

class Other(Similarity):
    """Another."""
    name = "another"

    def score(self, Q, K):
        return Q @ K.swapaxes(-1, -2)
'''


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    before, modules = dict(registry._registered), set(sys.modules)
    yield
    registry._registered.clear()
    registry._registered.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("fingerprinted_"):
            del sys.modules[name]


def load(tmp_path: Path, source: str, cls: str = "Twice", name: str = "fingerprinted_plugin") -> type:
    """The class of a module with this source, imported anew."""
    path = tmp_path / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(source, str(path), "exec"), module.__dict__)
    found: type = getattr(module, cls)
    return found


SAME = [
    ("# the score", "# something else"),
    ('"""Twice."""', '"""Two times.\n    """'),
    ('"""A plugin of one similarity."""', ""),
    ("    return FACTOR * x\n", "    return (FACTOR\n            * x)\n\n\n"),
    ('    """Twice the dot product."""\n', ""),
]
OTHER = [
    ("FACTOR = 2.0", "FACTOR = 3.0"),
    ("return FACTOR * x", "return FACTOR + x"),
    ("helper(Q @", "abs(Q @"),
    ("        return Q @ K", "        return -Q @ K"),  # another class of the same module
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_comments_docstrings_and_layout_are_no_part_of_it(tmp_path: Path, old: str, new: str) -> None:
    assert old in PLUGIN
    before = fingerprint(load(tmp_path, PLUGIN), "this-process")
    assert fingerprint(load(tmp_path, PLUGIN.replace(old, new, 1)), "this-process") == before


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_any_line_of_a_strangers_module_is(tmp_path: Path, old: str, new: str) -> None:
    assert old in PLUGIN
    before = fingerprint(load(tmp_path, PLUGIN), "this-process")
    assert fingerprint(load(tmp_path, PLUGIN.replace(old, new, 1)), "this-process") != before


def test_of_attnlabs_own_each_part_has_its_own() -> None:
    assert fingerprint(Dot) != fingerprint(ScaledDot)
    assert fingerprint(Dot).startswith("-/")


def typed(body: str, doc: str = "A class typed at a prompt.") -> type:
    """A class of which there is no source."""
    source = f'''
from attnlab import Similarity
class Typed(Similarity):
    """{doc}"""
    name = "typed"
    def score(self, Q, K):
        """{doc}"""
        return {body}
'''
    scope: dict[str, object] = {"__name__": "fingerprinted_prompt"}
    exec(source, scope)
    found = scope["Typed"]
    assert isinstance(found, type)
    return found


def test_without_source_the_bytecode_counts() -> None:
    before = fingerprint(typed("Q @ K"), "this-process")
    assert fingerprint(typed("Q @ K"), "this-process") == before
    assert fingerprint(typed("Q @ K", doc="Otherwise."), "this-process") == before
    assert fingerprint(typed("Q + K"), "this-process") != before
    assert fingerprint(typed("Q @ K * 2"), "this-process") != fingerprint(typed("Q @ K * 3"), "this-process")
    one, two = (typed(f"[x * {n} for x in Q]") for n in (2, 3))  # code within code
    assert fingerprint(one, "this-process") != fingerprint(two, "this-process")


def test_every_component_of_a_run_has_one(tmp_path: Path) -> None:
    def of(source: str) -> dict[str, str]:
        attnlab.register(load(tmp_path, source))
        (run,) = plan(
            read({"attnlab": 1, "question": "q", "task": "lookup", "seeds": 1, "mechanism": {"similarity": "twice"}})
        )
        return fingerprints(run)

    before, after = of(PLUGIN), of(PLUGIN.replace("FACTOR = 2.0", "FACTOR = 3.0"))
    assert set(before) == {"task", "mechanism", *PARTS, "model", "execution"}
    assert before["similarity"].startswith("twice:")
    assert before["task"].startswith("lookup:")
    assert {role for role in before if before[role] != after[role]} == {"similarity"}


def test_what_is_hashed_has_no_empty_fields() -> None:
    """Python 3.12 added `type_params=[]` to every function and class; other versions will add others."""
    function = "FunctionDef(name='f', args=arguments(args=[arg(arg='x')]), body=[Return(value={})])"
    for value, said in {
        "None": "Constant()",
        "0": "Constant(value=0)",
        "{**x}": "Dict(keys=[None], values=[Name(id='x', ctx=Load())])",
        "[]": "List(ctx=Load())",
        "''": "Constant(value='')",
    }.items():
        assert written(ast.parse(f"def f(x):\n  return {value}").body) == f"[{function.format(said)}]"
