"""Plugins as strangers install them: real wheels, in a directory of their own, seen by a fresh Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
GIVING = [
    project for project in OURS if "entry-points.attnlab" in (project / "pyproject.toml").read_text(encoding="utf-8")
]

SIMILARITY = '''
from attnlab import Similarity, hookimpl


class Mine(Similarity):
    """Fine."""

    name = "{name}"

    def score(self, Q, K):
        return Q @ K.mT
'''
HOOK = """
@hookimpl
def attnlab_similarities():
    return [Mine]
"""
FINE = SIMILARITY + HOOK

PLUGINS = {  # distribution: the source of its module
    "no-import": "import a_module_that_nobody_has\n",
    "exits": "import sys\nsys.exit(3)\n",
    "misspelt": SIMILARITY.format(name="m") + HOOK.replace("similarities", "similaritys"),
    "american": SIMILARITY.format(name="n") + HOOK.replace("similarities", "normalizers"),
    "unmarked": SIMILARITY.format(name="u") + HOOK.replace("@hookimpl\n", ""),
    "hook-asks": SIMILARITY.format(name="h") + HOOK.replace("()", "(config)"),
    "verb-asks": FINE.format(name="asks_for_keys").replace("Q, K)", "Q, Keys)").replace("K.mT", "Keys.mT"),
    "hook-raises": SIMILARITY.format(name="r") + HOOK.replace("return [Mine]", "return [Mine][7]"),
    "gives-object": SIMILARITY.format(name="o") + HOOK.replace("[Mine]", "[Mine()]"),
    "generates": FINE.format(name="generated").replace("return [Mine]", "yield Mine"),
    "takes-dot": FINE.format(name="dot"),
    "rival-one": FINE.format(name="twin"),
    "rival-two": FINE.format(name="twin"),
}


def _project(folder: Path, distribution: str, source: str) -> Path:
    module = distribution.replace("-", "_") + "_plugin"
    folder.mkdir()
    (folder / f"{module}.py").write_text(source)
    (folder / "pyproject.toml").write_text(f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{distribution}"
version = "1.2.3"
[project.entry-points.attnlab]
{distribution} = "{module}"
[tool.hatch.build.targets.wheel]
include = ["{module}.py"]
""")
    return folder


