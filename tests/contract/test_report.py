"""attnlab.testing itself: inputs that vary, statuses kept apart, targets, and the pytest decorator."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest

import attnlab
from attnlab.errors import AmbiguousName, AttnlabError, ComponentError, UnknownName
from attnlab.parts.normalisers import Softmax, Sparsemax
from attnlab.parts.similarities import Dot, General
from attnlab.plugins import configure
from attnlab.tasks.recall import Lookup
from attnlab.testing import CHECKS, ContractBroken, Report, check_component, checks_for, resolve_target
from attnlab.testing.subject import Subject


class Stranger(attnlab.Similarity):
    """From elsewhere, and without the documentation that attnlab's own have."""

    name = "stranger"

    def score(self, Q, K):
        return -Dot().score(Q, K)


class Lying(attnlab.Normaliser):
    """Half a softmax that says that its rows sum to one."""

    name = "lying"
    rows_sum_to_one = nonnegative = shift_invariant = True

    def normalise(self, S):
        return Softmax().normalise(S) / 2


# -- inputs ---------------------------------------------------------------------------------------------------------------
def test_draws_vary_and_repeat():
    draws = list(Subject(Dot).draws("C026", n=6))
    assert len({(d.Q.shape, d.K.shape, d.V.shape) for d in draws}) >= 5
    assert len({round(float(d.Q.sum()), 12) for d in draws}) == 6
    assert all(d.Q.std() > 0.1 and d.K.std() > 0.1 for d in draws), "no constant inputs"
    assert any(not d.M.all() for d in draws)
    assert all(d.M.any(axis=-1).all() for d in draws)
    again = list(Subject(Dot).draws("C026", n=6))
    assert all(np.array_equal(a.Q, b.Q) and np.array_equal(a.M, b.M) for a, b in zip(draws, again, strict=True))


@pytest.mark.parametrize("other", [(General, "C026", 0), (Dot, "C025", 0), (Dot, "C026", 1)])
def test_another_component_check_or_seed_draws_other_inputs(other):
    component, code, seed = other
    one = next(Subject(Dot).draws("C026"))
    two = next(Subject(component, seed).draws(code))
    assert one.Q.shape != two.Q.shape or not np.array_equal(one.Q, two.Q)


def test_learned_arrays_stand_at_no_special_value():
    subject = Subject(attnlab.get("similarity", "additive"))
    draw = next(subject.draws("x"))
    assert np.all(subject.params(draw)["similarity"]["b"] != 0)


# -- reports ----------------------------------------------------------------------------------------------------------------
def test_a_sound_component():
    report = check_component(Sparsemax)
    assert report
    assert report.raise_for_failures() is None
    assert {o.status for o in report} == {"passed", "skipped"}
    assert str(report).startswith(f"ran {report.n_ran}, passed {report.n_ran}, warned 0, skipped ")
    assert "it has no settings" in str(report)


def test_a_failure_is_told_with_its_reason():
    report = check_component(Lying)
    assert not report
    assert "N201" in report.codes("failed")
    with pytest.raises(ContractBroken, match=r"failed  N201 lying: .*\n.*rows_sum_to_one = True is declared, but not"):
        report.raise_for_failures()


def test_documentation_only_warns_strangers():
    report = check_component(Stranger)
    assert report
    assert report.codes("warned") == ["C002", "C003", "S101"]
    assert "warned  C003 stranger" in str(report)


def test_nothing_ran_is_no_success():
    report = Report([o for o in check_component(General) if o.status == "skipped"])
    assert len(report) > 0
    assert not report
    with pytest.raises(ContractBroken, match="nothing ran"):
        report.raise_for_failures()
    assert not Report()


class Needy(attnlab.Similarity):
    """Stretched dot products."""

    name = "needy"

    def __init__(self, scale):
        self.scale = scale

    def score(self, Q, K):
        return self.scale * (Q @ K.mT)


def test_a_class_that_needs_settings_is_not_checked_and_that_is_said(tmp_path):
    said = "Needy needs the settings scale: check an object instead, check_component(Needy(scale=...))"
    assert said in str(check_component(Needy))
    assert check_component(Needy(2.0))
    (tmp_path / "mine.py").write_text("import attnlab\n\n\n" + inspect.getsource(Needy))
    done = subprocess.run(
        [sys.executable, "-m", "attnlab", "check", "mine.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout.startswith(f"similarity needy: only its class was checked: {said}")


def test_frame_has_a_row_a_check():
    frame = (check_component(Lying) + check_component(Dot)).to_frame()
    assert list(frame) == ["component", "kind", "code", "statement", "status", "reason"]
    assert len(frame) == len(checks_for("normaliser")) + len(checks_for("similarity"))
    assert set(frame["component"]) == {"lying", "dot"}
    passed = frame[frame["status"] == "passed"]
    assert (passed.loc[~passed["code"].isin(["C031", "C032"]), "reason"] == "").all()


def test_codes_and_statements():
    letters = {
        "similarity": "S1",
        "normaliser": "N2",
        "aggregator": "A3",
        "position": "P4",
        "mask": "M5",
        "modifier": "O5",
    }
    letters |= {"task": "T6", "metric": "E7", "model": "D8", "executor": "X9", "kernel": "K9"}
    for code, check in CHECKS.items():
        assert code == check.code
        assert check.statement.endswith("."), code
        assert len(check.statement) <= 130, code
        if code[0] != "C":
            assert letters[check.kinds[0]] == code[:2]
    assert len({c.statement for c in CHECKS.values()}) == len(CHECKS)


def test_only_some_checks():
    assert [o.code for o in check_component(Dot, only=["C014", "S101", "N201"])] == ["C014", "S101"]
    with pytest.raises(UnknownName, match="did you mean S101"):
        check_component(Dot, only=["S1O1"])


@pytest.mark.parametrize("thing", [object(), int, Dot.score, "dot", None])
def test_what_is_no_component_is_refused(thing):
    with pytest.raises(ComponentError, match="only a component can be checked"):
        check_component(thing)


def test_an_object_is_checked_with_its_settings():
    class Late(Lookup):
        __doc__ = Lookup.__doc__

    report = check_component(Late(n_keys=3, n_train=8, n_test=4), only=["T605", "T606"])
    assert report.codes("passed") == ["T605", "T606"]


# -- pytest -----------------------------------------------------------------------------------------------------------------
def test_in_pytest(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "from attnlab import Similarity\n"
        "from attnlab.testing import parametrize_with_checks\n"
        "class Mine(Similarity):\n"
        "    '''Mine.'''\n"
        "    name = 'mine'\n"
        "    symmetric = False\n"
        "    def score(self, Q, K):\n"
        "        return Q @ K.mT\n"
        "@parametrize_with_checks([Mine])\n"
        "def test_contract(component, check):\n"
        "    assert component is Mine\n"
        "    check(component)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfs", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    report = check_component(Stranger)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "test_contract[similarity:mine-S101]" in done.stdout
    assert "symmetric = False is declared, but" in done.stdout
    assert "it has nothing to learn" in done.stdout
    assert f"{len(report.codes('skipped'))} skipped, 2 warnings" in done.stdout


def test_pytest_is_loaded_only_when_asked_for():
    code = "import sys, attnlab.testing as t; from attnlab.parts.masks import Causal\nt.check_component(Causal)\n"
    code += "print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


# -- targets ----------------------------------------------------------------------------------------------------------------
def test_targets(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from attnlab import Mask, Similarity\nfrom attnlab.parts.similarities import Dot\n"
        "class A(Mask):\n    name = 'a'\n    def allow(self, q_index, k_index): ...\n"
        "class B(Similarity):\n    name = 'b'\n    def score(self, Q, K): ...\n"
    )
    assert resolve_target("dot") == resolve_target("attnlab:dot") == resolve_target("similarity:dot") == [Dot]
    assert resolve_target("attnlab.parts.similarities:Dot") == [Dot]
    assert [c.__name__ for c in resolve_target(str(file))] == ["A", "B"]
    assert [c.__name__ for c in resolve_target(f"{file}:B")] == ["B"]
    assert {Dot, Softmax, Lookup} <= set(resolve_target("attnlab"))


def test_a_name_that_clashes_is_no_target(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from attnlab import Similarity, hookimpl\n"
        "class B(Similarity):\n    name = 'dot'\n    def score(self, Q, K): ...\n"
        "@hookimpl\ndef attnlab_similarities():\n    return [B]\n"
    )
    configure(files=[str(tmp_path / "mine.py")])
    try:
        assert resolve_target("attnlab:dot") == [Dot]
        with pytest.raises(AmbiguousName, match="'attnlab:dot'"):
            resolve_target("dot")
    finally:
        configure()


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("dott", UnknownName, "did you mean dot"),
        ("attnlab:dott", UnknownName, "did you mean attnlab:dot"),
        ("similarity:softmax", UnknownName, "no component 'similarity:softmax'"),
        ("attnlab.parts.similarities:Dott", UnknownName, "did you mean Dot"),
        ("attnlab.nowhere:Dot", AttnlabError, "cannot be imported: ModuleNotFoundError"),
        ("nowhere.py", UnknownName, "no such file: nowhere.py"),
        ("", UnknownName, "no component, plugin or file ''"),
    ],
)
def test_wrong_targets(target, error, message):
    with pytest.raises(error, match=message):
        resolve_target(target)


def test_files_that_cannot_be_checked(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "empty.py").write_text("from attnlab.parts.similarities import Dot\n")
    with pytest.raises(AttnlabError, match="cannot be loaded: ZeroDivisionError"):
        resolve_target(str(tmp_path / "broken.py"))
    with pytest.raises(UnknownName, match="defines no component class"):
        resolve_target(str(tmp_path / "empty.py"))


# -- other libraries ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("code", "module", "title"), [("C031", "torch", "PyTorch"), ("C032", "jax", "JAX")])
def test_the_report_says_on_which_library_a_part_ran(code, module, title):
    library = pytest.importorskip(module, reason=f"{title} is not installed", exc_type=ImportError)
    report = check_component(Dot, only=[code])
    assert report.codes("passed") == [code]
    said = str(report).splitlines()[1]
    assert said.startswith(f"also on {title} {library.__version__} (cpu")
    assert said.endswith("): values and gradients, float64 and float32")
    hard = check_component(attnlab.get("normaliser", "hardmax"), only=[code])
    assert str(hard).endswith("): values, float64 and float32")


@pytest.mark.parametrize(("code", "module", "title"), [("C031", "torch", "PyTorch"), ("C032", "jax", "JAX")])
def test_a_library_that_is_not_there_is_not_run_and_that_is_said(code, module, title, tmp_path):
    """In a fresh process that cannot find it, whether it is installed or not."""
    script = f"""
import sys
sys.modules[{module!r}] = None
from attnlab.parts.similarities import Dot
from attnlab.testing import check_component
report = check_component(Dot, only=[{code!r}, "C001"])
assert report.codes("skipped") == [{code!r}] and report.codes("passed") == ["C001"]
print(report)
assert not check_component(Dot, only=[{code!r}]), "nothing ran"
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"ran 1, passed 1, warned 0, skipped 1 ({title} is not installed), failed 0"