def _do(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A directory into which all the wheels are installed."""
    base = tmp_path_factory.mktemp("wheels")
    for project in OURS:
        _do(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", base / "wheels", project)
    for distribution, source in PLUGINS.items():
        project = _project(base / distribution, distribution, source)
        _do(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", base / "wheels", cwd=project)
    wheels = sorted((base / "wheels").glob("*.whl"))
    assert len(wheels) == len(PLUGINS) + len(OURS)
    _do(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", base / "site", *wheels
    )
    return base / "site"


@pytest.fixture
def python(site, tmp_path):
    """Run code in a fresh Python that sees the wheels; what it calls `say` with comes back."""

    def run(code: str, pinned: str | None = None):
        env = {k: v for k, v in os.environ.items() if k != "ATTNLAB_PLUGINS"}
        env["PYTHONPATH"] = os.pathsep.join([str(site), str(ROOT)])
        if pinned is not None:
            env["ATTNLAB_PLUGINS"] = pinned
        head = (
            "import json, numpy as np, attnlab\n"
            "from attnlab import registry\nfrom attnlab.plugins import configure, plugins\n"
            "def say(x): print(json.dumps(x))\n"
            "def records(): return {r.name: [r.status, r.distribution, r.version, r.reason] for r in plugins().records}\n"
            "def every(): return {kind: attnlab.names(kind) for kind in registry.KINDS}\n"
            "def error(f, *a):\n"
            "    try: f(*a)\n"
            "    except attnlab.AttnlabError as e: return [type(e).__name__, str(e)]\n"
        )
        return json.loads(_do(sys.executable, "-W", "error", "-c", head + code, env=env, cwd=tmp_path).splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def seen(site, tmp_path_factory):
    """What a Python with all the wheels at once makes of them."""
    code = (
        "import json, attnlab\nfrom attnlab import registry\nfrom attnlab.plugins import plugins\n"
        "names = {kind: attnlab.names(kind) for kind in registry.KINDS}\n"
        "records = {r.distribution: [r.status, r.version, r.reason] for r in plugins().records}\n"
        "print(json.dumps([names, records]))"
    )
    env = {k: v for k, v in os.environ.items() if k != "ATTNLAB_PLUGINS"}
    env["PYTHONPATH"] = os.pathsep.join([str(site), str(ROOT)])
    return json.loads(_do(sys.executable, "-W", "error", "-c", code, env=env, cwd=tmp_path_factory.mktemp("elsewhere")))


def test_a_good_plugin_works_by_name(python):
    names, weights, row, settings = python(
        "Q, K = np.zeros((1, 2)), np.array([[0.0, 0.0], [2.0, 2.0]])\n"
        "W = attnlab.attention_weights(Q, K, similarity={'laplace': {'scale': 4.0}})\n"
        "frame = attnlab.components().set_index(['kind', 'name'])\n"
        "row = frame.loc[('similarity', 'laplace')]\n"
        "mechanism = attnlab.Mechanism().set_params(similarity='laplace', similarity__scale=2.0)\n"
        "say([attnlab.names('similarity'), W.tolist(), [row.plugin, row.version, row.summary, bool(row.symmetric)],"
        " mechanism.get_params()['similarity__scale']])"
    )
    assert {"laplace", "gaussian", "scaled_dot"} <= set(names)
    assert weights[0] == pytest.approx([0.7310585786, 0.2689414214])
    assert row == ["attnlab-distance", "0.1.0", "Minus the city-block distance over a length scale.", True]
    assert settings == 2.0


def test_settings_of_a_plugin_are_checked(python):
    kind, message = python("say(error(lambda: attnlab.get('similarity', 'laplace', scale=-1.0)))")
    assert kind == "SettingError"
    assert "scale must be float, > 0; got -1.0" in message
    kind, message = python("say(error(lambda: attnlab.get('similarity', 'laplace', scales=1.0)))")
    assert "did you mean scale?" in message


QUICK = ("attnlab-distance",)  # of the others, with the marker long
OWN = [pytest.param(p, marks=[] if p.name in QUICK else [pytest.mark.long], id=p.name) for p in OURS]


@pytest.mark.parametrize("project", OWN)
def test_its_own_tests_pass_where_it_is_installed(site, tmp_path, project):
    if project.name == "attnlab-torch":
        pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "ATTNLAB_PLUGINS": project.name}
    command = (sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", project)
    told = _do(*command, env=env, cwd=tmp_path)
    assert " passed" in told
    assert "failed" not in told


@pytest.mark.parametrize(
    ("distribution", "reason"),
    [
        ("no-import", "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"),
        ("exits", "SystemExit: 3"),
        ("misspelt", "unknown hook 'attnlab_similaritys' (did you mean attnlab_similarities"),
        ("american", "unknown hook 'attnlab_normalizers' (did you mean attnlab_normalisers"),
        ("unmarked", "attnlab_similarities is not marked: write @hookimpl above it"),
        ("hook-asks", "config"),
        ("verb-asks", "Mine.score(self, Q, Keys): unknown argument 'Keys'"),
        ("hook-raises", "attnlab_similarities: IndexError: list index out of range"),
        ("gives-object", "is not a class; a hook gives classes, not objects"),
        ("takes-dot", "the similarity name 'dot' is given by"),
        ("takes-dot", "'attnlab:dot'"),
        ("rival-one", "the similarity name 'twin' is given by"),
        ("rival-one", "'rival-two:twin'"),
        ("rival-two", "'rival-one:twin'"),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason(seen, distribution, reason):
    _, records = seen
    status, version, told = records[distribution]
    assert status == "broken"
    assert version == "1.2.3"
    assert reason in told


def test_broken_plugins_stop_nobody_else(seen):
    names, records = seen
    assert records["attnlab"][0] == records["attnlab-distance"][0] == records["generates"][0] == "ok"
    assert {"scaled_dot", "laplace", "gaussian", "generated"} <= set(names["similarity"])
    assert {"softmax", "sparsemax"} <= set(names["normaliser"])
    assert len(records) == len(PLUGINS) + len(GIVING) + 1
    assert sorted(d for d, r in records.items() if r[0] == "broken") == sorted(set(PLUGINS) - {"generates"})


def test_names_of_a_clash_are_qualified(seen, python):
    names, _ = seen
    assert {"attnlab:dot", "takes-dot:dot", "rival-one:twin", "rival-two:twin"} <= set(names["similarity"])
    assert not {"dot", "twin"} & set(names["similarity"])
    told = python(
        "Q = np.ones((2, 3))\n"
        "dots = [attnlab.attend(Q, Q, Q, similarity=s).tolist() for s in ('attnlab:dot', 'takes-dot:dot')]\n"
        "say([error(attnlab.get, 'similarity', 'dot'), error(attnlab.get, 'similarity', 'twin'), dots,"
        " [attnlab.get('similarity', f'rival-{n}:twin').__module__ for n in ('one', 'two')]])"
    )
    dot, twin, dots, modules = told
    assert dot[0] == twin[0] == "AmbiguousName"
    assert "'attnlab:dot'" in dot[1]
    assert "'takes-dot:dot'" in dot[1]
    assert "'rival-one:twin'" in twin[1]
    assert "'rival-two:twin'" in twin[1]
    assert dots[0] == dots[1]
    assert modules == ["rival_one_plugin", "rival_two_plugin"]


def test_an_unknown_name_tells_of_the_broken_plugins(python):
    kind, message = python("say(error(attnlab.get, 'similarity', 'asks_for_keys'))", pinned="verb-asks,exits")
    assert kind == "UnknownName"
    assert "verb-asks" in message
    assert "exits of exits (SystemExit: 3" in message
    kind, message = python("say(error(attnlab.get, 'similarity', 'exits:mine'))", pinned="exits")
    assert "the plugin exits is broken: SystemExit: 3" in message


def test_a_pin_loads_these_and_no_others(python):
    code = "names = attnlab.names('similarity')\nsay([names, sorted(records()), plugins().notes])"
    names, found, notes = python(code, pinned="distance")
    assert found == ["attnlab", "distance"]
    assert {"laplace", "dot"} <= set(names)
    assert notes == []
    names, found, _ = python(code, pinned="")
    assert found == ["attnlab"]
    assert "laplace" not in names
    _, found, notes = python(code, pinned="distanse")
    assert found == ["attnlab"]
    assert "distanse, which is not installed (did you mean distance" in notes[0]


def test_a_blocked_plugin_is_left_out(python):
    blocked, record, twin, after = python(
        "configure(blocked=['distance', 'rival-one'])\n"
        "names = attnlab.names('similarity')\nrecord = records()['distance']\ntwin = 'twin' in names\n"
        "configure()\n"
        "say([names, record, twin, attnlab.names('similarity')])"
    )
    assert "laplace" not in blocked
    assert record[:2] == ["blocked", "attnlab-distance"]
    assert twin, "with one rival left out the bare name is the other's"
    assert "laplace" in after


def test_a_file_is_a_plugin_too(python, tmp_path):
    (tmp_path / "mine.py").write_text(FINE.format(name="from_a_file"))
    (tmp_path / "worse.py").write_text("1 / 0\n")
    names, found = python(
        "configure(files=['mine.py', 'worse.py'])\nsay([attnlab.names('similarity'), records()])", pinned=""
    )
    assert "from_a_file" in names
    assert found["mine"][:2] == ["ok", "file"]
    assert found["worse"][0] == "broken"
    assert "ZeroDivisionError" in found["worse"][3]
    assert "worse.py:1" in found["worse"][3]


def test_targets_of_check(python):
    told = python(
        "from attnlab.testing import resolve_target\n"
        "say([[c.__name__ for c in resolve_target(t)] for t in ('laplace', 'attnlab-distance', 'distance',"
        " 'attnlab-distance:gaussian', 'attnlab_distance:Laplace')] + [error(resolve_target, 'exits')])"
    )
    assert told[:5] == [["Laplace"], ["Laplace", "Gaussian"], ["Laplace", "Gaussian"], ["Gaussian"], ["Laplace"]]
    assert told[5][0] == "AttnlabError"
    assert "exits is broken: SystemExit: 3" in told[5][1]


def test_what_new_makes_can_be_published(tmp_path):
    """docs/publish.md: the package of `attnlab new` becomes a wheel, and works where it is installed, far from its folder."""
    env = {k: v for k, v in os.environ.items() if k != "ATTNLAB_PLUGINS"}
    _do(
        sys.executable, "-m", "attnlab", "new", "normaliser", "mine", cwd=tmp_path, env={**env, "PYTHONPATH": str(ROOT)}
    )
    project = tmp_path / "attnlab-mine"
    _do(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "wheels", cwd=project)
    (wheel,) = (tmp_path / "wheels").glob("attnlab_mine-0.1.0-*.whl")
    install = ("install", "--quiet", "--no-index", "--no-deps", "--target", tmp_path / "site", wheel)
    _do(sys.executable, "-m", "pip", *install)
    (tmp_path / "elsewhere").mkdir()
    there = {
        "cwd": tmp_path / "elsewhere",
        "env": {**env, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])},
    }
    listed = _do(sys.executable, "-m", "attnlab", "plugins", **there)
    assert "normaliser mine" in next(line for line in listed.splitlines() if "attnlab-mine" in line)
    assert "failed 0" in _do(sys.executable, "-m", "attnlab", "check", "attnlab-mine", **there)
